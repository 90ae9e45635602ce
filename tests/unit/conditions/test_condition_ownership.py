"""`ownership`: by what the sensors call it."""

import pytest
from condition_samples import MAC, check, context, posture

CASES = [
    ("ownership", ("personal",), context(MAC), True),
    ("ownership", ("corporate",), context(MAC), False),
    ("ownership", ("corporate",), context(posture()), None),
    ("ownership", ("personal",), context(), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
