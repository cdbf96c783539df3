"""Prints the layer or the manifest: python -m metrics_proxy_sidecar layer --selector app=web."""

import argparse
import inspect
import sys

from metrics_proxy_sidecar.environment import VARIABLES, make_environment
from metrics_proxy_sidecar.layer import make_layer
from metrics_proxy_sidecar.proxy import MetricsProxy
from metrics_proxy_sidecar.rbac import rbac_manifest
from metrics_proxy_sidecar.settings import find_mistakes

_NUMBERS = {"port", "own_port", "shard_index", "shard_count"}


def main(arguments: list[str]) -> int:
    """Print a layer or a manifest as YAML; return 2 if a parameter is invalid."""
    parser = argparse.ArgumentParser(prog="metrics_proxy_sidecar", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command")
    layer = commands.add_parser("layer", help="the Pebble layer")
    defaults = inspect.signature(MetricsProxy).parameters
    for parameter in VARIABLES:
        option = f"--{parameter.replace('_', '-')}"
        kind = int if parameter in _NUMBERS else str
        default = "" if parameter == "selector" else defaults[parameter].default
        layer.add_argument(option, type=kind, default=default)
    rbac = commands.add_parser(
        "rbac", help="the manifest that lets an application list and watch pods"
    )
    rbac.add_argument("app")
    rbac.add_argument("model")
    rbac.add_argument("namespace", nargs="*", help="all namespaces if none is given")
    parameters = vars(parser.parse_args(arguments))
    if parameters.pop("command") == "rbac":
        print(rbac_manifest(parameters["app"], parameters["model"], parameters["namespace"]))
        return 0
    environment = make_environment(**parameters)
    for mistake in (mistakes := find_mistakes(environment)):
        print(mistake, file=sys.stderr)
    if mistakes:
        return 2
    print(make_layer(environment).to_yaml())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
