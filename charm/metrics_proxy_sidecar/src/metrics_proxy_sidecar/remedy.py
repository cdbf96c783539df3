"""Describes the action that the operator must take for the proxy to work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metrics_proxy_sidecar.environment import VARIABLES, app_name, own_namespace, unit_name
from metrics_proxy_sidecar.layer import SERVICE
from metrics_proxy_sidecar.settings import Mistake


@dataclass(frozen=True)
class Remedies:
    """The remedies for one sidecar, as status messages."""

    environment: Mapping[str, str]
    options: Mapping[str, str]
    """The charm's configuration option for each parameter."""
    container: str
    manifest: str
    """The action that shows the RBAC manifest, or empty."""

    def mistake(self, mistake: Mistake) -> str:
        """Describe what is wrong with a parameter, and how to set it."""
        parameter = next(p for p, variable in VARIABLES.items() if variable == mistake.variable)
        name = self.options.get(parameter, parameter)
        port = self.environment["PORT"]
        if parameter == "own_port" and mistake.value == port:
            own = f"port is {port}, the port of the proxy's own metrics"
            return f"{own}: {self._set('port', 'ANOTHER_PORT')}"
        if parameter == "selector" and not mistake.value:
            return f"{name} is not set: {self._set('selector', 'app=web')}"
        hint = f" (run juju config {app_name()} {name}=…)" if parameter in self.options else ""
        return f'{name} is "{mistake.value}": {mistake.reason}{hint}'

    def failure(self, failure: str) -> str:
        """Describe why the service failed to start, from the error of the failed change."""
        error = _last_error(failure)
        if "cannot listen there" in error and "address already in use" in error:
            parameter = "own_port" if error.startswith("METRICS_HTTP_PORT") else "port"
            port = self.environment[VARIABLES[parameter]]
            return f"port {port} is in use in this pod: {self._set(parameter, 'FREE_PORT')}"
        return f"metrics-proxy failed to start: {error}"

    def forbidden(self, namespaces: Sequence[str]) -> str:
        """Describe how to grant permission to list pods in namespaces, or in all if empty."""
        where = ", ".join(namespaces) or "all namespaces"
        manifest = f"apply the output of juju run {unit_name()} {self.manifest}"
        bind = manifest if self.manifest else "bind a Role"
        return f"no permission to list pods in {where}: {self.trust()}, or {bind}"

    def trust(self) -> str:
        """Return the command that gives the application full access to the cluster."""
        return f"run juju trust {app_name()} --scope=cluster"

    def see_log(self) -> str:
        """Return the command that shows the proxy's log."""
        # Not juju ssh, which needs a shell in the container.
        pod = unit_name().replace("/", "-")
        return f"see kubectl logs -n {own_namespace()} {pod} -c {self.container}"

    def _set(self, parameter: str, value: str) -> str:
        """Return the command that sets a parameter, or that the charm must change it."""
        if parameter not in self.options:
            return f"this charm must change the parameter {parameter} of MetricsProxy"
        return f"run juju config {app_name()} {self.options[parameter]}={value}"


def _last_error(failure: str) -> str:
    """Return the program's last error message in the text of a failed change.

    Pebble includes the last lines of output of all runs. If there are none of the program,
    for example because it is not in the image, return Pebble's own last line.
    """
    lines = [line.strip() for line in failure.splitlines()]
    lines = [line for line in lines if line.strip("-") and not line.startswith("-----")]
    written = [line for line in lines if line.startswith(f"{SERVICE}: ")]
    return (written or lines or ["unknown reason"])[-1].removeprefix(f"{SERVICE}: ")
