"""The charm: each event with config, leadership, units, relations and health."""

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import ops
import pytest
import yaml
from ops import testing
from states import CHARM, VERSION, Answer, Proxy, service_of, with_config, with_container

from charm import CONTAINER, LOGGING, METRICS_ENDPOINT, PEERS, MetricsProxyCharm, _shorten

Context = testing.Context[MetricsProxyCharm]
DOWN = testing.CheckInfo("metrics-proxy", status=ops.pebble.CheckStatus.DOWN, failures=3)
UP = testing.CheckInfo("metrics-proxy")


def run(context: Context, state: testing.State, event: str = "config_changed") -> testing.State:
    return context.run(getattr(context.on, event)(), state)


def jobs_of(state: testing.State, relation: testing.Relation) -> list[dict[str, Any]]:
    data = state.get_relation(relation.id).local_app_data
    return json.loads(data.get("scrape_jobs", "[]"))


# What runs


def test_runs_what_the_configuration_says(context: Context, state: testing.State, proxy: Proxy):
    options = {
        "scrape_timeout": "12s",
        "target_labels": "x=pod",
        "log_level": "debug",
        "memory_limit": "200MiB",
    }
    out = run(context, with_config(state, **options))
    assert service_of(out).to_dict() == {
        "override": "replace",
        "summary": "answers Prometheus",
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


EVENTS = ["start", "config_changed", "upgrade_charm", "update_status"]


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
        happens = context.on.pebble_ready(state.get_container(CONTAINER))
    else:
        state = with_container(
            state, check_infos={info}, layers={"metrics-proxy": ops.pebble.Layer(layer)}
        )
        container = state.get_container(CONTAINER)
        happens = getattr(context.on, f"pebble_{event}")(container, info)
    out = context.run(happens, state)
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
    happens = getattr(context.on, f"relation_{event}")(relation, **unit)
    out = context.run(happens, replace(state, relations={relation}, leader=False))
    assert service_of(out).environment["POD_LABEL_SELECTOR"] == "app=web"


def test_same_configuration_changes_nothing(context: Context, state: testing.State):
    first = run(context, state)
    second = run(context, first, "update_status")
    assert second.get_container(CONTAINER).plan == first.get_container(CONTAINER).plan
    assert second.opened_ports == first.opened_ports
    other = run(context, with_config(first, log_level="debug"))
    assert other.get_container(CONTAINER).plan != first.get_container(CONTAINER).plan


@pytest.mark.parametrize(
    ("unit", "planned", "index", "count"),
    [(0, 1, "0", "1"), (0, 3, "0", "3"), (2, 3, "2", "3"), (2, 2, "2", "3"), (0, 0, "0", "1")],
)
def test_units_share_the_pods(
    state: testing.State, unit: int, planned: int, index: str, count: str
):
    context = testing.Context(MetricsProxyCharm, charm_root=CHARM, unit_id=unit)
    out = run(context, replace(state, planned_units=planned, leader=unit == 0))
    environment = service_of(out).environment
    assert (environment["SHARD_INDEX"], environment["SHARD_COUNT"]) == (index, count)


@pytest.mark.parametrize(
    ("namespaces", "want"),
    [("", "prod"), (" ", "prod"), ("*", None), ("a", "a"), (" a , b ", "a,b")],
)
def test_namespaces(context: Context, state: testing.State, namespaces: str, want: str | None):
    out = run(context, with_config(state, namespaces=namespaces))
    assert service_of(out).environment.get("NAMESPACES") == want


def test_version_that_cannot_be_asked(context: Context, state: testing.State):
    fails = testing.Exec(["metrics-proxy", "version"], return_code=1)
    for execs in ({fails}, {testing.Exec(["metrics-proxy", "version"], stdout="")}):
        out = run(context, with_container(state, execs=execs))
        assert out.workload_version == ""
        assert isinstance(out.unit_status, testing.ActiveStatus)


# Status


MISTAKES = [
    (
        {"pod_label_selector": None},
        "pod-label-selector is not set: juju config metrics-proxy-k8s pod-label-selector=app=web",
    ),
    ({"pod_label_selector": "app in web"}, 'pod-label-selector is "app in web": want a Kubernetes'),
    ({"namespaces": "a,B"}, 'namespaces is "a,B": want names of namespaces'),
    ({"namespaces": "a,*"}, 'namespaces is "a,*": want names of namespaces'),
    ({"scrape_timeout": "soon"}, 'scrape-timeout is "soon": want a duration'),
    ({"port": 0}, 'port is "0": want a TCP port'),
    ({"port": 70000}, 'port is "70000": want a TCP port'),
    ({"target_labels": "x=podname"}, 'target-labels is "x=podname": want NAME=SOURCE'),
    ({"log_level": "loud"}, 'log-level is "loud": want debug'),
    ({"memory_limit": "1MiB"}, 'memory-limit is "1MiB": want auto'),
]


@pytest.mark.parametrize(("options", "message"), MISTAKES)
@pytest.mark.parametrize("can_connect", [True, False])
def test_mistake_in_the_configuration(
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
def test_what_ran_before_a_mistake_goes_on(
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
        "port is 5055, where the proxy's own metrics are: "
        "juju config metrics-proxy-k8s port=ANOTHER_PORT"
    )


FORBIDDEN = (
    "metrics-proxy is not ready: pods of namespace prod are not known yet: pods is forbidden: "
    'User "system:serviceaccount:prod:x" cannot list resource "pods": want a Role\n'
)


@pytest.mark.parametrize(
    ("namespaces", "message"),
    [
        ("", "may not list pods of prod: juju trust metrics-proxy-k8s --scope=cluster, or "),
        ("*", "may not list pods of all namespaces: juju trust metrics-proxy-k8s --scope=cluster"),
        ("a,b", "may not list pods of a, b: juju trust metrics-proxy-k8s --scope=cluster"),
    ],
)
def test_forbidden(
    context: Context, state: testing.State, proxy: Proxy, namespaces: str, message: str
):
    proxy.ready = Answer(503, FORBIDDEN)
    out = run(context, with_config(state, namespaces=namespaces))
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith(message)


def test_api_server_away(context: Context, state: testing.State, proxy: Proxy):
    proxy.ready = Answer(503, "metrics-proxy is not ready: pods are not known yet: no\nroute\n")
    out = run(context, state)
    assert out.unit_status == testing.BlockedStatus("not ready: pods are not known yet: no route")


NO_ANSWER_YET = Answer(
    503,
    "metrics-proxy is not ready: pods of x are not known yet: no answer from the API server yet\n",
)


def test_first_list_in_progress(
    context: Context, state: testing.State, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("metrics_proxy_sidecar.proxy._FIRST_LIST_SECONDS", 0.3)
    proxy.ready = NO_ANSWER_YET
    proxy.metrics = Answer(503, "not yet\n")
    out = run(context, state)
    assert out.unit_status == testing.WaitingStatus("waiting for metrics-proxy to know the pods")


def test_waits_for_the_first_list(context: Context, state: testing.State, proxy: Proxy):
    proxy.first_ready = [NO_ANSWER_YET, NO_ANSWER_YET]
    proxy.ready = Answer(503, FORBIDDEN)
    out = run(context, state)
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert proxy.asked.count("/-/ready") == 3


@pytest.fixture
def deaf(state: testing.State) -> Iterator[testing.State]:
    """Nobody answers at the port."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield with_config(state, port=held.getsockname()[1])


def test_starting(context: Context, deaf: testing.State):
    out = run(context, deaf)
    assert isinstance(out.unit_status, testing.WaitingStatus)


def test_does_not_answer(context: Context, deaf: testing.State):
    checked = with_container(run(context, deaf), check_infos={DOWN})
    out = run(context, checked, "update_status")
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith("cannot ask metrics-proxy at http://127.0.0.1:")
    assert out.unit_status.message.endswith(
        "juju ssh --container metrics-proxy metrics-proxy-k8s/0 pebble logs"
    )


def failed_change(*lines: str) -> ops.pebble.ChangeError:
    """The error of a replan as Pebble 1.26 makes it."""
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


TAKEN = "metrics-proxy: {} is {}: cannot listen there, want a free port: listen tcp: in use"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            [TAKEN.format("PORT", 1)],
            "port {port} is in use in this pod: juju config metrics-proxy-k8s port=FREE_PORT",
        ),
        (
            [TAKEN.format("METRICS_HTTP_PORT", 5055)],
            "port 5055 is in use in this pod: this charm must give metrics-proxy another own_port",
        ),
        (
            [TAKEN.format("PORT", 1), "metrics-proxy: no memory", "a thought"],
            "metrics-proxy does not start: no memory",
        ),
        (
            ["(no output)"],
            "metrics-proxy does not start: 2026-01-01T00:00:00Z ERROR service start attempt",
        ),
    ],
)
def test_does_not_start(
    context: Context,
    state: testing.State,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
    lines: list[str],
    message: str,
):
    # Scenario's Pebble starts everything.
    def replan(_: ops.Container) -> None:
        raise failed_change(*lines)

    monkeypatch.setattr(ops.Container, "replan", replan)
    out = run(context, state)
    assert isinstance(out.unit_status, testing.BlockedStatus)
    assert out.unit_status.message.startswith(message.format(port=proxy.port))


# Relations


def test_tells_prometheus_the_jobs(context: Context, state: testing.State, proxy: Proxy):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, with_config(replace(state, relations={relation}), scrape_timeout="90s"))
    pods, own = jobs_of(out, relation)
    assert pods["static_configs"] == [{"targets": [f"*:{proxy.port}"]}]
    assert (pods["scrape_interval"], pods["scrape_timeout"]) == ("91s", "91s")
    assert own["static_configs"] == [{"targets": ["*:5055"]}]
    assert (own["scrape_interval"], own["scrape_timeout"]) == ("60s", "10s")


@pytest.mark.parametrize(
    ("timeout", "want"),
    [
        ("9s", ("60s", "10s")),
        ("250ms", ("60s", "2s")),
        ("59.5", ("61s", "61s")),
        ("2m", ("121s",) * 2),
    ],
)
def test_prometheus_waits_longer(
    context: Context, state: testing.State, timeout: str, want: tuple[str, str]
):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, with_config(replace(state, relations={relation}), scrape_timeout=timeout))
    job = jobs_of(out, relation)[0]
    assert (job["scrape_interval"], job["scrape_timeout"]) == want


@pytest.mark.parametrize("leader", [True, False])
def test_only_the_leader_writes_jobs(context: Context, state: testing.State, *, leader: bool):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, replace(state, relations={relation}, leader=leader))
    assert bool(jobs_of(out, relation)) == leader
    unit_data = out.get_relation(relation.id).local_unit_data
    assert unit_data["prometheus_scrape_unit_name"] == "metrics-proxy-k8s/0"


@pytest.mark.parametrize("event", ["created", "joined", "changed"])
def test_never_port_80(context: Context, state: testing.State, event: str):
    """The library takes no jobs for *:80."""
    relation = testing.Relation(METRICS_ENDPOINT)
    state = with_config(replace(state, relations={relation}), port=0, scrape_timeout="no")
    out = context.run(getattr(context.on, f"relation_{event}")(relation), state)
    assert [job["static_configs"] for job in jobs_of(out, relation)] == [
        [{"targets": ["*:15090"]}],
        [{"targets": ["*:5055"]}],
    ]


LOKI = {"endpoint": json.dumps({"url": "http://10.0.0.9:3100/loki/api/v1/push"})}


def test_forwards_logs(context: Context, state: testing.State):
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data={0: LOKI, 1: {}})
    related = run(context, replace(state, relations={loki}))
    [target] = related.get_container(CONTAINER).plan.log_targets.values()
    assert (target.type, target.services) == ("loki", ["all"])
    assert target.location == "http://10.0.0.9:3100/loki/api/v1/push"
    assert target.labels["juju_unit"] == "metrics-proxy-k8s/0"
    assert target.labels["juju_model"] == "prod"

    again = run(context, related, "update_status")
    assert again.get_container(CONTAINER).plan == related.get_container(CONTAINER).plan

    broken = context.run(context.on.relation_broken(loki), related)
    [target] = broken.get_container(CONTAINER).plan.log_targets.values()
    assert target.services == []


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_loki_that_tells_nothing(context: Context, state: testing.State, text: str):
    data = {0: {"endpoint": text} if text else {}}
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data=data)
    out = run(context, replace(state, relations={loki}))
    assert out.get_container(CONTAINER).plan.log_targets == {}


# Actions


def test_list_targets(context: Context, state: testing.State):
    context.run(context.on.action("list-targets"), state)
    assert context.action_results == {
        "up": 1,
        "down": 1,
        "targets": 'up   k8s_pod_name="a"\ndown k8s_pod_name="b"',
    }


def test_scrape(context: Context, state: testing.State, proxy: Proxy):
    context.run(context.on.action("scrape"), state)
    text = proxy.metrics.text
    assert context.action_results == {"characters": len(text), "answer": text}


@pytest.mark.parametrize("action", ["list-targets", "scrape"])
def test_action_without_answer(context: Context, state: testing.State, proxy: Proxy, action: str):
    proxy.metrics = Answer(503, "metrics-proxy is not ready: because\n")
    with pytest.raises(testing.ActionFailed, match="is not ready: because"):
        context.run(context.on.action(action), state)


def test_show_rbac(context: Context, state: testing.State):
    context.run(context.on.action("show-rbac"), with_config(state, namespaces="a,b"))
    assert context.action_results
    documents = list(yaml.safe_load_all(context.action_results["manifest"]))
    assert [(d["kind"], d["metadata"]["namespace"]) for d in documents] == [
        ("Role", "a"),
        ("RoleBinding", "a"),
        ("Role", "b"),
        ("RoleBinding", "b"),
    ]


def test_long_results_are_cut():
    lines = "é" * 99 + "\n"
    assert _shorten(lines) == lines
    cut = _shorten(lines * 1000)
    assert len(cut.encode()) < 100_000
    kept, _, note = cut.rpartition("\n")
    assert set(kept.split("\n")) == {"é" * 99}
    assert note == f"… and {len(lines) * 1000 - len(kept)} characters more"


def test_version_is_asked_in_the_container(context: Context, state: testing.State):
    run(context, state)
    assert [call.command for call in context.exec_history[CONTAINER]] == [
        list(VERSION.command_prefix)
    ]
