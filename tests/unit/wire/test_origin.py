"""Which pages may open a WebSocket: those of the app's own host, by the scheme and port that the app is reached by."""

import doctest

import pytest

from gateway.wire import origin
from gateway.wire.origin import is_own_origin, parse_origin


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(origin).failed == 0


@pytest.mark.parametrize(
    ("page", "host", "port", "is_https", "is_own"),
    [
        (b"https://app.test", "app.test", None, True, True),
        (b"https://app.test", "app.test", 443, True, True),
        (b"https://APP.test:443", "app.test", None, True, True),
        (b"https://app.test:8443", "app.test", 8443, True, True),
        (b"https://app.test.", "app.test", None, True, True),
        (b"http://app.test:8080", "app.test", 8080, False, True),
        (b"http://app.test", "app.test", 80, False, True),
        (b"https://app.test", "app.test", 80, False, True),
        (b"https://[::1]:8443", "[::1]", 8443, True, True),
        (b"http://app.test", "app.test", None, True, False),
        (b"https://evil.test", "app.test", None, True, False),
        (b"https://app.test.evil.test", "app.test", None, True, False),
        (b"https://other.app.test", "app.test", None, True, False),
        (b"https://app.test:8443", "app.test", None, True, False),
        (b"https://app.test", "app.test", 8443, True, False),
        (b"https://app.test@evil.test", "app.test", None, True, False),
        (b"https://app.test/", "app.test", None, True, False),
        (b"https://app.test, https://evil.test", "app.test", None, True, False),
        (b"null", "app.test", None, True, False),
        (b"", "app.test", None, True, False),
        (b"file://", "app.test", None, True, False),
        (b"chrome-extension://app.test", "app.test", None, True, False),
    ],
)
def test_own_origin(page: bytes, host: str, port: int | None, is_https: bool, is_own: bool) -> None:
    assert is_own_origin(page, host, port, is_https=is_https) is is_own


@pytest.mark.parametrize(
    "value", [b"null", b"app.test", b"https://", b"https://a/b", b"https://a:0", b"ws://a"]
)
def test_no_origin(value: bytes) -> None:
    assert parse_origin(value) is None
