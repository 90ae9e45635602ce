"""Tampered responses, as an upstream's connection reads them: the client never sees two, nor a part as the whole.

The client is llhttp here, another parser than ours. The connections are real, their transports are not.
"""

from itertools import pairwise

import httptools
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.schema import Limits
from gateway.proxy.exchange import Exchange
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.ports import UpstreamFault
from gateway.proxy.upstream import Upstream
from tests.unit.proxy.test_exchange import Scene

GET = b"GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n"
POISON = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
RESPONSES = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: a\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(POISON) + POISON,
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nT: u\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(POISON) + POISON + b"\r\n0\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
]
PIECES = [
    *(bytes((each,)) for each in b'\r\n \t:\x00\x0b\x80\xff01x,;-"'),
    b"",
    b"\r\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"5\r\n",
    b"HTTP/1.0",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Connection: Content-Length\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    POISON,
]
CHANGES = st.lists(
    st.tuples(st.integers(0, 400), st.sampled_from(PIECES), st.sampled_from([0, 0, 1, 2, 9])), max_size=4
)
CUTS = st.lists(st.integers(0, 400), max_size=6)


class Transport:
    """The upstream's side of a connection that exists in name only."""

    def __init__(self) -> None:
        self.is_closed = False

    def set_write_buffer_limits(self, *, high: int) -> None:
        pass

    def write(self, data: bytes) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_closed


class OneLink:
    """A place for connections where there is just one."""

    has_others = False

    def __init__(self, link: Upstream) -> None:
        self._link = link

    def lease(self, lessee: Exchange, *, is_fresh: bool) -> None:
        lessee.upstream_ready(self._link)

    def give_up(self, lessee: Exchange) -> None:
        pass

    def close(self) -> None:
        pass


class Seen:
    """What llhttp makes of what the client was sent; interim responses are left out."""

    def __init__(self, data: bytes) -> None:
        self.begun: list[int] = []
        self.bodies: list[bytes] = []
        self._body = b""
        self._parser = httptools.HttpResponseParser(self)
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.begun.append(self._parser.get_status_code())
        self._body = b""

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() >= 200:
            self.bodies.append(self._body)


def passed_on(data: bytes, cuts: list[int]) -> tuple[Scene, Transport]:
    """Let an upstream send `data` in pieces and close; return what became of it."""
    pool = UpstreamPool("http://127.0.0.1:1", Limits())
    link, transport = Upstream(pool), Transport()
    link.connection_made(transport)
    scene = Scene(GET)
    scene.route = type(scene.route)(pool=OneLink(link), headers=())
    scene.exchange.proceed(scene.route)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        if begin < end and not transport.is_closed:
            link.data_received(data[begin:end])
    if not transport.is_closed:
        link.eof_received()
    link.connection_lost(None)
    return scene, transport


def tampered(responses: list[bytes], changes: list[tuple[int, bytes, int]]) -> bytes:
    data = b"".join(responses)
    for where, piece, removed in changes:
        at = where % (len(data) + 1)
        data = data[:at] + piece + data[at + removed :]
    return data


@given(st.lists(st.sampled_from(RESPONSES), min_size=1, max_size=2), CHANGES, CUTS)
@settings(deadline=None, max_examples=1000)
def test_the_client_gets_one_response(
    responses: list[bytes], changes: list[tuple[int, bytes, int]], cuts: list[int]
) -> None:
    """Whole, or 502, or visibly cut short; what follows it on the connection is nobody's."""
    scene, transport = passed_on(tampered(responses, changes), cuts)
    seen = Seen(scene.client.sent)
    assert len(seen.begun) == 1
    assert scene.gatekeeper.over == 1
    ends = scene.client.events[-1]
    if seen.bodies:
        assert ends in {"over, keeps alive", "over, closes"}
    else:
        assert ends in {"close", "reset"}
    assert transport.is_closed or UpstreamFault.PROTOCOL not in scene.gatekeeper.faults


@given(st.sampled_from(RESPONSES), CUTS)
@settings(deadline=None)
def test_any_split_of_a_good_response_gives_the_same(response: bytes, cuts: list[int]) -> None:
    whole = passed_on(response, [])[0].client
    cut = passed_on(response, cuts)[0].client
    assert cut.events[-1] == whole.events[-1]
    assert Seen(cut.sent).begun == Seen(whole.sent).begun
    assert Seen(cut.sent).bodies == Seen(whole.sent).bodies
