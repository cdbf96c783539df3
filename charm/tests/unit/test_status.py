"""The status, for each invalid option and each state of the proxy."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest
from ops import testing
from states import (
    DOWN,
    Context,
    Proxy,
    Response,
    ready,
    run,
    service_of,
    with_config,
    with_container,
)

from charm import CONTAINER

MISTAKES = [
    (
        {"pod_label_selector": None},
        (
            "pod-label-selector is not set: "
            "run juju config metrics-proxy-k8s pod-label-selector=app=web"
        ),
    ),
    (
        {"pod_label_selector": "app in web"},
        'pod-label-selector is "app in web": expected a Kubernetes',
    ),
    ({"namespaces": "a,B"}, 'namespaces is "a,B": expected names of namespaces'),
    ({"namespaces": "a,*"}, 'namespaces is "a,*": expected names of namespaces'),
    ({"scrape_timeout": "soon"}, 'scrape-timeout is "soon": expected a duration'),
    ({"port": 0}, 'port is "0": expected a TCP port'),
    ({"port": 70000}, 'port is "70000": expected a TCP port'),
    ({"target_labels": "x=podname"}, 'target-labels is "x=podname": expected NAME=SOURCE'),
    ({"log_level": "loud"}, 'log-level is "loud": expected debug'),
    ({"memory_limit": "1MiB"}, 'memory-limit is "1MiB": expected auto'),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
@pytest.mark.parametrize("can_connect", [True, False])
def test_invalid_option(
    context: Context,
    state: testing.State,
    options: dict[str, Any],
    message: str,
    *,
    can_connect: bool,
):
    state = with_container(state, can_connect=can_connect)
    out = run(context, with_config(state, **options))
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith(message)
    assert "metrics-proxy" not in out.get_container(CONTAINER).layers


@pytest.mark.parametrize(("options", "message"), MISTAKES)
def test_invalid_option_keeps_the_service_running(
    context: Context, state: testing.State, options: dict[str, Any], message: str
):
    good = run(context, state)
    bad = run(context, with_config(good, **options))
    assert bad.unit_status.message.startswith(message)
    assert service_of(bad) == service_of(good)
    assert bad.opened_ports == good.opened_ports


def test_waits_for_pebble(context: Context, state: testing.State):
    out = run(context, with_container(state, can_connect=False))
    assert out.unit_status == testing.WaitingStatus("waiting for Pebble")


def test_port_of_own_metrics(context: Context, state: testing.State):
    out = run(context, with_config(state, port=5055))
    assert out.unit_status == testing.BlockedStatus(
        "port is 5055, the port of the proxy's own metrics: "
        "run juju config metrics-proxy-k8s port=ANOTHER_PORT"
    )


TRUST = "run juju trust metrics-proxy-k8s --scope=cluster"
REFUSED = 'pods is forbidden: User "system:serviceaccount:prod:x" cannot list: expected a Role'
REMEDY = f"{TRUST}, or apply the output of juju run metrics-proxy-k8s/0 show-rbac"


@pytest.mark.parametrize(
    ("reasons", "where"),
    [
        ([f"pods of namespace prod are not known yet: {REFUSED}"], "prod"),
        ([f"pods of all namespaces are not known yet: {REFUSED}"], "all namespaces"),
        (
            [
                f"pods of namespace a are not known yet: {REFUSED}",
                "pods of namespace b are not known yet: no answer from the API server yet",
                f"pods of namespace c are not known yet: {REFUSED}",
            ],
            "a, c",
        ),
    ],
)
def test_forbidden(
    context: Context, state: testing.State, proxy: Proxy, reasons: list[str], where: str
):
    proxy.ready = Response(503, "metrics-proxy is not ready: " + "\n".join(reasons) + "\n")
    out = run(context, state)
    assert out.unit_status == testing.BlockedStatus(
        f"no permission to list pods in {where}: {REMEDY}"
    )


def test_forbidden_since_the_first_list(context: Context, state: testing.State, proxy: Proxy):
    then = f"pods of namespace prod may be out of date: {REFUSED}\n"
    proxy.ready = Response(200, ready("2 of 2 up at the last scrape", then))
    out = run(context, state)
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith("no permission to list pods in prod: run juju trust ")


WATCH_FORBIDDEN = (
    "pods of namespace prod are listed every 10s because they may not be watched: expected\n"
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ready(), "2 targets, not scraped yet"),
        (ready("0 of 2 up at the last scrape"), "0 of 2 targets up"),
        (
            ready("2 of 2 up at the last scrape", WATCH_FORBIDDEN),
            f"2 of 2 targets up; pods are listed, not watched ({TRUST})",
        ),
        (
            ready("2 of 2 up at the last scrape", "pods of x may be out of date: no\nroute\n"),
            "2 of 2 targets up; pods of x may be out of date: no route",
        ),
        (
            ready("2 of 2 up at the last scrape", "pods of namespace forbidden: no route\n"),
            "2 of 2 targets up; pods of namespace forbidden: no route",
        ),
    ],
)
def test_active(context: Context, state: testing.State, proxy: Proxy, text: str, message: str):
    proxy.ready = Response(200, text)
    out = run(context, state)
    assert out.unit_status == testing.ActiveStatus(message)
    assert proxy.requests == ["/-/ready"]


def test_api_server_unreachable(context: Context, state: testing.State, proxy: Proxy):
    proxy.ready = Response(503, "metrics-proxy is not ready: pods are not known yet: no\nroute\n")
    out = run(context, state)
    assert out.unit_status == testing.WaitingStatus(
        "waiting for the API server: pods are not known yet: no route"
    )


FIRST_LIST_PENDING = Response(
    503,
    "metrics-proxy is not ready: pods of x are not known yet: no answer from the API server yet\n",
)


def test_first_list_in_progress(
    context: Context, state: testing.State, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("metrics_proxy_sidecar.proxy._FIRST_LIST_SECONDS", 0.3)
    proxy.ready = FIRST_LIST_PENDING
    out = run(context, state)
    assert isinstance(out.unit_status, testing.WaitingStatus)
    assert out.unit_status.message.startswith("waiting for the API server: pods of x are not")


def test_waits_for_the_first_list(context: Context, state: testing.State, proxy: Proxy):
    proxy.first_ready = [FIRST_LIST_PENDING, FIRST_LIST_PENDING]
    proxy.ready = Response(
        503, f"metrics-proxy is not ready: pods of all namespaces are not known yet: {REFUSED}\n"
    )
    out = run(context, state)
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert proxy.requests.count("/-/ready") == 3


@pytest.fixture
def unresponsive(state: testing.State) -> Iterator[testing.State]:
    """The state with a port that does not respond."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield with_config(state, port=held.getsockname()[1])


def test_starting(context: Context, unresponsive: testing.State):
    out = run(context, unresponsive)
    assert out.unit_status == testing.WaitingStatus("waiting for metrics-proxy to respond")


def test_does_not_respond(context: Context, unresponsive: testing.State):
    checked = with_container(run(context, unresponsive), check_infos={DOWN})
    out = run(context, checked, "update_status")
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith("cannot query metrics-proxy at http://127.0.0.1:")
    assert out.unit_status.message.endswith(
        "see kubectl logs -n prod metrics-proxy-k8s-0 -c metrics-proxy"
    )
