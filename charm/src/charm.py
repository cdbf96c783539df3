#!/usr/bin/env python3
"""The charm for metrics-proxy.

Every event runs the same reconcile, on every unit. The status is set once, at the end of
each event.
"""

import logging
from collections.abc import Iterable

import ops
from charms.prometheus_k8s.v0.prometheus_scrape import MetricsEndpointProvider

from log_forwarding import find_endpoints, forward_logs
from metrics_proxy_sidecar import MetricsProxy, ProbeError
from workload_config import OPTIONS, WorkloadConfig

logger = logging.getLogger(__name__)

CONTAINER = "metrics-proxy"
METRICS_ENDPOINT = "metrics-endpoint"
LOGGING = "logging"
PEERS = "units"

# Action results are passed as command arguments, which Linux limits to 128 KiB each.
_MAX_RESULT_BYTES = 64 << 10


class MetricsProxyCharm(ops.CharmBase):
    """Runs metrics-proxy, and publishes its scrape jobs to Prometheus."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.container = self.unit.get_container(CONTAINER)
        config = self.load_config(WorkloadConfig)
        self.proxy = MetricsProxy(
            self.container,
            selector=config.pod_label_selector,
            scrape_timeout=config.scrape_timeout,
            port=config.port,
            namespaces=config.namespaces,
            target_labels=config.target_labels,
            log_level=config.log_level,
            memory_limit=config.memory_limit,
            shard_count=self.app.planned_units(),
            options=OPTIONS,
            rbac_action="show-rbac",
        )
        self.metrics_endpoint = MetricsEndpointProvider(self, jobs=self.proxy.scrape_jobs)
        self.tracing = ops.tracing.Tracing(
            self, "charm-tracing", ca_relation_name="receive-ca-cert"
        )

        for name, event in self.on.events().items():
            if not name.startswith("collect_"):  # these only collect the status
                framework.observe(event, self._reconcile)
        framework.observe(self.on.collect_unit_status, self._on_collect_unit_status)
        framework.observe(self.on.list_targets_action, self._on_list_targets)
        framework.observe(self.on.scrape_action, self._on_scrape)
        framework.observe(self.on.show_rbac_action, self._on_show_rbac)

    def _reconcile(self, _: ops.EventBase) -> None:
        """Apply the configuration to the workload and the relations."""
        self.proxy.reconcile()
        self.metrics_endpoint.update_scrape_job_spec(self.proxy.scrape_jobs)
        if ports := self.proxy.ports:
            self.unit.set_ports(*ports)
        if self.container.can_connect():
            self._forward_logs()
            if version := self.proxy.version():
                self.unit.set_workload_version(version)

    def _forward_logs(self) -> None:
        relations = self.model.relations[LOGGING]  # excludes a relation that is being broken
        labels = {
            "product": "Juju",
            "charm": self.meta.name,
            "juju_model": self.model.name,
            "juju_model_uuid": self.model.uuid,
            "juju_application": self.app.name,
            "juju_unit": self.unit.name,
        }
        forward_logs(self.container, find_endpoints(relations), labels)

    def _on_collect_unit_status(self, event: ops.CollectStatusEvent) -> None:
        if problem := self.proxy.problem():
            event.add_status(ops.BlockedStatus(problem))
        elif reason := self.proxy.waiting():
            event.add_status(ops.WaitingStatus(reason))
        else:
            event.add_status(ops.ActiveStatus(self.proxy.summary()))

    def _on_list_targets(self, event: ops.ActionEvent) -> None:
        try:
            targets = self.proxy.targets()
        except ProbeError as error:
            event.fail(str(error))
            return
        up = sum(target.is_up for target in targets)
        lines = (f"{'up  ' if target.is_up else 'down'} {target.labels}\n" for target in targets)
        event.set_results({"up": up, "down": len(targets) - up, "targets": _shorten(lines)})

    def _on_scrape(self, event: ops.ActionEvent) -> None:
        try:
            event.set_results({"answer": _shorten(self.proxy.scrape())})
        except ProbeError as error:
            event.fail(str(error))

    def _on_show_rbac(self, event: ops.ActionEvent) -> None:
        event.set_results({"manifest": self.proxy.rbac_manifest()})


def _shorten(lines: Iterable[str]) -> str:
    """Join lines up to the size limit of an action result, and count the omitted ones."""
    kept, size, omitted = [], 0, 0
    for line in lines:
        size += len(line.encode())
        if size <= _MAX_RESULT_BYTES:
            kept.append(line)
        else:
            omitted += 1
    more = f"… and {omitted} more lines" if omitted else ""
    return "".join(kept) + more


if __name__ == "__main__":  # pragma: no cover
    ops.main(MetricsProxyCharm)
