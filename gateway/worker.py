"""A proxy worker: joins the data path to the posture feed. It applies decisions and makes none.

Everything on the way of a request with a valid ticket is synchronous, O(1), and without I/O of its own.
"""

import asyncio
import base64
import hashlib
import os
import resource
import signal
import socket
import ssl
from collections import Counter
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog
import uvloop

from compliance.model import ClientKind, Decision, RequestFacts
from gateway.config.locations import WithoutCountries
from gateway.config.schema import ClientCertificates, HealthCheck, Limits, Tls
from gateway.controls.effective import Limit
from gateway.controls.meter import Meters
from gateway.decision.enforce import is_admitted, strictest
from gateway.decision.routing import RouteTable, is_below
from gateway.decision.verdict import HEADER as VERDICT_HEADER
from gateway.decision.verdict import Failed, NoSuchHost, Refused, SignIn, Verdict, encode_verdict
from gateway.devices.forwarded import ForwardedCertificateRefused, parse_client_cert
from gateway.feed.settings import WorkerApp, WorkerSettings, decode_settings
from gateway.feed.worker_side import Entry, FeedWorker, TicketKey
from gateway.limited import LimitedSessions, Met
from gateway.locations import Locations
from gateway.memory import collect_seldom, leave_out_what_stays
from gateway.observe.logs import EventLines, configure_logs
from gateway.proxy.balance import UpstreamGroup
from gateway.proxy.exchange import Exchange
from gateway.proxy.pool import UpstreamPool, upstream_tls
from gateway.proxy.ports import CutReason, ResponseRules, Route, UpstreamFault, Upstreams
from gateway.proxy.server import Front
from gateway.proxy.tls import listener_tls, renew
from gateway.supervisor import die_with_parent
from gateway.tasks import spawn
from gateway.wire.cookies import find_cookie
from gateway.wire.destination import DESTINED, destination
from gateway.wire.faults import FaultCode, RequestFault
from gateway.wire.forwarded import Address, TrustedNetworks
from gateway.wire.origin import is_own_origin, is_preflight, parse_origin
from gateway.wire.prefix import PathRewrite
from gateway.wire.request import RequestHead
from gateway.wire.service_token import DIGEST_PREFIX, presented_token, token_digest
from gateway.wire.spare import unpack

log = structlog.get_logger("worker")

GATE_PREFIX = "/.gate/"
WELL_KNOWN = ("/.well-known/gate", "/.well-known/gate/jwks.json")
HOOKS = "/.gate/hooks/"
"""Where sensors deliver."""

