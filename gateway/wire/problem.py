"""The data path's own answers: RFC 9457 problem documents as whole HTTP responses.

They appear where no page can: the request is unreadable, the hub is away, or the client is a program. They are never
stored, say what happened in one code, and quote nothing of what was sent.
"""

from http import HTTPStatus

import msgspec

TYPE_PREFIX = "urn:posturegate:problem:"

RETRY_AFTER_S = 5
"""When to try again what we could not take, or could not decide, just now."""

_encode = msgspec.json.Encoder().encode


def problem(status: int, code: str, detail: str = "", *, instance: str = "") -> bytes:
    """Return the document as JSON. `instance` names the occurrence, for example by a reference code."""
    document = {
        "type": TYPE_PREFIX + code,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
    }
    if detail:
        document["detail"] = detail
    if instance:
        document["instance"] = instance
    return _encode(document)


def problem_response(
    status: int,
    code: str,
    detail: str = "",
    *,
    date: bytes,
    closes: bool,
    is_head: bool = False,
) -> bytes:
    """Return a whole response. `closes`: the connection ends after it; `is_head`: it answers HEAD, without a body."""
    body = problem(status, code, detail)
    lines = [
        b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode()),
        b"Date: " + date,
        b"Content-Type: application/problem+json",
        b"Cache-Control: no-store",
        b"Content-Length: %d" % len(body),
    ]
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append(b"Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        lines.append(b"Retry-After: %d" % RETRY_AFTER_S)
    if closes:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines) + (b"" if is_head else body)
