"""Stands in for the library of the Prometheus charm when that has not been fetched.

The library is only available from Charmhub and is not part of this project: charmcraft
fetches it when the charm is packed. This module only implements what the library's
documentation describes: the data that a provider writes, and the scrape configurations that
a consumer creates from it. tests/unit/test_contract.py passes with both.
"""

import ipaddress
import json
import socket
from typing import Any

import ops
import yaml
from cosl import JujuTopology

_KEYS = {
    "job_name",
    "metrics_path",
    "static_configs",
    "scrape_interval",
    "scrape_timeout",
    "scheme",
    "params",
    "sample_limit",
    "relabel_configs",
    "metric_relabel_configs",
}
_DEFAULT_JOB = {"metrics_path": "/metrics", "static_configs": [{"targets": ["*:80"]}]}


class MetricsEndpointProvider(ops.Object):
    """Publishes jobs to Prometheus: the leader writes the jobs, each unit its address."""

    def __init__(
        self,
        charm: ops.CharmBase,
        relation_name: str = "metrics-endpoint",
        jobs: list[dict[str, Any]] | None = None,
        *,
        refresh_event: list[ops.BoundEvent] | None = None,
    ):
        super().__init__(charm, relation_name)
        self._charm = charm
        self._relation_name = relation_name
        self._jobs = _sanitize(jobs or [])
        on = charm.on
        self.framework.observe(on[relation_name].relation_joined, self._write)
        if not refresh_event:
            containers = list(charm.meta.containers)
            is_alone = len(containers) == 1
            refresh_event = [on[containers[0]].pebble_ready if is_alone else on.update_status]
        for event in refresh_event:
            self.framework.observe(event, self._write)
        self.framework.observe(on[relation_name].relation_changed, self._write_address)
        self.framework.observe(on.update_status, self._write_address)

    def update_scrape_job_spec(self, jobs: list[dict[str, Any]]) -> None:
        """Replace the jobs, and write all relation data."""
        self._jobs = _sanitize(jobs)
        self._write()

    def _write(self, _event: ops.EventBase | None = None) -> None:
        self._write_address()
        charm = self._charm
        if not charm.unit.is_leader():
            return
        metadata = {
            "model": charm.model.name,
            "model_uuid": charm.model.uuid,
            "application": charm.app.name,
            "unit": charm.unit.name,
            "charm_name": charm.meta.name,
        }
        for relation in charm.model.relations[self._relation_name]:
            data = relation.data[charm.app]
            data["scrape_metadata"] = json.dumps(metadata)
            data["scrape_jobs"] = json.dumps(self._jobs or [_DEFAULT_JOB])
            data["alert_rules"] = json.dumps({"groups": self._alert_groups()})

    def _alert_groups(self) -> list[dict[str, Any]]:
        rules = self._charm.charm_dir / "src/prometheus_alert_rules"
        files = [yaml.safe_load(file.read_text()) for file in sorted(rules.glob("*.rules"))]
        return [group for file in files for group in file["groups"]]

    def _write_address(self, _event: ops.EventBase | None = None) -> None:
        for relation in self._charm.model.relations[self._relation_name]:
            binding = self._charm.model.get_binding(relation)
            address = str(binding.network.bind_address) if binding else ""
            relation.data[self._charm.unit].update(
                {
                    "prometheus_scrape_unit_address": _address_or_name(address),
                    "prometheus_scrape_unit_path": "",
                    "prometheus_scrape_unit_name": self._charm.unit.name,
                    "prometheus_scrape_unit_fqdn": socket.getfqdn(),
                }
            )


class MetricsEndpointConsumer(ops.Object):
    """Creates scrape configurations from the jobs and addresses of all providers."""

    def __init__(self, charm: ops.CharmBase, relation_name: str = "metrics-endpoint"):
        super().__init__(charm, relation_name)
        self._relations = charm.model.relations[relation_name]

    def jobs(self) -> list[dict[str, Any]]:
        """Return a scrape job for each job and unit, with the labels of its Juju topology."""
        return [
            _job_of_unit(job, JujuTopology.from_dict(metadata), dict(relation.data[unit]))
            for relation in self._relations
            if (metadata := json.loads(relation.data[relation.app].get("scrape_metadata", "{}")))
            for job in json.loads(relation.data[relation.app].get("scrape_jobs", "[]"))
            for unit in relation.units
            if "prometheus_scrape_unit_address" in relation.data[unit]
        ]


def _job_of_unit(
    job: dict[str, Any], topology: JujuTopology, unit: dict[str, str]
) -> dict[str, Any]:
    name = unit["prometheus_scrape_unit_name"]
    prefix = f"juju_{topology.identifier}_prometheus_scrape_{job['job_name']}"
    targets = [
        target.replace("*", unit["prometheus_scrape_unit_address"])
        for config in job["static_configs"]
        for target in config["targets"]
    ]
    labels = {**topology.label_matcher_dict, "juju_unit": name}
    instance = {
        "source_labels": ["juju_model", "juju_model_uuid", "juju_application", "juju_unit"],
        "separator": "_",
        "target_label": "instance",
        "regex": "(.*)",
    }
    return {
        **job,
        "job_name": f"{prefix}-{name.rpartition('/')[2]}",
        "static_configs": [{"targets": targets, "labels": labels}],
        "relabel_configs": [instance],
    }


def _sanitize(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**_DEFAULT_JOB, **{k: v for k, v in job.items() if k in _KEYS}} for job in jobs]


def _address_or_name(address: str) -> str:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return socket.getfqdn()
    return address
