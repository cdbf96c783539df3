"""MetricsProxy: the interface of the sidecar for charms."""

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

# How long a hook waits for the first list of pods, so that the status shows its result.
_FIRST_LIST_SECONDS = 5.0
_NO_ANSWER_YET = "no answer from the API server yet"


@dataclass(frozen=True)
class _Condition:
    """The state of the proxy. At most one of the three is set."""

    problem: str | None = None
    waiting: str | None = None
    summary: str = ""


class MetricsProxy:
    """A container that runs metrics-proxy.

    Create one in the charm's __init__ on every unit, and call reconcile() on every event.
    Use problem() as the message of a BlockedStatus and waiting() as that of a
    WaitingStatus. All methods must run in a Juju hook, because they read the model and the
    unit from its environment.

    Args:
        container: the workload container with the rock of metrics-proxy.
        selector: label selector for the pods to scrape, which must also have the
            annotation prometheus.io/scrape: "true".
        scrape_timeout: how long pods may take to respond, such as 9s, or seconds.
        port: port on which Prometheus scrapes the pods' metrics. The containers of a pod
            share their ports.
        namespaces: comma-separated namespaces; empty means that of the model, * means all.
        target_labels: labels added to each sample, as comma-separated NAME=SOURCE pairs.
        log_level: debug, info, warn or error.
        memory_limit: auto, none, or a size.
        shard_count: number of shards of the pods: self.app.planned_units(). If None, each
            unit scrapes all pods, and Prometheus has each series once per unit.
        shard_index: the shard that this unit scrapes; the unit's number if None.
        own_port: port of the proxy's own metrics, 0 for none.
        options: the charm's configuration option for each parameter, by parameter; the
            remedies in problem() then name juju config commands.
        rbac_action: the charm's action that shows rbac_manifest(); the remedies in
            problem() then name juju run.
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
        # The namespace of the model is not a parameter, so it is never reported as invalid.
        given = set(self._environment) - (set() if namespaces.strip() else {"NAMESPACES"})
        self._mistakes = [m for m in find_mistakes(self._environment) if m.variable in given]

    @property
    def layer(self) -> ops.pebble.Layer:
        """The layer that reconcile() adds. ValueError if a parameter is invalid."""
        self._require_valid()
        return make_layer(self._environment)

    @property
    def scrape_jobs(self) -> list[dict[str, Any]]:
        """The jobs for MetricsEndpointProvider.

        Never empty, because the library replaces an empty list with a job for *:80. While a
        parameter is invalid, the jobs are for the configuration that is still running. If
        nothing is running, invalid parameters have their defaults.
        """
        return make_jobs(self._running_environment())

    @property
    def ports(self) -> list[int]:
        """The ports that Prometheus scrapes; empty while a parameter is invalid."""
        return [] if self._mistakes else [p for p in (self._port, self._own_port) if p]

    def reconcile(self) -> None:
        """Apply the parameters to the container, if Pebble is reachable.

        While a parameter is invalid, the service continues with its previous configuration.
        Unchanged parameters do not restart it.
        """
        self._failure, self._condition = "", None
        if self._mistakes:
            return
        try:
            self._container.add_layer(SERVICE, self.layer, combine=True)
            self._container.replan()
        except ops.pebble.ConnectionError:
            logger.info("Pebble in container %s is not reachable yet", self._container.name)
        except ops.pebble.TimeoutError:
            logger.info(
                "Pebble in container %s is still restarting metrics-proxy", self._container.name
            )
        except (ops.pebble.ChangeError, ops.pebble.APIError) as error:
            self._failure = str(error)
            logger.error("cannot start metrics-proxy: %s", self._failure)  # noqa: TRY400

    def problem(self) -> str | None:
        """Describe the action that the operator must take for the proxy to work, or None."""
        return self._inspect().problem

    def waiting(self) -> str | None:
        """Describe what the proxy waits for that needs no action by the operator, or None."""
        return self._inspect().waiting

    def summary(self) -> str:
        """Describe how many targets were up at the last scrape, and any limitation.

        Empty if problem() or waiting() is set.
        """
        return self._inspect().summary

    def targets(self) -> list[probe.Target]:
        """Scrape all pods once; return the targets and whether each is up.

        ProbeError if the scrape fails.
        """
        return probe.find_targets(self.scrape())

    def scrape(self) -> Iterator[str]:
        """Scrape all pods once; yield the lines of the response. ProbeError if it fails."""
        running = self._running_environment()
        seconds = parse_duration(running["SCRAPE_TIMEOUT"]) or 0
        return probe.scrape(int(running["PORT"]), seconds + 5)

    def version(self) -> str | None:
        """Return the program's version, or None if it cannot be determined."""
        try:
            out, _ = self._container.exec(["metrics-proxy", "version"], timeout=5).wait_output()
        except (ops.pebble.Error, TimeoutError) as error:
            logger.warning("cannot get the version of metrics-proxy: %s", error)
            return None
        return out.split()[-1] if out.split() else None

    def rbac_manifest(self) -> str:
        """Return the manifest that replaces juju trust."""
        namespaces = filter(None, self._environment["NAMESPACES"].split(","))
        return rbac_manifest(app_name(), own_namespace(), list(namespaces))

    @staticmethod
    def pod_labels(selector: str) -> dict[str, str]:
        """Return labels that match a selector of the form key=value,key2=value2.

        They are for pods that the charm creates. ValueError if the selector has another form.
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
                raise ValueError(f"{requirement!r} does not determine a label: expected key=value")
            labels[key.strip()] = value.strip()
        return labels

    @staticmethod
    def pod_annotations(
        port: int, *, path: str = "/metrics", scheme: str = "http"
    ) -> dict[str, str]:
        """Return the annotations for a pod to be scraped at port."""
        return {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": str(port),
            "prometheus.io/path": path,
            "prometheus.io/scheme": scheme,
        }

    def _inspect(self) -> _Condition:
        """Return the state of the proxy, which is cached until the next reconcile()."""
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
        """Query Pebble and the proxy. Pebble's ConnectionError if Pebble is not reachable."""
        service = self._container.get_services(SERVICE).get(SERVICE)
        if service is None or service.current == ops.pebble.ServiceStatus.INACTIVE:
            return _Condition(waiting="waiting for metrics-proxy to start")
        if not service.is_running():
            return _Condition(problem=f"metrics-proxy is not running: {self._remedies.see_log()}")
        try:
            return self._condition_of_pods(self._wait_for_first_list())
        except probe.ProbeError as error:
            checks = self._container.get_checks(SERVICE).values()
            if any(check.status == ops.pebble.CheckStatus.DOWN for check in checks):
                return _Condition(problem=f"{error}: {self._remedies.see_log()}")
            return _Condition(waiting="waiting for metrics-proxy to respond")

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
        """Return the variables of the running service, or the configured ones, with defaults."""
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
