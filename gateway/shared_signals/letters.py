"""What an event to a subscriber says: pure functions from postures and sessions to claims of SETs.

Source: SSF 1.0 section 4, CAEP 1.0 section 3; exactly one event in a token (CAEP interoperability profile).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from compliance.model import ComplianceResult, ComplianceState, RuleResult
from gateway.config.shared_signals import SignalSubscriber
from gateway.sessions.model import Session
from gateway.shared_signals.events import URIS, EventType
from gateway.shared_signals.outbox import Outgoing, Stream
from gateway.shared_signals.subjects import Member, Simple, subject_json
from risk.model import Identifier, Posture, RiskAssessment, RiskLevel

MAX_REASONS = 5
MAX_TITLE = 200

_LEVELS: Mapping[RiskLevel, str] = {
    RiskLevel.NONE: "LOW",
    RiskLevel.LOW: "LOW",
    RiskLevel.MEDIUM: "MEDIUM",
    RiskLevel.HIGH: "HIGH",
}


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What holds of a device for one party. `level` None: nobody has told of it, so nothing can be said.

    `failed` are the rules that make it so, as policy, rule and title.
    """

    level: str | None
    status: str
    reasons: tuple[str, ...] = ()
    failed: tuple[tuple[str, str, str], ...] = ()
    changes_at: datetime | None = None


class Letter(NamedTuple):
    """What the events to one stream with one cause have in common."""

    issuer: str
    stream: Stream
    party: SignalSubscriber
    txn: str
    now: datetime

    def event(
        self,
        kind: EventType,
        payload: Mapping[str, Any],
        members: Mapping[Member, Simple],
        keys: Mapping[Member, frozenset[str]],
        jti: str,
        *,
        about: str = "",
    ) -> Outgoing:
        """Return one event about the subject of `members`."""
        claims = set_claims(self, kind, payload, subject_json(members), jti)
        return Outgoing(stream_id=self.stream.stream_id, jti=jti, claims=claims, keys=keys, about=about)

    def about_stream(self, kind: EventType, payload: Mapping[str, Any], jti: str) -> Outgoing:
        """Return an event about the stream itself; that it was stopped is told to one that is stopped, too."""
        subject = {"format": "opaque", "id": self.stream.stream_id}
        return Outgoing(
            stream_id=self.stream.stream_id,
            jti=jti,
            claims=set_claims(self, kind, payload, subject, jti),
            keys={},
            is_for_everybody=True,
            is_sent_always=kind is EventType.STREAM_UPDATED,
        )


TRANSMITTED: tuple[EventType, ...] = (
    EventType.DEVICE_COMPLIANCE_CHANGE,
    EventType.RISK_LEVEL_CHANGE,
    EventType.SESSION_REVOKED,
)
"""Events that the gateway transmits."""


def events_of(party: SignalSubscriber) -> tuple[EventType, ...]:
    """Return the events that a party may have."""
    return tuple(each for each in TRANSMITTED if not party.events or each.value in party.events)


def delivered(stream: Stream, party: SignalSubscriber) -> tuple[EventType, ...]:
    """Return the events of a stream: those asked for that the party may have; all of them when it asked for none."""
    asked = set(stream.events_requested)
    return tuple(each for each in events_of(party) if not asked or URIS[each] in asked)


def without(posture: Posture, sensor: str) -> Posture:
    """Return the posture as if `sensor` had never told of the device."""
    if not sensor:
        return posture
    return msgspec.structs.replace(
        posture,
        findings={key: each for key, each in posture.findings.items() if key[0] != sensor},
        facts={key: each for key, each in posture.facts.items() if key[0] != sensor},
        heard={name: at for name, at in posture.heard.items() if name != sensor},
    )


def judged_of(risk: RiskAssessment, compliance: ComplianceResult | None) -> Judged:
    """Return what can be told of a device, or of a user, who has no compliance.

    In grace a device may still be used, so it is told as compliant.
    """
    in_order = (ComplianceState.COMPLIANT, ComplianceState.IN_GRACE_PERIOD)
    is_well = compliance is None or compliance.state in in_order
    reasons = [
        f"{each.title or each.external_id} ({each.sensor})" for each in risk.contributions[:MAX_REASONS]
    ]
    failed: list[RuleResult] = []
    if compliance is not None and not is_well:
        failed = [each for each in compliance.results if each.state is compliance.state][:MAX_REASONS]
    reasons += [each.title for each in failed]
    ends_at = None if compliance is None else compliance.changes_at
    moments = [each for each in (risk.changes_at, ends_at) if each is not None]
    return Judged(
        level=_LEVELS.get(risk.level),
        status="compliant" if is_well else "not-compliant",
        reasons=tuple(dict.fromkeys(reason[:MAX_TITLE] for reason in reasons if reason)),
        failed=tuple((each.policy, each.rule, each.title) for each in failed),
        changes_at=min(moments, default=None),
    )


def device_subject(posture: Posture, kinds: Sequence[str]) -> Simple | None:
    """Return how a party is told of a device: by the first of its kinds that the device has, None without any."""
    by_kind: dict[str, str] = {}
    for identifier in posture.identifiers:
        by_kind.setdefault(identifier.kind, identifier.value)
    value = next((by_kind[kind] for kind in kinds if kind in by_kind), None)
    return None if value is None else Simple("opaque", (value,))


def user_subject(record: Posture) -> Simple | None:
    """Return how a party is told of a user: as the identifier of the record is, None where others have no such."""
    own = record.identifiers[0] if record.identifiers else None
    match own:
        case Identifier(kind="iss-sub", value=value, issuer=issuer) if issuer:
            return Simple("iss_sub", (issuer, value))
        case Identifier(kind="email", value=value):
            return Simple("email", (value,))
        case _:
            return None


def set_claims(
    letter: Letter, kind: EventType, payload: Mapping[str, Any], subject: Mapping[str, Any], jti: str
) -> bytes:
    """Return the claims of a SET, as JSON. Source: SSF 1.0 section 4; exactly one event (CAEP profile)."""
    claims = {
        "iss": letter.issuer,
        "aud": letter.party.audience or letter.party.name,
        "iat": int(letter.now.timestamp()),
        "jti": jti,
        **({"txn": letter.txn} if letter.txn else {}),
        "sub_id": subject,
        "events": {URIS[kind]: payload},
    }
    return msgspec.json.encode(claims)


def one_a_user(sessions: Sequence[Session]) -> tuple[Session, ...]:
    """Return one session of each user."""
    return tuple({(each.user.issuer, each.user.subject): each for each in sessions}.values())


def session_subject(
    session: Session, *, is_whole_user: bool
) -> tuple[dict[Member, Simple], dict[Member, frozenset[str]]]:
    """Return how a session is told of, and the keys that a stream's subjects are compared with."""
    user = session.user
    by_sub = Simple("iss_sub", (user.issuer, user.subject))
    members = {Member.USER: by_sub}
    keys = {by_sub.key, Simple("opaque", (user.subject,)).key}
    if user.email:
        keys.add(Simple("email", (user.email,)).key)
    if not is_whole_user:
        # The provider's own session id is the one that other relying parties know too.
        members[Member.SESSION] = Simple("opaque", (session.provider_sid or session.id,))
    return members, {
        Member.USER: frozenset(keys),
        Member.DEVICE: frozenset(Simple("opaque", (each.identifier.value,)).key for each in session.devices),
    }


def seconds(at: datetime) -> int:
    """Return an instant as a NumericDate."""
    return int(at.timestamp())
