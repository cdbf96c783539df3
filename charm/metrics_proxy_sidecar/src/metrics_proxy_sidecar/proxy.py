"""MetricsProxy: the sidecar as a charm sees it."""

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import ops

from metrics_proxy_sidecar import probe
from metrics_proxy_sidecar.environment import app_name, make_environment, own_namespace
from metrics_proxy_sidecar.layer import SERVICE, make_jobs, make_layer
from metrics_proxy_sidecar.rbac import rbac_manifest
from metrics_proxy_sidecar.remedy import Remedies
from metrics_proxy_sidecar.settings import effective, find_mistakes, parse_duration

logger = logging.getLogger(__name__)

# How long a hook waits for the first list of pods, so that the status says what came of it.
_FIRST_LIST_SECONDS = 5.0
_NO_ANSWER_YET = "no answer from the API server yet"


@dataclass(frozen=True)
class _Condition:
    """How the proxy is: one of the three is set."""

    problem: str | None = None
    waiting: str | None = None
    summary: str = ""


class MetricsProxy:
    """A container that runs metrics-proxy.

    Make one in the charm's __init__ of every unit, call reconcile() on every event, and
    put problem() into a BlockedStatus and waiting() into a WaitingStatus. All of it runs in
    hooks of Juju only, whose environment tells the model and the unit.

    Args:
        container: the workload container with the rock of metrics-proxy.
        selector: which pods are asked, if they carry prometheus.io/scrape: "true".
        scrape_timeout: how long pods may take, as 9s, or seconds.
        port: where Prometheus scrapes the pods' metrics. Containers of a pod share ports.
        namespaces: names with commas between; empty is the model's own, * is all.
        target_labels: labels of each sample, NAME=SOURCE with commas between.
        log_level: debug, info, warn or error.
        memory_limit: auto, none, or a size.
        shard_count: into how many parts the pods are divided: self.app.planned_units(). If
            None each unit asks all pods, and Prometheus has each series once a unit.
        shard_index: which part of the pods this unit asks; the unit's number if None.
        own_port: port of the proxy's own metrics, 0 for none.
        options: how the charm's configuration calls parameters; the remedies of
            problem() then say juju config.
        rbac_action: the charm's action that shows rbac_manifest(); the remedies of
            problem() then say juju run.
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
        shard_count: int | None = None,
        shard_index: int | None = None,
        own_port: int = 5055,
        options: Mapping[str, str] | None = None,
        rbac_action: str = "",
    ):
        self._container = container
        self._port = port
        self._own_port = own_port
        self._failure = ""
        self._condition: _Condition | None = None
        self._environment = make_environment(
            selector=selector,
            scrape_timeout=scrape_timeout,
            port=port,
            namespaces=namespaces,
            target_labels=target_labels,
            log_level=log_level,
            memory_limit=memory_limit,
            shard_count=shard_count,
            shard_index=shard_index,
            own_port=own_port,
        )
        self._remedies = Remedies(self._environment, options or {}, container.name, rbac_action)
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

        While a parameter is wrong they are for what runs since before. If nothing does,
        wrong parameters have their defaults.
        """
        return make_jobs(self._running_environment())

    @property
    def ports(self) -> list[int]:
        """The ports that Prometheus asks; none while a parameter is wrong."""
        return [] if self._mistakes else [p for p in (self._port, self._own_port) if p]

    def reconcile(self) -> None:
        """Make the container run what the parameters say, if Pebble answers.

        While a parameter is wrong what runs already goes on. The same parameters
        restart nothing.
        """
        self._failure, self._condition = "", None
        if self._mistakes:
            return
        try:
            self._container.add_layer(SERVICE, self.layer, combine=True)
            self._container.replan()
        except ops.pebble.ConnectionError:
            logger.info("Pebble in %s does not answer yet", self._container.name)
        except ops.pebble.TimeoutError:
            logger.info("Pebble in %s still restarts metrics-proxy", self._container.name)
        except (ops.pebble.ChangeError, ops.pebble.APIError) as error:
            self._failure = str(error)
            logger.error("cannot start metrics-proxy: %s", self._failure)  # noqa: TRY400

    def problem(self) -> str | None:
        """Say what somebody must do for the proxy to work, or None."""
        return self._look().problem

    def waiting(self) -> str | None:
        """Say what the proxy waits for that comes by itself, or None."""
        return self._look().waiting

    def summary(self) -> str:
        """Say how many targets the last scrape found up, and what is not as it could be.

        Empty if there is a problem, or something is waited for.
        """
        return self._look().summary

    def targets(self) -> list[probe.Target]:
        """Ask all pods once; return which of them answered. ProbeError if none is asked."""
        return probe.find_targets(self.scrape())

    def scrape(self) -> Iterator[str]:
        """Ask all pods once; yield the answer's lines. ProbeError if there is none."""
        running = self._running_environment()
        seconds = parse_duration(running["SCRAPE_TIMEOUT"]) or 0
        return probe.scrape(int(running["PORT"]), seconds + 5)

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
        namespaces = filter(None, self._environment["NAMESPACES"].split(","))
        return rbac_manifest(app_name(), own_namespace(), list(namespaces))

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

    def _look(self) -> _Condition:
        """Find out how the proxy is, once between two reconciles."""
        if self._condition is None:
            try:
                self._condition = self._condition_of_parameters() or self._condition_of_service()
            except ops.pebble.ConnectionError:
                self._condition = _Condition(waiting="waiting for Pebble")
        return self._condition

    def _condition_of_parameters(self) -> _Condition | None:
        if self._mistakes:
            return _Condition(problem=self._remedies.mistake(self._mistakes[0]))
        if self._failure:
            return _Condition(problem=self._remedies.failure(self._failure))
        return None

    def _condition_of_service(self) -> _Condition:
        """Ask Pebble and the proxy. ConnectionError of Pebble if that does not answer."""
        service = self._container.get_services(SERVICE).get(SERVICE)
        if service is None or service.current == ops.pebble.ServiceStatus.INACTIVE:
            return _Condition(waiting="waiting for metrics-proxy to start")
        if not service.is_running():
            return _Condition(problem=f"metrics-proxy does not run: {self._remedies.see_log()}")
        try:
            return self._condition_of_pods(self._wait_for_first_list())
        except probe.ProbeError as error:
            checks = self._container.get_checks(SERVICE).values()
            if any(check.status == ops.pebble.CheckStatus.DOWN for check in checks):
                return _Condition(problem=f"{error}: {self._remedies.see_log()}")
            return _Condition(waiting="waiting for metrics-proxy to answer")

    def _condition_of_pods(self, readiness: probe.Readiness) -> _Condition:
        reason = readiness.reason
        if (forbidden := readiness.forbidden) is not None:
            return _Condition(problem=self._remedies.forbidden(forbidden))
        if not readiness.is_ready:
            return _Condition(waiting=f"waiting for the API server: {reason}")
        if "may not be watched" in reason:
            reason = f"pods are listed, not watched ({self._remedies.trust()})"
        return _Condition(summary="; ".join(filter(None, [readiness.targets, reason])))

    def _running_environment(self) -> dict[str, str]:
        """Return the variables of what runs, or shall run, with their defaults."""
        if self._mistakes:
            with contextlib.suppress(ops.pebble.ConnectionError):
                service = self._container.get_plan().services.get(SERVICE)
                if service and service.environment:
                    return effective(service.environment)
        return effective(self._environment)

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