HUB_BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request body to the hub; each sensor has a bound of its own below it."""
FORM_BYTES = 64 * 1024 * 1024
"""Longest form that is handed to the hub with a refusal: it keeps the fields, and reads files away."""
FORM_TYPES = (b"application/x-www-form-urlencoded", b"multipart/form-data")
MAX_ADDRESSES = 10_000
STATS_EVERY_S = 2.0
LOCATE_AGAIN_S = 2.0
"""How often a country database is tried again that cannot be read."""
CANNOT_CHECK, CANNOT_CHECK_STATUS = "cannot-check", 503
RESERVED_COOKIES = (b"gate", b"gate-start", b"__Host-gate", b"__Host-gate-start")
UNLIMITED = ResponseRules(reserved_cookies=RESERVED_COOKIES)
"""What holds for every response of an app; session controls add to it."""
SIGNAL_DRAIN_S = 10.0
TELL_CUTS_AFTER_S = 0.25
"""How long the log waits for a change to be enforced: a line takes as long as a cut."""
FREED_AT_ONCE = 50
"""How many exchanges that were cut are freed between two turns of the event loop."""
MAX_ROUTES = 64
"""Most routes that are remembered for the requests under one ticket."""


class Worker:
    """The gatekeeper of one data path and the enforcer of its feed."""

    def __init__(self, name: str, run_dir: Path, *, pid: int, listener: socket.socket | None = None) -> None:
        self._name = name
        self._run_dir = run_dir
        self._listener = listener
        self._tls: ssl.SSLContext | None = None
        self._feed: FeedWorker[Exchange] = FeedWorker(name, pid, self)
        self._settings: WorkerSettings | None = None
        self._routes = RouteTable(())
        self._locations = Locations()
        self._limited = LimitedSessions(Meters(run_dir / "meters", name))
        self._networks_of: dict[Address, frozenset[str]] = {}
        self._pools: dict[_PoolKey, Upstreams] = {}
        self._hub_pools: tuple[UpstreamPool, ...] = ()
        """To the hub: for pages and all else, and for deliveries alone, which it reads at less cost then."""
        self._front: Front | None = None
        self._cookie = b"__Host-gate"
        self._opening: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self.counters: Counter[str] = Counter()
        self._cuts: Counter[tuple[str, str]] = Counter()
        self._cut_lines = EventLines("exchanges-cut")
        self._cut_ones: list[Exchange] = []
        """Exchanges that were cut lately; to free them takes time, for which nobody has to wait."""
        self._public: set[Exchange] = set()
        self._is_lost = False
        """Whether nobody can be let in, for no country is known and the configuration wants that refused."""
        self._locating: asyncio.Task[None] | None = None
        self.ended_event = asyncio.Event()

    # --- life cycle ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the feed; the listener opens when the first settings arrive."""
        self._feed.start(self._run_dir / "feed.sock")
        self._reporting = spawn(self._keep_reporting(), name="worker-stats")

    async def drain_and_close(self, seconds: float) -> None:
        """Stop listening, give open exchanges `seconds` to finish, then end them and leave the feed."""
        if self._front is not None:
            await self._front.drain(seconds)
        for task in (self._reporting, self._locating):
            if task is not None:
                task.cancel()
        self._feed.close()
        for pool in (*self._pools.values(), *self._hub_pools):
            pool.close()
        self._tell_cuts()
        self._cut_lines.flush()
        self.ended_event.set()

    @property
    def is_serving(self) -> bool:
        """Whether the listener is open and the hub is there."""
        return self._front is not None and self._front.is_listening and self._feed.is_connected

    # --- the gatekeeper of the data path ---------------------------------------------------------------------

    def admit(self, exchange: Exchange) -> Route | None:  # noqa: PLR0911 - one for each who answers
        """Return the route of a request, or None while a ticket is on its way. Source: `docs/architecture.md`."""
        head = exchange.head
        path = head.target.path
        if path.startswith(GATE_PREFIX) or path in WELL_KNOWN:
            return self._to_hub(exchange, None)
        app = self._routes.find(head.host, path)
        if app is None:
            return self._to_hub(exchange, NoSuchHost())
        fault = self._fault(exchange, app)
        if fault is not None:
            return self._refuse(exchange, app, fault)
        if (app.public_paths or app.cors_preflights) and _is_public(head, app):
            exchange.context = _PUBLIC
            self._public.add(exchange)
            return self._to_app(app, (), UNLIMITED)
        if self._is_lost:
            return self._to_hub(exchange, Failed(app.name, CANNOT_CHECK_STATUS, CANNOT_CHECK))
        digest = head.memo.session
        if digest == "":
            digest = head.memo.session = self._identity_digest(head)
        if digest is None:
            return self._to_hub(exchange, SignIn(app.name))
        key = TicketKey(digest, head.host, app.name, self._evidence(exchange, app))
        entry = self._feed.lookup(key)
        if entry is not None:
            return self._apply(exchange, app, entry)
        exchange.context = _Waiting(key, app)
        self._feed.request(key, exchange)
        return None

    def _fault(self, exchange: Exchange, app: WorkerApp) -> RequestFault | None:
        """Return why nobody at all may send such a request to `app`; None when that is up to access policy."""
        if app.client_certificate is ClientCertificates.REQUIRED:
            fault = self._certificate_fault(exchange)
            if fault is not None:
                return fault
        if exchange.head.upgrade == b"websocket" and not self._is_page_admitted(exchange.head, app):
            return RequestFault(FaultCode.ORIGIN, "a page of another host may not open a WebSocket here")
        return self._destination_fault(exchange.head, app) if exchange.head.method in DESTINED else None

    def _destination_fault(self, head: RequestHead, app: WorkerApp) -> RequestFault | None:
        """Return why nobody may copy or move something there: it is not surely a place of the same app."""
        try:
            place = destination(head)
        except RequestFault as fault:
            return fault
        if place is None or (not place.is_ambiguous and self._routes.find(head.host, place.path) is app):
            return None
        return RequestFault(FaultCode.DESTINATION, "the destination is no place of this app")

    def _refuse(self, exchange: Exchange, app: WorkerApp, fault: RequestFault) -> Route | None:
        """Return the route to the page that explains `fault` to a person; a program has been answered."""
        self.counters[f"faults_{fault.code.value}"] += 1
        if exchange.client_kind is ClientKind.BROWSER:
            return self._to_hub(exchange, Failed(app.name, fault.code.status, fault.code.value))
        exchange.refuse(fault)
        return None

    def _is_page_admitted(self, head: RequestHead, app: WorkerApp) -> bool:
        """Return whether a WebSocket may be opened by the page that its `Origin` names; a program names none."""
        origin = head.header(b"origin")
        if origin is None:
            return True
        is_https = self._settings is not None and self._settings.is_https
        if is_own_origin(origin, head.host, head.port, is_https=is_https):
            return True
        page = parse_origin(origin)
        return page is not None and any(parse_origin(each.encode()) == page for each in app.websocket_origins)

    def _identity_digest(self, head: RequestHead) -> str | None:
        """Return the digest of the service token or else of the session cookie that a request presents."""
        token = presented_token(head)
        if token is not None:
            return token_digest(token)
        cookie = find_cookie(head.header(b"cookie"), self._cookie)
        return None if cookie is None else hashlib.sha256(cookie).hexdigest()

    def failed(self, exchange: Exchange, fault: UpstreamFault) -> Route | None:
        """Let the hub explain that an app failed; when the hub itself failed, nobody can."""
        self.counters[f"upstream_faults_{fault.value}"] += 1
        if exchange.route is None or exchange.route.pool in self._hub_pools:
            return None
        app = self._routes.find(exchange.head.host, exchange.head.target.path)
        name = "" if app is None else app.name
        admitted = exchange.context
        decision = admitted.entry.ticket.decision if isinstance(admitted, _Admitted) else ""
        networks = tuple(sorted(self._networks_at(exchange)))
        detail = exchange.fault_detail
        return self._to_hub(exchange, Failed(name, fault.status, fault.value, decision, networks, detail))

    def forbidden(self, exchange: Exchange, reason: str) -> Route | None:
        """Let the hub explain that a limit of the session withholds a response."""
        admitted = exchange.context
        if not isinstance(admitted, _Admitted):
            return None
        return self._to_hub(exchange, self._refusal(exchange, admitted, Met(Limit(reason))))

    def ended(self, exchange: Exchange) -> None:
        """Forget an exchange."""
        if exchange.fault_detail and exchange.response is not None:
            self._tell_broken(exchange)
        context, exchange.context = exchange.context, None
        if isinstance(context, _Admitted):
            self._feed.release(context.entry, exchange)
        elif isinstance(context, _Waiting):
            self._feed.forget(context.key, exchange)
        elif context is _PUBLIC:
            self._public.discard(exchange)

    def _tell_broken(self, exchange: Exchange) -> None:
        """Log that an app did not finish what it had begun to answer: nobody else can be told any more."""
        head = exchange.head
        app = self._routes.find(head.host, head.target.path)
        self.counters["answers_broken_by_apps"] += 1
        log.warning(
            "answer-not-whole",
            app=None if app is None else app.name,
            detail=exchange.fault_detail,
            method=head.method,
            path=head.target.path,
            status=0 if exchange.response is None else exchange.response.status,
        )

    # --- the enforcer of the feed ----------------------------------------------------------------------------

    def admitted(self, exchange: Exchange, entry: Entry[Exchange] | None) -> None:
        """Go on with an exchange that waited for a ticket."""
        waiting = exchange.context
        if not isinstance(waiting, _Waiting) or exchange.is_over:
            return
        exchange.context = None
        app = self._still(exchange, waiting.app, waiting.key.evidence)
        if entry is None or app is None:
            exchange.proceed(self._to_hub(exchange, SignIn(waiting.app.name)))
        else:
            exchange.proceed(self._apply(exchange, app, entry))

    def unavailable(self, exchange: Exchange) -> None:
        """Answer an exchange for which nobody can decide now: closed, and said so."""
        exchange.context = None
        exchange.cut(CutReason.GOING_AWAY)

    def redecide(self, exchange: Exchange, entry: Entry[Exchange] | None) -> bool:
        """Decide an open exchange by a new ticket; return whether it was cut."""
        admitted = exchange.context
        if not isinstance(admitted, _Admitted) or exchange.is_over:
            return False
        app = self._still(exchange, admitted.app, admitted.entry.key.evidence)
        if entry is None or app is None:
            exchange.context = None
            self._cut_unknown(exchange, admitted.app.name)
            return True
        renewed = _Admitted(entry, app, self._decide(exchange, entry))
        met = None
        if is_admitted(renewed.decision):
            route = self._route(exchange, renewed)
            met = self._met_later(exchange, renewed, route)
            if met is None:
                exchange.context = renewed
                if exchange.route is not None and exchange.response is None:
                    exchange.route = msgspec.structs.replace(exchange.route, rules=route.rules)
                return False
        exchange.context = None
        # What has begun can only be broken off: then nobody would read the verdict.
        answer = None
        if not exchange.response_started:
            answer = self._to_hub(exchange, self._refusal(exchange, renewed, met, is_cut=True))
        exchange.cut(CutReason.ACCESS_ENDED if met is None else CutReason.RESTRICTED, answer)
        self._note_cut(exchange, admitted.app.name, entry.ticket.decision)
        return True

    def _still(self, exchange: Exchange, app: WorkerApp, evidence: bytes) -> WorkerApp | None:
        """Return an exchange's app as it is configured now; None when a new request like it would not go there."""
        if self._is_lost:
            return None
        head = exchange.head
        found = self._routes.find(head.host, head.target.path)
        if found is app:
            return app
        if found is None or found.name != app.name or self._evidence(exchange, found) != evidence:
            return None
        is_required = found.client_certificate is ClientCertificates.REQUIRED
        return None if is_required and self._certificate_fault(exchange) is not None else found

    def _cut_unknown(self, exchange: Exchange, app: str) -> None:
        """Cut an exchange that nobody can decide about as it is: who is there has to come anew."""
        answer = None if exchange.response_started else self._to_hub(exchange, SignIn(app))
        exchange.cut(CutReason.ACCESS_ENDED, answer)
        self._note_cut(exchange, app, "")

    def _cut_private(self, former: RouteTable) -> dict[str, int]:
        """Cut what is open on paths that are public no longer; return how many, by app."""
        cuts: Counter[str] = Counter()
        for exchange in list(self._public):
            head = exchange.head
            before, now = (table.find(head.host, head.target.path) for table in (former, self._routes))
            name = "" if before is None else before.name
            if now is None or now.name != name or not _is_public(head, now):
                exchange.context = None
                self._public.discard(exchange)
                self._cut_unknown(exchange, name)
                cuts[name] += 1
        return dict(cuts)

    def _note_cut(self, exchange: Exchange, app: str, decision: str) -> None:
        """Count a cut. The log is told after the acknowledgement, one line per decision (`explain` shows it).

        The exchange itself, and all that hangs on it, is freed after that as well.
        """
        self.counters["exchanges_cut"] += 1
        if not self._cuts:
            asyncio.get_running_loop().call_later(TELL_CUTS_AFTER_S, self._tell_cuts)
        self._cuts[app, decision] += 1
        self._cut_ones.append(exchange)

    def _tell_cuts(self) -> None:
        self._free_cut_ones()
        cuts, self._cuts = self._cuts, Counter()
        for (app, decision), count in cuts.items():
            self._cut_lines.info(
                {"worker": self._name, "app": app, "decision": decision or None, "count": count}
            )

    def _free_cut_ones(self) -> None:
        """Free some of what was cut, and others in the next turn of the event loop."""
        del self._cut_ones[-FREED_AT_ONCE:]
        if self._cut_ones:
            asyncio.get_running_loop().call_soon(self._free_cut_ones)

    def configure(self, settings: bytes) -> dict[str, int]:
        """Serve by new settings; the listener opens with the first. Return what was cut on paths once public."""
        decoded = decode_settings(settings)
        self._settings = decoded
        former, self._routes = self._routes, RouteTable(decoded.apps)
        self._locations.configure(decoded.networks, decoded.country_database)
        self._located()
        self._limited.configure(decoded)
        self._cookie = b"__Host-gate" if decoded.is_https else b"gate"
        self._refresh_pools(decoded)
        if self._opening is None:
            self._opening = spawn(self._open(decoded), name="worker-listen")
        elif self._front is not None:
            self._front.limits = decoded.limits
            self._front.spare = unpack(decoded.spare_pages)
            self._front.trusted = _networks(decoded.trusted_proxies)
            if self._tls is not None and decoded.tls is not None:
                self._renew_certificates(self._tls, decoded.tls)
        return self._cut_private(former)

    def _located(self) -> None:
        """Decide by the locations as they were read; those that could not be are tried again, until they can be."""
        self._networks_of.clear()
        assert self._settings is not None  # noqa: S101 - locations come with them
        is_refusing = self._settings.without_country_database is WithoutCountries.REFUSE
        self._is_lost = is_refusing and not self._locations.is_told
        if self._locations.fault and (self._locating is None or self._locating.done()):
            log.error("country-database-unreadable", error=self._locations.fault, is_refusing=self._is_lost)
            self._locating = spawn(self._keep_locating(), name="worker-locate")

    async def _keep_locating(self) -> None:
        while self._locations.fault:
            await asyncio.sleep(LOCATE_AGAIN_S)
            self._locations.read()
        log.info("country-database-readable")
        self._located()

    def drain(self, seconds: float) -> None:
        """Finish what is open and end, as the hub says."""
        spawn(self.drain_and_close(seconds), name="worker-drain")

    # --- decisions about one request -------------------------------------------------------------------------

    def _apply(self, exchange: Exchange, app: WorkerApp, entry: Entry[Exchange]) -> Route:
        """Return the route that the ticket gives this request, and note the exchange as open under it."""
        decision = self._decide(exchange, entry)
        admitted = _Admitted(entry, app, decision)
        if not is_admitted(decision):
            return self._to_hub(exchange, self._refusal(exchange, admitted, None))
        if decision.controls or decision.profiles:
            met = self._limited.met(exchange, self._limited.effective(decision, app), entry.ticket.session)
            if met is not None:
                return self._to_hub(exchange, self._refusal(exchange, admitted, met))
        exchange.context = admitted
        entry.live.add(exchange)
        return self._route(exchange, admitted)

    def _route(self, exchange: Exchange, admitted: "_Admitted") -> Route:
        """Return the route of an admitted request; made once for all that are alike."""
        app, entry, decision = admitted.app, admitted.entry, admitted.decision
        if not decision.controls and not decision.profiles:
            route: Route | None = entry.routes.get(decision.controls)
            if route is None:
                route = entry.routes[decision.controls] = self._to_app(
                    app, _headers(entry, decision), UNLIMITED
                )
            return route
        effective = self._limited.effective(decision, app)
        key = self._limited.key(exchange, decision, effective)
        limited: Route | None = entry.routes.get(key)
        if limited is None:
            base = self._to_app(app, _headers(entry, decision), UNLIMITED)
            limited = self._limited.route(exchange, decision, effective, entry.ticket, base)
            if len(entry.routes) >= MAX_ROUTES:
                entry.routes.clear()
            entry.routes[key] = limited
        return limited

    def _met_later(self, exchange: Exchange, admitted: "_Admitted", route: Route) -> Met | None:
        """Return the limit that an open exchange meets by a new decision."""
        decision = admitted.decision
        if not decision.controls and not decision.profiles:
            return None
        effective = self._limited.effective(decision, admitted.app)
        return self._limited.met_later(exchange, effective, route)

    def _decide(self, exchange: Exchange, entry: Entry[Exchange]) -> Decision:
        """Decide by what only the request knows; one that may be about several paths gets no more than each of them."""
        constant = entry.ticket.residual.constant
        if constant is not None:
            return constant
        facts, head = self._facts(exchange), exchange.head
        place = destination(head) if head.method in DESTINED else None
        paths = head.target.readings
        if place is not None:
            paths += place.readings
        if len(paths) == 1:
            return entry.decide(facts)
        return strictest(entry.decide(msgspec.structs.replace(facts, path=path)) for path in paths)

    def _facts(self, exchange: Exchange) -> RequestFacts:
        head = exchange.head
        return RequestFacts(head.method, head.target.path, exchange.client_kind, self._networks_at(exchange))

    def _networks_at(self, exchange: Exchange) -> frozenset[str]:
        address = exchange.client_address
        known = self._networks_of.get(address)
        if known is None:
            if len(self._networks_of) >= MAX_ADDRESSES:
                self._networks_of.clear()
            known = self._networks_of[address] = self._locations.networks.containing(address)
        return known

    def _refusal(
        self,
        exchange: Exchange,
        admitted: "_Admitted",
        met: Met | None,
        *,
        is_cut: bool = False,
    ) -> Refused:
        facts, decision = self._facts(exchange), admitted.decision
        step_up = decision.step_up
        self.counters[f"refused_{decision.outcome.value}"] += 1
        return Refused(
            app=admitted.app.name,
            decision=admitted.entry.ticket.decision,
            outcome=decision.outcome,
            policy=decision.policy,
            reason=decision.reason,
            method=facts.method,
            path=facts.path,
            client=facts.client,
            networks=tuple(sorted(facts.networks)),
            control=None if met is None else met.limit,
            controls=self._limits_of(admitted),
            retry_after=0 if met is None else met.retry_after_s,
            acr_values=() if step_up is None else step_up.acr_values,
            max_age=None if step_up is None else step_up.max_age,
            is_cut=is_cut,
        )

    def _limits_of(self, admitted: "_Admitted") -> tuple[Limit, ...]:
        """Return all limits of the session, for people."""
        if not admitted.decision.controls and not admitted.decision.profiles:
            return ()
        names = self._limited.effective(admitted.decision, admitted.app).names
        return tuple(Limit(name) for name in names)

    def _certificate_fault(self, exchange: Exchange) -> RequestFault | None:
        """Return why a request may not go to an app that needs a client certificate; None when it may.

        On a connection that was made for another host the client had no reason to present the certificate that it has
        for this one: 421 has it connect anew. Source: RFC 9110 section 7.4.
        """
        name, host = exchange.asked_name, exchange.head.host
        if name and name.rstrip(".") != host.rstrip(".") and not self._is_cert_passed_on(exchange):
            return RequestFault(FaultCode.MISDIRECTED, "this connection was made for another host")
        if not self._evidence(exchange, None):
            return RequestFault(FaultCode.CERTIFICATE, "this app needs a client certificate of the device")
        return None

    def _is_cert_passed_on(self, exchange: Exchange) -> bool:
        """Return whether a trusted proxy says which certificate the client presented."""
        settings = self._settings
        return settings is not None and settings.accepts_client_cert and exchange.is_peer_trusted

    def _evidence(self, exchange: Exchange, app: WorkerApp | None) -> bytes:
        """Return the device certificate that counts for `app`: of the connection, or of a trusted `Client-Cert`."""
        if app is not None and app.client_certificate is ClientCertificates.OFF:
            return b""
        if not self._is_cert_passed_on(exchange):
            return exchange.evidence
        lines = [value for name, value in exchange.head.headers if name == b"client-cert"]
        try:
            return parse_client_cert(lines) or b""
        except ForwardedCertificateRefused:
            self.counters["client_cert_refused"] += 1
            return b""

    # --- routes ----------------------------------------------------------------------------------------------

    def _to_app(
        self,
        app: WorkerApp,
        headers: tuple[tuple[bytes, bytes], ...],
        rules: ResponseRules,
    ) -> Route:
        assert self._settings is not None  # noqa: S101 - apps come with them
        rewrite = _rewrite(app)
        if rewrite is not None and rewrite.strip:
            headers = (*headers, (b"X-Forwarded-Prefix", rewrite.strip.encode()))
        return Route(
            pool=self._pools[_pool_key(app, self._settings.limits)],
            headers=headers,
            rules=rules,
            is_own_host=not app.preserve_host,
            body_max_bytes=app.body_bytes,
            rewrite=rewrite,
            limits=app.limits,
        )

    def _to_hub(self, exchange: Exchange, verdict: Verdict | None) -> Route:
        """Return the route to the hub, with what only a worker may say."""
        head = exchange.head
        evidence = self._evidence(exchange, self._routes.find(head.host, head.target.path))
        headers = [
            (b"X-Gate-Client", str(exchange.client_address).encode()),
            (b"X-Gate-Scheme", exchange.scheme.encode()),
            (b"X-Gate-Host", exchange.head.authority),
            (b"X-Gate-Client-Kind", exchange.client_kind.value.encode()),
            (b"X-Gate-Received", str(exchange.received_ns).encode()),
        ]
        if evidence:
            headers.append((b"X-Gate-Evidence", base64.b64encode(evidence)))
        keeps_form = False
        if verdict is not None:
            headers.append((VERDICT_HEADER, encode_verdict(verdict)))
            digest = head.memo.session
            if digest is not None and digest.startswith(DIGEST_PREFIX):
                headers.append((b"X-Gate-Service", digest.encode()))
            if _hands_over_form(exchange, verdict):
                keeps_form = exchange.head.length <= FORM_BYTES
                headers.append((b"X-Gate-Form", b"sent" if keeps_form else b"too-large"))
        return Route(
            pool=self._hub_pools[head.target.path.startswith(HOOKS)],
            headers=tuple(headers),
            send_body=verdict is None or keeps_form,
            body_max_bytes=FORM_BYTES if keeps_form else HUB_BODY_BYTES,
            with_own_cookies=True,
            is_ours=True,
        )

    def _refresh_pools(self, settings: WorkerSettings) -> None:
        """Keep the pools of upstreams that stay, make those that are new, close those that went."""
        if not self._hub_pools:
            hub = f"unix:{self._run_dir / 'hub.sock'}"
            self._hub_pools = (UpstreamPool(hub, settings.limits), UpstreamPool(hub, settings.limits))
        wanted = {_pool_key(app, settings.limits) for app in settings.apps}
        for key in wanted - self._pools.keys():
            self._pools[key] = _upstreams(key)
        for key in self._pools.keys() - wanted:
            self._pools.pop(key).close()

    # --- listener --------------------------------------------------------------------------------------------

    async def _open(self, settings: WorkerSettings) -> None:
        self._tls = listener_tls(settings.tls) if settings.tls is not None else None
        front = Front(
            self,
            settings.limits,
            tls=self._tls,
            trusted=_networks(settings.trusted_proxies),
            announcing=_networks(settings.proxy_protocol) if settings.proxy_protocol else None,
        )
        front.spare = unpack(settings.spare_pages)
        if self._listener is not None:
            await front.listen_socket(self._listener)
        else:
            host, _, port = settings.listen.rpartition(":")
            await front.listen_tcp(host.strip("[]"), int(port), reuse_port=True)
        self._front = front
        self._feed.serving()
        log.info("worker-listening", worker=self._name, listen=settings.listen)

    @staticmethod
    def _renew_certificates(context: ssl.SSLContext, tls: Tls) -> None:
        """Use the certificate files as they are now for new connections; open ones go on as they began."""
        try:
            renew(context, tls)
        except (OSError, ValueError) as error:
            log.error("certificates-not-renewed", error=str(error))

    async def _keep_reporting(self) -> None:
        while True:
            await asyncio.sleep(STATS_EVERY_S)
            figures = {**self.counters, "tickets": float(self._feed.ticket_count)}
            figures["without_country_database"] = float(bool(self._locations.fault))
            front = self._front
            if front is not None:
                figures |= {"connections": front.stats.accepted, "requests": front.stats.requests}
                figures["open_connections"] = front.connections
                figures |= {f"faults_{code.value}": count for code, count in front.stats.faults.items()}
            self._feed.report({name: float(value) for name, value in figures.items()})


