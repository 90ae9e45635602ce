"""Messages out of bytes: any split into reads gives the same, and what we accept, llhttp reads in the same way."""

from itertools import pairwise

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.wire.body import ChunkedBody, SizedBody, UnsizedBody, encode_chunk, encode_last_chunk
from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.reader import RequestReader, ResponseReader
from gateway.wire.request import HeadLimits

LIMITS = HeadLimits()
GOOD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\r\nGET /x?y HTTP/1.1\r\nHost: a\r\nA:\r\nB:  c \t\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello\r\n\r\nxy",
    (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: u\r\n\r\n"
    ),
    b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    b"DELETE /%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
]


def read_requests(pieces: list[bytes]) -> list[tuple[object, ...]]:
    """Return the whole messages that a reader finds: method, target, fields, body and trailers of each.

    As a connection does, it stops after a message that ends the connection.
    """
    reader = RequestReader(LIMITS)
    messages: list[list[object]] = []
    goes_on = True
    for piece in pieces:
        reader.feed(piece)
        while goes_on or reader.in_body:
            if reader.in_body:
                messages[-1][3] += reader.next_body()
                messages[-1][4] = list(reader.trailers)
                if reader.in_body:
                    break
            else:
                head = reader.next_head()
                if head is None:
                    break
                goes_on = head.keeps_alive
                messages.append([head.method, head.target.raw, head.headers, b"", []])
    if reader.in_body:
        messages.pop()
    return [tuple(message) for message in messages]


class Oracle:
    """What llhttp makes of the same bytes."""

    def __init__(self, data: bytes) -> None:
        self.messages: list[list[object]] = []
        self.complete = 0
        self._url, self._fields, self._in_trailers = b"", [], False
        self._parser = httptools.HttpRequestParser(self)
        self.error: Exception | None = None
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.error = error

    def on_message_begin(self) -> None:
        self._url, self._fields, self._in_trailers = b"", [], False

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        field = (name.lower(), value.strip())
        if self._in_trailers:
            self.messages[-1][4].append(field)
        else:
            self._fields.append(field)

    def on_headers_complete(self) -> None:
        self._in_trailers = True
        self.messages.append([self._parser.get_method().decode(), self._url, self._fields, b"", []])

    def on_body(self, data: bytes) -> None:
        self.messages[-1][3] += data

    def on_message_complete(self) -> None:
        self.complete += 1


def cut_up(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


@given(st.lists(st.sampled_from(GOOD), min_size=1, max_size=5), st.lists(st.integers(0, 2000), max_size=12))
@settings(deadline=None)
def test_any_split_gives_the_same_messages(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(messages)
    whole = read_requests([data])
    assert len(whole) == len(messages)
    assert read_requests(cut_up(data, cuts)) == whole
    assert read_requests([data[at : at + 1] for at in range(len(data))]) == whole


MUTATIONS = st.tuples(
    st.integers(0, 400),
    st.sampled_from([b"", b"\r", b"\n", b" ", b"\t", b":", b"\x00", b"0", b"x", b",", b";"]),
)


@given(st.sampled_from(GOOD), st.lists(MUTATIONS, min_size=1, max_size=3), st.booleans())
@settings(deadline=None, max_examples=500)
def test_what_we_accept_llhttp_reads_in_the_same_way(
    message: bytes, mutations: list[tuple[int, bytes]], inserts: bool
) -> None:
    """Mutated requests: either we refuse, or another parser agrees on every message in the bytes."""
    data = message
    for where, piece in mutations:
        at = where % len(data)
        data = data[:at] + piece + data[at + (0 if inserts else 1) :]
    try:
        ours = read_requests([data])
    except WireFault:
        return
    oracle = Oracle(data)
    if isinstance(oracle.error, httptools.HttpParserInvalidMethodError | httptools.HttpParserUpgrade):
        return  # llhttp has a closed list of methods, and stops at an upgrade even when a body follows
    if b"chunked\t" in data.lower():
        return  # llhttp allows no tab there, RFC 9112 does; the upstream gets our own spelling anyway
    assert ours == [tuple(message) for message in oracle.messages[: oracle.complete]][: len(ours)]


@given(st.binary(max_size=300))
def test_no_bytes_make_a_reader_fail_otherwise(data: bytes) -> None:
    for reader in (RequestReader(LIMITS), ResponseReader()):
        reader.feed(data)
        try:
            while reader.next_head() is not None:
                reader.next_body()
        except WireFault:
            continue


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=6), st.lists(st.integers(0, 500), max_size=8))
def test_chunks_come_out_as_they_went_in(payloads: list[bytes], cuts: list[int]) -> None:
    data = (
        b"".join(encode_chunk(payload) for payload in payloads) + encode_last_chunk([(b"x", b"y")]) + b"next"
    )
    body = ChunkedBody()
    rest, out = b"", b""
    for piece in cut_up(data, cuts):
        if body.is_complete:
            rest += piece
        else:
            out += body.feed(piece)
    assert out == b"".join(payloads)
    assert body.trailers == [(b"x", b"y")]
    assert body.rest + rest == b"next"


