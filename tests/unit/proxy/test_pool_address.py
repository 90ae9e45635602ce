"""Addresses of upstreams as the configuration has them."""

import pytest

from gateway.proxy.pool import Address, parse_upstream


@pytest.mark.parametrize(
    ("url", "address", "authority"),
    [
        ("http://10.0.0.1:3000", Address("10.0.0.1", 3000), b"10.0.0.1:3000"),
        ("http://app.internal/", Address("app.internal", 80), b"app.internal"),
        ("https://app.internal", Address("app.internal", 443, is_tls=True), b"app.internal"),
        ("https://app.internal:8443", Address("app.internal", 8443, is_tls=True), b"app.internal:8443"),
        ("http://[::1]:3000", Address("::1", 3000), b"[::1]:3000"),
        ("unix:/run/app.sock", Address("", 0, path="/run/app.sock"), b"localhost"),
    ],
)
def test_good(url: str, address: Address, authority: bytes) -> None:
    assert parse_upstream(url) == address
    assert address.authority == authority


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.internal",
        "ftp://app.internal",
        "http://",
        "http://a/path",
        "http://a?x",
        "http://u@a",
        "unix:app.sock",
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(ValueError, match="upstream"):
        parse_upstream(url)
