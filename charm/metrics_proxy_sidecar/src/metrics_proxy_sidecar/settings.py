"""The validation rules for metrics-proxy's environment variables, as in the program.

The program and this module are both tested with the cases in tests/validation.json.
This module only covers the variables that a charm sets.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from metrics_proxy_sidecar.names import is_label_key, is_namespace
from metrics_proxy_sidecar.selector import check_selector


@dataclass(frozen=True)
class Mistake:
    """A variable with an invalid value."""

    variable: str
    value: str
    """The value, or empty if the variable is not set."""
    want: str
    """The rule that the value must satisfy."""
    detail: str = ""
    """The specific error, if known."""

    def __str__(self) -> str:
        """Return the message as the program words it."""
        state = f'is "{self.value}"' if self.value else "is not set"
        return f"{self.variable} {state}: {self.reason}"

    @property
    def reason(self) -> str:
        """The rule and the detail."""
        return f"expected {self.want}" + (f": {self.detail}" if self.detail else "")


class _BreaksRuleError(Exception):
    """A value breaks its rule; the message is the detail, or empty."""


def find_mistakes(environment: Mapping[str, str]) -> list[Mistake]:
    """Check the variables. An empty or absent variable has its default, if there is one."""
    mistakes = []
    for variable, (rule, default, check) in sorted(_RULES.items()):
        value = environment.get(variable) or default
        try:
            check(value, environment)
        except _BreaksRuleError as error:
            mistakes.append(Mistake(variable, value, rule, str(error)))
    return mistakes


def effective(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables, with the default for each that is empty, absent or invalid."""
    wrong = {mistake.variable for mistake in find_mistakes(environment)}
    return {
        variable: default if variable in wrong else environment.get(variable) or default
        for variable, (_, default, _) in _RULES.items()
    }


def parse_duration(text: str) -> float | None:
    """Return the number of seconds in 9s, 1m30s or 9, or None if text is not a duration."""
    if _NUMBER.fullmatch(text):
        text += "s"
    sign, rest = (text[0], text[1:]) if text[:1] in {"+", "-"} else ("", text)
    if rest == "0":
        return 0.0
    parts = _DURATION_PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    nanoseconds = sum(int(float(number) * _NANOSECONDS[unit]) for number, unit in parts)
    if nanoseconds >= 1 << 63:
        return None
    return nanoseconds / 1e9 * (-1 if sign == "-" else 1)


