"""Configuration x leader x units x relations x health: invariants for each combination."""

import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from ops import testing
from states import (
    CHARM,
    DOWN,
    Proxy,
    Response,
    jobs_of,
    run,
    service_of,
    with_config,
    with_container,
)

from charm import CONTAINER, LOGGING, METRICS_ENDPOINT, MetricsProxyCharm

CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    # the options, and the start of the status message if they are invalid
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
    # the status if the configuration is valid, and a part of its message
    "no Pebble": ("waiting", "waiting for Pebble"),
    "healthy": ("active", "1 of 2 targets up"),
    "API server unreachable": ("waiting", "no route to host"),
    "forbidden": ("blocked", "juju trust metrics-proxy-k8s --scope=cluster"),
    "hangs": ("blocked", "see kubectl logs -n prod metrics-proxy-k8s-"),
}
LOKI = {0: {"endpoint": '{"url": "http://10.0.0.9:3100/loki/api/v1/push"}'}}
FORBIDDEN = (
    "metrics-proxy is not ready: pods of all namespaces are not known yet: pods is forbidden: no\n"
)


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port without a listener."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def with_health(state: testing.State, health: str, proxy: Proxy, closed_port: int) -> testing.State:
    if health == "no Pebble":
        return with_container(state, can_connect=False)
    if health == "API server unreachable":
        proxy.ready = Response(503, "metrics-proxy is not ready: no route to host\n")
    if health == "forbidden":
        proxy.ready = Response(503, FORBIDDEN)
    if health == "hangs":
        state = with_config(state, port=closed_port)
        return with_container(state, check_infos={DOWN})
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
    state: testing.State,
    proxy: Proxy,
    closed_port: int,
    *,
    leader: bool,
):
    options, mistake = CONFIGS[config]
    relations = {
        name: testing.Relation(name, remote_units_data=LOKI if name == LOGGING else {0: {}})
        for name in related
    }
    before = replace(state, leader=leader, planned_units=units, relations=set(relations.values()))
    before = with_config(with_health(before, health, proxy, closed_port), **options)
    context = testing.Context(MetricsProxyCharm, charm_root=CHARM, unit_id=units - 1)
    out = run(context, before)

    container = out.get_container(CONTAINER)
    port = before.config["port"]
    status, text = ("blocked", mistake) if mistake else HEALTH[health]
    assert out.unit_status.name == status
    assert text in out.unit_status.message

    service = service_of(out)
    if mistake or health == "no Pebble":
        assert service == service_of(before)
    else:
        assert service.environment["POD_LABEL_SELECTOR"] == "app=web"
        assert service.environment["PORT"] == str(port)
        assert service.environment["SHARD_INDEX"] == str(units - 1)
        assert service.environment["SHARD_COUNT"] == str(units)
        assert set(container.plan.checks) == {"metrics-proxy", "metrics-proxy-ready"}
    opened = set() if mistake else {testing.TCPPort(port), testing.TCPPort(5055)}
    assert out.opened_ports == opened
    assert out.workload_version == ("0.1" if health != "no Pebble" else "")

    forwards = LOGGING in related and health != "no Pebble"
    assert bool(container.plan.log_targets) == forwards
    if METRICS_ENDPOINT in related:
        jobs = jobs_of(out, relations[METRICS_ENDPOINT])
        assert bool(jobs) == leader
        for job, at in zip(jobs, (port, 5055), strict=False):
            assert job["static_configs"] == [{"targets": [f"*:{at}"]}]
