"""The hub's policy decision point: from a session and a device to tickets, decisions and their records."""

from collections.abc import Callable
from datetime import datetime

from compliance.evaluate import decide
from compliance.model import ClientKind, Decision, PolicyTrace, RequestFacts
from compliance.whatif import would_change
from gateway.config.schema import App
from gateway.decision.context import DeviceEvidence, PostureSource, Situation, situation
from gateway.decision.explain import DecisionRecord
from gateway.decision.recorder import DecisionRecorder
from gateway.decision.ticket import Issued, TicketMaker
from gateway.devices.certificate import DeviceCa
from gateway.devices.resolve import Strength, identify_device
from gateway.feed.protocol import Ticket, TicketRequest
from gateway.hub.runtime import Runtime
from gateway.observe.metrics import Metrics
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry

TICKET_REQUEST = RequestFacts("GET", "/", ClientKind.BROWSER, frozenset())
"""The request that the record of a ticket is explained for; a refusal's record has its own."""


class Desk:
    """Decides. Synchronous throughout: between looking at the facts and answering lies no await."""

    def __init__(
        self,
        *,
        runtime: Callable[[], Runtime],
        sessions: SessionRegistry,
        postures: PostureSource,
        maker: TicketMaker,
        recorder: DecisionRecorder,
        metrics: Metrics,
        clock: Callable[[], datetime],
    ) -> None:
        self._runtime = runtime
        self._sessions = sessions
        self._postures = postures
        self._maker = maker
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._device_ca: DeviceCa | None = None

    def trust(self, device_ca: DeviceCa | None) -> None:
        """Accept device certificates of this CA from now on; None accepts none."""
        self._device_ca = device_ca

    def ticket(self, request: TicketRequest) -> Ticket | None:
        """Return the ticket that a worker asks for; None when the cookie names no live session on that host."""
        now = self._clock()
        runtime = self._runtime()
        app = runtime.app(request.app)
        session = self._sessions.lookup(request.cookie, request.host, now)
        if app is None or session is None:
            return None
        facts = self.situation(session, app.name, request.evidence, now)
        policies = runtime.policies[app.name]
        ticket = self._maker.make(
            app,
            facts,
            policies,
            session_id=session.id,
            host=request.host,
            session_ends=self._sessions.ends_at(session),
        )
        issued = self._maker.issued[ticket.decision]
        self._recorder.later(
            ticket.decision,
            now,
            lambda: self.record(ticket.decision, issued, app, TICKET_REQUEST),
        )
        outcome = ticket.residual.constant.outcome.value if ticket.residual.constant else "conditional"
        self._metrics.decisions.labels(app.name, outcome).inc()
        return ticket

    def situation(self, session: Session, app: str, evidence: bytes, now: datetime) -> Situation:
        """Return the slow facts of this session at `app`, with the device certificate `evidence` if there is one."""
        runtime = self._runtime()
        return situation(
            app=app,
            session_id=session.id,
            user=session.user,
            evidence=self._evidence(session, evidence, now),
            source=self._postures,
            interpretation=runtime.interpretation,
            now=now,
        )

    def decide(
        self, app: App, facts: Situation, request: RequestFacts
    ) -> tuple[Decision, tuple[PolicyTrace, ...]]:
        """Return the decision about one request, with the trace of every policy."""
        return decide(self._runtime().policies[app.name], facts.context, request)

    def issued(self, decision: str, session: Session | None, app: App, evidence: bytes) -> Issued | None:
        """Return what a ticket was made from; made anew from the present facts when that is forgotten."""
        known = self._maker.issued.get(decision)
        if known is not None or session is None:
            return known
        facts = self.situation(session, app.name, evidence, self._clock())
        return Issued(facts, self._runtime().policies[app.name], session.id)

    def ends_at(self, session: Session) -> datetime:
        """Return when the session ends unless it is used again."""
        return self._sessions.ends_at(session)

    def sessions_on(self, device: str) -> frozenset[str]:
        """Return the sessions that lately had a ticket resting on this device, by our id of it or its name."""
        return frozenset(
            issued.session_id
            for issued in list(self._maker.issued.values())
            if device in (issued.situation.context.device_id, issued.situation.context.device_name)
        )

    def record(
        self,
        code: str,
        issued: Issued,
        app: App,
        request: RequestFacts,
        *,
        client: str | None = None,
    ) -> DecisionRecord:
        """Return the record of a decision: the inputs with their ages, and what decided.

        `client` is the address of a request that was refused: then what would change it is worked out too.
        """
        context = issued.situation.context
        decision, traces = decide(issued.policies, context, request)
        return DecisionRecord.of(
            code=code,
            app=app.name,
            context=context,
            request=request,
            client=client or "",
            session=issued.session_id,
            decision=decision,
            traces=traces,
            would_change=() if client is None else would_change(issued.policies, context, request),
            revision=self._runtime().revision,
        )

    def _evidence(self, session: Session, certificate: bytes, now: datetime) -> tuple[DeviceEvidence, ...]:
        sources = self._runtime().config.devices
        identity = identify_device(session.devices, certificate, sources, self._device_ca, now)
        return tuple(
            DeviceEvidence(
                source=statement.source,
                identifiers=statement.identifiers,
                is_proof=statement.strength >= Strength.CERTIFICATE,
            )
            for statement in identity.statements
        )