class _PoolKey(NamedTuple):
    """What makes the upstreams of two apps, or of an app before and after a reload, the same."""

    urls: tuple[str, ...]
    ca: str | None
    limits: Limits
    health: HealthCheck | None


_PUBLIC = object()
"""The context of an exchange on a public path."""


class _Waiting:
    """The exchange waits for a ticket."""

    __slots__ = ("app", "key")

    def __init__(self, key: TicketKey, app: WorkerApp) -> None:
        self.key = key
        self.app = app


class _Admitted:
    """The exchange is open under a ticket."""

    __slots__ = ("app", "decision", "entry")

    def __init__(self, entry: Entry[Exchange], app: WorkerApp, decision: Decision) -> None:
        self.entry = entry
        self.app = app
        self.decision = decision


def _hands_over_form(exchange: Exchange, verdict: Verdict) -> bool:
    """Return whether the hub gets the form that a request sends: of a page of the very same origin it may be kept.

    What another site sends comes without the session, for it is then that a person is not signed in: it is never kept,
    but may be given back to the person.
    """
    if not isinstance(verdict, SignIn | Refused) or not _is_form(exchange):
        return False
    return isinstance(verdict, SignIn) or exchange.head.header(b"sec-fetch-site") == b"same-origin"


def _is_form(exchange: Exchange) -> bool:
    """Return whether a person sent a form."""
    head = exchange.head
    if head.method != "POST" or exchange.client_kind is not ClientKind.BROWSER or head.length <= 0:
        return False
    return (head.header(b"content-type") or b"").partition(b";")[0].strip().lower() in FORM_TYPES


