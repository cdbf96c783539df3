"""Queries the running proxy, which shares the network namespace of the charm container."""

import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

# Ignores HTTP proxies in the environment.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_READY = re.compile(r"metrics-proxy is ready: (\d+) targets(?:, (\d+) of (\d+) up)?.*")
_FORBIDDEN = re.compile(r"pods of (?:all namespaces|namespace (\S+)) .* is forbidden:")
_UP = re.compile(r"up\{(.*)\} ([01])\n?")


class ProbeError(Exception):
    """The proxy did not respond, or responded with an error."""


@dataclass(frozen=True)
class Readiness:
    """The response of /-/ready."""

    is_ready: bool
    text: str

    @property
    def targets(self) -> str:
        """How many targets are discovered and up, in words; empty if the proxy is not ready."""
        if not (match := _READY.match(self.text)):
            return ""
        known, up, scraped = match.groups()
        return f"{up} of {scraped} targets up" if up else f"{known} targets, not scraped yet"

    @property
    def forbidden(self) -> list[str] | None:
        """The namespaces in which listing pods is forbidden (empty means all), or None."""
        found = [match[1] for match in _FORBIDDEN.finditer(self.text)]
        return list(filter(None, found)) if found else None

    @property
    def reason(self) -> str:
        """Why the proxy is not ready, or its pods are outdated; empty if there is no problem."""
        text = _READY.sub("", self.text) if self.is_ready else self.text
        return " ".join(text.split()).removeprefix("metrics-proxy is not ready: ")


@dataclass(frozen=True)
class Target:
    """A pod, or one of its ports, in a response."""

    labels: str
    """As in the response: k8s_pod_name="web-0",k8s_namespace="default"."""
    is_up: bool


def ask_ready(port: int) -> Readiness:
    """Query whether the pods are discovered. ProbeError if there is no response."""
    with _get(port, "/-/ready", timeout=3) as response:
        return Readiness(response.status == http.client.OK, "".join(_lines(response)))


def scrape(port: int, timeout: float) -> Iterator[str]:
    """Scrape all pods; yield the lines of the response, with their line ends.

    ProbeError if there is no response, if it is not 200 or ends early, or if nothing is
    received for timeout seconds.
    """
    with _get(port, "/metrics", timeout) as response:
        if response.status != http.client.OK:
            raise ProbeError("".join(_lines(response)).strip())
        yield from _lines(response)


def find_targets(lines: Iterator[str]) -> list[Target]:
    """Return the targets that have an up sample in the lines of a response."""
    found = (_UP.fullmatch(line) for line in lines)
    return [Target(match[1], match[2] == "1") for match in found if match]


def _lines(response: http.client.HTTPResponse) -> Iterator[str]:
    return (line.decode(errors="replace") for line in response)


@contextlib.contextmanager
def _get(port: int, path: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
    url = f"http://127.0.0.1:{port}{path}"
    try:
        try:
            response = _OPENER.open(url, timeout=timeout)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            yield response
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"cannot query metrics-proxy at {url}: {error}") from error
