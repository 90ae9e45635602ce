"""`worst_risk`: the worst of device, person and session, of those that a sensor has told of."""

import pytest
from condition_samples import KNOWN_HIGH, UNSURE, UNTOLD, check, context

from risk.model import RiskLevel

CASES = [
    ("worst_risk", (RiskLevel.NONE,), context(), True),
    ("worst_risk", (RiskLevel.HIGH,), context(session_risk=KNOWN_HIGH), True),
    ("worst_risk", (RiskLevel.NONE, RiskLevel.LOW), context(user_risk=KNOWN_HIGH), False),
    ("worst_risk", (RiskLevel.NONE,), context(user_risk=UNSURE), None),
    ("worst_risk", (RiskLevel.HIGH,), context(risk=UNTOLD, user_risk=KNOWN_HIGH), None),
    ("worst_risk", (RiskLevel.UNKNOWN,), context(risk=UNTOLD), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
