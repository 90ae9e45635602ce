"""Bytes in, messages out: one reader per connection and direction, without I/O.

Readers are pulled: the caller feeds what was read, asks for the next head or for the body that is there, and may stop
between any two; that is what bounds pipelining. Any split of the bytes into reads gives the same messages.
"""

from gateway.wire.body import Body, ChunkedBody
from gateway.wire.faults import WireFault
from gateway.wire.fields import CRLF, END_OF_HEAD, Field
from gateway.wire.request import CHUNKED, HeadLimits, RequestHead, check_begun, parse_request
from gateway.wire.response import ResponseHead, check_response_begun, parse_response

MAX_REPEATED = 4096
"""Longest head that is remembered, and compared with the next; at most `HeadLimits.head_bytes`."""

_NO_TRAILERS: list[Field] = []
_FINAL = 200


class _Reader:
    """What both directions share: the bytes not yet read, and the body being read (None: none, or complete)."""

    __slots__ = ("_body", "buffer", "trailers")

    def __init__(self) -> None:
        self.buffer = b""
        self._body: Body | None = None
        self.trailers: list[Field] = _NO_TRAILERS

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        self.buffer = self.buffer + data if self.buffer else data

    @property
    def in_body(self) -> bool:
        """Whether the body of the last head is not yet complete."""
        return self._body is not None

    def next_body(self) -> bytes:
        """Return the payload that is there; `in_body` tells afterwards whether more will come. Raises `WireFault`."""
        body = self._body
        if body is None:
            return b""
        data, self.buffer = self.buffer, b""
        payload = body.feed(data) if data else b""
        if body.is_complete:
            self._complete(body)
        return payload

    def take_rest(self) -> bytes:
        """Return the bytes that nobody read, for a tunnel."""
        rest, self.buffer = self.buffer, b""
        return rest

    def _begin_body(self, body: Body | None) -> None:
        self._body = None if body is None or body.is_complete else body
        self.trailers = _NO_TRAILERS

    def _complete(self, body: Body) -> None:
        self.buffer = body.rest
        self.trailers = body.trailers
        self._body = None


class RequestReader(_Reader):
    """Requests of one client connection."""

    __slots__ = ("_has_skipped_line", "_last", "_last_block", "_limits")

    def __init__(self, limits: HeadLimits) -> None:
        super().__init__()
        self._limits = limits
        self._has_skipped_line = False
        self._last: RequestHead | None = None
        self._last_block = b""

    def next_head(self) -> RequestHead | None:
        """Return the next head, None when it is not there whole. Raises `WireFault`.

        One empty line before it is ignored (RFC 9112 section 2.2). What there is of a body in chunks has been checked
        when this returns, so that no upstream hears of a request that is known to be broken.
        """
        data = self.buffer
        if data.startswith(CRLF) and not self._has_skipped_line:
            self._has_skipped_line = True
            self.buffer = data = data[2:]
        end = data.find(END_OF_HEAD)
        if end < 0:
            if data and data != b"\r":
                check_begun(data, self._limits)
            return None
        head = self._repeated(data, end) or self._parsed(data, end)
        self._has_skipped_line = False
        self.buffer = rest = data[end + 4 :]
        self._begin_body(head.body())
        if rest and head.length == CHUNKED:
            ChunkedBody().feed(rest)
        return head

    def _parsed(self, data: bytes, end: int) -> RequestHead:
        """Parse a head, and remember it when the next request may repeat its fields."""
        head = parse_request(data[:end], self._limits)
        if end <= MAX_REPEATED and not head.length and not head.upgrade and head.version == (1, 1):
            self._last, self._last_block = head, data[data.find(CRLF) : end]
        return head

    def _repeated(self, data: bytes, end: int) -> RequestHead | None:
        """Return the head when all but its request line is what the last request on this connection sent, else None.

        Clients repeat their fields; only the request line is parsed again then, as strictly as ever.
        """
        last, split = self._last, data.find(CRLF)
        limits = self._limits
        if last is None or end > min(MAX_REPEATED, limits.head_bytes) or split > limits.request_line_bytes:
            return None
        if not data.startswith(b" HTTP/1.1", split - 9) or data[split:end] != self._last_block:
            return None
        try:
            return last.again(data[:split])
        except WireFault:
            return None  # It is parsed whole then, and refused as if nothing were remembered.


class ResponseReader(_Reader):
    """Responses of one upstream connection."""

    __slots__ = ("_last", "_last_block", "_last_method", "_method")

    def __init__(self) -> None:
        super().__init__()
        self._method = ""
        self._last: ResponseHead | None = None
        self._last_block = b""
        self._last_method = ""

    def expect(self, method: str) -> None:
        """The next response answers a request with `method`."""
        self._method = method
        self._begin_body(None)

    def next_head(self) -> ResponseHead | None:
        """Return the next head, interim or final, None when it is not there whole. Raises `WireFault`."""
        end = self.buffer.find(END_OF_HEAD)
        if end < 0:
            if self.buffer:
                check_response_begun(self.buffer)
            return None
        head = self._parsed(self.buffer[:end])
        self.buffer = self.buffer[end + 4 :]
        self._begin_body(head.body())
        return head

    def _parsed(self, block: bytes) -> ResponseHead:
        """Return the head that `block` is: the last one of this connection if it was the very same. Raises `WireFault`.

        Polled and static resources repeat theirs byte for byte. What sets a cookie is not kept in memory.
        """
        last = self._last
        if last is not None and block == self._last_block and self._method == self._last_method:
            return last
        head = parse_response(block, self._method)
        if len(block) <= MAX_REPEATED and head.status >= _FINAL and head.header(b"set-cookie") is None:
            self._last, self._last_block, self._last_method = head, block, self._method
        return head

    def end(self) -> bool:
        """The upstream closed: return whether that completes the body being read."""
        if self._body is None or not self._body.end():
            return False
        self._complete(self._body)
        return True
