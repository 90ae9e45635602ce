"""A response head, parsed as strictly as a request's: an app that breaks framing must not reach a browser.

Source: RFC 9112 sections 4 and 6.3.
"""

import re
from collections.abc import Callable
from functools import lru_cache

from gateway.wire.body import Body, ChunkedBody, SizedBody, UnsizedBody
from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import Field, index_fields, parse_fields, split_lines
from gateway.wire.headers import connection_options
from gateway.wire.request import CHUNKED, MAX_LENGTH_DIGITS

UNSIZED = -2
"""Length of a body that ends with the connection."""

MAX_RESPONSE_HEAD_BYTES = 65536
"""Most bytes of a response head."""

MAX_RESPONSE_FIELDS = 256
"""Most fields of a response head."""

SWITCHING_PROTOCOLS = 101

_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_BEGIN = b"HTTP/1."
_FINAL = 200
_BODILESS = frozenset({204, 304})
_NO_BODY = frozenset({UNSIZED, 0})


class ResponseHead:
    """What an upstream answered.

    `header(name)` returns the value of a lower-case name, joined by commas when it was sent several times, or None.
    `headers` in their order, names lower-case; `lines` are the same fields as they were sent. `length` is that of the
    body that follows: 0 for none, `CHUNKED`, or `UNSIZED`. `keeps_alive`: the connection may be used again after it.
    `memo` is for whoever works something out from it; nothing else changes once it is parsed, for it may be used again.
    """

    __slots__ = ("header", "headers", "keeps_alive", "length", "lines", "memo", "reason", "status", "version")

    def __init__(self, lines: list[bytes], headers: list[Field]) -> None:
        self.lines = lines
        self.headers = headers
        self.header: Callable[[bytes], bytes | None] = index_fields(headers).get
        self.version = (1, 1)
        self.status = 0
        self.reason = b""
        self.length = 0
        self.keeps_alive = False
        self.memo: object = None

    def with_value(self, name: bytes, value: bytes) -> "ResponseHead":
        """Return the same head with another value of a field that it has."""
        lines = [
            line.partition(b":")[0] + b": " + value if lower == name else line
            for line, (lower, _) in zip(self.lines, self.headers, strict=True)
        ]
        return self.with_lines(lines, [(key, value if key == name else old) for key, old in self.headers])

    def with_lines(self, lines: list[bytes], headers: list[Field] | None = None) -> "ResponseHead":
        """Return the same head with other spellings of its lines, one for one; `headers` None keeps what they say."""
        other = ResponseHead(lines, self.headers if headers is None else headers)
        other.version, other.status, other.reason = self.version, self.status, self.reason
        other.length, other.keeps_alive = self.length, self.keeps_alive
        return other

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
    framed = _framed_length(head)
    has_body = method != "HEAD" and status >= _FINAL and status not in _BODILESS
    head.length = framed if has_body else 0
    head.keeps_alive = _keeps_alive(head, framed)
    return head


def check_response_begun(block: bytes) -> None:
    """Refuse the beginning of a head as soon as it can no longer become a good one. Raises `WireFault`."""
    if len(block) > MAX_RESPONSE_HEAD_BYTES:
        raise WireFault(FaultCode.HEADER_BYTES, "the response head is too long")
    lines = split_lines(block.removesuffix(b"\r"))
    if len(lines) > 1:
        parse_status_line(lines[0])
    elif not block.startswith(_BEGIN[: len(block)]):
        raise WireFault(FaultCode.REQUEST_LINE, "the response does not begin with a status line")


@lru_cache(maxsize=256)
def parse_status_line(line: bytes) -> tuple[int, int, bytes]:
    """Return minor version, status and reason. Raises `WireFault`."""
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise WireFault(FaultCode.REQUEST_LINE, "the status line is malformed")
    return int(match[1]), int(match[2]), match[3] or b""


def _framed_length(head: ResponseHead) -> int:
    """Return how long the body is by the fields that say so, which must be good even where no body follows."""
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
    if head.status < _FINAL and framed not in _NO_BODY:
        raise WireFault(FaultCode.FRAMING, "an interim response that announces a body")
    return framed


def _keeps_alive(head: ResponseHead, framed: int) -> bool:
    """Return whether the next response will surely be read as such.

    After a 204 or 304 that announces a body it would not: upstreams exist that send it, some only later.
    """
    if head.length == UNSIZED or (head.status in _BODILESS and framed not in _NO_BODY):
        return False
    connection = head.header(b"connection")
    if connection is None:
        return head.version == (1, 1)
    options = connection_options(connection)
    return b"close" not in options and (head.version == (1, 1) or b"keep-alive" in options)
