"""Fixtures for the unit tests of the charm."""

import threading
from collections.abc import Iterator

import ops
import pytest
from ops import testing
from states import CHARM, ROCK, VERSION, Proxy

from charm import CONTAINER, MetricsProxyCharm


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    running = Proxy()
    thread = threading.Thread(target=running.server.serve_forever, args=[0.01])
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join()


@pytest.fixture
def context() -> testing.Context[MetricsProxyCharm]:
    return testing.Context(MetricsProxyCharm, charm_root=CHARM)


@pytest.fixture
def state(proxy: Proxy) -> testing.State:
    """A single unit, the leader, with a selector and Pebble, before the first reconcile."""
    inactive = {"metrics-proxy": ops.pebble.ServiceStatus.INACTIVE}
    container = testing.Container(
        CONTAINER,
        can_connect=True,
        execs={VERSION},
        layers={"001-rockcraft": ROCK},
        service_statuses=inactive,
    )
    return testing.State(
        leader=True,
        config={"pod-label-selector": "app=web", "port": proxy.port},
        containers={container},
        model=testing.Model("prod", type="kubernetes"),
    )
