"""Reconciles the sidecar with a real Pebble, as a charm does, and prints its state as JSON.

Usage: sidecar.py SOCKET PARAMETERS, with the parameters of MetricsProxy as JSON.
"""

import json
import sys

import ops

from metrics_proxy_sidecar import MetricsProxy

socket, parameters = sys.argv[1:]
backend = ops.model._ModelBackend()
container = ops.Container("metrics-proxy", backend, ops.pebble.Client(socket))
proxy = MetricsProxy(container, **json.loads(parameters))
proxy.reconcile()
condition = {
    "problem": proxy.problem(),
    "waiting": proxy.waiting(),
    "summary": proxy.summary(),
    "version": proxy.version(),
    "manifest": proxy.rbac_manifest(),
}
json.dump(condition, sys.stdout)
