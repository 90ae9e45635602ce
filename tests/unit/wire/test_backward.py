"""Addresses that an app names, as the public knows them."""

import pytest

from gateway.wire.backward import public_location, public_path, to_public
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
