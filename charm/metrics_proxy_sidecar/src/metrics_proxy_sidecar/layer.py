"""The Pebble layer and the scrape jobs for the program's settings."""

import math
from collections.abc import Mapping
from typing import Any

from ops import pebble

from metrics_proxy_sidecar.settings import effective, parse_duration

SERVICE = "metrics-proxy"
"""Name of the service, of its health check, and of the layer."""

# The time that the program takes to stop, beyond SCRAPE_TIMEOUT, and a margin.
_STOP_SECONDS = 15 + 5
# Prometheus waits this much longer than the proxy, which needs time to merge and write.
_MERGE_SECONDS = 1
_MIN_INTERVAL_SECONDS = 60


def make_layer(environment: Mapping[str, str]) -> pebble.Layer:
    """Return the layer for a valid environment of the program."""
    settings = effective(environment)
    kill_delay = _timeout_seconds(settings) + _STOP_SECONDS
    return pebble.Layer(
        {
            "summary": "metrics-proxy",
            "services": {
                SERVICE: {
                    "override": "replace",
                    "summary": "serves metrics to Prometheus",
                    "command": "metrics-proxy",
                    "startup": "enabled",
                    "on-failure": "restart",
                    "kill-delay": f"{kill_delay}s",
                    "environment": {k: v for k, v in environment.items() if v},
                }
            },
            # No levels: a failing sidecar must not make the charm's pod unready.
            "checks": {
                SERVICE: {
                    "override": "replace",
                    "period": "10s",
                    "timeout": "5s",
                    "threshold": 3,
                    "exec": {"command": "metrics-proxy healthcheck", "service-context": SERVICE},
                },
                # Fails while pods cannot be listed. Its recovery is an event for the charm.
                f"{SERVICE}-ready": {
                    "override": "replace",
                    "period": "10s",
                    "timeout": "5s",
                    "threshold": 1,
                    "http": {"url": f"http://127.0.0.1:{settings['PORT']}/-/ready"},
                },
            },
        }
    )


def make_jobs(environment: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the job for the pods' metrics and, unless disabled, one for the proxy's own.

    All variables must be set and valid.
    """
    timeout = _timeout_seconds(environment) + _MERGE_SECONDS
    jobs = [_job("metrics-proxy", environment["PORT"], timeout)]
    own = environment["METRICS_HTTP_PORT"]
    if own != "0":
        jobs.append(_job("metrics-proxy-own", own, 10))
    return jobs


def _job(name: str, port: str, timeout: int) -> dict[str, Any]:
    """Return a job that scrapes every unit.

    Prometheus rejects a timeout that is longer than the interval.
    """
    return {
        "job_name": name,
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [f"*:{port}"]}],
        "scrape_interval": f"{max(timeout, _MIN_INTERVAL_SECONDS)}s",
        "scrape_timeout": f"{timeout}s",
    }


def _timeout_seconds(environment: Mapping[str, str]) -> int:
    return math.ceil(parse_duration(environment["SCRAPE_TIMEOUT"]) or 0)
