"""The status if Pebble cannot start the proxy."""

from typing import Any

import ops
import pytest
from ops import testing
from states import Context, Proxy, run


def failed_change(*lines: str) -> ops.pebble.ChangeError:
    """The error of a replan as Pebble 1.26 reports it."""
    task = {
        "id": "1", "kind": "start", "summary": "Start", "status": "Error",
        "progress": {"label": "", "done": 1, "total": 1},
        "spawn-time": "2026-01-01T00:00:00Z", "ready-time": "2026-01-01T00:00:00Z",
        "log": [
            "2026-01-01T00:00:00Z INFO Most recent service output:\n    " + "\n    ".join(lines),
            "2026-01-01T00:00:00Z ERROR service start attempt: exited quickly with code 1",
        ],
    }  # fmt: skip
    change = {
        "id": "1", "kind": "replan", "summary": "", "status": "Error", "ready": True,
        "tasks": [task], "spawn-time": "2026-01-01T00:00:00Z", "ready-time": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    return ops.pebble.ChangeError("cannot perform", ops.pebble.Change.from_dict(change))


TAKEN = (
    "metrics-proxy: {} is {}: cannot listen there, expected a free port: "
    "listen tcp: bind: address already in use"
)


def test_layer_rejected_by_pebble(
    context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch
):
    def reject(*_: Any, **__: Any) -> None:
        raise ops.pebble.APIError({}, 400, "Bad Request", "cannot parse layer")

    monkeypatch.setattr(ops.Container, "add_layer", reject)
    out = run(context, state)
    assert out.unit_status == testing.BlockedStatus(
        "metrics-proxy failed to start: cannot parse layer"
    )


def test_restart_takes_long(
    context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch
):
    def replan(_: ops.Container) -> None:
        raise ops.pebble.TimeoutError

    monkeypatch.setattr(ops.Container, "replan", replan)
    out = run(context, state)
    assert out.unit_status == testing.WaitingStatus("waiting for metrics-proxy to start")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [TAKEN.format("PORT", 1)],
            "port {port} is in use in this pod: run juju config metrics-proxy-k8s port=FREE_PORT",
        ),
        (
            [TAKEN.format("METRICS_HTTP_PORT", 5055)],
            (
                "port 5055 is in use in this pod: "
                "this charm must change the parameter own_port of MetricsProxy"
            ),
        ),
        (
            [TAKEN.format("PORT", 80).replace("address already in use", "permission denied")],
            "metrics-proxy failed to start: PORT is 80: cannot listen there",
        ),
        (
            [TAKEN.format("PORT", 1), "metrics-proxy: no memory", "another line"],
            "metrics-proxy failed to start: no memory",
        ),
        (
            ["(no output)"],
            "metrics-proxy failed to start: 2026-01-01T00:00:00Z ERROR service start attempt",
        ),
    ],
)
def test_fails_to_start(
    context: Context,
    state: testing.State,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    message: str,
):
    # The Pebble of ops.testing never fails to start a service.
    def replan(_: ops.Container) -> None:
        raise failed_change(*lines)

    monkeypatch.setattr(ops.Container, "replan", replan)
    out = run(context, state)
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith(message.format(port=proxy.port))
