"""From a verified token to its effect: sessions end, signals go through the intake, all of it enforced everywhere.

INVARIANT: `apply` returns when the effect is durable and every worker enforces it; only then is the token's `jti`
remembered. A crash in between applies the token again when it is redelivered, which changes nothing.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec
import structlog

from gateway.config.shared_signals import SignalReceiver
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.shared_signals.events import (
    BY_URI,
    EndSessions,
    Event,
    EventFault,
    EventType,
    Meaning,
    Reaction,
    Record,
    State,
    StreamUpdated,
    Verification,
    happened_at,
    reactions,
    reason_of,
)
from gateway.shared_signals.matching import (
    Scope,
    device_identifiers,
    issuers,
    sessions_named,
    user_identifiers,
)
from gateway.shared_signals.received import ReceivedStore
from gateway.shared_signals.sets import SecurityEventToken
from gateway.shared_signals.subjects import Member, Subject, SubjectFault, old_subject, parse_subject
from gateway.tasks import together
from risk.model import DeviceId, Rejection, Signal, SignalType
from risk.outcome import IntakeResult

log = structlog.get_logger("shared-signals")

RELAXING_AGE = timedelta(days=7)
"""A token older than this cannot make access easier any more: what keeps a replay out is kept longer than that."""

_STREAM_EVENTS = frozenset({EventType.VERIFICATION, EventType.STREAM_UPDATED})


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What a token did. `outcome` is `applied`, `recorded` (nothing to do), `duplicate` or `malformed`.

    `durable_mono_ns` is when its effect was on disk, `newest_at` when its newest statement was observed.
    """

    outcome: str
    jti: str
    txn: str = ""
    events: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()
    sessions: tuple[Session, ...] = ()
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    devices: frozenset[DeviceId] = frozenset()
    parked: int = 0
    users: int = 0
    enforcement: object = None
    durable_mono_ns: int | None = None
    newest_at: datetime | None = None


class Ground(Protocol):
    """What the effects of tokens stand on; the hub gives it."""

    sessions: SessionRegistry

    async def submit(
        self, sensor: str, signals: Sequence[Signal], rejections: Sequence[Rejection], body: bytes
    ) -> IntakeResult:
        """Make signals durable and known. Raises `StoreFault`, `StoreOverloaded`."""
        ...

    async def enforce(self, result: IntakeResult, ended: tuple[Session, ...]) -> object:
        """Return when every worker enforces what follows. Raises `NotEnforced`."""
        ...

    def sessions_on(self, device: str) -> frozenset[str]:
        """Return the sessions on the device that a text names."""
        ...

    def sign_in_ended(self, issuer: str, subject: str, sid: str | None) -> Awaitable[None]:
        """Let no sign-in that is on its way become a session of this person, or of that provider session alone.

        It counts at once, and across a restart when what is returned was awaited.
        """
        ...


class Plan(msgspec.Struct, kw_only=True):
    """What the events of one token ask for, collected."""

    events: list[str] = []
    ends: list[tuple[EndSessions, datetime]] = []
    signals: list[Signal] = []
    rejections: list[Rejection] = []
    stream: list[Verification | StreamUpdated] = []
    notes: list[str] = []


class Applier:
    """Applies the tokens of all receivers."""

    def __init__(self, ground: Ground, store: ReceivedStore, *, clock: Callable[[], datetime]) -> None:
        self._ground = ground
        self._store = store
        self._clock = clock

    async def apply(
        self,
        receiver: SignalReceiver,
        token: SecurityEventToken,
        raw: bytes,
        *,
        critical: frozenset[str] = frozenset(),
        on_stream: Callable[[Verification | StreamUpdated], Awaitable[None]] | None = None,
    ) -> Applied:
        """Bring about what a verified token says, and return that once it is durable and enforced everywhere.

        `critical` are members of complex subjects without which an event may not be used. `on_stream` is told of events
        about the stream, and may raise `SetRefused`. Raises `StoreFault`, `StoreOverloaded`, `NotEnforced`: then the
        transmitter has to send the token again.
        """
        known = await self._store.outcome(receiver.name, token.jti)
        if known is not None:
            return Applied(outcome="duplicate", jti=token.jti, txn=token.txn)
        now = self._clock()
        plan = make_plan(receiver, token, now, critical)
        if on_stream is not None:
            for reaction in plan.stream:
                await on_stream(reaction)
        ended = await self._end(receiver, plan)
        result = await self._tell(receiver, plan, raw)
        durable_mono_ns = time.monotonic_ns()
        enforcement = await self._ground.enforce(result, ended) if ended or result.changed else None
        is_something = bool(ended or plan.signals or plan.stream or plan.ends)
        outcome = "applied" if is_something else "malformed" if plan.rejections else "recorded"
        await self._store.remember(receiver.name, token.jti, outcome, now)
        return Applied(
            outcome=outcome,
            jti=token.jti,
            txn=token.txn,
            events=tuple(plan.events),
            ended=tuple(session.id for session in ended),
            sessions=ended,
            accepted=result.accepted,
            duplicates=result.duplicates,
            rejected=len(result.rejected),
            devices=result.changed_devices,
            parked=len(result.parked),
            users=len(result.changed_users),
            enforcement=enforcement,
            durable_mono_ns=durable_mono_ns,
            newest_at=max((signal.observed_at for signal in plan.signals), default=None),
        )

    async def _tell(self, receiver: SignalReceiver, plan: Plan, raw: bytes) -> IntakeResult:
        if not plan.signals and not plan.rejections:
            return IntakeResult()
        return await self._ground.submit(receiver.name, plan.signals, plan.rejections, raw)

    async def _end(self, receiver: SignalReceiver, plan: Plan) -> tuple[Session, ...]:
        """End the sessions that the events name. They are over in memory even when the store lags behind."""
        scope = Scope(
            providers=frozenset(receiver.providers),
            device_kind=receiver.device_kind,
            sessions_on=self._ground.sessions_on,
        )
        named: dict[str, Session] = {}
        kept: list[Awaitable[None]] = []
        for reaction, at in plan.ends:
            kept += self._end_sign_ins(reaction.subject)
            for session in await sessions_named(reaction.subject, self._ground.sessions, scope, at):
                named[session.id] = session
        found = tuple(named.values())
        try:
            await together(*kept, self._ground.sessions.end_all(found))
        except Exception:
            await asyncio.shield(self._ground.enforce(IntakeResult(), found))
            raise
        return found

    def _end_sign_ins(self, subject: Subject) -> list[Awaitable[None]]:
        """Whoever is just signing in must not slip past: where the subject names the user as providers do.

        Returns what is to be awaited.
        """
        kept: list[Awaitable[None]] = []
        sids = [each.values[0] for each in subject.of(Member.SESSION) if each.format == "opaque"]
        if subject.of(Member.DEVICE):
            return kept
        for user in subject.of(Member.USER):
            for issuer in issuers(user.values[0]) if user.format == "iss_sub" else ():
                if not subject.of(Member.SESSION):
                    kept.append(self._ground.sign_in_ended(issuer, user.values[1], None))
                    continue
                kept += [self._ground.sign_in_ended(issuer, "", sid) for sid in sids]
        return kept


