"""`providers`: where the person signed in."""

import pytest
from condition_samples import check, context

CASES = [
    ("providers", ("idp", "partner"), context(), True),
    ("providers", ("partner",), context(), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
