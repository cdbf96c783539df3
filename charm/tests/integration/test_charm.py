"""The packed charm on a real controller. Skipped without juju and CHARM_PATH."""

import os
import shutil
from collections.abc import Iterator

import jubilant
import pytest

APP = "metrics-proxy-k8s"
CHARM = os.environ.get("CHARM_PATH")
ROCK = os.environ.get("ROCK_IMAGE") or "ghcr.io/canonical/metrics-proxy:0.1"

pytestmark = pytest.mark.skipif(
    not CHARM or not shutil.which("juju"), reason="needs juju, a controller and CHARM_PATH"
)


@pytest.fixture(scope="module")
def juju() -> Iterator[jubilant.Juju]:
    with jubilant.temp_model() as model:
        assert CHARM
        model.deploy(CHARM, APP, resources={"metrics-proxy-image": ROCK})
        yield model


def test_without_a_selector(juju: jubilant.Juju):
    status = juju.wait(lambda status: jubilant.all_blocked(status, APP))
    assert status.apps[APP].app_status.message.startswith("pod-label-selector is not set")


def test_own_namespace_needs_no_trust(juju: jubilant.Juju):
    juju.config(APP, {"pod-label-selector": f"app.kubernetes.io/name={APP}"})
    status = juju.wait(lambda status: jubilant.all_active(status, APP))
    assert "listed, not watched" in status.apps[APP].app_status.message


def test_all_namespaces_need_trust(juju: jubilant.Juju):
    juju.config(APP, {"namespaces": "*"})
    status = juju.wait(lambda status: jubilant.all_blocked(status, APP))
    assert f"juju trust {APP} --scope=cluster" in status.apps[APP].app_status.message
    juju.trust(APP, scope="cluster")
    juju.wait(lambda status: jubilant.all_active(status, APP), timeout=10 * 60)


def test_units_share(juju: jubilant.Juju):
    juju.add_unit(APP, num_units=2)
    juju.wait(lambda status: jubilant.all_active(status, APP) and len(status.apps[APP].units) == 3)
    targets = [
        line.removeprefix("up").removeprefix("down").strip()
        for unit in range(3)
        for line in juju.run(f"{APP}/{unit}", "list-targets").results["targets"].splitlines()
    ]
    assert len(targets) == len(set(targets))


def test_show_rbac(juju: jubilant.Juju):
    assert "kind: ClusterRole" in juju.run(f"{APP}/0", "show-rbac").results["manifest"]
