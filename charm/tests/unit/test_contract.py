"""The behaviour of prometheus_scrape that the charm relies on.

The tests run against the stand-in, or against the real library after

    charmcraft fetch-libs

has downloaded it to lib/.
"""

import inspect
import json
import pathlib
from dataclasses import replace

import ops
import pytest
from charms.prometheus_k8s.v0 import prometheus_scrape
from ops import testing

CHARM = pathlib.Path(__file__).parents[2]
JOBS = [
    {
        "job_name": "a",
        "static_configs": [{"targets": ["*:1"]}],
        "scrape_timeout": "3s",
        "scrape_interval": "60s",
    },
    {"job_name": "b", "static_configs": [{"targets": ["*:2"]}], "honor_labels": True},
]


class Provider(ops.CharmBase):
    """Publishes JOBS at first and, on config-changed, only the second one."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.provider = prometheus_scrape.MetricsEndpointProvider(self, jobs=JOBS)
        framework.observe(self.on.config_changed, self._on_config_changed)

    def _on_config_changed(self, _event: ops.ConfigChangedEvent) -> None:
        self.provider.update_scrape_job_spec(JOBS[1:])


META = {
    "name": "provider",
    "containers": {"c": {}},
    "provides": {"metrics-endpoint": {"interface": "prometheus_scrape"}},
}


@pytest.fixture
def context() -> testing.Context[Provider]:
    return testing.Context(Provider, meta=META)


@pytest.fixture
def relation() -> testing.Relation:
    return testing.Relation("metrics-endpoint")


def state(relation: testing.Relation, *, leader: bool = True) -> testing.State:
    return testing.State(
        leader=leader,
        relations={relation},
        containers={testing.Container("c", can_connect=True)},
        model=testing.Model("prod", uuid="8f0d2b1c-0000-4000-8000-000000000000"),
    )


def app_data(out: testing.State, relation: testing.Relation, key: str):
    return json.loads(out.get_relation(relation.id).local_app_data[key])


def test_real_library_is_preferred():
    is_real = (CHARM / "lib/charms/prometheus_k8s/v0/prometheus_scrape.py").exists()
    where = "lib" if is_real else "tests/stand_in"
    assert inspect.getfile(prometheus_scrape).startswith(str(CHARM / where))


@pytest.mark.parametrize("event", ["joined", "pebble"])
def test_data_written_by_the_leader(
    context: testing.Context[Provider], relation: testing.Relation, event: str
):
    before = state(relation)
    event_to_run = (
        context.on.relation_joined(relation)
        if event == "joined"
        else context.on.pebble_ready(before.get_container("c"))
    )
    out = context.run(event_to_run, before)
    first, second = app_data(out, relation, "scrape_jobs")
    assert first == {**JOBS[0], "metrics_path": "/metrics"}
    assert second == {
        "job_name": "b",
        "static_configs": [{"targets": ["*:2"]}],
        "metrics_path": "/metrics",
    }  # without honor_labels
    assert app_data(out, relation, "scrape_metadata") == {
        "model": "prod",
        "model_uuid": "8f0d2b1c-0000-4000-8000-000000000000",
        "application": "provider",
        "unit": "provider/0",
        "charm_name": "provider",
    }


def test_data_written_by_every_unit(context: testing.Context[Provider], relation: testing.Relation):
    out = context.run(context.on.relation_joined(relation), state(relation, leader=False))
    data = out.get_relation(relation.id)
    assert "scrape_jobs" not in data.local_app_data
    assert data.local_unit_data["prometheus_scrape_unit_address"] == "192.0.2.0"
    assert data.local_unit_data["prometheus_scrape_unit_name"] == "provider/0"
    assert "prometheus_scrape_unit_path" not in data.local_unit_data  # because it is empty


def test_alert_rules(relation: testing.Relation, tmp_path: pathlib.Path):
    rules = tmp_path / "src/prometheus_alert_rules"
    rules.mkdir(parents=True)
    (rules / "a.rules").write_text(
        "groups: [{name: a, rules: [{alert: Late, expr: 'up{%%juju_topology%%} == 0'}]}]"
    )
    context = testing.Context(Provider, meta=META, charm_root=tmp_path)
    out = context.run(context.on.config_changed(), state(relation))
    groups = app_data(out, relation, "alert_rules")["groups"]
    assert "Late" in [rule["alert"] for group in groups for rule in group["rules"]]


def test_two_containers(relation: testing.Relation):
    """It writes the jobs on update-status only, unless refresh_event names other events."""
    meta = {**META, "containers": {"c": {}, "d": {}}}
    context = testing.Context(Provider, meta=meta)
    both = {testing.Container(name, can_connect=True) for name in "cd"}
    before = replace(state(relation), containers=both)
    ready = context.run(context.on.pebble_ready(before.get_container("c")), before)
    assert "scrape_jobs" not in ready.get_relation(relation.id).local_app_data
    later = context.run(context.on.update_status(), before)
    assert len(app_data(later, relation, "scrape_jobs")) == 2


@pytest.mark.parametrize("event", ["relation_changed", "update_status"])
def test_no_other_event_writes_jobs(
    context: testing.Context[Provider], relation: testing.Relation, event: str
):
    on = context.on
    event_to_run = on.update_status() if event == "update_status" else on.relation_changed(relation)
    out = context.run(event_to_run, state(relation))
    assert "scrape_jobs" not in out.get_relation(relation.id).local_app_data
    assert out.get_relation(relation.id).local_unit_data["prometheus_scrape_unit_address"]


def test_other_jobs(context: testing.Context[Provider], relation: testing.Relation):
    out = context.run(context.on.config_changed(), state(relation))
    assert [job["job_name"] for job in app_data(out, relation, "scrape_jobs")] == ["b"]


class Prometheus(ops.CharmBase):
    """Reads the scrape jobs from the relation."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.consumer = prometheus_scrape.MetricsEndpointConsumer(self)


