"""The workload, for each event, option and unit."""

import pathlib
from dataclasses import replace
from typing import Any

import ops
import pytest
from ops import testing
from states import (
    CHARM,
    DOWN,
    UP,
    VERSION,
    Context,
    Proxy,
    run,
    service_of,
    with_config,
    with_container,
)

from charm import CONTAINER, LOGGING, METRICS_ENDPOINT, PEERS, MetricsProxyCharm


def test_applies_the_configuration(context: Context, state: testing.State, proxy: Proxy):
    options = {
        "scrape_timeout": "12s",
        "target_labels": "x=pod",
        "log_level": "debug",
        "memory_limit": "200MiB",
    }
    out = run(context, with_config(state, **options))
    assert service_of(out).to_dict() == {
        "override": "replace",
        "summary": "serves metrics to Prometheus",
        "command": "metrics-proxy",
        "startup": "enabled",
        "on-failure": "restart",
        "kill-delay": "32s",
        "environment": {
            "POD_LABEL_SELECTOR": "app=web",
            "NAMESPACES": "prod",
            "SCRAPE_TIMEOUT": "12s",
            "PORT": str(proxy.port),
            "METRICS_HTTP_PORT": "5055",
            "TARGET_LABELS": "x=pod",
            "LOG_LEVEL": "debug",
            "MEMORY_LIMIT": "200MiB",
            "SHARD_INDEX": "0",
            "SHARD_COUNT": "1",
        },
    }
    container = out.get_container(CONTAINER)
    assert container.service_statuses["metrics-proxy"] == ops.pebble.ServiceStatus.ACTIVE
    check = container.plan.checks["metrics-proxy"]
    assert check.exec == {
        "command": "metrics-proxy healthcheck",
        "service-context": "metrics-proxy",
    }
    assert check.level == ops.pebble.CheckLevel.UNSET
    assert out.workload_version == "0.1"
    assert out.opened_ports == {testing.TCPPort(proxy.port), testing.TCPPort(5055)}
    assert out.unit_status == testing.ActiveStatus("1 of 2 targets up")


EVENTS = ["install", "start", "config_changed", "upgrade_charm", "update_status", "stop"]


@pytest.mark.parametrize(
    ("event", "leader"),
    [("leader_elected", True), *((e, leader) for e in EVENTS for leader in (True, False))],
)
def test_every_event_on_every_unit(
    context: Context, state: testing.State, event: str, *, leader: bool
):
    out = run(context, replace(state, leader=leader), event)
    assert service_of(out).environment["POD_LABEL_SELECTOR"] == "app=web"
    assert out.unit_status == testing.ActiveStatus("1 of 2 targets up")


@pytest.mark.parametrize("event", ["pebble_ready", "check_failed", "check_recovered"])
def test_events_of_pebble(context: Context, state: testing.State, event: str):
    info = DOWN if event == "check_failed" else UP
    layer = {
        "summary": "before",
        "checks": {
            "metrics-proxy": {"override": "replace", "exec": {"command": "x"}, "threshold": 3}
        },
    }
    if event == "pebble_ready":
        event_to_run = context.on.pebble_ready(state.get_container(CONTAINER))
    else:
        state = with_container(
            state, check_infos={info}, layers={"metrics-proxy": ops.pebble.Layer(layer)}
        )
        container = state.get_container(CONTAINER)
        event_to_run = getattr(context.on, f"pebble_{event}")(container, info)
    out = context.run(event_to_run, state)
    assert service_of(out).environment["POD_LABEL_SELECTOR"] == "app=web"
    assert out.unit_status == testing.ActiveStatus("1 of 2 targets up")


@pytest.mark.parametrize("endpoint", [METRICS_ENDPOINT, LOGGING, PEERS])
@pytest.mark.parametrize("event", ["created", "joined", "changed", "departed"])
def test_events_of_relations(context: Context, state: testing.State, endpoint: str, event: str):
    if endpoint == PEERS:
        relation: Any = testing.PeerRelation(PEERS, peers_data={1: {}})
        unit = {} if event == "created" else {"remote_unit": 1}
    else:
        relation = testing.Relation(endpoint)
        unit = {}
    event_to_run = getattr(context.on, f"relation_{event}")(relation, **unit)
    out = context.run(event_to_run, replace(state, relations={relation}, leader=False))
    assert service_of(out).environment["POD_LABEL_SELECTOR"] == "app=web"


