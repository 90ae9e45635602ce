"""`networks`, `not_networks`: by the names of those that hold the address."""

import pytest
from condition_samples import check_request, request

CASES = [
    ("networks", ("office", "vpn"), request(networks=["vpn"]), True),
    ("networks", ("office",), request(), False),
    ("not_networks", ("office",), request(), True),
    ("not_networks", ("office", "vpn"), request(networks=["vpn"]), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check_request(key, value, given, expected)
