"""Runs metrics-proxy as a sidecar container of a Juju charm.

Charms use MetricsProxy. The package sets no status and manages no relation.
"""

from metrics_proxy_sidecar.probe import ProbeError, Target
from metrics_proxy_sidecar.proxy import MetricsProxy
from metrics_proxy_sidecar.rbac import rbac_manifest
from metrics_proxy_sidecar.settings import Mistake, find_mistakes

__all__ = [
    "MetricsProxy",
    "Mistake",
    "ProbeError",
    "Target",
    "find_mistakes",
    "rbac_manifest",
]
