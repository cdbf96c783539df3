"""The Pebble layer and the scrape jobs that follow from the program's settings."""

import math
from collections.abc import Mapping
from typing import Any

from ops import pebble

from metrics_proxy_sidecar.settings import effective, parse_duration

SERVICE = "metrics-proxy"
"""Name of the service, of the check whether it answers, and of the layer."""

# What the program gives itself beyond SCRAPE_TIMEOUT when it stops, and some more.
_STOP_SECONDS = 15 + 5
# Prometheus waits longer than the proxy, which needs time to merge and write.
_MERGE_SECONDS = 1
_LEAST_INTERVAL = 60


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
                    "summary": "answers Prometheus",
                    "command": "metrics-proxy",
                    "startup": "enabled",
                    "on-failure": "restart",
                    "kill-delay": f"{kill_delay}s",
                    "environment": {k: v for k, v in environment.items() if v},
                }
            },
            # No levels: the pod of a charm is not unready because of its sidecar.
            "checks": {
                SERVICE: {
                    "override": "replace",
                    "period": "10s",
                    "timeout": "5s",
                    "threshold": 3,
                    "exec": {"command": "metrics-proxy healthcheck", "service-context": SERVICE},
                },
                # It fails while the pods cannot be listed, so that an event tells when they can.
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
    """Return the job for the pods' metrics and, if the proxy has them, that for its own.

    No variable may be empty or wrong.
    """
    timeout = _timeout_seconds(environment) + _MERGE_SECONDS
    jobs = [_job("metrics-proxy", environment["PORT"], timeout)]
    own = environment["METRICS_HTTP_PORT"]
    if own != "0":
        jobs.append(_job("metrics-proxy-own", own, 10))
    return jobs


def _job(name: str, port: str, timeout: int) -> dict[str, Any]:
    """Return a job that asks every unit; Prometheus refuses a timeout above the interval."""
    return {
        "job_name": name,
        "metrics_path": "/metrics",
        "static_configs": [{"targets": [f"*:{port}"]}],
        "scrape_interval": f"{max(timeout, _LEAST_INTERVAL)}s",
        "scrape_timeout": f"{timeout}s",
    }


def _timeout_seconds(environment: Mapping[str, str]) -> int:
    return math.ceil(parse_duration(environment["SCRAPE_TIMEOUT"]) or 0)
