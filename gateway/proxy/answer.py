"""The response head that a client is sent, and how the body behind it is framed."""

from enum import Enum

import msgspec

from gateway.proxy.ports import ResponseRules
from gateway.wire.cookies import cookie_name, is_own
from gateway.wire.fields import connection_options
from gateway.wire.headers import HOP_BY_HOP
from gateway.wire.response import SWITCHING_PROTOCOLS, ResponseHead

_REMOVED = HOP_BY_HOP - {b"proxy-authenticate", b"proxy-authentication-info"}
_CACHING = frozenset({b"cache-control", b"expires", b"pragma"})
NO_CONTENT = 204
NOT_MODIFIED = 304

DOWNLOAD_TYPES = frozenset(
    {
        b"application/download",
        b"application/epub+zip",
        b"application/force-download",
        b"application/gzip",
        b"application/java-archive",
        b"application/msword",
        b"application/octet-stream",
        b"application/octetstream",
        b"application/rtf",
        b"application/x-7z-compressed",
        b"application/x-apple-diskimage",
        b"application/x-binary",
        b"application/x-bzip",
        b"application/x-bzip2",
        b"application/x-compressed",
        b"application/x-debian-package",
        b"application/x-download",
        b"application/x-dosexec",
        b"application/x-executable",
        b"application/x-gtar",
        b"application/x-gzip",
        b"application/x-iso9660-image",
        b"application/x-msdos-program",
        b"application/x-msdownload",
        b"application/x-msi",
        b"application/x-rar",
        b"application/x-rar-compressed",
        b"application/x-rpm",
        b"application/x-sharedlib",
        b"application/x-sqlite3",
        b"application/x-tar",
        b"application/x-xz",
        b"application/x-zip",
        b"application/x-zip-compressed",
        b"application/zip",
        b"application/zstd",
        b"binary/octet-stream",
        b"multipart/byteranges",
        b"multipart/x-zip",
        b"text/calendar",
        b"text/csv",
        b"text/rtf",
        b"text/tab-separated-values",
        b"text/vcard",
    },
)
"""Types that browsers save rather than show. PDF, images, audio, video, text and JSON are shown: a download of these is
one only with `Content-Disposition: attachment`. Pieces of a range (`multipart/byteranges`) hide their type."""

DOWNLOAD_PREFIXES = (
    b"application/vnd.ms-",
    b"application/vnd.openxmlformats-officedocument.",
    b"application/vnd.oasis.opendocument.",
    b"application/vnd.android.package-archive",
    b"application/vnd.apple.installer",
    b"application/vnd.debian.binary-package",
    b"application/vnd.rar",
    b"application/vnd.sqlite3",
)
"""Beginnings of such types: office documents, packages, archives."""


class Framing(Enum):
    """How the client can tell where the response's body ends."""

    NONE = "no body follows"
    SIZED = "Content-Length"
    CHUNKED = "chunked"
    UNTIL_CLOSE = "the connection closes"


class AnswerPlan(msgspec.Struct, frozen=True):
    """A response head as bytes, the framing it announces, and whether the connection may go on after it."""

    head: bytes
    framing: Framing
    keeps_alive: bool


def is_download(response: ResponseHead) -> bool:
    """Return whether the response is a file to save rather than something to show.

    That is any successful response with `Content-Disposition: attachment` (or a disposition that is not `inline`), or
    of a type in `DOWNLOAD_TYPES` or with one of `DOWNLOAD_PREFIXES`.
    """
    if not 200 <= response.status < 300:  # noqa: PLR2004 - an error or a redirect carries no file
        return False
    disposition = response.header(b"content-disposition")
    if disposition is not None and disposition.partition(b";")[0].strip().lower() not in {b"inline", b""}:
        return True
    content_type = response.header(b"content-type")
    if content_type is None:
        return False
    media = content_type.partition(b";")[0].partition(b",")[0].strip().lower()
    return media in DOWNLOAD_TYPES or media.startswith(DOWNLOAD_PREFIXES)


def is_event_stream(response: ResponseHead) -> bool:
    """Return whether the body may rightly be silent for long."""
    content_type = response.header(b"content-type")
    return content_type is not None and content_type.startswith(b"text/event-stream")


def plan_answer(
    response: ResponseHead,
    *,
    method: str,
    client_version: tuple[int, int],
    keeps_alive: bool,
    rules: ResponseRules,
    date: bytes,
) -> AnswerPlan:
    """Return what the client is sent for a final `response`.

    `keeps_alive`: whether the client's connection could serve another request as far as the request is concerned.
    `date` is now, for a response that has none (RFC 9110 section 6.6.1).
    """
    framing = _framing(response, method, client_version)
    keeps_alive = keeps_alive and framing is not Framing.UNTIL_CLOSE
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


def interim_head(response: ResponseHead) -> bytes:
    """Return a 1xx response for the client: 100 and 103 with their fields."""
    lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason)]
    lines += _passing_lines(response, ResponseRules())
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


def switching_head(response: ResponseHead, rules: ResponseRules) -> bytes:
    """Return a 101 response for the client."""
    upgrade = response.header(b"upgrade") or b""
    lines = [b"HTTP/1.1 %d %b" % (SWITCHING_PROTOCOLS, response.reason)]
    lines += _passing_lines(response, rules)
    lines += [b"Connection: Upgrade", b"Upgrade: " + upgrade, b"\r\n"]
    return b"\r\n".join(lines)


def _framing(response: ResponseHead, method: str, client_version: tuple[int, int]) -> Framing:
    if method == "HEAD" or response.status in {NO_CONTENT, NOT_MODIFIED}:
        return Framing.NONE
    if response.length >= 0:
        return Framing.SIZED
    return Framing.CHUNKED if client_version == (1, 1) else Framing.UNTIL_CLOSE


def _passing_lines(response: ResponseHead, rules: ResponseRules) -> list[bytes]:
    """Return the upstream's lines that pass unchanged.

    `Content-Length` is among them: it has been checked, and is there only where it is true, or, in answer to HEAD and
    in a 304, where it says what GET would have. In a 204 it may not be. Source: RFC 9110 section 8.6.
    """
    removed = _REMOVED if response.status != NO_CONTENT else _REMOVED | {b"content-length"}
    connection = response.header(b"connection")
    if connection is not None and connection not in {b"keep-alive", b"close", b"Keep-Alive"}:
        removed = removed | connection_options(connection)
    if rules.no_store:
        removed |= _CACHING
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
