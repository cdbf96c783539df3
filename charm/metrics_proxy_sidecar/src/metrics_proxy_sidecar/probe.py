"""Asks the running proxy, which shares the network of the charm's container."""

import contextlib
import http.client
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

# Never by way of a proxy that the environment names.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_READY = re.compile(r"metrics-proxy is ready: (\d+) targets(?:, (\d+) of (\d+) up)?.*")
_FORBIDDEN = re.compile(r"pods of (?:all namespaces|namespace (\S+)) .* is forbidden:")
_UP = re.compile(r"up\{(.*)\} ([01])\n?")


class ProbeError(Exception):
    """The proxy did not answer."""


@dataclass(frozen=True)
class Readiness:
    """What /-/ready says."""

    is_ready: bool
    text: str

    @property
    def targets(self) -> str:
        """How many targets are known, and up, in words; empty if the proxy is not ready."""
        if not (match := _READY.match(self.text)):
            return ""
        known, up, asked = match.groups()
        return f"{up} of {asked} targets up" if up else f"{known} targets, not scraped yet"

    @property
    def forbidden(self) -> list[str] | None:
        """The namespaces whose pods may not be listed, empty if it is all; else None."""
        found = [match[1] for match in _FORBIDDEN.finditer(self.text)]
        return list(filter(None, found)) if found else None

    @property
    def reason(self) -> str:
        """Why it is not ready, or what is known is not up to date; empty if all is well."""
        text = _READY.sub("", self.text) if self.is_ready else self.text
        return " ".join(text.split()).removeprefix("metrics-proxy is not ready: ")


@dataclass(frozen=True)
class Target:
    """A pod, or one of its ports, in an answer."""

    labels: str
    """As they stand in the answer: k8s_pod_name="web-0",k8s_namespace="default"."""
    is_up: bool


def ask_ready(port: int) -> Readiness:
    """Ask whether the pods are known. ProbeError if nobody answers."""
    with _get(port, "/-/ready", timeout=3) as answer:
        return Readiness(answer.status == http.client.OK, "".join(_lines(answer)))


def scrape(port: int, timeout: float) -> Iterator[str]:
    """Scrape all pods; yield the answer's lines, each with its end.

    ProbeError if there is no answer, or it breaks off, or pauses for timeout seconds.
    """
    with _get(port, "/metrics", timeout) as answer:
        if answer.status != http.client.OK:
            raise ProbeError("".join(_lines(answer)).strip())
        yield from _lines(answer)


def find_targets(lines: Iterator[str]) -> list[Target]:
    """Return the targets of which the lines of an answer say whether they are up."""
    found = (_UP.fullmatch(line) for line in lines)
    return [Target(match[1], match[2] == "1") for match in found if match]


def _lines(answer: http.client.HTTPResponse) -> Iterator[str]:
    return (line.decode(errors="replace") for line in answer)


@contextlib.contextmanager
def _get(port: int, path: str, timeout: float) -> Iterator[http.client.HTTPResponse]:
    url = f"http://127.0.0.1:{port}{path}"
    try:
        try:
            answer = _OPENER.open(url, timeout=timeout)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            yield answer
    except (OSError, http.client.HTTPException) as error:
        raise ProbeError(f"cannot ask metrics-proxy at {url}: {error}") from error