def test_sized_and_unsized_bodies_know_their_end() -> None:
    sized = SizedBody(5)
    assert sized.feed(b"hel") == b"hel"
    assert not sized.end()
    assert sized.feed(b"lo, and more") == b"lo"
    assert sized.end()
    assert sized.rest == b", and more"
    unsized = UnsizedBody()
    assert unsized.feed(b"x") == b"x"
    assert unsized.end()


@pytest.mark.parametrize(
    ("begun", "code"),
    [
        (b"GET / HTTP/1.1\n", FaultCode.HEADER),
        (b"GET /\r\n", FaultCode.REQUEST_LINE),
        (b"GET / HTTP/1.1\r\nA: \x00", FaultCode.HEADER),
        (b"G" * 20000, FaultCode.TARGET_LENGTH),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 40000, FaultCode.HEADER_BYTES),
    ],
)
def test_a_hopeless_beginning_is_refused_at_once(begun: bytes, code: FaultCode) -> None:
    reader = RequestReader(LIMITS)
    reader.feed(begun)
    with pytest.raises(WireFault) as refusal:
        reader.next_head()
    assert refusal.value.code is code


def test_an_endless_response_head_is_refused() -> None:
    reader = ResponseReader()
    reader.feed(b"HTTP/1.1 200 OK\r\nA: " + b"b" * 70000)
    with pytest.raises(WireFault):
        reader.next_head()


@pytest.mark.parametrize(
    ("response", "method", "length"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "GET", 5),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD", 0),
        (b"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n", "GET", 0),
        (b"HTTP/1.1 304 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", 0),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "GET", -1),
        (b"HTTP/1.0 200 OK\r\n\r\n", "GET", -2),
        (b"HTTP/1.1 103 Hints\r\n\r\n", "GET", 0),
    ],
)
def test_length_of_a_response(response: bytes, method: str, length: int) -> None:
    reader = ResponseReader()
    reader.expect(method)
    reader.feed(response)
    head = reader.next_head()
    assert head is not None
    assert head.length == length
    assert reader.in_body is (length != 0)


@pytest.mark.parametrize("pieces", [[b"\r\n\r\n"], [b"\r\n", b"\r\n"], [b"\r", b"\n\r", b"\n"]])
def test_one_empty_line_is_ignored_however_it_comes(pieces: list[bytes]) -> None:
    with pytest.raises(WireFault):
        read_requests([*pieces, GOOD[0]])
    assert len(read_requests([b"\r", b"\n", GOOD[0], b"\r\n", GOOD[0]])) == 2


@pytest.mark.parametrize(
    "begun",
    [
        b"<html>",
        b"\r\n",
        b"HTTP/2",
        b"HTTP/1.1 20 OK\r\n",
        b"HTTP/1.1 200 OK\n",
        b"HTTP/1.1 200 OK\r\nA: \x00",
    ],
)
def test_a_hopeless_response_is_refused_at_once(begun: bytes) -> None:
    """An upstream that speaks something else is not waited for."""
    reader = ResponseReader()
    reader.feed(begun)
    with pytest.raises(WireFault):
        reader.next_head()


@pytest.mark.parametrize(
    ("response", "keeps"),
    [
        (b"204 OK\r\nContent-Length: 0", True),
        (b"204 OK", True),
        (b"204 OK\r\nContent-Length: 5", False),
        (b"304 OK\r\nContent-Length: 5", False),
        (b"304 OK\r\nTransfer-Encoding: chunked", False),
        (b"304 OK\r\nETag: a", True),
    ],
)
def test_a_body_that_is_announced_where_none_may_be_ends_the_connection(response: bytes, keeps: bool) -> None:
    """It could still come, and be read as the next answer."""
    reader = ResponseReader()
    reader.expect("GET")
    reader.feed(b"HTTP/1.1 " + response + b"\r\n\r\n")
    head = reader.next_head()
    assert head is not None
    assert head.keeps_alive is keeps
    assert not reader.in_body


def test_chunk_extensions_are_bounded_in_all() -> None:
    body = ChunkedBody()
    with pytest.raises(WireFault) as refusal:
        body.feed((b"1;" + b"a" * 1000 + b"\r\nx\r\n") * 20)
    assert refusal.value.code is FaultCode.CHUNK