def _headers(entry: Entry[Exchange], decision: Decision) -> tuple[tuple[bytes, bytes], ...]:
    """Return what the app is told: identity, and the assertion that names these limits, or the least that has them."""
    ticket = entry.ticket
    covering = [
        variant
        for variant in ticket.variants
        if variant.controls >= decision.controls and variant.profiles >= decision.profiles
    ]
    size = [len(variant.controls) + len(variant.profiles) for variant in covering]
    return ticket.headers + covering[size.index(min(size))].headers if covering else ticket.headers


def _pool_key(app: WorkerApp, limits: Limits) -> _PoolKey:
    return _PoolKey(app.upstreams, app.upstream_ca, app.limits or limits, app.health)


def _upstreams(key: _PoolKey) -> Upstreams:
    """Return where connections come from: the pool itself of the one address that is not checked, else a group."""
    is_https = any(url.startswith("https:") for url in key.urls)
    tls = upstream_tls(key.ca) if is_https else None
    pools = [UpstreamPool(url, key.limits, tls=tls) for url in key.urls]
    return pools[0] if len(pools) == 1 and key.health is None else UpstreamGroup(pools, key.health)


def _rewrite(app: WorkerApp) -> PathRewrite | None:
    strip = app.path_prefix.rstrip("/") if app.strip_prefix else ""
    return PathRewrite(strip, app.add_prefix) if strip or app.add_prefix else None


