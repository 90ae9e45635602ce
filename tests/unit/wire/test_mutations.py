"""Requests that were tampered with: however they are cut up, they mean the same, and none makes two of one.

The upstream is llhttp here, another parser than ours: it reads what we would send on for each request that we accept.
"""

from itertools import pairwise

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.body import encode_chunk, encode_last_chunk
from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import Field
from gateway.wire.forward import upstream_head
from gateway.wire.headers import passing_trailers
from gateway.wire.reader import RequestReader
from gateway.wire.request import CHUNKED, HeadLimits, RequestHead

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n"
REQUESTS = [
    b"GET /a?b HTTP/1.1\r\nHost: app.test\r\nAccept: */*\r\nConnection: keep-alive\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: app.test\r\nContent-Length: 42\r\n\r\n" + SMUGGLED,
    b"POST /c HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n\r\n"
    b"5;a=b\r\nhello\r\n2a\r\n" + SMUGGLED + b"\r\n0\r\nT: x\r\n\r\n",
    b"PUT /d HTTP/1.0\r\nHost: app.test\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"GET /e HTTP/1.1\r\nHost: app.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"GET http://app.test/f HTTP/1.1\r\nHost: app.test\r\nX-Gate-User: eve\r\nConnection: x-h\r\nX-H: 1\r\n\r\n",
    b"POST /g HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
]
PIECES = [
    *(bytes((each,)) for each in b'\r\n \t:\x00\x0b\x80\xff01x,;-+_"='),
    b"",
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\n",
    b"chunked",
    b"HTTP/1.1",
    b"Host: b\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Upgrade: h2c\r\n",
    SMUGGLED,
]
CHANGES = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from(PIECES), st.sampled_from([0, 0, 1, 2, 9])),
    min_size=1,
    max_size=5,
)


class Message:
    """A request as far as it came."""

    def __init__(self, head: RequestHead, *, is_whole: bool) -> None:
        self.head = head
        self.body = b""
        self.trailers: list[Field] = []
        self.is_whole = is_whole

    @property
    def meaning(self) -> tuple[object, ...]:
        head = self.head
        return head.method, head.target, head.headers, head.length, self.body, self.trailers

    def sent_on(self) -> bytes:
        """What an upstream is sent of it."""
        head = self.head
        block = upstream_head(
            head,
            target=head.target.canonical,
            host=head.authority,
            forwarding=b"X-Forwarded-For: 192.0.2.1",
            extra=((b"X-Gate-User", b"ana"),),
            with_body=head.has_body,
            with_own_cookies=False,
        )
        if head.length != CHUNKED:
            return block + self.body
        last = encode_last_chunk(passing_trailers(self.trailers)) if self.is_whole else b""
        return block + (encode_chunk(self.body) if self.body else b"") + last


def tampered(requests: list[bytes], changes: list[tuple[int, bytes, int]]) -> bytes:
    data = b"".join(requests)
    for where, piece, removed in changes:
        at = where % (len(data) + 1)
        data = data[:at] + piece + data[at + removed :]
    return data


def read(pieces: list[bytes]) -> tuple[list[Message], FaultCode | None]:
    """Return what a connection would make of the bytes: it stops at a fault, and where it closes or is upgraded."""
    reader = RequestReader(HeadLimits())
    messages: list[Message] = []
    goes_on = True
    try:
        for piece in pieces:
            reader.feed(piece)
            while goes_on or reader.in_body:
                if reader.in_body:
                    message = messages[-1]
                    message.body += reader.next_body()
                    message.trailers, message.is_whole = reader.trailers, not reader.in_body
                    if reader.in_body:
                        break
                else:
                    head = reader.next_head()
                    if head is None:
                        break
                    goes_on = head.keeps_alive and not head.is_upgrade
                    messages.append(Message(head, is_whole=not reader.in_body))
    except WireFault as fault:
        return messages, fault.code
    return messages, None


class Upstream:
    """What llhttp finds."""

    def __init__(self, data: bytes) -> None:
        self.begun, self.bodies, self.users = 0, [], []
        parser = httptools.HttpRequestParser(self)
        self.error: Exception | None = None
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = error

    def on_message_begin(self) -> None:
        self.begun += 1
        self._body = b""

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower().replace(b"_", b"-") == b"x-gate-user":
            self.users.append(value)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self.bodies.append(self._body)


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3),
    CHANGES,
    st.lists(st.integers(0, 1000), max_size=8),
)
@settings(deadline=None, max_examples=400)
def test_any_split_of_any_bytes_means_the_same(
    requests: list[bytes], changes: list[tuple[int, bytes, int]], cuts: list[int]
) -> None:
    """Good or bad: the same whole requests, and the same fault at their end."""
    data = tampered(requests, changes)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    whole, fault = read([data])
    for pieces in ([data[begin:end] for begin, end in pairwise(edges)], [bytes((each,)) for each in data]):
        messages, same_fault = read(pieces)
        assert same_fault == fault
        assert [each.meaning for each in messages if each.is_whole] == [
            each.meaning for each in whole if each.is_whole
        ]


@given(st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=3), CHANGES)
@settings(deadline=None, max_examples=1000)
def test_no_request_becomes_two(requests: list[bytes], changes: list[tuple[int, bytes, int]]) -> None:
    for message in read([tampered(requests, changes)])[0]:
        upstream = Upstream(message.sent_on())
        if isinstance(upstream.error, httptools.HttpParserUpgrade | httptools.HttpParserInvalidMethodError):
            continue  # llhttp stops at an upgrade, and knows a closed list of methods
        assert upstream.error is None
        assert upstream.begun == 1
        assert upstream.bodies == ([message.body] if message.is_whole else [])
        assert upstream.users == [b"ana"]
