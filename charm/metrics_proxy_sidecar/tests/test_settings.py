"""The validation rules, tested with the same table of cases as the program."""

import json
import pathlib
from typing import Any

import pytest
from metrics_proxy_sidecar.settings import parse_duration, rules

from metrics_proxy_sidecar import find_mistakes

TABLE = json.loads((pathlib.Path(__file__).parent / "validation.json").read_text())


@pytest.mark.parametrize("case", TABLE["cases"], ids=lambda case: str(case["set"]))
def test_table(case: dict[str, Any]):
    mistakes = find_mistakes({"POD_LABEL_SELECTOR": "app=web", **case["set"]})
    assert [mistake.variable for mistake in mistakes] == case["refused"]


def test_rules_are_those_of_the_program():
    assert rules() == TABLE["rules"]


def test_message():
    [mistake] = find_mistakes({"POD_LABEL_SELECTOR": "a=b=c"})
    assert str(mistake) == (
        'POD_LABEL_SELECTOR is "a=b=c": expected a Kubernetes label selector such as '
        "app=web,tier in (a,b): found '=', expected: ',' or the end"
    )
    [mistake] = find_mistakes({})
    assert str(mistake).startswith("POD_LABEL_SELECTOR is not set: expected a Kubernetes")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("9s", 9), ("9", 9), ("1m30s", 90), ("1.5", 1.5), ("250ms", 0.25), ("-1h", -3600), ("0", 0)],
)
def test_duration(text: str, seconds: float):
    assert parse_duration(text) == seconds
