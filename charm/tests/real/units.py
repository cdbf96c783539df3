"""Runs units of the charm that are related to Prometheus, and prints the result as JSON.

Usage: units.py CONFIG ADDRESS..., with one unit at each address. CONFIG is the configuration
of the application, as JSON. The result has the plan of each container, and the scrape
configurations that the library of the Prometheus charm creates from the relation.
"""

import json
import pathlib
import sys

import ops
from ops import testing

CHARM = pathlib.Path(__file__).parents[2]
IS_REAL = (CHARM / "lib/charms/prometheus_k8s/v0/prometheus_scrape.py").exists()
sys.path[:0] = [str(CHARM / "src"), str(CHARM / ("lib" if IS_REAL else "tests/stand_in"))]

from charms.prometheus_k8s.v0.prometheus_scrape import MetricsEndpointConsumer  # noqa: E402

from charm import CONTAINER, METRICS_ENDPOINT, MetricsProxyCharm  # noqa: E402


class Prometheus(ops.CharmBase):
    """The Prometheus charm, reduced to the relation."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.consumer = MetricsEndpointConsumer(self)


def run_unit(
    number: int, planned: int, config: dict[str, str], address: str
) -> tuple[str, testing.Relation]:
    """Return the plan of the unit's container, and its side of the relation."""
    relation = testing.Relation(METRICS_ENDPOINT)
    network = testing.BindAddress([testing.Address(address)])
    state = testing.State(
        leader=number == 0,
        planned_units=planned,
        config=config,
        containers={testing.Container(CONTAINER, can_connect=True)},
        relations={relation},
        networks={testing.Network(METRICS_ENDPOINT, bind_addresses=[network])},
        model=testing.Model("prod", uuid="8f0d2b1c-0000-4000-8000-000000000000", type="kubernetes"),
    )
    context = testing.Context(MetricsProxyCharm, charm_root=CHARM, unit_id=number)
    out = context.run(context.on.config_changed(), state)
    return out.get_container(CONTAINER).plan.to_yaml(), out.get_relation(relation.id)


def expand(units: list[testing.Relation]) -> list[dict[str, object]]:
    """Return the scrape configurations of Prometheus."""
    relation = testing.Relation(
        METRICS_ENDPOINT,
        remote_app_name="metrics-proxy-k8s",
        remote_app_data=units[0].local_app_data,
        remote_units_data={number: unit.local_unit_data for number, unit in enumerate(units)},
    )
    meta = {
        "name": "prometheus-k8s",
        "requires": {METRICS_ENDPOINT: {"interface": "prometheus_scrape"}},
    }
    context = testing.Context(Prometheus, meta=meta)
    with context(context.on.update_status(), testing.State(relations={relation})) as manager:
        return manager.charm.consumer.jobs()


config, *addresses = json.loads(sys.argv[1]), *sys.argv[2:]
plans, units = zip(
    *(run_unit(i, len(addresses), config, address) for i, address in enumerate(addresses)),
    strict=True,
)
json.dump({"plans": plans, "scrape_configs": expand(list(units))}, sys.stdout)
