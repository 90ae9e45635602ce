"""`user_risk`: one of whom no sensor has told is `unknown`."""

import pytest
from condition_samples import KNOWN_HIGH, KNOWN_LOW, UNSURE, check, context

from risk.model import RiskLevel

CASES = [
    ("user_risk", (RiskLevel.HIGH,), context(user_risk=KNOWN_HIGH), True),
    ("user_risk", (RiskLevel.HIGH,), context(user_risk=KNOWN_LOW), False),
    ("user_risk", (RiskLevel.NONE,), context(user_risk=UNSURE), None),
    ("user_risk", (RiskLevel.NONE, RiskLevel.LOW), context(), False),
    ("user_risk", (RiskLevel.UNKNOWN,), context(), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
