"""Makes a real Pebble forward logs, as the charm does.

Usage: logs.py SOCKET UNIT=URL..., with the units of Loki.
"""

import pathlib
import sys

import ops

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "src"))

from log_forwarding import forward_logs

socket, *units = sys.argv[1:]
backend = ops.model._ModelBackend()
container = ops.Container("metrics-proxy", backend, ops.pebble.Client(socket))
forward_logs(
    container, dict(unit.split("=", 1) for unit in units), {"juju_unit": "metrics-proxy-k8s/0"}
)