@pytest.mark.parametrize("event", ["created", "broken"])
@pytest.mark.parametrize("endpoint", ["charm-tracing", "receive-ca-cert", METRICS_ENDPOINT])
def test_events_of_relations_keep_the_status(
    context: Context, state: testing.State, endpoint: str, event: str
):
    relation = testing.Relation(endpoint)
    event_to_run = getattr(context.on, f"relation_{event}")(relation)
    out = context.run(event_to_run, replace(state, relations={relation}))
    assert out.unit_status == testing.ActiveStatus("1 of 2 targets up")


def test_actions_keep_the_status(
    context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch
):
    def replan(_: ops.Container) -> None:
        raise ops.pebble.APIError({}, 400, "Bad Request", "no")

    monkeypatch.setattr(ops.Container, "replan", replan)
    out = context.run(context.on.action("show-rbac"), state)
    assert out.unit_status == testing.BlockedStatus("metrics-proxy failed to start: no")


def test_unchanged_configuration_changes_nothing(context: Context, state: testing.State):
    first = run(context, state)
    second = run(context, first, "update_status")
    assert second.get_container(CONTAINER).plan == first.get_container(CONTAINER).plan
    assert second.opened_ports == first.opened_ports
    other = run(context, with_config(first, log_level="debug"))
    assert other.get_container(CONTAINER).plan != first.get_container(CONTAINER).plan


def test_other_port(context: Context, state: testing.State, proxy: Proxy):
    first = run(context, with_config(state, port=16000))
    assert first.opened_ports == {testing.TCPPort(16000), testing.TCPPort(5055)}
    second = run(context, with_config(first, port=proxy.port))
    assert second.opened_ports == {testing.TCPPort(proxy.port), testing.TCPPort(5055)}
    check = second.get_container(CONTAINER).plan.checks["metrics-proxy-ready"]
    assert check.http == {"url": f"http://127.0.0.1:{proxy.port}/-/ready"}
    assert check.level == ops.pebble.CheckLevel.UNSET


@pytest.mark.parametrize(
    ("unit", "planned", "index", "count"),
    [
        (1, 1, "1", "2"),
        (0, 1, "0", "1"),
        (0, 3, "0", "3"),
        (2, 3, "2", "3"),
        (2, 2, "2", "3"),
        (0, 0, "0", "1"),
    ],
)
def test_units_share_the_pods(
    state: testing.State, unit: int, planned: int, index: str, count: str
):
    context = testing.Context(MetricsProxyCharm, charm_root=CHARM, unit_id=unit)
    out = run(context, replace(state, planned_units=planned, leader=unit == 0))
    environment = service_of(out).environment
    assert (environment["SHARD_INDEX"], environment["SHARD_COUNT"]) == (index, count)


@pytest.mark.parametrize(
    ("namespaces", "expected"),
    [("", "prod"), (" ", "prod"), ("*", None), ("a", "a"), (" a , b ", "a,b")],
)
def test_namespaces(context: Context, state: testing.State, namespaces: str, expected: str | None):
    out = run(context, with_config(state, namespaces=namespaces))
    assert service_of(out).environment.get("NAMESPACES") == expected


def test_namespace_of_the_model(
    context: Context,
    state: testing.State,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """The namespace of a controller's model does not have the name of the model."""
    file = tmp_path / "namespace"
    file.write_text("controller-prod\n")
    monkeypatch.setattr("metrics_proxy_sidecar.environment._NAMESPACE_FILE", file)
    assert service_of(run(context, state)).environment["NAMESPACES"] == "controller-prod"


def test_version_is_unknown(context: Context, state: testing.State):
    fails = testing.Exec(["metrics-proxy", "version"], return_code=1)
    for execs in ({fails}, {testing.Exec(["metrics-proxy", "version"], stdout="")}):
        out = run(context, with_container(state, execs=execs))
        assert out.workload_version == ""
        assert isinstance(out.unit_status, testing.ActiveStatus)


def test_version_is_read_in_the_container(context: Context, state: testing.State):
    run(context, state)
    assert [call.command for call in context.exec_history[CONTAINER]] == [
        list(VERSION.command_prefix)
    ]
