"""The record of one delivery, and how it is made of what the intake and the enforcement tell. Pure."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from compliance.evaluate import decide
from compliance.model import ComplianceResult
from gateway.decision.judge import Interpretation, judge
from gateway.decision.ticket import Issued
from gateway.feed.hub_side import Enforcement
from gateway.hub.desk import TICKET_REQUEST
from gateway.hub.hooks import TEST_VERDICT, Delivery
from plugins.contract import NO_SUBJECT, Normalized
from risk.model import DeviceId, Identifier, Posture, Rejection, RiskAssessment, Signal
from risk.outcome import Effect

MAX_SIGNALS = 20
MAX_REJECTIONS = 20
MAX_SHOWN_EFFECTS = 20
MAX_SESSIONS = 20
MAX_SHOWN_IDS = 8
MAX_TEXT = 300
"""Most of each in one record; `…_left_out` counts the others."""


class Verdict(StrEnum):
    """What became of a delivery, in one word. The exact code stands beside it."""

    ACCEPTED = "accepted"
    PARTLY = "partly-accepted"
    DUPLICATE = "duplicate"
    IGNORED = "ignored"
    BAD_SIGNATURE = "bad-signature"
    STALE = "stale"
    SCHEMA = "schema"
    UNKNOWN_DEVICE = "unknown-device"
    NO_SUBJECT = "no-subject"
    NOT_ALLOWED = "not-allowed"
    RATE_LIMITED = "rate-limited"
    UNAVAILABLE = "unavailable"
    HANDSHAKE = "handshake"
    TEST = "test"
    REFUSED = "refused"


HEARD = frozenset({Verdict.ACCEPTED, Verdict.PARTLY, Verdict.DUPLICATE, Verdict.IGNORED, Verdict.NO_SUBJECT})
"""Verdicts of deliveries in which the sensor itself has spoken: test events and handshakes are none."""


class SignalLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A signal in short. `device` is what people read, `device_ids` that by which its device is found later."""

    item: int
    type: str
    condition: str
    device: str = ""
    device_ids: tuple[Identifier, ...] = ()
    user: str = ""
    level: str = ""
    title: str = ""
    closes: bool = False
    observed_at: datetime | None = None


class RejectionLine(msgspec.Struct, frozen=True, kw_only=True):
    """An item that became no signal."""

    item: int
    code: str
    error: str


class AccessLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the new posture means for one session at one app: the decision before and after."""

    session: str
    user: str
    app: str
    before: str
    after: str


class EffectLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the delivery did to one device. `unknown` before it was known."""

    device_id: str
    device: str
    risk_before: str
    risk_after: str
    compliance_before: str
    compliance_after: str
    access: tuple[AccessLine, ...] = ()

    @property
    def is_change(self) -> bool:
        """Whether risk, compliance or access changed."""
        return (
            self.risk_before != self.risk_after
            or self.compliance_before != self.compliance_after
            or any(each.before != each.after for each in self.access)
        )


class DeliveryRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One delivery. Times `…_in_ms` count from the first byte; `answered_in_ms` is missing when no answer left.

    `secret` is the place of the secret that matched, from 1. `parked` counts those of its devices that were known by
    nothing but a name, where what is said waits. `again` is the delivery that this one ran again, with `age_s`, how old
    it was then: ages of signatures are waived for it. `has_effects` is false when too much came at once to work out
    what each delivery did. `left_out` counts deliveries of this sensor before this one that were not recorded.
    """

    id: str
    sensor: str
    at: datetime
    verdict: Verdict
    code: str
    status: int
    detail: str = ""
    message_id: str = ""
    secret: int | None = None
    body_bytes: int = 0
    body_sha256: str = ""
    has_body: bool = False
    accepted: int = 0
    duplicates: int = 0
    ignored: int = 0
    rejected: int = 0
    signals: tuple[SignalLine, ...] = ()
    signals_left_out: int = 0
    rejections: tuple[RejectionLine, ...] = ()
    devices: int = 0
    parked: int = 0
    effects: tuple[EffectLine, ...] = ()
    has_effects: bool = True
    streams_cut: dict[str, int] = {}
    workers: int = 0
    fenced: tuple[str, ...] = ()
    durable_in_ms: float | None = None
    enforced_in_ms: float | None = None
    answered_in_ms: float | None = None
    lag_s: float | None = None
    again: str = ""
    age_s: float | None = None
    left_out: int = 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What effects are worked out with: the configuration in force, and the tickets, by app, of a device."""

    interpretation: Interpretation
    tickets: Callable[[DeviceId], Sequence[tuple[str, Issued]]] = lambda device_id: ()  # noqa: ARG005 - none


