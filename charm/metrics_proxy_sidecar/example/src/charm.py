#!/usr/bin/env python3
"""An example of a charm with metrics-proxy as a sidecar."""

import ops
from charms.prometheus_k8s.v0.prometheus_scrape import MetricsEndpointProvider

from metrics_proxy_sidecar import MetricsProxy

OWN = [{"job_name": "gateway", "static_configs": [{"targets": ["*:9100"]}]}]


class GatewayCharm(ops.CharmBase):
    """Has pods that are created elsewhere, with the label gateway=public."""

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        self.proxy = MetricsProxy(
            self.unit.get_container("metrics-proxy"),
            selector="gateway=public",
            shard_count=self.app.planned_units(),
        )
        self.metrics = MetricsEndpointProvider(
            self,
            jobs=[*OWN, *self.proxy.scrape_jobs],
            # With two containers, the default is to write the jobs on update-status only.
            refresh_event=[self.on.gateway_pebble_ready, self.on.upgrade_charm],
        )
        for name, event in self.on.events().items():
            if not name.startswith("collect_"):
                framework.observe(event, self._reconcile)
        framework.observe(self.on.collect_unit_status, self._on_collect_unit_status)

    def _reconcile(self, _: ops.EventBase) -> None:
        self.proxy.reconcile()  # on every unit, not only on the leader
        self.unit.set_ports(9100, *self.proxy.ports)

    def _on_collect_unit_status(self, event: ops.CollectStatusEvent) -> None:
        if problem := self.proxy.problem():
            event.add_status(ops.BlockedStatus(problem))
        if reason := self.proxy.waiting():
            event.add_status(ops.WaitingStatus(reason))
        event.add_status(ops.ActiveStatus(self.proxy.summary()))

    def pod_metadata(self) -> dict[str, dict[str, str]]:
        """Return the metadata that the charm's pods need to be scraped at port 9100."""
        return {
            "labels": MetricsProxy.pod_labels("gateway=public"),
            "annotations": MetricsProxy.pod_annotations(9100),
        }


if __name__ == "__main__":  # pragma: no cover
    ops.main(GatewayCharm)
