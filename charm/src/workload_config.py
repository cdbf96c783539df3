"""The charm's configuration. This module does not depend on ops."""

from dataclasses import dataclass

OPTIONS = {
    "selector": "pod-label-selector",
    "namespaces": "namespaces",
    "scrape_timeout": "scrape-timeout",
    "port": "port",
    "target_labels": "target-labels",
    "log_level": "log-level",
    "memory_limit": "memory-limit",
}
"""The configuration option for each parameter of MetricsProxy."""


@dataclass(frozen=True)
class WorkloadConfig:
    """The options in charmcraft.yaml. MetricsProxy validates their values."""

    scrape_timeout: str
    port: int
    log_level: str
    memory_limit: str
    pod_label_selector: str = ""
    namespaces: str = ""
    target_labels: str = ""
