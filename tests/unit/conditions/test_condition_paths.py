"""`paths`, `not_paths`: prefixes and globs."""

import pytest
from condition_samples import check_request, request

CASES = [
    ("paths", ("/admin",), request(path="/admin/x"), True),
    ("paths", ("/admin",), request(path="/administrator"), False),
    ("paths", ("/a", "/api/*/keys"), request(path="/api/v1/keys"), True),
    ("not_paths", ("/admin",), request(path="/administrator"), True),
    ("not_paths", ("/a", "/**/keys"), request(path="/api/v1/keys"), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check_request(key, value, given, expected)
