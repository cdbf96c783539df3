"""Sends the log of the workload to Loki with Pebble log forwarding.

It reads the unit databags of the interface loki_push_api, in which each unit of Loki sets
endpoint: {"url": "http://…/loki/api/v1/push"}.
"""

import json
import logging
from collections.abc import Iterable, Mapping

import ops

logger = logging.getLogger(__name__)

_LAYER = "log-forwarding"


def find_endpoints(relations: Iterable[ops.Relation]) -> dict[str, str]:
    """Return the URL of each unit of Loki that has published one."""
    endpoints = {}
    for relation in relations:
        for unit in relation.units:
            try:
                endpoints[unit.name] = str(json.loads(relation.data[unit]["endpoint"])["url"])
            except (KeyError, TypeError, ValueError):
                logger.debug("%s has not published an endpoint yet", unit.name)
    return endpoints


def forward_logs(
    container: ops.Container, endpoints: Mapping[str, str], labels: Mapping[str, str]
) -> None:
    """Make Pebble send the logs of all services to the endpoints, and to no others.

    A log target cannot be removed from a plan. One that is no longer needed is changed to
    forward the logs of no service. This restarts nothing and needs no replan.
    """
    targets: dict[str, ops.pebble.LogTargetDict] = {
        _target_name(unit): {
            "override": "replace",
            "type": "loki",
            "location": url,
            "services": ["all"],
            "labels": dict(labels),
        }
        for unit, url in endpoints.items()
    }
    try:
        known = container.get_plan().log_targets
        for name, target in known.items():
            if name not in targets and name.startswith(_PREFIX):
                targets[name] = {
                    "override": "replace",
                    "type": "loki",
                    "location": target.location,
                    "services": [],
                }
        changed = {
            name: target
            for name, target in targets.items()
            if name not in known or known[name].to_dict() != {k: v for k, v in target.items() if v}
        }
        if changed:
            container.add_layer(_LAYER, ops.pebble.Layer({"log-targets": changed}), combine=True)
    except ops.pebble.ConnectionError:
        logger.info("Pebble in container %s is not reachable yet", container.name)


_PREFIX = "loki-"


def _target_name(unit: str) -> str:
    return _PREFIX + unit.replace("/", "-")