_TAKEN = frozenset({"accepted", "pulled", "fetched", "refreshed", "replayed"})
_NOBODY = frozenset({"no-device", "no-user", NO_SUBJECT})
_BY_CODE = {
    TEST_VERDICT: Verdict.TEST,
    "timestamp-outside-tolerance": Verdict.STALE,
    "rate-limited": Verdict.RATE_LIMITED,
}
_BY_STATUS = {
    400: Verdict.SCHEMA,
    401: Verdict.BAD_SIGNATURE,
    422: Verdict.SCHEMA,
    503: Verdict.UNAVAILABLE,
}


def verdict_of(delivery: Delivery) -> Verdict:
    """Return what became of a delivery in one word.

    Example:
    >>> verdict_of(Delivery(id="1", sensor="edr", status=401, verdict="credential-mismatch")).value
    'bad-signature'

    """
    code = delivery.verdict
    if code in _TAKEN:
        return _of_counts(delivery)
    if code == "nothing-usable":
        return _of_rejections(delivery.rejections)
    if code.startswith("handshake-"):
        return Verdict.HANDSHAKE
    return _BY_CODE.get(code) or _BY_STATUS.get(delivery.status, Verdict.REFUSED)


def _of_counts(delivery: Delivery) -> Verdict:
    if delivery.accepted:
        return Verdict.PARTLY if delivery.rejected else Verdict.ACCEPTED
    if delivery.duplicates or not delivery.rejected:
        return Verdict.DUPLICATE if delivery.duplicates else Verdict.IGNORED
    return _of_rejections(delivery.rejections)


def _of_rejections(rejections: Sequence[Rejection]) -> Verdict:
    codes = {each.code for each in rejections}
    if codes == {NO_SUBJECT}:
        return Verdict.NO_SUBJECT
    if codes <= _NOBODY:
        return Verdict.UNKNOWN_DEVICE
    return Verdict.NOT_ALLOWED if codes == {"not-allowed"} else Verdict.SCHEMA


def is_verified(delivery: Delivery) -> bool:
    """Return whether the sender proved who it is; products that we asked did by being asked."""
    return delivery.secret is not None or delivery.verdict in _TAKEN


def record_of(
    delivery: Delivery,
    now: datetime,
    judged: Judged | None,
    *,
    answered_in_s: float | None = None,
    body_sha256: str = "",
    has_body: bool = False,
    left_out: int = 0,
    signals: int = 0,
    had_effects: bool = False,
) -> DeliveryRecord:
    """Return the record of a delivery of `signals` signals. Without `judged` what it did is not worked out.

    `had_effects` says whether it did something, also when that is not known any more.
    """
    received_at = delivery.received_at or now
    at = now if delivery.again else received_at
    report = delivery.enforcement if isinstance(delivery.enforcement, Enforcement) else None
    normalized = delivery.normalized or Normalized()
    return DeliveryRecord(
        id=delivery.id,
        sensor=delivery.sensor,
        at=at,
        verdict=verdict_of(delivery),
        code=delivery.verdict,
        status=delivery.status,
        detail=delivery.detail[:MAX_TEXT],
        message_id=delivery.message_id,
        secret=None if delivery.secret is None else delivery.secret + 1,
        body_bytes=delivery.body_bytes,
        body_sha256=body_sha256,
        has_body=has_body,
        accepted=delivery.accepted,
        duplicates=delivery.duplicates,
        ignored=delivery.ignored,
        rejected=delivery.rejected,
        signals=signal_lines(normalized),
        signals_left_out=max(0, signals - MAX_SIGNALS),
        rejections=rejection_lines(delivery.rejections),
        devices=delivery.devices,
        parked=delivery.parked,
        effects=() if judged is None else effect_lines(delivery.effects, judged, at),
        has_effects=judged is not None or not had_effects,
        streams_cut={} if report is None else report.cuts,
        workers=0 if report is None else report.workers,
        fenced=() if report is None else report.fenced,
        durable_in_ms=_ms(delivery.durable_in_s),
        enforced_in_ms=_ms(delivery.enforced_in_s),
        answered_in_ms=_ms(answered_in_s),
        lag_s=delivery.lag_s,
        again=delivery.again,
        age_s=max(0.0, (now - received_at).total_seconds()) if delivery.again else None,
        left_out=left_out,
    )


