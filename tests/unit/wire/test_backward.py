"""Addresses that an app names, as the public knows them."""

import pytest

from gateway.wire.backward import led_back, public_location, public_path, to_public
from gateway.wire.fields import parse_fields
from gateway.wire.prefix import PathRewrite

WIKI = PathRewrite(strip="/wiki")
ADDED = PathRewrite(add="/v2")
BOTH = PathRewrite(strip="/wiki", add="/v2")


@pytest.mark.parametrize(
    ("value", "rewrite", "authority", "expected"),
    [
        (b"/a?b=c#d", WIKI, b"", b"/wiki/a?b=c#d"),
        (b"/", WIKI, b"", b"/wiki/"),
        (b"/wiki/a", WIKI, b"", b"/wiki/a"),
        (b"/wikipedia", WIKI, b"", b"/wiki/wikipedia"),
        (b"a/b", WIKI, b"", b"a/b"),
        (b"?q=1", WIKI, b"", b"?q=1"),
        (b"", WIKI, b"", b""),
        (b"/v2/a", ADDED, b"", b"/a"),
        (b"/v2", ADDED, b"", b"/"),
        (b"/v3/a", ADDED, b"", b"/v3/a"),
        (b"/v2/a", BOTH, b"", b"/wiki/a"),
        (b"http://app:80/a", WIKI, b"app:80", b"/wiki/a"),
        (b"HTTP://APP:80", WIKI, b"app:80", b"/wiki/"),
        (b"//app:80?x", None, b"app:80", b"/?x"),
        (b"https://elsewhere.example/a", WIKI, b"app:80", b"https://elsewhere.example/a"),
        (b"http://app:80/a", WIKI, b"", b"http://app:80/a"),
        (b"mailto:a@b", WIKI, b"app:80", b"mailto:a@b"),
    ],
)
def test_locations(value: bytes, rewrite: PathRewrite | None, authority: bytes, expected: bytes) -> None:
    assert public_location(value, rewrite, authority) == expected


@pytest.mark.parametrize(
    "value", [b"/v2//evil.example/x", b"/v2/\\evil.example", b"http://app//evil.example"]
)
def test_no_path_becomes_another_host(value: bytes) -> None:
    """Unchanged is as good as it was; what must not be is a new reference to a host."""
    assert public_location(value, ADDED, b"app") == value


def test_cookies_keep_to_their_app() -> None:
    lines = [
        b"Set-Cookie: a=1; Path=/; HttpOnly",
        b"set-cookie: b=path=/x; path = /admin;Secure",
        b"Set-Cookie: c=1; Path=/wiki/x",
        b"Set-Cookie: d=1",
        b"X-Other: /a",
    ]
    assert to_public(lines, parse_fields(lines), WIKI, b"") == [
        b"Set-Cookie: a=1; Path=/wiki; HttpOnly",
        b"set-cookie: b=path=/x; path = /wiki/admin;Secure",
        lines[2],
        lines[3],
        lines[4],
    ]


def test_paths() -> None:
    assert public_path(b"/v2x", BOTH) == b"/v2x"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"http://a.test/x?y=z#f", b"/x?y=z#f"),
        (b"http://a.test:8081/dir/", b"/dir/"),
        (b"HTTP://A.Test:8081", b"/"),
        (b"https://a.test:8081?q", b"/?q"),
        (b"//a.test:8081/x", b"/x"),
        (b"http://a.test:443/x", b"/x"),
        # Already right, or somewhere else.
        (b"https://a.test/x", b"https://a.test/x"),
        (b"https://a.test:443/x", b"https://a.test:443/x"),
        (b"//a.test/x", b"//a.test/x"),
        (b"/x", b"/x"),
        (b"http://a.test:9000/x", b"http://a.test:9000/x"),
        (b"http://b.test:8081/x", b"http://b.test:8081/x"),
        (b"http://a.test@evil.test/x", b"http://a.test@evil.test/x"),
        (b"http://a.test.evil.test/", b"http://a.test.evil.test/"),
        (b"http:a.test/x", b"http:a.test/x"),
        (b"http://a.test//evil.test/x", b"http://a.test//evil.test/x"),
        (b"http://a.test/\\evil.test/x", b"http://a.test/\\evil.test/x"),
        (b"ftp://a.test/x", b"ftp://a.test/x"),
    ],
)
def test_a_redirect_to_the_same_host_leads_to_where_it_is_reached(value: bytes, expected: bytes) -> None:
    assert led_back(value, is_https=True, host="a.test", port=None, upstream=b"10.0.0.5:8081") == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"http://a.test:80/x", b"/x"),
        (b"http://a.test/x", b"/x"),
        (b"http://a.test:8000/x", b"http://a.test:8000/x"),
        # An app that wants https is told nothing else: a redirect to itself would never end.
        (b"https://a.test/x", b"https://a.test/x"),
        (b"https://a.test:8000/x", b"https://a.test:8000/x"),
    ],
)
def test_https_is_never_made_http(value: bytes, expected: bytes) -> None:
    assert led_back(value, is_https=False, host="a.test", port=8000, upstream=b"app") == expected
