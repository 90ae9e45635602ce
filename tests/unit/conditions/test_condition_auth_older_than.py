"""`auth_older_than`: reached at the instant itself."""

import pytest
from condition_samples import HOUR, NOW, changes_at, check, context

CASES = [
    ("auth_older_than", 3600.0, context(), True),
    ("auth_older_than", 3601.0, context(), False),
    ("auth_older_than", 0.0, context(), True),
    ("auth_older_than", 60.0, context(user={"auth_at": None}), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at("auth_older_than", 7200.0, context(), NOW + HOUR)
