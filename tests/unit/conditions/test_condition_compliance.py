"""`compliance`: a device that is not known is `unknown`, and that is a state like any other."""

import pytest
from condition_samples import check, context

from compliance.model import ComplianceResult, ComplianceState

UNKNOWN = ComplianceResult(state=ComplianceState.UNKNOWN, results=())

CASES = [
    ("compliance", (ComplianceState.COMPLIANT,), context(), True),
    ("compliance", (ComplianceState.NONCOMPLIANT, ComplianceState.IN_GRACE_PERIOD), context(), False),
    ("compliance", (ComplianceState.COMPLIANT,), context(compliance=UNKNOWN), False),
    ("compliance", (ComplianceState.UNKNOWN,), context(compliance=UNKNOWN), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
