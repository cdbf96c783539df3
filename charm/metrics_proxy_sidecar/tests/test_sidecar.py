"""The package in the example charm, and the parts that need no charm."""

import importlib.util
import pathlib
import sys
from types import ModuleType

import ops
import pytest
import yaml
from metrics_proxy_sidecar.__main__ import main
from metrics_proxy_sidecar.probe import Target, find_targets
from ops import testing

from metrics_proxy_sidecar import MetricsProxy, ProbeError, rbac_manifest

EXAMPLE = pathlib.Path(__file__).parents[1] / "example"
CHARM = pathlib.Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    where = CHARM / "lib"
    if not (where / "charms/prometheus_k8s").exists():
        where = CHARM / "tests/stand_in"
    monkeypatch.syspath_prepend(str(where))
    spec = importlib.util.spec_from_file_location("example_charm", EXAMPLE / "src/charm.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "example_charm", module)
    spec.loader.exec_module(module)
    return module


def state(*, can_connect: bool = True, planned: int = 3) -> testing.State:
    containers = {
        testing.Container("gateway", can_connect=can_connect),
        testing.Container("metrics-proxy", can_connect=can_connect),
    }
    relation = testing.Relation("metrics-endpoint")
    return testing.State(
        leader=True, containers=containers, planned_units=planned, relations={relation}
    )


@pytest.mark.parametrize(
    ("unit", "planned", "index", "count"),
    [(0, 1, "0", "1"), (1, 3, "1", "3"), (4, 3, "4", "5"), (1, 1, "1", "2")],
)
def test_example(example: ModuleType, unit: int, planned: int, index: str, count: str):
    context = testing.Context(example.GatewayCharm, charm_root=EXAMPLE, unit_id=unit)
    out = context.run(context.on.config_changed(), state(planned=planned))
    service = out.get_container("metrics-proxy").plan.services["metrics-proxy"]
    environment = service.environment
    assert environment["POD_LABEL_SELECTOR"] == "gateway=public"
    assert (environment["SHARD_INDEX"], environment["SHARD_COUNT"]) == (index, count)
    assert out.unit_status == testing.WaitingStatus("waiting for metrics-proxy to respond")
    assert out.opened_ports == {testing.TCPPort(port) for port in (9100, 15090, 5055)}


def test_example_before_pebble(example: ModuleType):
    context = testing.Context(example.GatewayCharm, charm_root=EXAMPLE)
    out = context.run(context.on.config_changed(), state(can_connect=False))
    assert out.unit_status == testing.WaitingStatus("waiting for Pebble")


def test_example_jobs(example: ModuleType):
    context = testing.Context(example.GatewayCharm, charm_root=EXAMPLE)
    before = state()
    out = context.run(context.on.pebble_ready(before.get_container("gateway")), before)
    [relation] = out.relations
    jobs = yaml.safe_load(relation.local_app_data["scrape_jobs"])
    assert [job["job_name"] for job in jobs] == ["gateway", "metrics-proxy", "metrics-proxy-own"]


def test_example_pods_are_selected(example: ModuleType):
    context = testing.Context(example.GatewayCharm, charm_root=EXAMPLE)
    with context(context.on.start(), state()) as manager:
        assert manager.charm.pod_metadata() == {
            "labels": {"gateway": "public"},
            "annotations": {
                "prometheus.io/scrape": "true",
                "prometheus.io/port": "9100",
                "prometheus.io/path": "/metrics",
                "prometheus.io/scheme": "http",
            },
        }


CONTAINER = testing.Container("metrics-proxy", can_connect=True)


class Bare(ops.CharmBase):
    """Has a sidecar with the parameters of a test."""

    parameters: dict[str, object] = {}  # noqa: RUF012

    def __init__(self, framework: ops.Framework):
        super().__init__(framework)
        container = self.unit.get_container("metrics-proxy")
        self.proxy = MetricsProxy(container, **self.parameters)  # type: ignore[arg-type]


def problem(**parameters: object) -> str | None:
    charm = type("Bare", (Bare,), {"parameters": parameters})
    context = testing.Context(charm, meta={"name": "bare", "containers": {"metrics-proxy": {}}})
    containers = {testing.Container("metrics-proxy", can_connect=True)}
    with context(context.on.start(), testing.State(containers=containers)) as manager:
        proxy = manager.charm.proxy
        found = proxy.problem()
        if found:
            assert proxy.ports == []
            with pytest.raises(ValueError, match=" is "):
                _ = proxy.layer
        return found


def test_problem_names_parameters():
    assert problem(selector="app=web") is None
    assert problem(selector="") == (
        "selector is not set: this charm must change the parameter selector of MetricsProxy"
    )
    found = problem(selector="app=web", scrape_timeout="x")
    assert found == 'scrape_timeout is "x": expected a duration such as 9s, or seconds; above 0'
    assert problem(selector="a", shard_count=0, shard_index=-1)


def test_without_own_metrics():
    class NoOwn(Bare):
        parameters = {"selector": "a", "own_port": 0}  # noqa: RUF012

    context = testing.Context(NoOwn, meta={"name": "bare", "containers": {"metrics-proxy": {}}})
    containers = {testing.Container("metrics-proxy", can_connect=True)}
    with context(context.on.start(), testing.State(containers=containers)) as manager:
        assert manager.charm.proxy.ports == [15090]
        assert len(manager.charm.proxy.scrape_jobs) == 1


def test_each_unit_scrapes_all_pods_without_shard_count():
    class Alone(Bare):
        parameters = {"selector": "a"}  # noqa: RUF012

    meta = {"name": "bare", "containers": {"metrics-proxy": {}}}
    context = testing.Context(Alone, meta=meta, unit_id=2)
    with context(context.on.start(), testing.State(containers={CONTAINER})) as manager:
        environment = manager.charm.proxy.layer.services["metrics-proxy"].environment
        assert (environment["SHARD_INDEX"], environment["SHARD_COUNT"]) == ("0", "1")


def test_state_is_refreshed_after_reconcile(monkeypatch: pytest.MonkeyPatch):
    class Sidecar(Bare):
        parameters = {"selector": "a"}  # noqa: RUF012

    def no_response(_port: int) -> None:
        raise ProbeError("no response")

    monkeypatch.setattr("metrics_proxy_sidecar.probe.ask_ready", no_response)
    context = testing.Context(Sidecar, meta={"name": "bare", "containers": {"metrics-proxy": {}}})
    with context(context.on.start(), testing.State(containers={CONTAINER})) as manager:
        proxy = manager.charm.proxy
        assert proxy.waiting() == "waiting for metrics-proxy to start"
        proxy.reconcile()
        assert proxy.waiting() == "waiting for metrics-proxy to respond"


def test_scrape_waits_longer_than_the_proxy(monkeypatch: pytest.MonkeyPatch):
    class Sidecar(Bare):
        parameters = {"selector": "a", "port": 1234, "scrape_timeout": "90s"}  # noqa: RUF012

    scrapes = []
    monkeypatch.setattr(
        "metrics_proxy_sidecar.probe.scrape", lambda *args: scrapes.append(args) or []
    )
    context = testing.Context(Sidecar, meta={"name": "bare", "containers": {"metrics-proxy": {}}})
    with context(context.on.start(), testing.State(containers={CONTAINER})) as manager:
        assert manager.charm.proxy.targets() == []
    assert scrapes == [(1234, 95)]


def test_service_is_not_running():
    class Sidecar(Bare):
        parameters = {"selector": "a"}  # noqa: RUF012

    context = testing.Context(Sidecar, meta={"name": "bare", "containers": {"metrics-proxy": {}}})
    container = testing.Container(
        "metrics-proxy",
        can_connect=True,
        layers={
            "x": ops.pebble.Layer(
                {"services": {"metrics-proxy": {"override": "replace", "command": "x"}}}
            )
        },
        service_statuses={"metrics-proxy": ops.pebble.ServiceStatus.ERROR},
    )
    model = testing.Model("prod")
    state = testing.State(containers={container}, model=model)
    with context(context.on.start(), state) as manager:
        assert manager.charm.proxy.problem() == (
            "metrics-proxy is not running: see kubectl logs -n prod bare-0 -c metrics-proxy"
        )


@pytest.mark.parametrize(
    ("selector", "labels"),
    [
        ("app=web", {"app": "web"}),
        ("app==web , a.b/c = d", {"app": "web", "a.b/c": "d"}),
        ("app=", {"app": ""}),
    ],
)
def test_pod_labels(selector: str, labels: dict[str, str]):
    assert MetricsProxy.pod_labels(selector) == labels


@pytest.mark.parametrize(
    "selector", ["", "app", "!app", "app!=web", "app in (web)", "a=b,c", "a=b c"]
)
def test_selectors_that_do_not_determine_labels(selector: str):
    with pytest.raises(ValueError, match="expected key=value"):
        MetricsProxy.pod_labels(selector)


def test_up_lines():
    text = (
        '# TYPE up gauge\nup{a="x",b="y z"} 1\nup{a="2"} 0\n'
        'up{} 1\nsetup{a="x"} 1\nup{a="x"} 2\nother{up="up{} 1"} 1\n'
    )
    assert find_targets(iter(text.splitlines(keepends=True))) == [
        Target('a="x",b="y z"', is_up=True),
        Target('a="2"', is_up=False),
        Target("", is_up=True),
    ]


def test_cluster_role():
    role, binding = yaml.safe_load_all(rbac_manifest("app", "prod"))
    assert role == {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "prod-app-metrics-proxy"},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
    }
    assert binding["kind"] == "ClusterRoleBinding"
    assert binding["roleRef"] == {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "prod-app-metrics-proxy",
    }
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "app", "namespace": "prod"}]


def test_command(capsys: pytest.CaptureFixture[str]):
    assert main(["layer", "--selector", "app=web", "--port", "80"]) == 0
    layer = yaml.safe_load(capsys.readouterr().out)
    assert layer["services"]["metrics-proxy"]["environment"]["PORT"] == "80"
    assert main(["layer"]) == 2
    assert capsys.readouterr().err.startswith("POD_LABEL_SELECTOR is not set: expected")
    assert main(["rbac", "app", "prod", "a"]) == 0
    assert "kind: RoleBinding" in capsys.readouterr().out
