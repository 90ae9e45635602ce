"""`claims`: all must hold; one that the provider did not send is not known."""

import pytest
from condition_samples import check, context

from compliance.model import ClaimCondition

IT, HR = ClaimCondition(claim="dept", one_of=("it",)), ClaimCondition(claim="dept", one_of=("hr",))
LEVEL = ClaimCondition(claim="level", one_of=("1",))

CASES = [
    ("claims", (ClaimCondition(claim="dept", one_of=("ops",)),), context(), True),
    ("claims", (HR,), context(), False),
    ("claims", (LEVEL,), context(), None),
    (
        "claims",
        (IT, LEVEL),
        context(),
        None,
    ),
    (
        "claims",
        (HR, LEVEL),
        context(),
        False,
    ),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
