"""`session_risk`: one of whom no sensor has told is `unknown`."""

import pytest
from condition_samples import KNOWN_HIGH, KNOWN_LOW, UNSURE, check, context

from risk.model import RiskLevel

CASES = [
    ("session_risk", (RiskLevel.HIGH,), context(session_risk=KNOWN_HIGH), True),
    ("session_risk", (RiskLevel.HIGH,), context(session_risk=KNOWN_LOW), False),
    ("session_risk", (RiskLevel.NONE,), context(session_risk=UNSURE), None),
    ("session_risk", (RiskLevel.NONE, RiskLevel.LOW), context(), False),
    ("session_risk", (RiskLevel.UNKNOWN,), context(), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
