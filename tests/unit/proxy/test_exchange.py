"""An exchange between two fake connections, as a script: what came in, what must go out. No loop, no sockets."""

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from compliance.model import SessionControl
from gateway.config.schema import Limits
from gateway.controls.effective import Profiles
from gateway.controls.guard import Guard
from gateway.proxy.exchange import CONTINUE, Exchange, Phase
from gateway.proxy.ports import CutReason, ResponseRules, Route, UpstreamFault
from gateway.wire.reader import RequestReader, ResponseReader
from gateway.wire.request import HeadLimits, RequestHead

GET = b"GET /a HTTP/1.1\r\nHost: app.test\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\n\r\n"


class Client:
    """Records what an exchange does to the client's connection."""

    peer_address = ip_address("192.0.2.1")
    asked_name = ""
    evidence = b""
    is_peer_trusted = False
    date = b"now"

    def __init__(self) -> None:
        self.sent = b""
        self.events: list[str] = []
        self.patience: float | None = None
        self.buffered = 0

    def write(self, data: bytes) -> None:
        self.sent += data

    def unsent(self) -> int:
        return self.buffered

    def body_wanted(self) -> None:
        self.events.append("body wanted")

    def forwarding(self, exchange: Exchange) -> bytes:
        return b"X-Forwarded-For: 192.0.2.1"

    def expect_within(self, seconds: float) -> None:
        self.patience = seconds

    def spare_page(self, status: int, untrusted_accepted: bytes) -> None:
        return None

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def over(self, *, keeps_alive: bool) -> None:
        self.events.append("over, keeps alive" if keeps_alive else "over, closes")

    def close(self) -> None:
        self.events.append("close")

    def reset(self) -> None:
        self.events.append("reset")


class Link:
    """Records what an exchange does to an upstream's connection."""

    authority = b"upstream.test"

    def __init__(self, *, is_reused: bool = False) -> None:
        self.is_reused = is_reused
        self.has_answered = False
        self.is_write_paused = False
        self.sent = b""
        self.events: list[str] = []

    def begin(self, exchange: Exchange, head: bytes) -> None:
        self.sent += head

    def write(self, data: bytes) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.events.append("pause")

    def resume_reading(self) -> None:
        self.events.append("resume")

    def keep_answer(self) -> None:
        self.events.append("keep")

    def end(self) -> bool:
        self.events.append("end")
        return True

    def release(self) -> None:
        self.events.append("release")

    def close(self) -> None:
        self.events.append("close")

    def drop(self) -> None:
        self.events.append("drop")

    def drop_soon(self) -> None:
        self.events.append("drop soon")


class Pool:
    """Hands out the links it was given; without any, the exchange waits."""

    def __init__(self, *links: Link) -> None:
        self.links: Iterator[Link] = iter(links)
        self.has_others = False
        self.leases: list[bool] = []
        self.given_up = 0

    def lease(self, lessee: Exchange, *, is_fresh: bool) -> None:
        self.leases.append(is_fresh)
        link = next(self.links, None)
        if link is not None:
            lessee.upstream_ready(link)

    def give_up(self, lessee: Exchange) -> None:
        self.given_up += 1


class Gatekeeper:
    """Answers faults and withheld responses by `page`."""

    def __init__(self) -> None:
        self.page: Route | None = None
        self.faults: list[UpstreamFault] = []
        self.over = 0

    def admit(self, exchange: Exchange) -> Route | None:
        return None

    def failed(self, exchange: Exchange, fault: UpstreamFault) -> Route | None:
        self.faults.append(fault)
        return self.page

    def forbidden(self, exchange: Exchange, reason: str) -> Route | None:
        return self.page

    def ended(self, exchange: Exchange) -> None:
        self.over += 1


NO_DOWNLOADS = Guard(
    Profiles().effective(frozenset({SessionControl.NO_DOWNLOADS}), frozenset()), ResponseRules()
).rules