def _is_public(head: RequestHead, app: WorkerApp) -> bool:
    """Return whether everybody may send this; a path that servers may read in several ways is never public."""
    target = head.target
    if app.cors_preflights and is_preflight(head):
        return not target.is_ambiguous
    return not target.is_ambiguous and all(
        any(is_below(path, prefix) for prefix in app.public_paths) for path in target.readings
    )


def _networks(cidrs: tuple[str, ...]) -> TrustedNetworks:
    return TrustedNetworks([ip_network(cidr) for cidr in cidrs])


def raise_file_limit() -> None:
    """Use as many file descriptors as the system allows us: each tunnel takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve_worker(name: str, run_dir: Path, listen_fd: int | None = None) -> int:
    """Run one worker process until the hub drains it or a signal ends it."""
    configure_logs()
    collect_seldom()
    die_with_parent()
    raise_file_limit()
    listener = None if listen_fd is None else socket.socket(fileno=listen_fd)
    return uvloop.run(_serve(name, run_dir, listener))


async def _serve(name: str, run_dir: Path, listener: socket.socket | None) -> int:
    worker = Worker(name, run_dir, pid=os.getpid(), listener=listener)
    loop = asyncio.get_running_loop()
    # The hub drains us; a signal alone means that the hub may be gone, so the bound is ours.
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: worker.drain(SIGNAL_DRAIN_S))
    worker.start()
    leave_out_what_stays()
    await worker.ended_event.wait()
    return 0
