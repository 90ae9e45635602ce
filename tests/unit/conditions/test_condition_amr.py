"""`amr`, `not_amr`: methods of the sign-in; one of several suffices, and not told is not known."""

import pytest
from condition_samples import check, context

CASES = [
    ("amr", ("otp", "hwk"), context(user={"amr": ("pwd", "otp")}), True),
    ("amr", ("hwk",), context(user={"amr": ("pwd", "otp")}), False),
    ("amr", ("hwk",), context(user={"amr": ()}), False),
    ("amr", ("hwk",), context(), None),
    ("not_amr", ("sms",), context(user={"amr": ("pwd", "otp")}), True),
    ("not_amr", ("sms", "otp"), context(user={"amr": ("pwd", "otp")}), False),
    ("not_amr", ("sms",), context(), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
