"""`hosts`, `not_hosts`: a wildcard is one label."""

import pytest
from condition_samples import check, context

from compliance.conditions import KINDS

CASES = [
    ("hosts", ("*.corp.example",), context(host="wiki.corp.example"), True),
    ("hosts", ("Wiki.corp.example.",), context(host="wiki.corp.example"), True),
    ("hosts", ("it.corp.example",), context(host="wiki.corp.example"), False),
    ("not_hosts", ("*.corp.example",), context(host="wiki.corp.example"), False),
    ("not_hosts", ("it.corp.example",), context(host="wiki.corp.example"), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_a_host_that_is_not_known_is_not_known():
    """Only a test about an app with several hosts leaves it out: the analysis has none, as no request is without."""
    assert KINDS["hosts"].holds(("*.corp.example",), context()) is None
    assert KINDS["not_hosts"].holds(("*.corp.example",), context()) is None
    assert KINDS["hosts"].holds(("*.corp.example",), context(host="a.b.corp.example")) is False
