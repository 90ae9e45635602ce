"""A response head, parsed as strictly as a request's: an app that breaks framing must not reach a browser.

Source: RFC 9112 sections 4 and 6.3.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from gateway.wire.body import Body, ChunkedBody, SizedBody, UnsizedBody
from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import Field, connection_options, index_fields, parse_fields, split_lines
from gateway.wire.request import CHUNKED, MAX_LENGTH_DIGITS

UNSIZED = -2
"""Length of a body that ends with the connection."""

MAX_RESPONSE_HEAD_BYTES = 65536
"""Most bytes of a response head."""

MAX_RESPONSE_FIELDS = 256
"""Most fields of a response head."""

SWITCHING_PROTOCOLS = 101

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_BODILESS = frozenset({204, 304})


class ResponseHead:
    """What an upstream answered.

    `header(name)` returns the value of a lower-case name, joined by commas when it was sent several times, or None.
    `headers` in their order, names lower-case; `lines` are the same fields as they were sent. `length` is that of the
    body that follows: 0 for none, `CHUNKED`, or `UNSIZED`. `keeps_alive`: the connection may be used again after it.
    """

    __slots__ = ("header", "headers", "keeps_alive", "length", "lines", "reason", "status", "version")

    def __init__(self, lines: list[bytes], headers: list[Field]) -> None:
        self.lines = lines
        self.headers = headers
        self.header: Callable[[bytes], bytes | None] = index_fields(headers).get
        self.version = (1, 1)
        self.status = 0
        self.reason = b""
        self.length = 0
        self.keeps_alive = False

    def body(self) -> Body | None:
        """Return a decoder for the body, None when there is none."""
        if self.length == CHUNKED:
            return ChunkedBody()
        if self.length == UNSIZED:
            return UnsizedBody()
        return SizedBody(self.length) if self.length else None


def parse_response(block: bytes, method: str) -> ResponseHead:
    """Return the head that `block` is, without its empty line, as the answer to `method`. Raises `WireFault`."""
    if len(block) > MAX_RESPONSE_HEAD_BYTES:
        raise WireFault(FaultCode.HEADER_BYTES, "the response head is too long")
    lines = split_lines(block)
    minor, status, reason = parse_status_line(lines.pop(0))
    if len(lines) > MAX_RESPONSE_FIELDS:
        raise WireFault(FaultCode.HEADER_COUNT, "the response head has too many fields")
    head = ResponseHead(lines, parse_fields(lines))
    head.version = (1, minor)
    head.status = status
    head.reason = reason
    head.length = _body_length(head, method)
    head.keeps_alive = _keeps_alive(head)
    return head


@lru_cache(maxsize=256)
def parse_status_line(line: bytes) -> tuple[int, int, bytes]:
    """Return minor version, status and reason. Raises `WireFault`."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise WireFault(FaultCode.REQUEST_LINE, "the status line is malformed")
    return int(match[1]), int(match[2]), match[3] or b""


def _body_length(head: ResponseHead, method: str) -> int:
    """Return how long the body is. The framing fields must be good even where no body follows."""
    coding, length = head.header(b"transfer-encoding"), head.header(b"content-length")
    framed = UNSIZED
    if coding is not None:
        if length is not None or head.version != (1, 1):
            raise WireFault(FaultCode.FRAMING, "Transfer-Encoding with Content-Length, or in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise WireFault(FaultCode.TRANSFER_CODING, "a transfer coding other than `chunked`")
        framed = CHUNKED
    elif length is not None:
        if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
            raise WireFault(FaultCode.LENGTH, "Content-Length is not one plain number")
        framed = int(length)
    if method == "HEAD" or head.status in _BODILESS or head.status < 200:  # noqa: PLR2004 - 1xx are interim
        return 0
    return framed


def _keeps_alive(head: ResponseHead) -> bool:
    if head.length == UNSIZED:
        return False
    connection = head.header(b"connection")
    if connection is None:
        return head.version == (1, 1)
    options = connection_options(connection)
    return b"close" not in options and (head.version == (1, 1) or b"keep-alive" in options)
