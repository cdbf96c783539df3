"""MetricsProxy: the sidecar as a charm sees it."""

import logging
import time
from collections.abc import Mapping
from typing import Any

import ops

from metrics_proxy_sidecar import probe
from metrics_proxy_sidecar.environment import (
    VARIABLES,
    app_name,
    make_environment,
    own_namespace,
    unit_name,
)
from metrics_proxy_sidecar.layer import SERVICE, make_jobs, make_layer
from metrics_proxy_sidecar.rbac import rbac_manifest
from metrics_proxy_sidecar.settings import Mistake, find_mistakes, parse_duration

logger = logging.getLogger(__name__)


# How long a hook waits for the first list of pods, so that the status says what came of it.
_FIRST_LIST_SECONDS = 5.0
_NO_ANSWER_YET = "no answer from the API server yet"


class MetricsProxy:
    """A container that runs metrics-proxy.

    Make one in the charm's __init__ of every unit, call reconcile() on every event, and
    put problem() into a BlockedStatus. All of it runs in hooks of Juju only, whose
    environment tells the model and the unit.

    Args:
        container: the workload container with the rock of metrics-proxy.
        selector: which pods are asked, if they carry prometheus.io/scrape: "true".
        scrape_timeout: how long pods may take, as 9s, or seconds.
        port: where Prometheus scrapes the pods' metrics. Containers of a pod share ports.
        namespaces: names with commas between; empty is the model's own, * is all.
        target_labels: labels of each sample, NAME=SOURCE with commas between.
        log_level: debug, info, warn or error.
        memory_limit: auto, none, or a size.
        shard_index: which part of the pods this unit asks; the unit's number if None.
        shard_count: into how many parts the pods are divided: self.app.planned_units(),
            or each unit asks all pods and Prometheus has each series once a unit.
        own_port: port of the proxy's own metrics, 0 for none.
        options: how the charm's configuration calls parameters; the remedies of
            problem() then say juju config.
    """

    def __init__(
        self,
        container: ops.Container,
        *,
        selector: str,
        scrape_timeout: str = "9s",
        port: int = 15090,
        namespaces: str = "",
        target_labels: str = "",
        log_level: str = "info",
        memory_limit: str = "auto",
        shard_index: int | None = None,
        shard_count: int = 1,
        own_port: int = 5055,
        options: Mapping[str, str] | None = None,
    ):
        self._container = container
        self._port = port
        self._own_port = own_port
        self._options = dict(options or {})
        self._failure = ""
        self._environment = make_environment(
            selector=selector,
            scrape_timeout=scrape_timeout,
            port=port,
            namespaces=namespaces,
            target_labels=target_labels,
            log_level=log_level,
            memory_limit=memory_limit,
            shard_index=shard_index,
            shard_count=shard_count,
            own_port=own_port,
        )
        self._namespaces = [name for name in self._environment["NAMESPACES"].split(",") if name]
        # The model's own namespace is nobody's mistake.
        given = set(self._environment) - (set() if namespaces.strip() else {"NAMESPACES"})
        self._mistakes = [m for m in find_mistakes(self._environment) if m.variable in given]

    @property
    def layer(self) -> ops.pebble.Layer:
        """The layer that reconcile() adds. ValueError if a parameter is wrong."""
        self._require_valid()
        return make_layer(self._environment)

    @property
    def scrape_jobs(self) -> list[dict[str, Any]]:
        """The jobs for MetricsEndpointProvider, which takes none to be *:80: so never none.

        In the place of a wrong port or timeout is its default, until problem() is heeded.
        """
        wrong = {mistake.variable for mistake in self._mistakes}
        defaults = {"PORT": "15090", "METRICS_HTTP_PORT": "5055", "SCRAPE_TIMEOUT": "9s"}
        replaced = {k: v for k, v in defaults.items() if k in wrong}
        return make_jobs({**defaults, **self._environment, **replaced})

    @property
    def ports(self) -> list[int]:
        """The ports that Prometheus asks; none while a parameter is wrong."""
        return [] if self._mistakes else [p for p in (self._port, self._own_port) if p]

    def reconcile(self) -> None:
        """Make the container run what the parameters say, if Pebble answers.

        While a parameter is wrong what runs already goes on. The same parameters
        restart nothing.
        """
        self._failure = ""
        if self._mistakes:
            return
        try:
            self._container.add_layer(SERVICE, self.layer, combine=True)
            self._container.replan()
        except ops.pebble.ConnectionError:
            logger.info("Pebble in %s does not answer yet", self._container.name)
        except ops.pebble.TimeoutError:
            logger.info("Pebble in %s still restarts metrics-proxy", self._container.name)
        except ops.pebble.ChangeError as error:
            self._failure = str(error)
            logger.error("cannot start metrics-proxy: %s", self._failure)  # noqa: TRY400

    def problem(self) -> str | None:
        """Say what somebody must do for the proxy to work, or None.

        None as well while Pebble does not answer and while the proxy starts: both pass.
        """
        if self._mistakes:
            return self._remedy_mistake(self._mistakes[0])
        if self._failure:
            return self._remedy_failure(self._failure)
        try:
            return self._find_running_problem()
        except ops.pebble.ConnectionError:
            return None

    def pod_count(self) -> tuple[int, int] | None:
        """Ask all pods; return how many are up, and of how many. None if nobody answers."""
        try:
            targets = self.scrape().targets
        except probe.ProbeError:
            return None
        return sum(target.is_up for target in targets), len(targets)

    def scrape(self) -> probe.Scrape:
        """Ask all pods once. ProbeError if there is no answer."""
        seconds = parse_duration(self._environment["SCRAPE_TIMEOUT"]) or 0
        return probe.scrape(self._port, seconds + 5)

    def version(self) -> str | None:
        """Return the program's version, or None if it cannot be asked."""
        try:
            out, _ = self._container.exec(["metrics-proxy", "version"], timeout=5).wait_output()
        except (ops.pebble.Error, TimeoutError) as error:
            logger.warning("cannot ask metrics-proxy for its version: %s", error)
            return None
        return out.split()[-1] if out.split() else None

    def rbac_manifest(self) -> str:
        """Return the manifest that replaces juju trust."""
        return rbac_manifest(app_name(), own_namespace(), self._namespaces)

    @staticmethod
    def pod_labels(selector: str) -> dict[str, str]:
        """Return labels that match a selector of the form key=value,key2=value2.

        For pods that the charm makes itself. ValueError if the selector has another form.
        """
        labels = {}
        for requirement in selector.split(","):
            key, equals, value = requirement.strip().partition("=")
            value = value.removeprefix("=")
            if (
                not equals
                or key.endswith("!")
                or find_mistakes({"POD_LABEL_SELECTOR": requirement})
            ):
                raise ValueError(f"{requirement!r} does not say what a label is: want key=value")
            labels[key.strip()] = value.strip()
        return labels

    @staticmethod
    def pod_annotations(
        port: int, *, path: str = "/metrics", scheme: str = "http"
    ) -> dict[str, str]:
        """Return the annotations of a pod that shall be asked at port."""
        return {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(port),
            "prometheus.io/path": path,
            "prometheus.io/scheme": scheme,
        }

    def _find_running_problem(self) -> str | None:
        """Ask Pebble and the proxy. ConnectionError of Pebble if it does not answer."""
        services = self._container.get_services(SERVICE)
        if SERVICE not in services:
            return None
        if not services[SERVICE].is_running():
            return f"metrics-proxy does not run: see {self._log_command()}"
        try:
            readiness = self._wait_for_first_list()
        except probe.ProbeError as error:
            checks = self._container.get_checks(SERVICE).values()
            is_down = any(check.status == ops.pebble.CheckStatus.DOWN for check in checks)
            return f"{error}: see {self._log_command()}" if is_down else None
        return None if readiness.is_ready else self._remedy_not_ready(readiness.text)

    def _wait_for_first_list(self) -> probe.Readiness:
        deadline = time.monotonic() + _FIRST_LIST_SECONDS
        while True:
            readiness = probe.ask_ready(self._port)
            if _NO_ANSWER_YET not in readiness.text or time.monotonic() > deadline:
                return readiness
            time.sleep(0.1)

    def _require_valid(self) -> None:
        if self._mistakes:
            raise ValueError("; ".join(str(mistake) for mistake in self._mistakes))

    def _remedy_mistake(self, mistake: Mistake) -> str:
        parameter = next(p for p, variable in VARIABLES.items() if variable == mistake.variable)
        name = self._options.get(parameter, parameter)
        if parameter == "own_port" and self._own_port == self._port:
            own = f"port is {self._port}, where the proxy's own metrics are"
            return f"{own}: {self._config('port', 'ANOTHER_PORT')}"
        if parameter == "selector" and not mistake.value:
            return f"{name} is not set: {self._config('selector', 'app=web')}"
        command = f"juju config {app_name()} {name}" if parameter in self._options else ""
        hint = f" ({command}=…)" if command else ""
        return f'{name} is "{mistake.value}": {mistake.reason}{hint}'

    def _remedy_failure(self, failure: str) -> str:
        error = _last_error(failure)
        if "cannot listen there" in error:
            parameter = "own_port" if error.startswith("METRICS_HTTP_PORT") else "port"
            port = self._own_port if parameter == "own_port" else self._port
            return f"port {port} is in use in this pod: {self._config(parameter, 'FREE_PORT')}"
        return f"metrics-proxy does not start: {error}"

    def _remedy_not_ready(self, text: str) -> str | None:
        reason = " ".join(text.split()).removeprefix("metrics-proxy is not ready: ")
        if "forbidden" in reason:
            where = f"pods of {', '.join(self._namespaces) or 'all namespaces'}"
            return f"may not list {where}: juju trust {app_name()} --scope=cluster, or bind a role"
        if _NO_ANSWER_YET in reason:
            return None
        return f"not ready: {reason}"

    def _config(self, parameter: str, value: str) -> str:
        """Return the command that sets a parameter, or who has to."""
        if parameter not in self._options:
            return f"this charm must give metrics-proxy another {parameter}"
        return f"juju config {app_name()} {self._options[parameter]}={value}"

    def _log_command(self) -> str:
        return f"juju ssh --container {self._container.name} {unit_name()} pebble logs"


def _last_error(failure: str) -> str:
    """Return what the program wrote last, of the text of a failed change.

    Pebble shows the last lines of all runs. If the program wrote none, as when there is
    no such program, return Pebble's own last line.
    """
    lines = [line.strip() for line in failure.splitlines()]
    lines = [line for line in lines if line.strip("-") and not line.startswith("-----")]
    written = [line for line in lines if line.startswith(f"{SERVICE}: ")]
    return (written or lines or ["no reason is known"])[-1].removeprefix(f"{SERVICE}: ")
