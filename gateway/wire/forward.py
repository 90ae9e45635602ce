"""The request head that an upstream is sent: what passes of the client's, and what we state.

Everything special is left out by one table (`PASSES_UPSTREAM`) and then written anew from what was parsed, so an
upstream reads exactly one framing, one host, one target, and no identity but ours.
"""

from collections.abc import Iterable

from gateway.wire.cookies import without_own
from gateway.wire.fields import Field, list_members
from gateway.wire.headers import PASSES_UPSTREAM, nominated
from gateway.wire.request import CHUNKED, RequestHead

_HARMLESS_CONNECTION = frozenset({None, b"keep-alive", b"close", b"Keep-Alive", b"Close", b"Upgrade", b"upgrade"})


def upstream_head(
    head: RequestHead,
    *,
    target: bytes,
    host: bytes,
    forwarding: bytes,
    extra: Iterable[Field],
    with_body: bool,
    with_own_cookies: bool,
) -> bytes:
    """Return the whole request head. `forwarding` is from `forwarded.forwarding_lines`; `extra` replaces and ends it.

    Raises `ValueError` when a value of `extra` would break a line: a bug of whoever made it, never of the client.
    """
    lines = [b"%b %b HTTP/1.1" % (head.method.encode(), target), b"Host: " + host]
    lines += _passing_lines(head, extra)
    cookie = head.header(b"cookie")
    if cookie is not None and (cookie := cookie if with_own_cookies else without_own(cookie)):
        lines.append(b"Cookie: " + cookie)
    lines += _framing_lines(head, with_body=with_body)
    lines += _connection_lines(head)
    lines.append(forwarding)
    for name, value in extra:
        if b"\n" in value or b"\r" in value:
            raise ValueError(f"header {name!r} would break its line")
        lines.append(b"%b: %b" % (name, value))
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def _passing_lines(head: RequestHead, extra: Iterable[Field]) -> list[bytes]:
    """Return the client's lines that pass unchanged."""
    passes = PASSES_UPSTREAM
    removed = {lower for name, _ in extra if passes[lower := name.lower()]}
    connection = head.header(b"connection")
    if connection not in _HARMLESS_CONNECTION:
        removed |= nominated(connection)
    if removed:
        return [
            line
            for line, (name, _) in zip(head.lines, head.headers, strict=True)
            if passes[name] and name not in removed
        ]
    return [line for line, (name, _) in zip(head.lines, head.headers, strict=True) if passes[name]]


def _framing_lines(head: RequestHead, *, with_body: bool) -> list[bytes]:
    """Return the one framing of the body. A request that may have a body and has none says so."""
    if not with_body or not head.length:
        has_length = head.has_body or head.header(b"content-length") is not None
        return [b"Content-Length: 0"] if has_length or head.method in {"POST", "PUT", "PATCH"} else []
    framing = b"Transfer-Encoding: chunked" if head.length == CHUNKED else b"Content-Length: %d" % head.length
    return [framing, b"Expect: 100-continue"] if head.expects_continue else [framing]


def _connection_lines(head: RequestHead) -> list[bytes]:
    """Return what concerns our own connection to the upstream: an upgrade, or the wish for trailers."""
    if head.upgrade:
        return [b"Connection: Upgrade", b"Upgrade: " + head.upgrade]
    te = head.header(b"te")
    if te is not None and b"trailers" in list_members(te):
        return [b"Connection: TE", b"TE: trailers"]
    return []
