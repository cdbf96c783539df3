"""Asks the running proxy, which shares the network of the charm's container."""

import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

# Never by way of a proxy that the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_UP = re.compile(r"up\{(.*)\} ([01])")


class ProbeError(Exception):
    """The proxy did not answer."""


@dataclass(frozen=True)
class Readiness:
    """What /-/ready says."""

    is_ready: bool
    text: str


@dataclass(frozen=True)
class Target:
    """A pod, or one of its ports, in the last answer."""

    labels: str
    """As they stand in the answer: k8s_pod_name="web-0",k8s_namespace="default"."""
    is_up: bool


@dataclass(frozen=True)
class Scrape:
    """An answer with the metrics of all pods."""

    text: str

    @property
    def targets(self) -> list[Target]:
        """The targets of which the answer says whether they are up."""
        found = (_UP.fullmatch(line) for line in self.text.split("\n"))
        return [Target(match[1], match[2] == "1") for match in found if match]


def ask_ready(port: int) -> Readiness:
    """Ask whether the pods are known. ProbeError if nobody answers."""
    status, text = _get(port, "/-/ready", timeout=3)
    return Readiness(status == http.client.OK, text)


def scrape(port: int, timeout: float) -> Scrape:
    """Scrape all pods. ProbeError if there is no whole answer within timeout seconds."""
    status, text = _get(port, "/metrics", timeout)
    if status != http.client.OK:
        raise ProbeError(text.strip())
    return Scrape(text)


def _get(port: int, path: str, timeout: float) -> tuple[int, str]:
    url = f"http://127.0.0.1:{port}{path}"
    try:
        with _OPENER.open(url, timeout=timeout) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"cannot ask metrics-proxy at {url}: {error}") from error
