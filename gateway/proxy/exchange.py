"""One request and its response, between two connections: what may be sent to whom, and when it is over.

Without I/O: the client's connection and the upstream's are *links* that take bytes and orders. Bytes arrive as calls,
from `downstream` (the request), `upstream` (the response), `pool` (a connection, or none), and from the gatekeeper
(`proceed`, `cut`). Every call returns at once.

    ADMITTING ─ proceed ─► ROUTING ─ upstream_ready ─► AWAITING ─ response ─► ANSWERING ─► OVER
        │                     │                           └────── switched ─► TUNNEL ────────┘
        └── cut, a fault, a withheld response: another route, or a problem document ──► OVER

INVARIANT: at most one response head reaches the client, and nothing follows a `cut` but what the cut itself sends.
"""

from enum import Enum, auto

from compliance.model import ClientKind
from gateway.config.schema import Limits
from gateway.proxy.answer import (
    AnswerPlan,
    Framing,
    interim_head,
    is_event_stream,
    plan_answer,
    switching_head,
)
from gateway.proxy.links import ClientLink, UpstreamLink
from gateway.proxy.ports import BodyFilter, CutReason, Gatekeeper, Route, UpstreamFault
from gateway.proxy.tunnel import Tunnel
from gateway.wire.backward import led_back
from gateway.wire.body import encode_chunk, encode_last_chunk
from gateway.wire.client_kind import client_kind
from gateway.wire.destination import DESTINED, app_destination
from gateway.wire.faults import FaultCode, RequestFault
from gateway.wire.fields import Field
from gateway.wire.forward import upstream_head
from gateway.wire.forwarded import Address
from gateway.wire.headers import passing_trailers
from gateway.wire.problem import problem_response
from gateway.wire.request import CHUNKED, RequestHead
from gateway.wire.response import ResponseHead
from gateway.wire.spare import page_response

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

CONTINUE_AFTER_S = 1.0
"""How long a client that expects `100 Continue` waits for the upstream's before it gets ours."""

HALF_CLOSED_S = 1.0
"""How long a client that has ended its side may still wait for the answer: most that do so have gone away."""

DISCARD_BYTES = 65536
"""Most bytes of an unwanted request body that are read to keep the connection alive."""

MAX_INTERIM = 16
"""Most interim responses to one request."""

MAX_ATTEMPTS = 3
"""How often one request is sent at most; see `_is_repeatable`."""

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "REPORT", "SEARCH"})
"""Methods that may be repeated when a connection turns out to be gone. Source: RFC 9110 section 9.2.2."""

RESTARTING = "gateway-restarting"
"""Code of the answer while a part of the gateway is away."""

READ_BODY = "read-only"
"""The limit that a request's body meets when it is read."""

_CONTINUES = 100


class Phase(Enum):
    """Where an exchange stands."""

    ADMITTING = auto()
    ROUTING = auto()
    AWAITING = auto()
    ANSWERING = auto()
    TUNNEL = auto()
    OVER = auto()


