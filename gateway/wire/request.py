"""A request head, parsed strictly: whatever is doubtful about it is refused here, before anything acts on it.

llhttp (httptools) was tried for this. It lets pass HTTP/0.9, several `Host` headers, `gzip, chunked`, chunked in
HTTP/1.0, several spaces in the request line, and it skips the body of a request that has both `Upgrade` and
`Content-Length`; it cannot stop between two pipelined requests, nor be told that a response answers HEAD. The guards
around it would be longer than this grammar, which costs the same for a small head and 2 microseconds more for a
browser's. A property test keeps us honest: what we accept, llhttp reads in the same way.

Source: RFC 9112 sections 2, 3, 6 and 9.
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from gateway.wire.body import Body, ChunkedBody, SizedBody
from gateway.wire.faults import FaultCode, RequestFault, WireFault
from gateway.wire.fields import (
    CRLF,
    Field,
    index_fields,
    is_printable,
    list_members,
    parse_fields,
    split_lines,
)
from gateway.wire.headers import connection_options
from gateway.wire.host import parse_host
from gateway.wire.target import Target, parse_target

CHUNKED = -1
"""Length of a body in chunks."""

MAX_LENGTH_DIGITS = 15
"""A longer Content-Length is malformed: no body has a petabyte."""

_REQUEST_LINE = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\xff]+) HTTP/([0-9])\.([0-9])")
_USUAL_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})
_REFUSED_METHODS = frozenset({b"CONNECT", b"TRACE", b"TRACK"})
_NO_UPGRADE = frozenset({b"h2c", b"h2", b"h3"})
_ASTERISK = Target(b"*", "*", None, b"*", ("*",), is_ambiguous=True)


class HeadLimits(NamedTuple):
    """Bounds of a request head."""

    request_line_bytes: int = 16384
    head_bytes: int = 32768
    fields: int = 100


class Memo:
    """What was worked out from a block of header fields, kept for further requests with the very same block.

    `passing` holds the lines that pass to an upstream, by the names that we replace. `session` is the gatekeeper's:
    the digest of the session cookie or service token, None without one, "" while nobody has looked.
    """

    __slots__ = ("passing", "session")

    def __init__(self) -> None:
        self.passing: dict[frozenset[bytes], list[bytes]] = {}
        self.session: str | None = ""


class RequestHead:
    """What a client asked for.

    `header(name)` returns the value of a lower-case name, joined by commas when it was sent several times, or None.
    `headers` in their order, names lower-case; `lines` are the same fields as they were sent. `authority` is the valid
    `Host` value, `host` and `port` its parts (`port` None: not given). `length` of the body: 0 without one, `CHUNKED`
    when the client does not say. `upgrade` is the protocol of an upgrade that may be passed on, else empty.
    `keeps_alive`: the client may send another request on this connection.
    """

    __slots__ = (
        "authority",
        "expects_continue",
        "header",
        "headers",
        "host",
        "keeps_alive",
        "length",
        "lines",
        "memo",
        "method",
        "port",
        "target",
        "upgrade",
        "version",
    )

    method: str
    target: Target
    version: tuple[int, int]

    def __init__(
        self, lines: list[bytes], headers: list[Field], header: Callable[[bytes], bytes | None], memo: Memo
    ) -> None:
        self.lines = lines
        self.headers = headers
        self.header = header
        self.authority = b""
        self.host = ""
        self.port: int | None = None
        self.length = 0
        self.upgrade = b""
        self.keeps_alive = False
        self.expects_continue = False
        self.memo = memo

    def again(self, line: bytes) -> "RequestHead":
        """Return the head of another HTTP/1.1 request with the same fields and no body. Raises `WireFault`."""
        method, raw_target, minor = parse_request_line(line)
        head = RequestHead(self.lines, self.headers, self.header, self.memo)
        head.authority, head.host, head.port = self.authority, self.host, self.port
        head.keeps_alive = self.keeps_alive
        head.version = (1, minor)
        head.method = method.decode()
        head.target = _target(head, raw_target)
        return head

    @property
    def is_upgrade(self) -> bool:
        """Whether the client asks for another protocol that we would pass on (a WebSocket, for one)."""
        return bool(self.upgrade)

    @property
    def has_body(self) -> bool:
        """Whether a body follows the head."""
        return self.length != 0

    def body(self) -> Body | None:
        """Return a decoder for the body, None when there is none."""
        if self.length == CHUNKED:
            return ChunkedBody()
        return SizedBody(self.length) if self.length else None


def parse_request(block: bytes, limits: HeadLimits) -> RequestHead:
    """Return the head that `block` is, without its empty line at the end. Raises `RequestFault`."""
    check_size(block, limits)
    lines = _split_head(block)
    method, raw_target, minor = parse_request_line(lines.pop(0))
    try:
        if len(lines) > limits.fields:
            raise RequestFault(FaultCode.HEADER_COUNT, f"more than {limits.fields} header fields")
        fields = parse_fields(lines)
        head = RequestHead(lines, fields, index_fields(fields).get, Memo())
    except WireFault as fault:
        raise RequestFault(fault.code, fault.detail) from None
    head.version = (1, minor)
    head.method = method.decode()
    _read_host(head)
    head.target = _target(head, raw_target)
    _read_framing(head)
    _read_connection(head)
    return head


def check_begun(block: bytes, limits: HeadLimits) -> None:
    """Refuse the beginning of a head as soon as it can no longer become a good one. Raises `RequestFault`."""
    check_size(block, limits)
    lines = _split_head(block.removesuffix(b"\r"))
    if len(lines) > 1:
        parse_request_line(lines[0])


def _split_head(block: bytes) -> list[bytes]:
    """Return the lines of a head. Raises `RequestFault`.

    A request line that is wrong is the fault rather than what is wrong behind it: as if one had come after the other.
    """
    try:
        return split_lines(block)
    except WireFault as fault:
        line, is_whole, _ = block.partition(CRLF)
        if is_whole and is_printable(line):
            parse_request_line(line)
        raise RequestFault(fault.code, fault.detail) from None


def check_size(block: bytes, limits: HeadLimits) -> None:
    """Raise `RequestFault` when the request line or the whole head is longer than allowed."""
    if len(block) > limits.request_line_bytes and block.find(b"\r\n", 0, limits.request_line_bytes + 2) < 0:
        raise RequestFault(
            FaultCode.TARGET_LENGTH, f"the request line has more than {limits.request_line_bytes} bytes"
        )
    if len(block) > limits.head_bytes:
        raise RequestFault(FaultCode.HEADER_BYTES, f"the header has more than {limits.head_bytes} bytes")


def parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    """Return method, target (not yet checked) and minor version. Raises `RequestFault`."""
    words = line.split(b" ")
    if len(words) == 3 and words[2] == b"HTTP/1.1" and words[0] in _USUAL_METHODS and words[1]:  # noqa: PLR2004
        return words[0], words[1], 1
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise RequestFault(FaultCode.REQUEST_LINE, "the request line is not `method target HTTP/1.1`")
    method, target, major, minor = match.groups()
    if major != b"1" or minor not in b"01":
        raise RequestFault(FaultCode.VERSION, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    if method in _REFUSED_METHODS:
        raise RequestFault(FaultCode.METHOD, "this method is not passed on")
    return method, target, int(minor)


def _read_host(head: RequestHead) -> None:
    host = head.header(b"host")
    if host is None:
        raise RequestFault(FaultCode.HOST, "no Host header")
    head.authority = host
    head.host, head.port = parse_host(host)


def _target(head: RequestHead, raw: bytes) -> Target:
    if raw != b"*":
        return parse_target(raw, head.authority)
    if head.method != "OPTIONS":
        raise RequestFault(FaultCode.TARGET, "`*` is a target of OPTIONS alone")
    return _ASTERISK


def _read_framing(head: RequestHead) -> None:
    """Find out how long the body is; there is exactly one way to say it. Source: RFC 9112 section 6.3."""
    coding, length = head.header(b"transfer-encoding"), head.header(b"content-length")
    if coding is not None:
        if length is not None:
            raise RequestFault(FaultCode.FRAMING, "both Content-Length and Transfer-Encoding")
        if head.version != (1, 1):
            raise RequestFault(FaultCode.FRAMING, "Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise RequestFault(FaultCode.TRANSFER_CODING, "a transfer coding other than `chunked`")
        head.length = CHUNKED
    elif length is not None:
        if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
            raise RequestFault(FaultCode.LENGTH, "Content-Length is not one plain number")
        head.length = int(length)


def _read_connection(head: RequestHead) -> None:
    """Read what concerns this connection alone: keep-alive, upgrade, expectation."""
    connection = head.header(b"connection")
    is_current = head.version == (1, 1)
    if connection is None:
        head.keeps_alive = is_current
    else:
        options = _options(connection)
        head.keeps_alive = b"close" not in options and (is_current or b"keep-alive" in options)
        if is_current and b"upgrade" in options and not head.length:
            head.upgrade = _upgrade(head.header(b"upgrade"))
    expectation = head.header(b"expect")
    if expectation is not None and is_current:
        if expectation.lower() != b"100-continue":
            raise RequestFault(FaultCode.EXPECTATION, "the only expectation known is `100-continue`")
        head.expects_continue = head.length != 0


def _options(connection: bytes) -> frozenset[bytes]:
    """Return the options of a `Connection` header. Raises `RequestFault`."""
    try:
        return connection_options(connection)
    except WireFault as fault:
        raise RequestFault(fault.code, fault.detail) from None


def _upgrade(protocols: bytes | None) -> bytes:
    """Return the one protocol that an `Upgrade` asks for, lower-case; empty for none, several, or another HTTP."""
    if protocols is None:
        return b""
    members = list_members(protocols)
    if len(members) != 1 or members[0] in _NO_UPGRADE or members[0].startswith((b"http/", b"tls/")):
        return b""
    return members[0]
