"""The response head that a client is sent, and how the body behind it is framed."""

from enum import Enum
from typing import NamedTuple

from gateway.proxy.ports import ResponseRules
from gateway.wire.backward import TRANSLATED, to_public
from gateway.wire.cookies import cookie_name, is_own
from gateway.wire.headers import HOP_BY_HOP, connection_options
from gateway.wire.prefix import PathRewrite
from gateway.wire.response import SWITCHING_PROTOCOLS, ResponseHead

_REMOVED = HOP_BY_HOP - {b"proxy-authenticate", b"proxy-authentication-info"}
_FINAL = 200
_CACHING = frozenset({b"cache-control", b"expires", b"pragma"})
NO_CONTENT = 204
NOT_MODIFIED = 304


class Framing(Enum):
    """How the client can tell where the response's body ends."""

    NONE = "no body follows"
    SIZED = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "the connection closes"


_Key = tuple[bool, tuple[int, int], bool, PathRewrite | None, bytes]


class _Remembered:
    """The plan made last for a response head that may come again, and what it was made for."""

    __slots__ = ("key", "plan", "rules")

    def __init__(self, rules: ResponseRules, key: _Key, plan: "AnswerPlan") -> None:
        self.rules = rules
        self.key = key
        self.plan = plan


class AnswerPlan(NamedTuple):
    """A response head as bytes, the framing it announces, and whether the connection may go on after it."""

    head: bytes
    framing: Framing
    keeps_alive: bool


def is_event_stream(response: ResponseHead) -> bool:
    """Return whether the body may rightly be silent for long."""
    content_type = response.header(b"content-type")
    return content_type is not None and content_type.lower().startswith(b"text/event-stream")


def plan_answer(
    response: ResponseHead,
    *,
    method: str,
    client_version: tuple[int, int],
    keeps_alive: bool,
    rules: ResponseRules,
    date: bytes,
    rewrite: PathRewrite | None = None,
    authority: bytes = b"",
) -> AnswerPlan:
    """Return what the client is sent for a final `response`.

    `keeps_alive`: whether the client's connection could serve another request as far as the request is concerned.
    `date` is now, for a response that has none (RFC 9110 section 6.6.1). `rewrite` and `authority` are as in
    `gateway.wire.backward.to_public`.
    """
    key, known = (method == "HEAD", client_version, keeps_alive, rewrite, authority), response.memo
    if isinstance(known, _Remembered) and known.rules is rules and known.key == key:
        return known.plan
    translated = response
    if (rewrite is not None or authority) and any(response.header(name) is not None for name in TRANSLATED):
        translated = response.with_lines(to_public(response.lines, response.headers, rewrite, authority))
    plan = _plan(translated, method, client_version, rules, date, may_keep=keeps_alive)
    if response.header(b"date") is not None:
        response.memo = _Remembered(rules, key, plan)
    return plan


def _plan(
    response: ResponseHead,
    method: str,
    client_version: tuple[int, int],
    rules: ResponseRules,
    date: bytes,
    *,
    may_keep: bool,
) -> AnswerPlan:
    framing = _framing(response, method, client_version, is_resized=rules.is_resized)
    keeps_alive = may_keep and framing is not Framing.UNTIL_CLOSE
    lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason)]
    lines += _passing_lines(response, rules)
    if response.header(b"date") is None:
        lines.append(b"Date: " + date)
    if framing is Framing.CHUNKED:
        lines.append(b"Transfer-Encoding: chunked")
    if not keeps_alive:
        lines.append(b"Connection: close")
    elif client_version != (1, 1):
        lines.append(b"Connection: keep-alive")
    if rules.no_store:
        lines.append(b"Cache-Control: no-store")
    lines += [b"%b: %b" % field for field in rules.extra_headers]
    lines.append(b"\r\n")
    return AnswerPlan(b"\r\n".join(lines), framing, keeps_alive)


def interim_head(response: ResponseHead, rules: ResponseRules) -> bytes:
    """Return a 1xx response for the client, 101 apart: a 103 with its fields."""
    lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason)]
    lines += _passing_lines(response, rules)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def switching_head(response: ResponseHead, rules: ResponseRules) -> bytes:
    """Return a 101 response for the client."""
    upgrade = response.header(b"upgrade") or b""
    lines = [b"HTTP/1.1 %d %b" % (SWITCHING_PROTOCOLS, response.reason)]
    lines += _passing_lines(response, rules)
    lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade, b"\r\n"]
    return b"\r\n".join(lines)


def _framing(
    response: ResponseHead, method: str, client_version: tuple[int, int], *, is_resized: bool
) -> Framing:
    if method == "HEAD" or response.status in {NO_CONTENT, NOT_MODIFIED}:
        return Framing.NONE
    if response.length >= 0 and not is_resized:
        return Framing.SIZED
    return Framing.CHUNKED if client_version == (1, 1) else Framing.UNTIL_CLOSE


def _passing_lines(response: ResponseHead, rules: ResponseRules) -> list[bytes]:
    """Return the upstream's lines that pass unchanged.

    `Content-Length` is among them: it has been checked, and is there only where it is true, or, in answer to HEAD and
    in a 304, where it says what GET would have. In a 204 and a 1xx it may not be. Source: RFC 9110 section 8.6.
    """
    is_never_sized = response.status == NO_CONTENT or response.status < _FINAL
    removed = _REMOVED | {b"content-length"} if is_never_sized else _REMOVED
    connection = response.header(b"connection")
    if connection is not None and connection not in {b"keep-alive", b"close", b"Keep-Alive"}:
        removed = removed | connection_options(connection)
    if rules.no_store:
        removed |= _CACHING
    if rules.dropped:
        removed |= rules.dropped
    lines = [
        line for line, (name, _) in zip(response.lines, response.headers, strict=True) if name not in removed
    ]
    if rules.reserved_cookies and response.header(b"set-cookie") is not None:
        return [line for line in lines if not _sets_reserved_cookie(line, rules.reserved_cookies)]
    return lines


def _sets_reserved_cookie(line: bytes, reserved: tuple[bytes, ...]) -> bool:
    name, _, value = line.partition(b":")
    if name.lower() != b"set-cookie":
        return False
    cookie = cookie_name(value)
    return cookie in reserved or is_own(cookie)