def signal_lines(normalized: Normalized) -> tuple[SignalLine, ...]:
    """Return the first signals in short."""
    parts = zip(normalized.signals[:MAX_SIGNALS], normalized.origins, strict=False)
    return tuple(_line(signal, item) for signal, item in parts)


def rejection_lines(rejections: Iterable[Rejection]) -> tuple[RejectionLine, ...]:
    """Return the first rejections in short."""
    first = list(rejections)[:MAX_REJECTIONS]
    return tuple(
        RejectionLine(item=each.index, code=each.code, error=each.error[:MAX_TEXT]) for each in first
    )


def effect_lines(effects: Sequence[Effect], judged: Judged, now: datetime) -> tuple[EffectLine, ...]:
    """Return what happened to the first devices: risk, compliance, and the decisions that rest on them."""
    return tuple(_effect(each, judged, now) for each in effects[:MAX_SHOWN_EFFECTS])


def _effect(effect: Effect, judged: Judged, now: datetime) -> EffectLine:
    risk_before, state_before = judge(effect.before, judged.interpretation, now)
    risk, state = judge(effect.after, judged.interpretation, now)
    is_change = risk_before.level is not risk.level or state_before.state is not state.state
    tickets = judged.tickets(effect.device_id) if is_change else ()
    before = _Meaning(effect.before, risk_before, state_before)
    after = _Meaning(effect.after, risk, state)
    return EffectLine(
        device_id=effect.device_id,
        device=effect.after.name,
        risk_before=risk_before.level.value,
        risk_after=risk.level.value,
        compliance_before=state_before.state.value,
        compliance_after=state.state.value,
        access=tuple(_access(app, issued, before, after, now) for app, issued in tickets[:MAX_SESSIONS]),
    )


class _Meaning(msgspec.Struct, frozen=True):
    """A posture with what it means, worked out once for all sessions of the device."""

    posture: Posture | None
    risk: RiskAssessment
    compliance: ComplianceResult

    def outcome(self, issued: Issued, now: datetime) -> str:
        """Return what a session would be answered if its device had this posture."""
        context = msgspec.structs.replace(
            issued.situation.context,
            now=now,
            risk=self.risk,
            compliance=self.compliance,
            posture=self.posture,
        )
        return decide(issued.policies, context, TICKET_REQUEST)[0].outcome.value


def _access(app: str, issued: Issued, before: _Meaning, after: _Meaning, now: datetime) -> AccessLine:
    """Return the decision about one session before and after, all else being equal."""
    user = issued.situation.context.user
    return AccessLine(
        session=issued.session_id,
        user=user.email or user.subject,
        app=app,
        before=before.outcome(issued, now),
        after=after.outcome(issued, now),
    )


def _line(signal: Signal, item: int) -> SignalLine:
    named = [f"{each.kind} {each.value}" for each in signal.device_ids]
    users = [f"{each.kind} {each.value}" for each in signal.user_ids]
    return SignalLine(
        item=item,
        type=signal.type.value,
        condition=signal.external_id[:MAX_TEXT],
        device=", ".join(named)[:MAX_TEXT],
        device_ids=signal.device_ids[:MAX_SHOWN_IDS],
        user=", ".join(users)[:MAX_TEXT],
        level=signal.level.value if signal.level else "",
        title=signal.title[:MAX_TEXT],
        closes=signal.resolves,
        observed_at=signal.observed_at,
    )


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
