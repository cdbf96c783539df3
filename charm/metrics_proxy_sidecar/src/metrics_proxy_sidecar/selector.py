"""Validates Kubernetes label selectors, by the grammar of apimachinery's labels.Parse."""

import re

from metrics_proxy_sidecar.names import is_label_key, is_label_value

_TOKEN = re.compile(r"[ \t\r\n]*(?:(==|!=|[=!(),<>])|([^ \t\r\n=!(),<>]+)|$)")
_SYMBOLS = {"==", "!=", "=", "!", "(", ")", ",", "<", ">"}
_EQUALITY = {"=", "==", "!="}
_ORDER = {"<", ">"}
_SETS = {"in", "notin"}


def check_selector(selector: str) -> str | None:
    """Return the syntax error in a selector, or None. An empty selector is valid here."""
    try:
        _Parser(selector).check()
    except ValueError as error:
        return str(error)
    return None


class _Parser:
    """Reads a selector token by token. The token '' marks the end."""

    def __init__(self, selector: str):
        self._tokens: list[str] = []
        position = 0
        while match := _TOKEN.match(selector, position):
            self._tokens.append(match[1] or match[2] or "")
            position = match.end()
            if not self._tokens[-1]:
                break
        self._next = 0

    def check(self) -> None:
        """Read comma-separated requirements up to the end."""
        if not self._peek():
            return
        while True:
            self._requirement()
            token = self._take()
            if not token:
                return
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or the end")
            if not self._peek():
                raise ValueError("found '', expected: identifier after ','")

    def _peek(self) -> str:
        return self._tokens[self._next]

    def _take(self) -> str:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _requirement(self) -> None:
        is_negated = self._peek() == "!"
        if is_negated:
            self._take()
        key = self._identifier()
        if not is_label_key(key):
            raise ValueError(f"'{key}' is not a label key")
        if is_negated or self._peek() in {"", ","}:
            return
        operator = self._take()
        if operator in _SETS:
            values = self._values()
        elif operator in _EQUALITY | _ORDER:
            values = [self._identifier() if self._peek() not in {"", ","} else ""]
        else:
            raise ValueError(f"found '{operator}', expected: in, notin, =, ==, !=, <, >")
        for value in values:
            if not is_label_value(value):
                raise ValueError(f"'{value}' is not a label value")
            if operator in _ORDER and not _is_int64(value):
                raise ValueError(f"'{value}' is not an integer, which {operator} requires")

    def _identifier(self) -> str:
        token = self._take()
        if not token or token in _SYMBOLS:
            raise ValueError(f"found '{token}', expected: identifier")
        return token

    def _values(self) -> list[str]:
        """Read (a,b). Values may be empty: (,) is two empty values."""
        if (token := self._take()) != "(":
            raise ValueError(f"found '{token}', expected: '('")
        values: list[str] = []
        while True:
            if self._peek() in {",", ")"}:
                values.append("")
            else:
                values.append(self._identifier())
            token = self._take()
            if token == ")":
                return values
            if token != ",":
                raise ValueError(f"found '{token}', expected: ',' or ')'")


def _is_int64(value: str) -> bool:
    return re.fullmatch("[0-9]+", value) is not None and int(value) < 1 << 63
