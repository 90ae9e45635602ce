"""`risk`: while a sensor is silent, both the level and `unknown` may be meant."""

import pytest
from condition_samples import HOUR, KNOWN_HIGH, MAC, NOW, UNSURE, UNTOLD, check, context

from compliance.conditions import KINDS
from risk.model import RiskAssessment, RiskLevel

CASES = [
    ("risk", (RiskLevel.NONE, RiskLevel.LOW), context(MAC), True),
    ("risk", (RiskLevel.NONE, RiskLevel.LOW), context(MAC, risk=KNOWN_HIGH), False),
    ("risk", (RiskLevel.NONE,), context(MAC, risk=UNSURE), None),
    ("risk", (RiskLevel.UNKNOWN,), context(MAC, risk=UNSURE), None),
    ("risk", (RiskLevel.NONE, RiskLevel.UNKNOWN), context(MAC, risk=UNSURE), True),
    ("risk", (RiskLevel.NONE,), context(risk=UNTOLD), False),
    ("risk", (RiskLevel.UNKNOWN,), context(risk=UNTOLD), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_its_moments_are_those_of_the_assessment():
    risk = RiskAssessment(level=RiskLevel.LOW, is_known=True, changes_at=NOW + HOUR)
    assert KINDS["risk"].moments((RiskLevel.LOW,), context(MAC, risk=risk)) == [NOW + HOUR]