class Scene:
    """An exchange with everything around it."""

    def __init__(self, request: bytes = GET, *links: Link, **route: object) -> None:
        self.client, self.gatekeeper = Client(), Gatekeeper()
        self.pool = Pool(*links)
        self.route = Route(pool=self.pool, headers=(), **route)
        self.exchange = Exchange(
            parsed(request),
            self.client,
            self.gatekeeper,
            Limits(),
            client_address=self.client.peer_address,
            scheme="http",
            received_ns=1,
        )

    def answer(self, data: bytes) -> None:
        """Let the upstream answer with whole heads and whatever of the body is there."""
        reader = ResponseReader()
        reader.expect(self.exchange.head.method)
        reader.feed(data)
        while (head := reader.next_head()) is not None:
            if head.status == 101:
                self.exchange.switched(head)
                return
            if head.status >= 200:
                self.exchange.respond(head)
                payload = reader.next_body()
                self.exchange.payload_arrived(payload, is_last=not reader.in_body, trailers=reader.trailers)
                return
            self.exchange.interim(head)


def parsed(request: bytes) -> RequestHead:
    reader = RequestReader(HeadLimits())
    reader.feed(request)
    head = reader.next_head()
    assert head is not None
    return head


def test_the_straight_way() -> None:
    link = Link()
    scene = Scene(GET, link)
    scene.exchange.proceed(scene.route)
    assert link.sent == b"GET /a HTTP/1.1\r\nHost: app.test\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    assert not scene.exchange.response_started
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: then\r\n\r\nok")
    assert scene.client.sent == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: then\r\n\r\nok"
    assert link.events == ["release"]
    assert scene.client.events == ["over, keeps alive"]
    assert scene.exchange.is_over
    assert scene.gatekeeper.over == 1


def test_rewritten_by_the_route() -> None:
    link = Link()
    scene = Scene(GET, link, host=b"inner.test", target=b"/prefix/a")
    scene.exchange.proceed(scene.route)
    assert link.sent.startswith(b"GET /prefix/a HTTP/1.1\r\nHost: inner.test\r\n")


def test_the_body_waits_for_the_upstream() -> None:
    link = Link()
    scene = Scene(POST)
    scene.exchange.proceed(scene.route)
    assert scene.exchange.phase is Phase.ROUTING
    assert not scene.exchange.takes_body
    scene.exchange.upstream_ready(link)
    assert scene.exchange.takes_body
    assert scene.client.events == ["body wanted"]
    link.is_write_paused = True
    assert not scene.exchange.takes_body
    scene.exchange.body_arrived(b"hel", is_last=False, trailers=[])
    scene.exchange.body_arrived(b"lo", is_last=True, trailers=[])
    assert link.sent.endswith(b"\r\n\r\nhello")


