"""`clients`: browser, program or WebSocket."""

import pytest
from condition_samples import check_request, request

from compliance.model import ClientKind

CASES = [
    ("clients", (ClientKind.BROWSER,), request(), True),
    ("clients", (ClientKind.BROWSER, ClientKind.API), request(client=ClientKind.WEBSOCKET), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check_request(key, value, given, expected)
