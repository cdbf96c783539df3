"""The results of the actions."""

import pytest
import yaml
from ops import testing
from states import (
    Context,
    Proxy,
    Response,
    with_config,
)

from charm import _shorten


def test_list_targets(context: Context, state: testing.State):
    context.run(context.on.action("list-targets"), state)
    assert context.action_results == {
        "up": 1,
        "down": 1,
        "targets": 'up   k8s_pod_name="a"\ndown k8s_pod_name="b"\n',
    }


def test_scrape(context: Context, state: testing.State, proxy: Proxy):
    context.run(context.on.action("scrape"), state)
    assert context.action_results == {"answer": proxy.metrics.text}


@pytest.mark.parametrize(("action", "result"), [("list-targets", "targets"), ("scrape", "answer")])
def test_long_results(
    context: Context, state: testing.State, proxy: Proxy, action: str, result: str
):
    proxy.metrics.text *= 5000
    context.run(context.on.action(action), state)
    assert context.action_results
    text = context.action_results[result]
    assert len(text) < 100_000
    assert text.endswith(" more lines")


@pytest.mark.parametrize("action", ["list-targets", "scrape"])
def test_action_without_response(context: Context, state: testing.State, proxy: Proxy, action: str):
    proxy.metrics = Response(503, "metrics-proxy is not ready: because\n")
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


def test_long_results_are_truncated():
    line = "é" * 99 + "\n"
    assert _shorten([line] * 9) == line * 9
    shortened = _shorten([line] * 1000)
    assert len(shortened.encode()) < 100_000
    kept = shortened.count(line)
    assert shortened == line * kept + f"… and {1000 - kept} more lines"