class Exchange:
    """One request and its response. The gatekeeper reads it, and may `proceed` and `cut`.

    `head` is the parsed request; its headers are the client's, before anything was removed, so believe none of the
    protected names unless `is_peer_trusted`. `client_address` is believed, `peer_address` is the other end of the
    connection, `scheme` is `http` or `https` as the client used it. `received_ns` is the monotonic clock when the
    request's first byte was read. `context` is the gatekeeper's own. `fault_detail` tells which rule of HTTP the
    upstream broke, or what it did not finish; empty where it did neither. `response` is the head of the upstream's
    final answer once there is one.
    """

    __slots__ = (
        "_attempts",
        "_body_bytes",
        "_body_is_whole",
        "_body_progress",
        "_filter",
        "_gatekeeper",
        "_has_continued",
        "_held_body",
        "_interims",
        "_is_substitute",
        "_limits",
        "_plan",
        "_sends_body",
        "_server_limits",
        "_tunnel",
        "client",
        "client_address",
        "context",
        "fault_detail",
        "head",
        "is_draining",
        "is_tunnel",
        "phase",
        "received_ns",
        "response",
        "response_started",
        "route",
        "scheme",
        "upstream",
    )

    def __init__(
        self,
        head: RequestHead,
        client: ClientLink,
        gatekeeper: Gatekeeper,
        limits: Limits,
        *,
        client_address: Address,
        scheme: str,
        received_ns: int,
    ) -> None:
        self.head = head
        self.client = client
        self.client_address = client_address
        self.scheme = scheme
        self.received_ns = received_ns
        self.context: object = None
        self.fault_detail = ""
        self.route: Route | None = None
        self.upstream: UpstreamLink | None = None
        self.response: ResponseHead | None = None
        self.response_started = False
        self.is_tunnel = False
        self.is_draining = False
        self.phase = Phase.ADMITTING
        self._gatekeeper = gatekeeper
        self._limits = self._server_limits = limits
        self._tunnel: Tunnel | None = None
        self._plan: AnswerPlan | None = None
        self._filter: BodyFilter | None = None
        self._held_body = b""
        self._attempts = 0
        self._interims = 0
        self._body_bytes = 0
        self._body_progress = 0
        self._body_is_whole = not head.length
        self._sends_body = False
        self._has_continued = not head.expects_continue
        self._is_substitute = False

    # --- what the gatekeeper reads ---------------------------------------------------------------------------

    @property
    def peer_address(self) -> Address:
        """Address of the other end of the connection; 127.0.0.1 on a Unix socket."""
        return self.client.peer_address

    @property
    def is_peer_trusted(self) -> bool:
        """Whether the other end is a trusted proxy, whose forwarding headers may be believed."""
        return self.client.is_peer_trusted

    @property
    def evidence(self) -> bytes:
        """DER of the verified client certificate of the TLS connection; empty without one."""
        return self.client.evidence

    @property
    def asked_name(self) -> str:
        """Server name (SNI) by which the TLS connection was made, in lower case; empty without one."""
        return self.client.asked_name

    @property
    def client_kind(self) -> ClientKind:
        """Browser navigation, program, or WebSocket."""
        return client_kind(self.head)

    @property
    def is_over(self) -> bool:
        """Whether nothing more can happen to the exchange."""
        return self.phase is Phase.OVER

    # --- what the gatekeeper orders --------------------------------------------------------------------------

    def proceed(self, route: Route) -> None:
        """Go where the gatekeeper says. Ignored when the exchange has been cut, refused, or left meanwhile."""
        if self.phase is Phase.ADMITTING:
            self._follow(route)

    def cut(self, reason: CutReason, route: Route | None = None) -> None:
        """End the exchange now.

        Before its response has begun, `route` answers instead, or a problem document when there is none. A response
        that has begun is broken off so that the client sees it is not whole: what the transport and the kernel still
        hold is dropped with the connection. A WebSocket gets a close frame where one fits. When this returns, no byte
        of the upstream will be written to the client any more.
        """
        if self.phase is Phase.OVER or (self._is_substitute and not self.is_tunnel):
            return
        if self._tunnel is not None:
            self._tunnel.cut(reason)
            self._end()
        elif self.response_started:
            self._break_off(is_cut=True)
        else:
            self._leave_upstream(is_cut=True)
            self._answer_instead(route, 503 if reason is CutReason.GOING_AWAY else 403, reason.value)

    # --- the request's body ----------------------------------------------------------------------------------

    @property
    def takes_body(self) -> bool:
        """Whether `body_arrived` may be called now: the upstream is there, wants the body, and is not behind."""
        upstream = self.upstream
        return self._sends_body and upstream is not None and not upstream.is_write_paused

    def body_arrived(self, payload: bytes, *, is_last: bool, trailers: list[Field]) -> None:
        """Pass on a piece of the request's body."""
        upstream = self.upstream
        if upstream is None:
            return
        self._body_bytes += len(payload)
        if self.route is not None and self._body_bytes > self.route.body_max_bytes:
            self.refuse(RequestFault(FaultCode.BODY_BYTES, "the body is longer than this app accepts"))
            return
        self._has_continued = True
        if self.route is not None and self.route.reads_body is not None:
            self._held_body += payload
            if is_last and not self.route.reads_body(self._held_body):
                self._body_is_whole = True
                self._withhold(READ_BODY)
                return
            payload, self._held_body = (self._held_body, b"") if is_last else (b"", self._held_body)
        self._body_is_whole = is_last
        if not is_last:
            upstream.keep_answer()
        if self.head.length != CHUNKED:
            upstream.write(payload)
        else:
            framed = encode_chunk(payload) if payload else b""
            upstream.write(framed + encode_last_chunk(passing_trailers(trailers)) if is_last else framed)
        if self.phase is Phase.AWAITING:
            self._expect_more(is_last=is_last)

    def refuse(self, fault: RequestFault) -> None:
        """The request turned out to break a rule after it had begun: answer if that is still possible, and close."""
        self._leave_upstream()
        if self.response_started:
            self._break_off()
        else:
            self._answer_problem(fault.code.status, fault.code.value, fault.detail, closes=True)

    # --- the upstream connection -----------------------------------------------------------------------------

    def upstream_ready(self, link: UpstreamLink) -> None:
        """The pool found a connection: send the request."""
        route = self.route
        if route is None or self.phase is not Phase.ROUTING:
            link.release()
            return
        self._attempts += 1
        self._sends_body = route.send_body and not self._body_is_whole and not self._body_bytes
        try:
            block = self._upstream_head(route, link.authority)
        except ValueError:
            link.drop()
            self._answer_problem(500, "header-unsendable", "", closes=True)
            return
        self.upstream = link
        self.phase = Phase.AWAITING
        link.begin(self, block)
        if self._sends_body:
            self.client.expect_within(self._body_patience())
            self.client.body_wanted()
        else:
            self.client.expect_within(self._limits.response_timeout)

    def upstream_failed(self, fault: UpstreamFault) -> None:
        """The pool found no connection, or the upstream ended or broke the protocol."""
        repeats = self._is_repeatable(fault)
        self._leave_upstream()
        match self.phase:
            case Phase.OVER | Phase.ADMITTING:
                return
            case Phase.TUNNEL:
                self.client.close()
                self._end()
            case Phase.ANSWERING if self.response_started:
                self._truncate()
            case _ if repeats and self.route is not None:
                self.phase = Phase.ROUTING
                self.route.pool.lease(self, is_fresh=True)
            case _:
                self._answer_fault(fault)

    def upstream_writable(self, *, is_writable: bool) -> None:
        """The upstream fell behind, or caught up."""
        if self._tunnel is not None:
            self._tunnel.upstream_writable(is_writable=is_writable)
        elif is_writable and self._sends_body:
            self.client.body_wanted()

    # --- the response ----------------------------------------------------------------------------------------

    def interim(self, response: ResponseHead) -> None:
        """Pass on a 1xx response to a client that understands it; 100 only to one that waits for it."""
        self._interims += 1
        if self._interims > MAX_INTERIM:
            self.upstream_failed(UpstreamFault.PROTOCOL)
        elif response.status == _CONTINUES:
            self._continue()
        elif self.head.version == (1, 1) and self.route is not None:
            self.client.write(interim_head(response, self.route.rules))

    def respond(self, response: ResponseHead) -> None:
        """The final response's head. What follows comes as `payload_arrived`, at least once."""
        route = self.route
        if route is None:
            return
        location = response.header(b"location")
        if location is not None:
            response = self._led_back(response, location)
        self.response = response
        rules = route.rules
        if rules.guard is not None:
            limit = rules.guard.withholds(self.head, response)
            if limit:
                self._withhold(limit)
                return
            rules, self._filter = rules.guard.treat(self.head, response)
        self.phase = Phase.ANSWERING
        self._plan = plan_answer(
            response,
            method=self.head.method,
            client_version=self.head.version,
            keeps_alive=self._may_keep_alive(),
            rules=rules,
            date=self.client.date,
            rewrite=route.rewrite,
            authority=self.upstream.authority if route.is_own_host and self.upstream is not None else b"",
        )

    def payload_arrived(self, payload: bytes, *, is_last: bool, trailers: list[Field]) -> None:
        """Pass on a piece of the response's body, the head before the first one."""
        plan = self._plan
        if plan is None or self.phase is not Phase.ANSWERING:
            return
        if self._filter is not None:
            passed = self._filtered(self._filter, payload, is_last=is_last)
            if passed is None:
                return
            payload, trailers = passed, []
        if plan.framing is Framing.CHUNKED:
            if payload:
                payload = encode_chunk(payload)
            if is_last:
                payload += encode_last_chunk(passing_trailers(trailers))
        if not self.response_started:
            self.response_started = True
            payload = plan.head + payload
        if payload:
            self.client.write(payload)
        if is_last:
            self._answered(keeps_alive=plan.keeps_alive)
        else:
            self.client.expect_within(self._limits.stream_idle_timeout)

    def switched(self, response: ResponseHead) -> None:
        """The upstream speaks another protocol from here on; it must be the one that the client asked for."""
        upstream, route = self.upstream, self.route
        if upstream is None or route is None:
            return
        if not self.head.upgrade or (response.header(b"upgrade") or b"").lower() != self.head.upgrade:
            self.upstream_failed(UpstreamFault.PROTOCOL)
            return
        self.response = response
        self.response_started = True
        self.is_tunnel = True
        self.phase = Phase.TUNNEL
        self._tunnel = Tunnel(self.client, upstream, is_websocket=self.head.upgrade == b"websocket")
        self.client.write(switching_head(response, route.rules))
        self.client.expect_within(self._limits.tunnel_idle_timeout)
        if self.is_draining:
            self.cut(CutReason.GOING_AWAY)
        else:
            self.client.body_wanted()

    # --- the tunnel ------------------------------------------------------------------------------------------

    def tunnel_from_client(self, data: bytes) -> None:
        """Pass on bytes of an upgraded connection."""
        if self._tunnel is not None:
            self._tunnel.from_client(data)
            self.client.expect_within(self._limits.tunnel_idle_timeout)

    def tunnel_ended(self) -> float:
        """The client of a tunnel sends no more: tell the upstream, and return for how long the other way stays open.

        A WebSocket has nothing more to say but the answer to its close frame; most that end so have just gone away.
        """
        if self.upstream is None or not self.upstream.end():
            return 0.0
        return HALF_CLOSED_S if self.head.upgrade == b"websocket" else self._limits.tunnel_idle_timeout

    def tunnel_from_upstream(self, data: bytes) -> None:
        """Pass on bytes of an upgraded connection."""
        if self._tunnel is not None:
            self._tunnel.from_upstream(data)
            self.client.expect_within(self._limits.tunnel_idle_timeout)

    # --- the client's connection -----------------------------------------------------------------------------

    def client_writable(self, *, is_writable: bool) -> None:
        """The client fell behind in reading, or caught up."""
        if self.upstream is None:
            return
        if is_writable:
            self.upstream.resume_reading()
        else:
            self.upstream.pause_reading()

    def client_gone(self) -> None:
        """The client's connection ended: so does the upstream's part, at once."""
        if self.phase is not Phase.OVER:
            if self._tunnel is not None and self.upstream is not None:
                self.upstream.close()
                self.upstream = None
            self._leave_upstream()
            self._end()

    def expired(self) -> None:
        """What was expected did not come in time."""
        match self.phase:
            case Phase.ADMITTING | Phase.ROUTING:
                self._give_up(UpstreamFault.OVERLOADED)
            case Phase.AWAITING if self._sends_body and not self._has_continued:
                self._continue()
                self.client.expect_within(self._limits.stream_idle_timeout)
            case Phase.AWAITING if self.takes_body and not self._body_is_whole:
                self.refuse(RequestFault(FaultCode.BODY_TIMEOUT, "the body stood still for too long"))
            case Phase.AWAITING:
                self._give_up(UpstreamFault.RESPONSE_TIMEOUT)
            case Phase.ANSWERING if self.response is not None and is_event_stream(self.response):
                self.client.expect_within(self._limits.stream_idle_timeout)
            case Phase.ANSWERING:
                self._break_off()
            case Phase.TUNNEL:
                self.cut(CutReason.GOING_AWAY)
            case Phase.OVER:
                return

    # --- inner steps -----------------------------------------------------------------------------------------

    def _follow(self, route: Route) -> None:
        """Ask the route's pool for a connection; `upstream_ready` or `upstream_failed` follows, perhaps at once."""
        self.route = route
        self._limits = route.limits or self._server_limits
        if route.send_body and self.head.length > route.body_max_bytes:
            self.refuse(RequestFault(FaultCode.BODY_BYTES, "the body is longer than this app accepts"))
            return
        self.phase = Phase.ROUTING
        route.pool.lease(self, is_fresh=False)

    def _upstream_head(self, route: Route, authority: bytes) -> bytes:
        """Return the head for the upstream that calls itself `authority`.

        Raises `ValueError` when a header of the route would break its line.
        """
        head, extra = self.head, route.headers
        if head.method in DESTINED and not route.with_own_cookies:
            place = app_destination(head, route.rewrite, is_own_host=route.is_own_host)
            extra = extra if place is None else (*extra, (b"Destination", place))
        return upstream_head(
            head,
            target=route.target or _target(head, route),
            host=authority if route.is_own_host else route.host or head.authority,
            forwarding=self.client.forwarding(self),
            extra=extra,
            with_body=self._sends_body,
            with_own_cookies=route.with_own_cookies,
            removed=route.removed,
        )

    def _led_back(self, response: ResponseHead, location: bytes) -> ResponseHead:
        """Return the response with a redirect that the client can follow: apps may not know how they are reached."""
        upstream, head = self.upstream, self.head
        authority = b"" if upstream is None else upstream.authority
        is_https = self.scheme == "https"
        led = led_back(location, is_https=is_https, host=head.host, port=head.port, upstream=authority)
        return response if led == location else response.with_value(b"location", led)

    def _expect_more(self, *, is_last: bool) -> None:
        """Give the client time for more of its body unless it drips; the upstream, after its end."""
        came = self._body_bytes - self._body_progress
        if is_last:
            self.client.expect_within(self._limits.response_timeout)
        elif came >= self._limits.body_progress_bytes or not self._body_progress:
            self._body_progress = self._body_bytes
            self.client.expect_within(self._limits.stream_idle_timeout)

    def _body_patience(self) -> float:
        return self._limits.stream_idle_timeout if self._has_continued else CONTINUE_AFTER_S

    def _continue(self) -> None:
        """Tell a client that waits for it to go on with its body."""
        if not self._has_continued:
            self._has_continued = True
            self.client.write(CONTINUE)

    def _is_repeatable(self, fault: UpstreamFault) -> bool:
        """Return whether sending the request again cannot do a thing twice.

        A reused connection that closes before any byte of an answer was idle when the upstream gave it up; a method
        that is idempotent, none of whose body was sent, may then be tried on a new one, and where there are other
        addresses, after a new one as well. Source: RFC 9112 section 9.3.1.
        """
        link, route = self.upstream, self.route
        return (
            fault is UpstreamFault.RESET
            and link is not None
            and route is not None
            and (link.is_reused or route.pool.has_others)
            and not link.has_answered
            and not self._body_bytes
            and not self._interims
            and self._attempts < MAX_ATTEMPTS
            and self.head.method in IDEMPOTENT
        )

    def _may_keep_alive(self) -> bool:
        """Return whether the connection could serve another request: the rest of this one's body must be bearable."""
        if not self.head.keeps_alive or self.is_draining:
            return False
        if self._body_is_whole:
            return True
        if not self._has_continued:
            return False
        return self._sends_body or 0 < self.head.length <= DISCARD_BYTES

    def _leave_upstream(self, *, is_cut: bool = False) -> None:
        """Have nothing more to do with the upstream, whether it is connected or still waited for."""
        self._sends_body = False
        if self.upstream is not None:
            if is_cut:
                self.upstream.drop_soon()
            else:
                self.upstream.drop()
            self.upstream = None
        elif self.phase is Phase.ROUTING and self.route is not None:
            self.route.pool.give_up(self)

    def _filtered(self, body_filter: BodyFilter, payload: bytes, *, is_last: bool) -> bytes | None:
        """Return what of a piece of the response may go on now, None for nothing."""
        passed = body_filter.feed(payload, is_last=is_last)
        if passed is None:
            self._withhold(body_filter.limit)
        elif not passed and not is_last:
            self.client.expect_within(self._limits.stream_idle_timeout)
            return None
        return passed

    def _withhold(self, limit: str) -> None:
        """Do not pass on what a guard forbids: another answer in its place, or a break where it has begun."""
        if self.response_started:
            self._break_off()
            return
        self._leave_upstream()
        self._answer_instead(self._gatekeeper.forbidden(self, limit), 403, "response-withheld")

    def _give_up(self, fault: UpstreamFault) -> None:
        self._leave_upstream()
        self._answer_fault(fault)

    def _answer_fault(self, fault: UpstreamFault) -> None:
        """Answer for an upstream that gave nothing usable: once by the gatekeeper's route, else by a problem."""
        route = None if self._is_substitute else self._gatekeeper.failed(self, fault)
        if route is None and self.route is not None and self.route.is_ours and fault.is_away:
            self._answer_instead(None, 503, RESTARTING)
        else:
            self._answer_instead(route, fault.status, fault.value)

    def _answer_instead(self, route: Route | None, status: int, code: str) -> None:
        self._is_substitute = True
        self.fault_detail = ""
        self.client.expect_within(self._limits.response_timeout)
        self.response = None
        self._plan = None
        self._filter = None
        if route is not None:
            self._follow(route)
        else:
            self._answer_problem(status, code, "", closes=not self._may_keep_alive())

    def _answer_problem(self, status: int, code: str, detail: str, *, closes: bool) -> None:
        closes = closes or self.head.version != (1, 1)
        self.phase = Phase.ANSWERING
        self.response_started = True
        is_head, date = self.head.method == "HEAD", self.client.date
        page = None
        if self.client_kind is ClientKind.BROWSER:
            page = self.client.spare_page(status, self.head.header(b"accept-language") or b"")
        if page is None:
            answer = problem_response(status, code, detail, date=date, closes=closes, is_head=is_head)
        else:
            answer = page_response(status, page, date=date, closes=closes, is_head=is_head)
        self.client.write(answer)
        self._answered(keeps_alive=not closes)

    def _answered(self, *, keeps_alive: bool) -> None:
        """The response is complete. The upstream's connection is free if the request is complete as well."""
        upstream, self.upstream = self.upstream, None
        if upstream is not None:
            if self._body_is_whole or not self._sends_body:
                upstream.release()
            else:
                upstream.drop()
        self._end()
        self.client.over(keeps_alive=keeps_alive)

    def _truncate(self) -> None:
        """End a response that the upstream did not finish, in a way the client cannot take for its end."""
        if self._plan is not None and self._plan.framing is Framing.UNTIL_CLOSE:
            self.client.reset()
        else:
            self.client.close()
        self._end()

    def _break_off(self, *, is_cut: bool = False) -> None:
        """End a response that must not go on."""
        self._leave_upstream(is_cut=is_cut)
        self.client.reset()
        self._end()

    def _end(self) -> None:
        if self.phase is not Phase.OVER:
            self.phase = Phase.OVER
            self._sends_body = False
            self._gatekeeper.ended(self)


def _target(head: RequestHead, route: Route) -> bytes:
    """Return the target for the upstream: the canonical one, below the prefixes that the route says."""
    return head.target.canonical if route.rewrite is None else route.rewrite.apply(head.target)
