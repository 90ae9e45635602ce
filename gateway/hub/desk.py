"""The hub's policy decision point: from a session and a device to tickets, decisions and their records."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

from cachetools import LRUCache

from compliance.evaluate import decide
from compliance.model import AccessPolicy, ClientKind, Decision, PolicyTrace, RequestFacts
from compliance.why import why
from gateway.config.schema import App
from gateway.decision.context import DeviceEvidence, Interpret, PostureSource, Situation, situation
from gateway.decision.explain import DecisionRecord, facts_asked
from gateway.decision.judge import Judge
from gateway.decision.nearest import would_change
from gateway.decision.recorder import DecisionRecorder
from gateway.decision.ticket import Issued, TicketMaker
from gateway.devices.certificate import DeviceCa
from gateway.devices.resolve import Strength, identify_device
from gateway.feed.protocol import Ticket, TicketRequest
from gateway.hub.runtime import Runtime
from gateway.observe.metrics import Metrics
from gateway.service_tokens.model import OTHER_APP
from gateway.service_tokens.registry import ServiceTokens
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.wire.service_token import DIGEST_PREFIX
from risk.model import DeviceId, Posture

MAX_LATEST = 4096
"""Tickets kept for another worker that asks for the same before anything has changed."""
TICKET_REQUEST = RequestFacts("GET", "/", ClientKind.BROWSER, frozenset())
"""The request that the record of a ticket is explained for; a refusal's record has its own."""


class Postures(PostureSource, Protocol):
    """What is known now, and whether it is still the same."""

    @property
    def epoch(self) -> int:
        """Number of changes so far."""
        ...


class _Latest(NamedTuple):
    """A ticket, and the very facts that it was made from."""

    session: Session
    runtime: Runtime
    epoch: int
    ticket: Ticket


