"""Configuration x leader x units x relations x health: what must hold for each combination."""

import itertools
import socket
from collections.abc import Iterator
from typing import Any

import ops
import pytest
from ops import testing
from states import (
    CHARM,
    DOWN,
    VERSION,
    Answer,
    Proxy,
    jobs_of,
    run,
    service_of,
    with_config,
    with_container,
)

from charm import CONTAINER, LOGGING, METRICS_ENDPOINT, MetricsProxyCharm

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    # the options, and how the status begins if they are wrong
    "selector": ({}, ""),
    "all options": (
        {
            "namespaces": "*",
            "scrape_timeout": "20s",
            "target_labels": "pod=pod",
            "log_level": "debug",
            "memory_limit": "64MiB",
        },
        "",
    ),
    "no selector": ({"pod_label_selector": None}, "pod-label-selector is not set"),
    "malformed selector": ({"pod_label_selector": "a in"}, 'pod-label-selector is "a in"'),
    "malformed timeout": ({"scrape_timeout": "0"}, 'scrape-timeout is "0"'),
}
RELATIONS = [set(), {METRICS_ENDPOINT}, {LOGGING}, {METRICS_ENDPOINT, LOGGING}]
HEALTH = {
    # the status if the configuration is right, and what is in it
    "no Pebble": ("waiting", "waiting for Pebble"),
    "well": ("active", "1 of 2 targets up"),
    "API server away": ("waiting", "no route to host"),
    "forbidden": ("blocked", "juju trust metrics-proxy-k8s --scope=cluster"),
    "hangs": ("blocked", "pebble logs"),
}
LOKI = {0: {"endpoint": '{"url": "http://10.0.0.9:3100/loki/api/v1/push"}'}}
LAYER = ops.pebble.Layer(
    {"checks": {"metrics-proxy": {"override": "replace", "exec": {"command": "x"}, "threshold": 3}}}
)


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def with_health(state: testing.State, health: str, proxy: Proxy, nobody: int) -> testing.State:
    if health == "no Pebble":
        return with_container(state, can_connect=False)
    if health == "API server away":
        proxy.ready = Answer(503, "metrics-proxy is not ready: no route to host\n")
    if health == "forbidden":
        proxy.ready = Answer(503, "metrics-proxy is not ready: pods is forbidden\n")
    if health == "hangs":
        state = with_config(state, port=nobody)
        return with_container(state, layers={"metrics-proxy": LAYER}, check_infos={DOWN})
    return state


@pytest.mark.parametrize(
    ("config", "leader", "units", "related", "health"),
    list(itertools.product(CONFIGS, [True, False], [1, 3], RELATIONS, HEALTH)),
)
def test_reconcile(
    config: str,
    units: int,
    related: set[str],
    health: str,
    proxy: Proxy,
    nobody: int,
    *,
    leader: bool,
):
    options, mistake = CONFIGS[config]
    relations = {
        name: testing.Relation(name, remote_units_data=LOKI if name == LOGGING else {0: {}})
        for name in related
    }
    before = testing.State(
        leader=leader,
        planned_units=units,
        config={"pod-label-selector": "app=web", "port": proxy.port},
        containers={testing.Container(CONTAINER, can_connect=True, execs={VERSION})},
        relations=set(relations.values()),
        model=testing.Model("prod", type="kubernetes"),
    )
    before = with_config(with_health(before, health, proxy, nobody), **options)
    context = testing.Context(MetricsProxyCharm, charm_root=CHARM, unit_id=units - 1)
    out = run(context, before)

    container = out.get_container(CONTAINER)
    port = before.config["port"]
    status, text = ("blocked", mistake) if mistake else HEALTH[health]
    assert out.unit_status.name == status
    assert text in out.unit_status.message

    runs = not mistake and health != "no Pebble"
    assert ("metrics-proxy" in container.plan.services) == runs
    if runs:
        environment = service_of(out).environment
        assert environment["POD_LABEL_SELECTOR"] == "app=web"
        assert environment["PORT"] == str(port)
        assert environment["SHARD_INDEX"] == str(units - 1)
        assert environment["SHARD_COUNT"] == str(units)
        assert container.plan.checks["metrics-proxy"].exec != LAYER.checks["metrics-proxy"].exec
    opened = set() if mistake else {testing.TCPPort(port), testing.TCPPort(5055)}
    assert out.opened_ports == opened
    assert out.workload_version == ("0.1" if health != "no Pebble" else "")

    forwards = LOGGING in related and health != "no Pebble"
    assert bool(container.plan.log_targets) == forwards
    if METRICS_ENDPOINT in related:
        jobs = jobs_of(out, relations[METRICS_ENDPOINT])
        assert bool(jobs) == (leader and not mistake)
        for job, at in zip(jobs, (port, 5055), strict=False):
            assert job["static_configs"] == [{"targets": [f"*:{at}"]}]
