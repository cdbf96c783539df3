"""The relations with Prometheus, Loki and the tracing backend."""

import json
from dataclasses import replace
from typing import Any

import ops
import pytest
from ops import testing
from states import (
    Context,
    Proxy,
    jobs_of,
    run,
    with_config,
)

from charm import CONTAINER, LOGGING, METRICS_ENDPOINT


def test_publishes_jobs_to_prometheus(context: Context, state: testing.State, proxy: Proxy):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, with_config(replace(state, relations={relation}), scrape_timeout="90s"))
    pods, own = jobs_of(out, relation)
    assert pods["static_configs"] == [{"targets": [f"*:{proxy.port}"]}]
    assert (pods["scrape_interval"], pods["scrape_timeout"]) == ("91s", "91s")
    assert own["static_configs"] == [{"targets": ["*:5055"]}]
    assert (own["scrape_interval"], own["scrape_timeout"]) == ("60s", "10s")
    rules = json.loads(out.get_relation(relation.id).local_app_data["alert_rules"])
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert {"MetricsProxyTargetDown", "MetricsProxyNotReady"} <= alerts


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        ("9s", ("60s", "10s")),
        ("", ("60s", "10s")),  # the default
        ("250ms", ("60s", "2s")),
        ("59.5", ("61s", "61s")),
        ("2m", ("121s",) * 2),
    ],
)
def test_prometheus_waits_longer(
    context: Context, state: testing.State, timeout: str, expected: tuple[str, str]
):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, with_config(replace(state, relations={relation}), scrape_timeout=timeout))
    job = jobs_of(out, relation)[0]
    assert (job["scrape_interval"], job["scrape_timeout"]) == expected


@pytest.mark.parametrize("leader", [True, False])
def test_only_the_leader_writes_jobs(context: Context, state: testing.State, *, leader: bool):
    relation = testing.Relation(METRICS_ENDPOINT)
    out = run(context, replace(state, relations={relation}, leader=leader))
    assert bool(jobs_of(out, relation)) == leader
    unit_data = out.get_relation(relation.id).local_unit_data
    assert unit_data["prometheus_scrape_unit_name"] == "metrics-proxy-k8s/0"


def test_never_port_80(context: Context, state: testing.State):
    """The library replaces an empty list with a job for *:80, and writes on relation-joined."""
    relation = testing.Relation(METRICS_ENDPOINT)
    state = with_config(replace(state, relations={relation}), port=0, scrape_timeout="no")
    out = context.run(context.on.relation_joined(relation), state)
    assert [job["static_configs"] for job in jobs_of(out, relation)] == [
        [{"targets": ["*:15090"]}],
        [{"targets": ["*:5055"]}],
    ]


@pytest.mark.parametrize("options", [{"port": 0}, {"port": 16000, "log_level": "loud"}])
def test_invalid_option_keeps_previous_jobs(
    context: Context, state: testing.State, options: dict[str, Any]
):
    relation = testing.Relation(METRICS_ENDPOINT)
    before = run(context, replace(state, relations={relation}))
    out = run(context, with_config(before, **options))
    assert jobs_of(out, relation) == jobs_of(before, relation) != []


LOKI = {"endpoint": json.dumps({"url": "http://10.0.0.9:3100/loki/api/v1/push"})}


def test_forwards_logs(context: Context, state: testing.State):
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data={0: LOKI, 1: {}})
    related = run(context, replace(state, relations={loki}))
    [target] = related.get_container(CONTAINER).plan.log_targets.values()
    assert (target.type, target.services) == ("loki", ["all"])
    assert target.location == "http://10.0.0.9:3100/loki/api/v1/push"
    assert target.labels == {
        "product": "Juju",
        "charm": "metrics-proxy-k8s",
        "juju_model": "prod",
        "juju_model_uuid": state.model.uuid,
        "juju_application": "metrics-proxy-k8s",
        "juju_unit": "metrics-proxy-k8s/0",
    }

    again = run(context, related, "update_status")
    assert again.get_container(CONTAINER).plan == related.get_container(CONTAINER).plan

    broken = context.run(context.on.relation_broken(loki), related)
    [target] = broken.get_container(CONTAINER).plan.log_targets.values()
    assert target.services == []


def loki_unit(number: int) -> dict[str, str]:
    return {"endpoint": json.dumps({"url": f"http://10.0.0.{number}:3100/loki/api/v1/push"})}


def test_forwards_logs_to_each_unit(context: Context, state: testing.State):
    def locations(out: testing.State) -> dict[str, list[str]]:
        targets = out.get_container(CONTAINER).plan.log_targets.values()
        return {target.location.partition(":3100")[0]: target.services for target in targets}

    units = {0: loki_unit(0), 1: loki_unit(1)}
    first = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data=units)
    second = testing.Relation(LOGGING, remote_app_name="other", remote_units_data={0: loki_unit(2)})
    out = run(context, replace(state, relations={first, second}))
    all_units = {f"http://10.0.0.{unit}": ["all"] for unit in range(3)}
    assert locations(out) == all_units

    left = replace(first, remote_units_data={1: loki_unit(1)})
    departed = replace(out, relations={left, second})
    out = context.run(context.on.relation_departed(left, remote_unit=0), departed)
    assert locations(out) == {**all_units, "http://10.0.0.0": []}


def test_log_targets_are_added_once(
    context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch
):
    added = []
    add_layer = ops.Container.add_layer

    def count(container: ops.Container, label: str, *rest: Any, **more: Any) -> None:
        added.append(label)
        add_layer(container, label, *rest, **more)

    monkeypatch.setattr(ops.Container, "add_layer", count)
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data={0: LOKI})
    related = run(context, replace(state, relations={loki}))
    broken = run(context, replace(related, relations=set()))
    run(context, broken)
    assert added.count("log-forwarding") == 2  # one to add the target, one to disable it


def test_pebble_becomes_unreachable(
    context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch
):
    def unreachable(_: ops.Container) -> None:
        raise ops.pebble.ConnectionError("no socket")

    monkeypatch.setattr(ops.Container, "get_plan", unreachable)
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data={0: LOKI})
    out = run(context, with_config(replace(state, relations={loki}), log_level="loud"))
    assert isinstance(out.unit_status, testing.BlockedStatus)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_loki_without_endpoint(context: Context, state: testing.State, text: str):
    data = {0: {"endpoint": text} if text else {}}
    loki = testing.Relation(LOGGING, remote_app_name="loki", remote_units_data=data)
    out = run(context, replace(state, relations={loki}))
    assert out.get_container(CONTAINER).plan.log_targets == {}


def test_sends_traces(context: Context, state: testing.State, monkeypatch: pytest.MonkeyPatch):
    destinations = []
    monkeypatch.setattr("ops.tracing.set_destination", lambda **to: destinations.append(to))
    url = "https://tempo.prod.svc:4318"
    receivers = [{"protocol": {"name": "otlp_http", "type": "http"}, "url": url}]
    tempo = testing.Relation("charm-tracing", remote_app_data={"receivers": json.dumps(receivers)})
    ca = testing.Relation("receive-ca-cert", remote_app_data={"certificates": '["a CA"]'})
    related = replace(state, relations={tempo, ca})
    out = context.run(context.on.relation_changed(tempo), related)
    assert json.loads(out.get_relation(tempo.id).local_app_data["receivers"]) == ["otlp_http"]
    assert destinations[-1] == {"url": f"{url}/v1/traces", "ca": "a CA"}
