"""`acr`, `not_acr`: the class of the sign-in; one that is not told is not known."""

import pytest
from condition_samples import check, context

CASES = [
    ("acr", ("mfa", "phr"), context(user={"acr": "mfa"}), True),
    ("acr", ("mfa",), context(user={"acr": "pwd"}), False),
    ("acr", ("mfa",), context(), None),
    ("not_acr", ("pwd",), context(user={"acr": "mfa"}), True),
    ("not_acr", ("pwd", "mfa"), context(user={"acr": "pwd"}), False),
    ("not_acr", ("pwd",), context(), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