def test_scrape_configurations_of_prometheus(
    context: testing.Context[Provider], relation: testing.Relation
):
    written = context.run(context.on.relation_joined(relation), state(relation))
    provider = written.get_relation(relation.id)
    other = {
        **provider.local_unit_data,
        "prometheus_scrape_unit_name": "provider/1",
        "prometheus_scrape_unit_address": "192.0.2.1",
    }
    seen = testing.Relation(
        "metrics-endpoint",
        remote_app_name="provider",
        remote_app_data=provider.local_app_data,
        remote_units_data={0: provider.local_unit_data, 1: other, 2: {}},
    )
    meta = {"name": "p", "requires": {"metrics-endpoint": {"interface": "prometheus_scrape"}}}
    prometheus = testing.Context(Prometheus, meta=meta)
    with prometheus(prometheus.on.update_status(), testing.State(relations={seen})) as manager:
        jobs = manager.charm.consumer.jobs()
    topology = {
        "juju_model": "prod",
        "juju_model_uuid": "8f0d2b1c-0000-4000-8000-000000000000",
        "juju_application": "provider",
        "juju_charm": "provider",
    }
    assert sorted(job["job_name"] for job in jobs) == [
        f"juju_prod_8f0d2b1c_provider_prometheus_scrape_{job}-{unit}"
        for job in ("a", "b")
        for unit in (0, 1)
    ]
    [job] = [job for job in jobs if job["job_name"].endswith("a-1")]
    assert job == {
        "job_name": "juju_prod_8f0d2b1c_provider_prometheus_scrape_a-1",
        "metrics_path": "/metrics",
        "scrape_timeout": "3s",
        "scrape_interval": "60s",
        "static_configs": [
            {"targets": ["192.0.2.1:1"], "labels": {**topology, "juju_unit": "provider/1"}}
        ],
        "relabel_configs": [
            {
                "source_labels": ["juju_model", "juju_model_uuid", "juju_application", "juju_unit"],
                "separator": "_",
                "target_label": "instance",
                "regex": "(.*)",
            }
        ],
    }
