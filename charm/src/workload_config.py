"""The charm's configuration. Knows nothing of ops."""

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
"""How the configuration calls the parameters of MetricsProxy."""


@dataclass(frozen=True)
class WorkloadConfig:
    """The options of charmcraft.yaml. MetricsProxy says which values are wrong."""

    scrape_timeout: str
    port: int
    log_level: str
    memory_limit: str
    pod_label_selector: str = ""
    namespaces: str = ""
    target_labels: str = ""