def make_plan(
    receiver: SignalReceiver, token: SecurityEventToken, now: datetime, critical: frozenset[str]
) -> Plan:
    """Return what a token asks for. Pure: an event that cannot be used becomes a rejection, never an exception."""
    plan = Plan()
    is_old = now - token.issued_at > RELAXING_AGE
    for index, (uri, payload) in enumerate(token.events.items()):
        kind = BY_URI.get(uri)
        if kind is None:
            plan.notes.append("unknown event")
            continue
        plan.events.append(kind.value)
        try:
            event = _event(kind, payload, token, critical)
            meant = reactions(event, Meaning(unknown_level=receiver.unknown_level))
        except (SubjectFault, EventFault) as fault:
            plan.rejections.append(_rejection(index, kind, str(fault), payload))
            continue
        for reaction in meant:
            signal = _signal(receiver, event, reaction, token, now) if isinstance(reaction, State) else None
            _plan_one(plan, event, reaction, signal, is_old=is_old, index=index)
    return plan


def _event(
    kind: EventType, payload: Mapping[str, Any], token: SecurityEventToken, critical: frozenset[str]
) -> Event:
    """Return the event with its subject. Raises `SubjectFault`."""
    at = happened_at(payload, token.happened_at, token.issued_at)
    untrusted = old_subject(token.claims, payload)
    if kind in _STREAM_EVENTS:
        return Event(type=kind, payload=payload, subject=Subject(), at=at)
    subject = parse_subject(untrusted)
    unread = critical & set(subject.unread)
    if unread:
        raise SubjectFault(f"a critical member of the subject cannot be read: {', '.join(sorted(unread))}")
    return Event(type=kind, payload=payload, subject=subject, at=at)


def _plan_one(
    plan: Plan, event: Event, reaction: Reaction, signal: Signal | None, *, is_old: bool, index: int
) -> None:
    match reaction:
        case EndSessions():
            plan.ends.append((reaction, event.at))
        case State() if is_old and reaction.is_relaxing:
            plan.notes.append("too old to make access easier")
        case State():
            if signal is None:
                text = f"the subject names no {reaction.member.value} that can be known here"
                plan.rejections.append(_rejection(index, event.type, text, event.payload, code="no-subject"))
            else:
                plan.signals.append(signal)
        case Verification() | StreamUpdated():
            plan.stream.append(reaction)
        case Record():
            plan.notes.append(reaction.why)


def _signal(
    receiver: SignalReceiver, event: Event, state: State, token: SecurityEventToken, now: datetime
) -> Signal | None:
    """Return the signal of a state; None when its subject names no device or user by an identifier that is known."""
    is_device = state.member is Member.DEVICE
    devices = device_identifiers(state.subject, receiver.device_kind) if is_device else ()
    users = () if is_device else user_identifiers(state.subject)
    if not devices and not users:
        return None
    is_fact = bool(state.facts)
    return Signal(
        sensor=receiver.name,
        type=SignalType.POSTURE_FACT if is_fact else SignalType.RISK_LEVEL,
        observed_at=event.at,
        received_at=now,
        external_id=f"ssf:{state.condition.value}",
        event_id=f"{token.jti}:{event.type.value}",
        device_ids=devices,
        user_ids=users,
        level=state.level,
        title=state.title,
        description=reason_of(event.payload, "reason_user"),
        category="shared-signals",
        facts=dict(state.facts),
        resolves=state.level is None,
    )


def _rejection(
    index: int, kind: EventType, error: str, payload: Mapping[str, Any], code: str = "event-malformed"
) -> Rejection:
    return Rejection(index=index, code=code, error=f"{kind.value}: {error}", item=dict(payload))
