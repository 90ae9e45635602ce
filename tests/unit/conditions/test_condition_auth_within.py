"""`auth_within`: over at the instant itself."""

import pytest
from condition_samples import HOUR, NOW, changes_at, check, context

CASES = [
    ("auth_within", 3601.0, context(), True),
    ("auth_within", 3600.0, context(), False),
    ("auth_within", 60.0, context(user={"auth_at": None}), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at("auth_within", 7200.0, context(), NOW + HOUR)
