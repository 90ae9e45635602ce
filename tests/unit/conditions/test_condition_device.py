"""`device`: whether we know which one it is."""

import pytest
from condition_samples import MAC, check, context

CASES = [
    ("device", ("known",), context(MAC), True),
    ("device", ("unknown",), context(MAC), False),
    ("device", ("unknown",), context(), True),
    ("device", ("known", "unknown"), context(), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