_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)")
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)")
_NANOSECONDS = {
    "ns": 1, "us": 10**3, "\u00b5s": 10**3, "\u03bcs": 10**3, "ms": 10**6,
    "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def _check_duration(value: str, _: Mapping[str, str]) -> None:
    seconds = parse_duration(value)
    if seconds is None or seconds <= 0:
        raise _BreaksRuleError


_WHOLE = re.compile("[+-]?[0-9]+")


def _whole(value: str, minimum: int, maximum: int) -> int:
    if not _WHOLE.fullmatch(value) or not minimum <= int(value) <= maximum:
        raise _BreaksRuleError
    return int(value)


def _check_port(value: str, _: Mapping[str, str]) -> None:
    _whole(value, 1, 65535)


def _check_own_port(value: str, environment: Mapping[str, str]) -> None:
    own = _whole(value, 0, 65535)
    port = environment.get("PORT") or "15090"
    if own and _WHOLE.fullmatch(port) and int(port) == own:
        raise _BreaksRuleError(f"PORT is {own} too")


def _check_shard_count(value: str, _: Mapping[str, str]) -> None:
    _whole(value, 1, 1000)


def _check_shard_index(value: str, environment: Mapping[str, str]) -> None:
    if value == "auto":
        return
    if not re.fullmatch("[0-9]+", value) or int(value) >= 1 << 31:
        raise _BreaksRuleError
    count = environment.get("SHARD_COUNT") or "1"
    if not _WHOLE.fullmatch(count) or not 1 <= int(count) <= 1000:
        return  # SHARD_COUNT is reported instead
    if int(value) >= int(count):
        raise _BreaksRuleError(f"SHARD_COUNT is {count}")


def _check_pod_label_selector(value: str, _: Mapping[str, str]) -> None:
    if detail := check_selector(value):
        raise _BreaksRuleError(detail)
    if not value.strip(" \t\r\n"):
        raise _BreaksRuleError


def _check_namespaces(value: str, _: Mapping[str, str]) -> None:
    for name in value.split(",") if value else []:
        if not is_namespace(name.strip()):
            raise _BreaksRuleError(
                f'"{name.strip()}": a namespace consists of lower case letters, digits and -, '
                "and begins and ends with a letter or digit"
            )


_SOURCES = ("pod", "namespace", "ip", "node", "uid", "port", "container")
_LABEL_NAME = re.compile("[a-zA-Z_][a-zA-Z0-9_]*")


def _check_target_labels(value: str, _: Mapping[str, str]) -> None:
    seen: set[str] = set()
    for pair in value.split(","):
        name, _equals, source = pair.strip().partition("=")
        name = name.strip()
        _check_target_label(name, source.strip())
        if name in seen:
            raise _BreaksRuleError(f"the label {name} occurs twice")
        seen.add(name)


def _check_target_label(name: str, source: str) -> None:
    if not _LABEL_NAME.fullmatch(name) or name.startswith("__"):
        raise _BreaksRuleError(f'Prometheus rejects the label name "{name}"')
    if name in {"le", "quantile"}:
        raise _BreaksRuleError(f"the label {name} is reserved for histograms and summaries")
    kind, _colon, key = source.partition(":")
    if kind in _SOURCES and not key:
        return
    if kind not in {"label", "annotation"}:
        raise _BreaksRuleError(
            f'"{source}" is not a source: '
            f"expected {', '.join(_SOURCES)}, label:KEY or annotation:KEY"
        )
    if not is_label_key(key.lower()):
        raise _BreaksRuleError(f'"{key}" is not a valid {kind} key')


_BYTES = {
    "": 1, "b": 1, "k": 10**3, "kb": 10**3, "m": 10**6, "mb": 10**6, "g": 10**9, "gb": 10**9,
    "ki": 1 << 10, "kib": 1 << 10, "mi": 1 << 20, "mib": 1 << 20, "gi": 1 << 30, "gib": 1 << 30,
}  # fmt: skip
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def _check_memory_limit(value: str, _: Mapping[str, str]) -> None:
    if value.lower() in {"auto", "none"}:
        return
    number = value.rstrip("BKMGiTkmgb ")
    factor = _BYTES.get(value[len(number) :].strip(" ").lower())
    if factor is None or not _DECIMAL.fullmatch(number):
        raise _BreaksRuleError
    if not 32 << 20 <= float(number) * factor < 1 << 62:
        raise _BreaksRuleError


def _check_log_level(value: str, _: Mapping[str, str]) -> None:
    if value.lower() not in {"debug", "info", "warn", "warning", "error"}:
        raise _BreaksRuleError


_Check = Callable[[str, Mapping[str, str]], None]
# For each variable: the rule in words, the default, and the check.
_RULES: dict[str, tuple[str, str, _Check]] = {
    "POD_LABEL_SELECTOR": (
        "a Kubernetes label selector such as app=web,tier in (a,b)",
        "",
        _check_pod_label_selector,
    ),
    "NAMESPACES": ("names of namespaces, separated by commas", "", _check_namespaces),
    "SHARD_COUNT": ("a whole number, 1 to 1000", "1", _check_shard_count),
    "SHARD_INDEX": (
        "a whole number from 0, less than SHARD_COUNT, or auto",
        "0",
        _check_shard_index,
    ),
    "TARGET_LABELS": (
        "NAME=SOURCE pairs, separated by commas",
        "k8s_pod_name=pod,k8s_namespace=namespace",
        _check_target_labels,
    ),
    "SCRAPE_TIMEOUT": ("a duration such as 9s, or seconds; above 0", "9s", _check_duration),
    "MEMORY_LIMIT": (
        "auto, none or a size such as 200MiB, at least 32MiB",
        "auto",
        _check_memory_limit,
    ),
    "PORT": ("a TCP port, 1 to 65535", "15090", _check_port),
    "METRICS_HTTP_PORT": (
        "a TCP port other than PORT, 1 to 65535, or 0 for none",
        "5055",
        _check_own_port,
    ),
    "LOG_LEVEL": ("debug, info, warn (or warning) or error", "info", _check_log_level),
}


def rules() -> dict[str, str]:
    """Return the rule for each variable in words."""
    return {variable: rule for variable, (rule, _, _) in _RULES.items()}