class Desk:
    """Decides. Synchronous throughout: between looking at the facts and answering lies no await."""

    def __init__(
        self,
        *,
        runtime: Callable[[], Runtime],
        sessions: SessionRegistry,
        service_tokens: ServiceTokens,
        postures: Postures,
        maker: TicketMaker,
        recorder: DecisionRecorder,
        metrics: Metrics,
        clock: Callable[[], datetime],
        interpret: Interpret | None = None,
    ) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._service_tokens = service_tokens
        self._postures = postures
        self._maker = maker
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._device_ca: DeviceCa | None = None
        self._judge = interpret or Judge()
        self._latest: LRUCache[tuple[str, str, str, bytes], _Latest] = LRUCache(MAX_LATEST)

    def trust(self, device_ca: DeviceCa | None) -> None:
        """Accept device certificates of this CA from now on; None accepts none."""
        self._device_ca = device_ca
        self._latest.clear()

    def ticket(self, request: TicketRequest) -> Ticket | None:
        """Return the ticket that a worker asks for; None when the cookie names no live session on that host.

        A live service token counts on every host; it is refused at the apps that it is not for.

        Workers that ask for the same, with nothing changed in between, get the same: after a change each of them asks
        for every session with open streams.
        """
        now = self._clock()
        runtime = self._runtime()
        app = runtime.app(request.app)
        session = self._presented(request, now)
        if app is None or session is None:
            return None
        key, epoch = (session.id, app.name, request.host, request.evidence), self._postures.epoch
        latest = self._latest.get(key)
        if (
            latest is None
            or latest.session is not session
            or latest.runtime is not runtime
            or latest.epoch != epoch
            or latest.ticket.valid_until <= now.timestamp()
        ):
            ticket = self._made(app, session, request, runtime, now)
            latest = self._latest[key] = _Latest(session, runtime, epoch, ticket)
        return latest.ticket

    def _presented(self, request: TicketRequest, now: datetime) -> Session | None:
        if request.cookie.startswith(DIGEST_PREFIX):
            return self._service_tokens.lookup(request.cookie, now)
        return self._sessions.lookup(request.cookie, request.host, now)

    def _policies_of(self, app: App, session: Session) -> tuple[AccessPolicy, ...]:
        """Return the policies that decide: those of the app, unless a service token is for others only."""
        if session.user.is_service and not self._service_tokens.may_use(session.id, app.name):
            return OTHER_APP
        return self._runtime().policies_of(app.name)

    def _made(
        self, app: App, session: Session, request: TicketRequest, runtime: Runtime, now: datetime
    ) -> Ticket:
        facts = self.situation(session, app.name, request.evidence, now, host=request.host)
        ticket = self._maker.make(
            app,
            facts,
            self._policies_of(app, session),
            session_id=session.id,
            host=request.host,
            session_ends=self.ends_at(session),
            profiles=runtime.profiles,
        )
        issued = self._maker.issued[ticket.decision]
        self._recorder.later(
            ticket.decision,
            now,
            lambda: self.record(ticket.decision, issued, app, TICKET_REQUEST),
        )
        outcome = ticket.residual.constant.outcome.value if ticket.residual.constant else "conditional"
        self._metrics.decided(app.name, outcome)
        return ticket

    def interpret(self, posture: Posture) -> None:
        """Work out what a posture means now, so that the tickets that are about to be asked for find it done.

        Of a device on which no ticket rested lately nobody is about to ask.
        """
        if self._maker.issued.rests_on(posture.device_id):
            self._judge(posture, self._runtime().interpretation, self._clock())

    def situation(
        self, session: Session, app: str, evidence: bytes, now: datetime, *, host: str | None = None
    ) -> Situation:
        """Return the slow facts of this session at `app`, with the device certificate `evidence` if there is one.

        `host` is the host name that is asked; default: the app's, when it has only one.
        """
        runtime = self._runtime()
        return situation(
            app=app,
            session_id=session.id,
            user=session.user,
            evidence=self._evidence(session, evidence, now),
            source=self._postures,
            interpretation=runtime.interpretation_of(app),
            interpret=self._judge,
            host=runtime.host_of(app) if host is None else host,
            now=now,
        )

    def title_of(self, app: str) -> str:
        """Return what pages call an app, "" for one that is not configured."""
        found = self._runtime().app(app)
        return "" if found is None else found.title or found.name

    def decide(
        self, app: App, facts: Situation, request: RequestFacts
    ) -> tuple[Decision, tuple[PolicyTrace, ...]]:
        """Return the decision about one request, with the trace of every policy."""
        return decide(self._runtime().policies_of(app.name), facts.context, request)

    def issued(self, decision: str, session: Session | None, app: App, evidence: bytes) -> Issued | None:
        """Return what a ticket was made from; made anew from the present facts when that is forgotten."""
        known = self._maker.issued.get(decision)
        if known is not None or session is None:
            return known
        facts = self.situation(session, app.name, evidence, self._clock())
        return Issued(facts, self._policies_of(app, session), session.id)

    def ends_at(self, session: Session) -> datetime:
        """Return when the session ends unless it is used again; a service token does not end by not being used."""
        return session.ends_at if session.user.is_service else self._sessions.ends_at(session)

    def sessions_on(self, device: str) -> frozenset[str]:
        """Return the sessions that lately had a ticket resting on this device, by our id of it or its name."""
        return frozenset(
            issued.session_id
            for issued in list(self._maker.issued.values())
            if device in (issued.situation.context.device_id, issued.situation.context.device_name)
        )

    def tickets_on(self, device_id: DeviceId) -> Sequence[tuple[str, Issued]]:
        """Return what lately issued tickets, with their app, rest on a device."""
        return self._maker.issued.of_device(device_id)

    def record(
        self,
        code: str,
        issued: Issued,
        app: App,
        request: RequestFacts,
        *,
        client: str = "",
    ) -> DecisionRecord:
        """Return the record of a decision: the inputs with their ages, and what decided.

        `client` is the address of a request that was refused. What would have let it in: `nearest_of`.
        """
        context = issued.situation.context
        decision, traces = decide(issued.policies, context, request)
        return DecisionRecord.of(
            code=code,
            app=app.name,
            context=context,
            request=request,
            client=client,
            session=issued.session_id,
            decision=decision,
            traces=traces,
            why=why(decision, issued.policies, traces, context),
            revision=self._runtime().revision,
            places=self._places(decision, traces),
            facts=facts_asked(issued.policies, context),
        )

    def nearest_of(
        self, issued: Issued, record: DecisionRecord, request: RequestFacts
    ) -> Callable[[], tuple[str, ...]]:
        """Return what finds out what would have let in a request that was refused. It is slow, and pure."""
        config, context = self._runtime().config, issued.situation.context
        return partial(would_change, config, issued.policies, context, request, record.outcome)

    def _places(self, decision: Decision, traces: Sequence[PolicyTrace]) -> dict[str, str]:
        """Return where the policies stand that matched or nearly did."""
        places = self._runtime().places
        named = {decision.policy, *(each.policy for each in traces if each.matched or each.is_near)}
        return {name: places[name] for name in sorted(named) if name in places}

    def _evidence(self, session: Session, certificate: bytes, now: datetime) -> tuple[DeviceEvidence, ...]:
        sources = self._runtime().devices
        identity = identify_device(session.devices, certificate, sources, self._device_ca, now)
        return tuple(
            DeviceEvidence(
                source=statement.source,
                identifiers=statement.identifiers,
                is_proof=statement.strength >= Strength.CERTIFICATE,
            )
            for statement in identity.statements
        )