def test_an_answer_before_the_body_is_whole_costs_the_connection() -> None:
    link = Link()
    scene = Scene(POST, link)
    scene.exchange.proceed(scene.route)
    scene.exchange.body_arrived(b"hel", is_last=False, trailers=[])
    scene.answer(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    assert link.events == ["keep", "drop"]
    assert scene.client.events[-1] == "over, keeps alive"


@pytest.mark.parametrize(
    ("fault", "is_reused", "method", "repeats"),
    [
        (UpstreamFault.RESET, True, b"GET", True),
        (UpstreamFault.RESET, True, b"PUT", True),
        (UpstreamFault.RESET, True, b"POST", False),
        (UpstreamFault.RESET, False, b"GET", False),
        (UpstreamFault.PROTOCOL, True, b"GET", False),
    ],
)
def test_what_is_sent_again(fault: UpstreamFault, is_reused: bool, method: bytes, repeats: bool) -> None:
    first, second = Link(is_reused=is_reused), Link()
    scene = Scene(GET.replace(b"GET", method), first, second)
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(fault)
    assert scene.pool.leases == ([False, True] if repeats else [False])
    assert (second.sent.startswith(method)) is repeats
    assert first.events == ["drop"]


@pytest.mark.parametrize(("method", "repeats"), [(b"GET", True), (b"POST", False)])
def test_what_is_sent_again_to_another_address(method: bytes, repeats: bool) -> None:
    """Also after a new connection: it was that of an address which may be broken."""
    first, second = Link(), Link()
    scene = Scene(GET.replace(b"GET", method), first, second)
    scene.pool.has_others = True
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(UpstreamFault.RESET)
    assert (second.sent != b"") is repeats
    assert scene.gatekeeper.faults == ([] if repeats else [UpstreamFault.RESET])


@pytest.mark.parametrize("fault", list(UpstreamFault))
def test_who_is_away_of_the_gateway_itself_is_back_soon(fault: UpstreamFault) -> None:
    """One that is there and answers badly or late is another matter: to come again would not help."""
    scene = Scene(GET, Link(), is_ours=True)
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(fault)
    away = {UpstreamFault.UNREACHABLE, UpstreamFault.RESET, UpstreamFault.CONNECT_TIMEOUT}
    if fault in away:
        assert scene.client.sent.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 5\r\n" in scene.client.sent
        assert b'"code":"gateway-restarting"' in scene.client.sent
    else:
        assert scene.client.sent.startswith(b"HTTP/1.1 %d " % fault.status)
        assert b'"code":"%b"' % fault.value.encode() in scene.client.sent


def test_an_app_that_fails_while_nobody_can_explain_it() -> None:
    scene = Scene(GET, Link())
    page = Pool(Link())
    scene.gatekeeper.page = Route(pool=page, headers=(), is_ours=True)
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(UpstreamFault.PROTOCOL)
    assert page.leases == [False]
    scene.exchange.upstream_failed(UpstreamFault.RESET)
    assert scene.client.sent.startswith(b"HTTP/1.1 503 ")
    assert scene.gatekeeper.faults == [UpstreamFault.PROTOCOL]


def test_it_is_not_sent_again_for_ever() -> None:
    links = [Link(is_reused=True) for _ in range(9)]
    scene = Scene(GET, *links)
    scene.exchange.proceed(scene.route)
    for _ in range(8):
        scene.exchange.upstream_failed(UpstreamFault.RESET)
    assert len(scene.pool.leases) == 3
    assert scene.gatekeeper.faults == [UpstreamFault.RESET]
    assert scene.client.sent.startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("fault", list(UpstreamFault))
def test_every_fault_is_answered_once(fault: UpstreamFault) -> None:
    scene = Scene(GET, Link())
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(fault)
    scene.exchange.upstream_failed(fault)
    assert scene.client.sent.count(b"HTTP/1.1 %d " % fault.status) == 1
    assert b'"code":"%b"' % fault.value.encode() in scene.client.sent
    assert scene.gatekeeper.over == 1


def test_a_failing_page_does_not_loop() -> None:
    scene = Scene(GET, Link(), Link())
    scene.gatekeeper.page = scene.route
    scene.exchange.proceed(scene.route)
    scene.exchange.upstream_failed(UpstreamFault.TLS)
    assert scene.client.sent == b""
    scene.exchange.upstream_failed(UpstreamFault.UNREACHABLE)
    assert b"upstream-unreachable" in scene.client.sent
    assert scene.gatekeeper.faults == [UpstreamFault.TLS]


@pytest.mark.parametrize("phase", ["admitting", "waiting for a connection", "waiting for the answer"])
def test_cut_before_the_response(phase: str) -> None:
    link = Link()
    scene = Scene(GET)
    exchange = scene.exchange
    if phase != "admitting":
        exchange.proceed(scene.route)
    if phase == "waiting for the answer":
        exchange.upstream_ready(link)
    exchange.cut(CutReason.RESTRICTED)
    assert scene.client.sent.startswith(b"HTTP/1.1 403 ")
    assert b'"code":"restricted"' in scene.client.sent
    assert scene.client.events == ["over, keeps alive"]
    sent = scene.client.sent
    exchange.proceed(scene.route)
    exchange.payload_arrived(b"late", is_last=True, trailers=[])
    if phase == "waiting for a connection":
        exchange.upstream_ready(link)
        assert scene.pool.given_up == 1
        assert link.events == ["release"]
    exchange.cut(CutReason.ACCESS_ENDED)
    assert scene.client.sent == sent
    assert scene.gatekeeper.over == 1


def test_cut_in_the_response() -> None:
    link = Link()
    scene = Scene(GET, link)
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome")
    assert scene.exchange.response_started
    sent = scene.client.sent
    scene.exchange.cut(CutReason.ACCESS_ENDED)
    scene.exchange.payload_arrived(b" more", is_last=True, trailers=[])
    assert scene.client.sent == sent
    assert scene.client.events == ["reset"]
    assert link.events == ["drop soon"]


def test_going_away_is_no_refusal() -> None:
    scene = Scene()
    scene.exchange.cut(CutReason.GOING_AWAY)
    assert scene.client.sent.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(("buffered", "is_told"), [(0, True), (16384, True), (16385, False)])
def test_cut_of_a_websocket(buffered: int, is_told: bool) -> None:
    """With much unsent before it, a close frame would only follow what must not be delivered any more."""
    link = Link()
    scene = Scene(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        link,
    )
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    assert scene.exchange.is_tunnel
    scene.exchange.tunnel_from_upstream(b"\x81\x02hi")
    scene.client.buffered = buffered
    scene.exchange.cut(CutReason.ACCESS_ENDED)
    assert scene.client.sent.endswith(b"\x81\x02hi\x88\x0e\x11\x33access ended" if is_told else b"\x81\x02hi")
    assert scene.client.events[-1] == ("close" if is_told else "reset")
    assert link.events == ["drop soon"]
    assert scene.gatekeeper.over == 1


def test_tunnel_passes_back_pressure() -> None:
    link = Link()
    scene = Scene(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n", link)
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
    scene.exchange.upstream_writable(is_writable=False)
    scene.exchange.upstream_writable(is_writable=True)
    assert scene.client.events[-2:] == ["pause", "resume"]
    scene.exchange.client_writable(is_writable=False)
    scene.exchange.client_writable(is_writable=True)
    assert link.events == ["pause", "resume"]


@pytest.mark.parametrize(
    ("sets", "passes"),
    [
        (b"a=1", True),
        (b"__Host-gate=x; Path=/", False),
        (b" gate = x", False),
        (b"gate-start=x", False),
        (b"=gate=x", False),
        (b"mine=x", False),
    ],
)
def test_an_app_cannot_set_our_cookies(sets: bytes, passes: bool) -> None:
    scene = Scene(GET, Link(), rules=ResponseRules(reserved_cookies=(b"__Host-gate", b"mine")))
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: " + sets + b"\r\n\r\n")
    assert (b"Set-Cookie" in scene.client.sent) is passes


def test_no_store_and_extra_headers() -> None:
    rules = ResponseRules(no_store=True, extra_headers=((b"X-Gate-Banner", b"1"),))
    scene = Scene(GET, Link(), rules=rules)
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nCache-Control: public\r\nExpires: x\r\n\r\n")
    assert scene.client.sent.count(b"Cache-Control") == 1
    assert b"Cache-Control: no-store\r\n" in scene.client.sent
    assert b"Expires" not in scene.client.sent
    assert b"X-Gate-Banner: 1\r\n" in scene.client.sent


def test_a_withheld_download_shows_the_page() -> None:
    first, second = Link(), Link()
    scene = Scene(GET, first, second, rules=NO_DOWNLOADS)
    scene.gatekeeper.page = Route(pool=scene.pool, headers=())
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Disposition: attachment\r\n\r\nsecret")
    assert first.events == ["drop"]
    assert second.sent.startswith(b"GET /a ")
    assert scene.client.sent == b""
    scene.answer(b"HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\npage")
    assert scene.client.sent.endswith(b"page")


EXPECTS = b"POST /a HTTP/1.1\r\nHost: app.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"


def test_continue_comes_from_the_upstream_or_from_us_but_once() -> None:
    scene = Scene(EXPECTS, Link())
    scene.exchange.proceed(scene.route)
    scene.exchange.expired()
    assert scene.client.sent == CONTINUE
    scene.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert scene.client.sent == CONTINUE


def test_continue_is_not_said_for_a_body_that_nobody_wants() -> None:
    scene = Scene(EXPECTS, Link(), send_body=False)
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert CONTINUE not in scene.client.sent
    assert scene.client.events == ["over, closes"]


@pytest.mark.parametrize(
    ("request_", "route", "keeps"),
    [
        (POST, {"send_body": False}, True),
        (POST.replace(b"5", b"65537"), {"send_body": False}, False),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", {"send_body": False}, False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", {}, False),
        (b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", {}, True),
    ],
)
def test_who_keeps_alive(request_: bytes, route: dict[str, object], keeps: bool) -> None:
    scene = Scene(request_, Link(), **route)
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert scene.client.events[-1] == ("over, keeps alive" if keeps else "over, closes")
    assert (b"Connection: close" in scene.client.sent) is not keeps


def test_a_dripping_body_gets_no_more_time() -> None:
    scene = Scene(POST.replace(b"5", b"5000"), Link())
    scene.exchange.proceed(scene.route)
    scene.exchange.body_arrived(b"x", is_last=False, trailers=[])
    scene.client.patience = None
    for _ in range(1000):
        scene.exchange.body_arrived(b"x", is_last=False, trailers=[])
    assert scene.client.patience is None
    scene.exchange.body_arrived(b"x" * 100, is_last=False, trailers=[])
    assert scene.client.patience is not None


def test_an_upstream_that_stops_reading_is_to_blame_itself() -> None:
    link = Link()
    scene = Scene(POST, link)
    scene.exchange.proceed(scene.route)
    link.is_write_paused = True
    scene.exchange.expired()
    assert scene.gatekeeper.faults == [UpstreamFault.RESPONSE_TIMEOUT]


def test_a_header_that_would_break_its_line_is_not_sent() -> None:
    link = Link()
    scene = Scene(GET, link)
    scene.route = Route(pool=scene.pool, headers=((b"X-Gate-Name", b"a\r\nX-Gate-User: root"),))
    scene.exchange.proceed(scene.route)
    assert link.sent == b""
    assert scene.client.sent.startswith(b"HTTP/1.1 500 ")
    assert scene.gatekeeper.over == 1


@pytest.mark.parametrize(
    ("response", "version", "ends"),
    [
        (b"Content-Length: 9\r\n\r\nhello", b"1.1", "close"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"1.1", "close"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"1.0", "reset"),
    ],
)
def test_truncation_shows(response: bytes, version: bytes, ends: str) -> None:
    """A client of HTTP/1.0 can tell the end of the body only by that of the connection: there it must be a reset."""
    scene = Scene(GET.replace(b"1.1", version), Link())
    scene.exchange.proceed(scene.route)
    scene.answer(b"HTTP/1.1 200 OK\r\n" + response)
    scene.exchange.upstream_failed(UpstreamFault.RESET)
    assert scene.client.events == [ends]
    assert not scene.client.sent.endswith(b"0\r\n\r\n")


def test_a_client_that_leaves_takes_the_upstream_along() -> None:
    link = Link()
    scene = Scene(GET, link)
    scene.exchange.proceed(scene.route)
    scene.exchange.client_gone()
    scene.exchange.client_gone()
    assert link.events == ["drop"]
    assert scene.gatekeeper.over == 1
