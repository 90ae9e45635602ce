"""The request head that an upstream is sent: what passes of the client's, and what we state.

Everything special is left out by one table (`PASSES_UPSTREAM`) and then written anew from what was parsed, so an
upstream reads exactly one framing, one host, one target, and no identity but ours.
"""

from functools import lru_cache

from gateway.wire.cookies import without_own
from gateway.wire.fields import CRLF, Field, list_members
from gateway.wire.headers import PASSES_UPSTREAM, connection_options
from gateway.wire.request import CHUNKED, RequestHead
from gateway.wire.service_token import AUTHORIZATION, holds_token

_NONE: frozenset[bytes] = frozenset()
_USUALLY_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_HARMLESS_CONNECTION = frozenset({b"keep-alive", b"close", b"Keep-Alive", b"Close", b"Upgrade", b"upgrade"})


def upstream_head(
    head: RequestHead,
    *,
    target: bytes,
    host: bytes,
    forwarding: bytes,
    extra: tuple[Field, ...],
    with_body: bool,
    with_own_cookies: bool,
    removed: frozenset[bytes] = _NONE,
) -> bytes:
    """Return the whole request head. `forwarding` is from `forwarded.forwarding_lines`.

    `extra` is a tuple of fields that replace the client's of the same names; those of the lower-case names
    `removed` are left out. Raises `ValueError` when one of them would break its line: a bug of whoever made it, never
    of the client.
    """
    extra_lines, replaced = _render_extra(extra)
    if removed:
        replaced |= removed
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (head.method.encode(), target, host)]
    lines += _lines_for_hub(head, replaced) if with_own_cookies else _lines_for_app(head, replaced)
    if head.length or head.method in _USUALLY_WITH_BODY:
        lines += _framing_lines(head, with_body=with_body)
    lines += _connection_lines(head)
    lines.append(forwarding)
    lines.append(extra_lines)
    return b"\r\n".join(lines)


@lru_cache(maxsize=1024)
def _render_extra(extra: tuple[Field, ...]) -> tuple[bytes, frozenset[bytes]]:
    """Return the end of a head made of `extra`, and the names of client fields that it replaces.

    Remembered, since all requests of a session to an app have the same.
    """
    for name, value in extra:
        if b"\n" in value or b"\r" in value:
            raise ValueError(f"header {name!r} would break its line")
    block = b"".join(b"%b: %b\r\n" % field for field in extra) + CRLF
    return block, frozenset(lower for name, _ in extra if PASSES_UPSTREAM[lower := name.lower()])


def _lines_for_hub(head: RequestHead, replaced: frozenset[bytes]) -> list[bytes]:
    """Return the client's lines with all of its cookies."""
    lines = _passing_lines(head, replaced)
    cookie = head.header(b"cookie")
    return lines if cookie is None else [*lines, b"Cookie: " + cookie]


def _lines_for_app(head: RequestHead, replaced: frozenset[bytes]) -> list[bytes]:
    """Return the client's lines without our cookies; worked out once for requests that repeat their fields."""
    lines = head.memo.passing.get(replaced)
    if lines is None:
        lines = _passing_lines(head, replaced)
        cookie = head.header(b"cookie")
        if cookie is not None and (kept := without_own(cookie)):
            lines = [*lines, b"Cookie: " + kept]
        head.memo.passing[replaced] = lines
    return lines


def _passing_lines(head: RequestHead, replaced: frozenset[bytes]) -> list[bytes]:
    """Return the client's lines that pass unchanged; a service token never does."""
    passes = PASSES_UPSTREAM
    connection = head.header(b"connection")
    if connection is not None and connection not in _HARMLESS_CONNECTION:
        replaced |= connection_options(connection)
    if holds_token(head):
        replaced |= {AUTHORIZATION}
    fields = zip(head.lines, head.headers, strict=True)
    if replaced:
        return [line for line, (name, _) in fields if passes[name] and name not in replaced]
    return [line for line, (name, _) in fields if passes[name]]


def _framing_lines(head: RequestHead, *, with_body: bool) -> list[bytes]:
    """Return the one framing of the body. A request that usually has a body and has none says so."""
    if not with_body or not head.length:
        return [b"Content-Length: 0"]
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
