"""Addresses that an app names in its answers, as the public knows them: the way back of `gateway.wire.prefix`.

An app behind a stripped or added prefix, or one that is called by its own name, redirects to addresses that only it
knows. `Location`, `Content-Location` and the `Path` of a cookie are translated; addresses in bodies are not. What
already begins with the public prefix is left alone: apps that heed `X-Forwarded-Prefix` say it right themselves.

Apps that know the public host and not how it is reached redirect to it by their own scheme and port (nginx for a folder
without its slash, say): see `led_back`.
"""

import re

from gateway.wire.fields import Field
from gateway.wire.prefix import PathRewrite

TRANSLATED = frozenset({b"location", b"content-location", b"set-cookie"})

_WITH_AUTHORITY = re.compile(rb"(?i:https?:)?//([^/?#]*)(.*)", re.DOTALL)
_PLACE = re.compile(
    rb"(?:(?i:(http)(s?)):)?//(\[[^\]]*\]|[^/?#:@\\]*)(?::([0-9]{1,5}))?([/?#].*)?", re.DOTALL
)
_PATH = re.compile(rb"([^?#]*)(.*)", re.DOTALL)
_COOKIE_PATH = re.compile(rb"(;[ \t]*(?i:path)[ \t]*=[ \t]*)(/[^;]*)")


def led_back(value: bytes, *, is_https: bool, host: str, port: int | None, upstream: bytes) -> bytes:
    """Return a redirect to the very host that was asked, as the public reaches it; any other as it is.

    `is_https`, `host` in lower case and `port` are how the client came; `upstream` is the name and port by which the
    app was reached. Of a place on the same host are corrected: http where people come by https, no port where there is
    one, and the app's own port. https is never made http, and another port is another place.

    >>> led_back(b"http://a.test:81/x", is_https=True, host="a.test", port=None, upstream=b"10.0.0.5:81")
    b'/x'
    """
    found = _PLACE.fullmatch(value)
    if found is None or found[3].lower() != host.encode():
        return value
    is_named_https = bool(found[2]) if found[1] else is_https
    ours = port or _default_port(is_https=is_https)
    named = int(found[4]) if found[4] else _default_port(is_https=is_named_https)
    if (is_named_https and not is_https) or (is_named_https == is_https and named == ours):
        return value
    own = upstream.rpartition(b":")[2]
    app_port = int(own) if own.isdigit() else 80
    if found[4] and named not in (ours, app_port):
        return value
    rest = found[5] or b"/"
    reference = rest if rest.startswith(b"/") else b"/" + rest
    # INVARIANT: no correction makes a reference to another host.
    return value if reference.startswith((b"//", b"/\\")) else reference


def _default_port(*, is_https: bool) -> int:
    return 443 if is_https else 80


def to_public(
    lines: list[bytes], fields: list[Field], rewrite: PathRewrite | None, authority: bytes
) -> list[bytes]:
    """Return header lines with their addresses translated. `fields` are the same lines, parsed.

    `authority` is the name by which the app was called where the public name was not used, else empty.
    """
    return [
        _translated(line, name, value, rewrite, authority) if name in TRANSLATED else line
        for line, (name, value) in zip(lines, fields, strict=True)
    ]


def _translated(
    line: bytes, name: bytes, value: bytes, rewrite: PathRewrite | None, authority: bytes
) -> bytes:
    if name == b"set-cookie":
        if rewrite is None:
            return line
        return _COOKIE_PATH.sub(lambda found: found[1] + _cookie_path(found[2], rewrite), line)
    known = public_location(value, rewrite, authority)
    return line if known == value else line.partition(b":")[0] + b": " + known


def public_location(value: bytes, rewrite: PathRewrite | None, authority: bytes) -> bytes:
    """Return a reference as the public can follow it; one that leads elsewhere, or is relative, as it is.

    >>> public_location(b"http://app:80/a?b", PathRewrite(strip="/wiki"), b"app:80")
    b'/wiki/a?b'
    """
    reference = value
    found = _WITH_AUTHORITY.fullmatch(value)
    if found is not None:
        if not authority or found[1].lower() != authority.lower():
            return value
        reference = found[2] if found[2].startswith(b"/") else b"/" + found[2]
    if not reference.startswith(b"/"):
        return value
    parts = _PATH.fullmatch(reference)
    if rewrite is not None and parts is not None:
        reference = public_path(parts[1], rewrite) + parts[2]
    # INVARIANT: no translation turns a path into a reference to another host.
    return value if reference.startswith((b"//", b"/\\")) else reference


def _cookie_path(path: bytes, rewrite: PathRewrite) -> bytes:
    """Return the public path of a cookie: that of a whole app covers its prefix without a slash, too."""
    known = public_path(path.rstrip(), rewrite)
    return known if path != b"/" or known == b"/" else known.removesuffix(b"/")


def public_path(path: bytes, rewrite: PathRewrite) -> bytes:
    """Return the public path of an app's own one.

    >>> rewrite = PathRewrite(strip="/wiki", add="/v2")
    >>> [public_path(path, rewrite) for path in (b"/v2/a", b"/v2", b"/wiki/a", b"/other")]
    [b'/wiki/a', b'/wiki/', b'/wiki/a', b'/other']
    """
    strip, add = rewrite.strip.encode(), rewrite.add.encode()
    if strip and _is_below(path, strip):
        return path
    if not _is_below(path, add):
        return path
    return strip + (path[len(add) :] or b"/")


def _is_below(path: bytes, prefix: bytes) -> bool:
    return not prefix or path == prefix or path.startswith(prefix + b"/")
