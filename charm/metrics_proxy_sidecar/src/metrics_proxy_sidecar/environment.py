"""The program's environment, from the charm's parameters and from the unit's surroundings."""

import os
import pathlib

_NAMESPACE_FILE = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

VARIABLES = {
    "selector": "POD_LABEL_SELECTOR",
    "namespaces": "NAMESPACES",
    "scrape_timeout": "SCRAPE_TIMEOUT",
    "port": "PORT",
    "own_port": "METRICS_HTTP_PORT",
    "target_labels": "TARGET_LABELS",
    "log_level": "LOG_LEVEL",
    "memory_limit": "MEMORY_LIMIT",
    "shard_index": "SHARD_INDEX",
    "shard_count": "SHARD_COUNT",
}
"""The environment variable for each parameter of MetricsProxy."""


def make_environment(
    *,
    selector: str,
    scrape_timeout: str,
    port: int,
    namespaces: str,
    target_labels: str,
    log_level: str,
    memory_limit: str,
    shard_count: int | None,
    shard_index: int | None,
    own_port: int,
) -> dict[str, str]:
    """Return all variables, including empty ones, without validating them.

    The parameters are those of MetricsProxy.
    """
    if shard_count is None:
        shard_count, shard_index = 1, 0
    if shard_index is None:
        shard_index = int(unit_name().rpartition("/")[2] or 0)
    if shard_index >= 0:
        # The number of a unit that is being removed may exceed the planned units.
        shard_count = max(shard_count, shard_index + 1)
    return {
        "POD_LABEL_SELECTOR": selector,
        "NAMESPACES": _list_namespaces(namespaces),
        "SCRAPE_TIMEOUT": str(scrape_timeout),
        "PORT": str(port),
        "METRICS_HTTP_PORT": str(own_port),
        "TARGET_LABELS": target_labels,
        "LOG_LEVEL": log_level,
        "MEMORY_LIMIT": memory_limit,
        "SHARD_INDEX": str(shard_index),
        "SHARD_COUNT": str(shard_count),
    }


def own_namespace() -> str:
    """Return the namespace of the model.

    It has the name of the model, except for the model of a controller.
    """
    if _NAMESPACE_FILE.exists():
        return _NAMESPACE_FILE.read_text().strip()
    return os.environ.get("JUJU_MODEL_NAME", "")


def unit_name() -> str:
    """Return the name of the unit whose hook is running, or "" outside of hooks."""
    return os.environ.get("JUJU_UNIT_NAME", "")


def app_name() -> str:
    """Return the name of the application whose hook is running, or "APP" outside of hooks."""
    return unit_name().partition("/")[0] or "APP"


def _list_namespaces(namespaces: str) -> str:
    if namespaces.strip() == "*":
        return ""
    names = (namespaces.strip() or own_namespace()).split(",")
    return ",".join(name.strip() for name in names)
