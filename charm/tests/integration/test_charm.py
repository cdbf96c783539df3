"""The packed charm on a real controller, next to the Prometheus charm."""

import json
import os
import pathlib
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator

import jubilant
import pytest

APP = "metrics-proxy-k8s"
ROCK = os.environ.get("ROCK_IMAGE") or "ghcr.io/canonical/metrics-proxy:0.1"
PODS = 6

pytestmark = pytest.mark.controller


@pytest.fixture(scope="module")
def juju() -> Iterator[jubilant.Juju]:
    charm = pathlib.Path(os.environ["CHARM_PATH"]).resolve(strict=True)
    with jubilant.temp_model() as model:
        model.wait_timeout = 15 * 60
        model.deploy(charm, APP, resources={"metrics-proxy-image": ROCK})
        yield model


@pytest.fixture(scope="module")
def pods(juju: jubilant.Juju) -> int:
    """Pods with metrics: further proxies, which serve their own metrics on port 5055."""
    assert juju.model
    pod = {
        "metadata": {
            "labels": {"app": "web"},
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "5055"},
        },
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": ROCK,
                    "command": ["/bin/metrics-proxy"],
                    "env": [{"name": "POD_LABEL_SELECTOR", "value": "app=none"}],
                }
            ]
        },
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {"replicas": PODS, "selector": {"matchLabels": {"app": "web"}}, "template": pod},
    }
    kubectl = ["kubectl", "-n", juju.model.rpartition(":")[2]]
    apply = [*kubectl, "apply", "-f", "-"]
    subprocess.run(apply, input=json.dumps(deployment), text=True, check=True)  # noqa: S603
    wait = [*kubectl, "rollout", "status", "deployment/web", "--timeout=10m"]
    subprocess.run(wait, check=True)  # noqa: S603
    return PODS


def test_without_a_selector(juju: jubilant.Juju):
    status = juju.wait(lambda status: jubilant.all_blocked(status, APP))
    assert status.apps[APP].app_status.message.startswith("pod-label-selector is not set")


def test_own_namespace_needs_no_trust(juju: jubilant.Juju):
    juju.config(APP, {"pod-label-selector": "app=web"})
    status = juju.wait(lambda status: jubilant.all_active(status, APP))
    assert "listed, not watched" in status.apps[APP].app_status.message


def test_all_namespaces_need_trust(juju: jubilant.Juju):
    juju.config(APP, {"namespaces": "*"})
    status = juju.wait(lambda status: jubilant.all_blocked(status, APP))
    assert f"juju trust {APP} --scope=cluster" in status.apps[APP].app_status.message
    juju.trust(APP, scope="cluster")
    juju.wait(lambda status: jubilant.all_active(status, APP))


def test_units_share(juju: jubilant.Juju, pods: int):
    juju.config(APP, {"namespaces": ""})
    juju.add_unit(APP, num_units=2)
    juju.wait(lambda status: jubilant.all_active(status, APP) and len(status.apps[APP].units) == 3)
    listed = [
        line
        for unit in range(3)
        for line in juju.run(f"{APP}/{unit}", "list-targets").results["targets"].splitlines()
    ]
    assert len(listed) == len(set(listed)) == pods
    assert all(line.startswith("up ") for line in listed)


def test_prometheus_has_each_pod_once(juju: jubilant.Juju, pods: int):
    juju.deploy("prometheus-k8s", "prometheus", channel="2/stable", trust=True)
    juju.integrate(f"{APP}:metrics-endpoint", "prometheus:metrics-endpoint")

    def up(status: jubilant.Status) -> int:
        if not jubilant.all_active(status, APP, "prometheus"):
            return 0
        address = status.apps["prometheus"].units["prometheus/0"].address
        pods_up = f'up{{juju_application="{APP}",k8s_pod_name!=""}} == 1'
        query = urllib.parse.urlencode({"query": pods_up})
        with urllib.request.urlopen(f"http://{address}:9090/api/v1/query?{query}") as response:
            return len(json.load(response)["data"]["result"])

    juju.wait(lambda status: up(status) == pods)


def test_show_rbac(juju: jubilant.Juju):
    assert "kind: Role" in juju.run(f"{APP}/0", "show-rbac").results["manifest"]
