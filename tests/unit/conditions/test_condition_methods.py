"""`methods`, `not_methods`: `GET` does not include `HEAD`."""

import pytest
from condition_samples import check_request, request

CASES = [
    ("methods", ("GET", "POST"), request(), True),
    ("methods", ("GET",), request("HEAD"), False),
    ("not_methods", ("DELETE",), request("PUT"), True),
    ("not_methods", ("DELETE",), request("DELETE"), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check_request(key, value, given, expected)
