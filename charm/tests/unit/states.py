"""States of the charm, and a fake proxy."""

import http.server
import json
import pathlib
from dataclasses import dataclass, replace
from typing import Any

import ops
from ops import testing

from charm import CONTAINER, MetricsProxyCharm

CHARM = pathlib.Path(__file__).parents[2]
Context = testing.Context[MetricsProxyCharm]
ROCK = ops.pebble.Layer(
    {
        "services": {
            "metrics-proxy": {
                "override": "replace",
                "startup": "enabled",
                "command": "/bin/metrics-proxy",
                "on-failure": "shutdown",
            }
        },
        "checks": {
            "metrics-proxy": {
                "override": "replace",
                "threshold": 3,
                "exec": {"command": "/bin/metrics-proxy healthcheck"},
            }
        },
    }
)
"""The layer of the rock, which Juju's Pebble loads at start."""
DOWN = testing.CheckInfo("metrics-proxy", status=ops.pebble.CheckStatus.DOWN, failures=3)
UP = testing.CheckInfo("metrics-proxy")
VERSION = testing.Exec(["metrics-proxy", "version"], stdout="metrics-proxy 0.1\n")


@dataclass
class Response:
    """The response for a path."""

    status: int
    text: str


def ready(last: str = "", then: str = "") -> str:
    """The response of /-/ready with two targets."""
    return f"metrics-proxy is ready: 2 targets{last and ', ' + last}.\n{then}"


class Proxy:
    """Responds as metrics-proxy does, on a local port."""

    def __init__(self):
        self.ready = Response(200, ready("1 of 2 up at the last scrape"))
        self.metrics = Response(
            200, 'up{k8s_pod_name="a"} 1\nup{k8s_pod_name="b"} 0\nc{x="up"} 1\n'
        )
        self.first_ready: list[Response] = []
        self.requests: list[str] = []
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.requests.append(self.path)
                response = {"/-/ready": proxy.ready, "/metrics": proxy.metrics}[self.path]
                if self.path == "/-/ready" and proxy.first_ready:
                    response = proxy.first_ready.pop(0)
                self.send_response(response.status)
                self.end_headers()
                self.wfile.write(response.text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port


def with_config(state: testing.State, **options: Any) -> testing.State:
    """Change options; None unsets one."""
    config = {**state.config, **{k.replace("_", "-"): v for k, v in options.items()}}
    return replace(state, config={k: v for k, v in config.items() if v is not None})


def with_container(state: testing.State, **changes: Any) -> testing.State:
    container = replace(state.get_container(CONTAINER), **changes)
    return replace(state, containers={container})


def service_of(state: testing.State) -> ops.pebble.Service:
    return state.get_container(CONTAINER).plan.services["metrics-proxy"]


def run(context: Context, state: testing.State, event: str = "config_changed") -> testing.State:
    return context.run(getattr(context.on, event)(), state)


def jobs_of(state: testing.State, relation: testing.Relation) -> list[dict[str, Any]]:
    data = state.get_relation(relation.id).local_app_data
    return json.loads(data.get("scrape_jobs", "[]"))
