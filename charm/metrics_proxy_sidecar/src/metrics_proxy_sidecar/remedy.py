"""Says what somebody must do for the proxy to work."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metrics_proxy_sidecar.environment import VARIABLES, app_name, own_namespace, unit_name
from metrics_proxy_sidecar.layer import SERVICE
from metrics_proxy_sidecar.settings import Mistake


@dataclass(frozen=True)
class Remedies:
    """The remedies of one sidecar, as texts for a status."""

    environment: Mapping[str, str]
    options: Mapping[str, str]
    """How the charm's configuration calls parameters."""
    container: str
    manifest: str
    """The action that shows the manifest, or empty."""

    def mistake(self, mistake: Mistake) -> str:
        """Say what is wrong with a parameter, and how to set it."""
        parameter = next(p for p, variable in VARIABLES.items() if variable == mistake.variable)
        name = self.options.get(parameter, parameter)
        port = self.environment["PORT"]
        if parameter == "own_port" and mistake.value == port:
            own = f"port is {port}, where the proxy's own metrics are"
            return f"{own}: {self._set('port', 'ANOTHER_PORT')}"
        if parameter == "selector" and not mistake.value:
            return f"{name} is not set: {self._set('selector', 'app=web')}"
        hint = f" (juju config {app_name()} {name}=…)" if parameter in self.options else ""
        return f'{name} is "{mistake.value}": {mistake.reason}{hint}'

    def failure(self, failure: str) -> str:
        """Say why the service does not start, from the text of the failed change."""
        error = _last_error(failure)
        if "cannot listen there" in error and "address already in use" in error:
            parameter = "own_port" if error.startswith("METRICS_HTTP_PORT") else "port"
            port = self.environment[VARIABLES[parameter]]
            return f"port {port} is in use in this pod: {self._set(parameter, 'FREE_PORT')}"
        return f"metrics-proxy does not start: {error}"

    def forbidden(self, namespaces: Sequence[str]) -> str:
        """Say how the application may list the pods of namespaces, or of all if there is none."""
        where = ", ".join(namespaces) or "all namespaces"
        manifest = f"apply what juju run {unit_name()} {self.manifest} prints"
        bind = manifest if self.manifest else "bind a role"
        return f"may not list pods of {where}: {self.trust()}, or {bind}"

    def trust(self) -> str:
        """Return the command by which the application may do all."""
        return f"juju trust {app_name()} --scope=cluster"

    def see_log(self) -> str:
        """Return the command that shows the proxy's log."""
        # Not juju ssh, which wants a shell in the container.
        pod = unit_name().replace("/", "-")
        return f"see kubectl logs -n {own_namespace()} {pod} -c {self.container}"

    def _set(self, parameter: str, value: str) -> str:
        """Return the command that sets a parameter, or who has to."""
        if parameter not in self.options:
            return f"this charm must give metrics-proxy another {parameter}"
        return f"juju config {app_name()} {self.options[parameter]}={value}"


def _last_error(failure: str) -> str:
    """Return what the program wrote last, of the text of a failed change.

    Pebble shows the last lines of all runs. If the program wrote none, as when there is
    no such program, return Pebble's own last line.
    """
    lines = [line.strip() for line in failure.splitlines()]
    lines = [line for line in lines if line.strip("-") and not line.startswith("-----")]
    written = [line for line in lines if line.startswith(f"{SERVICE}: ")]
    return (written or lines or ["no reason is known"])[-1].removeprefix(f"{SERVICE}: ")
