"""What events mean: from a payload to *reactions*, which say what is to happen to whom. Pure.

| event | reaction |
| --- | --- |
| `session-revoked`, `sessions-revoked` | the sessions that every member of the subject names end |
| `token-claims-change` | the sessions end: the next sign-in brings the new claims from their own source |
| `credential-change` | `create` is recorded; anything else ends the sessions; both settle a compromised credential |
| `assurance-level-change` | a decrease ends the sessions; an increase is recorded |
| `device-compliance-change` | a posture fact `compliant` and the condition *device compliance* of the device |
| `risk-level-change` | the condition *risk level* of the device or user; high ends the user's or that session |
| `session-established`, `session-presented` | recorded |
| `account-disabled`, `account-purged` | the sessions end, and the condition *account* of the user is high |
| `account-enabled` | closes the condition *account*, as this source opened it |
| `credential-compromise`, `account-credential-change-required` | the sessions end; the condition *credential* opens |
| `identifier-changed`, `identifier-recycled` | the sessions known by that identifier end |
| `opt-*`, `recovery-*` | recorded |

Source: CAEP 1.0 section 3, RISC 1.0 section 2, SSF 1.0 sections 7.1.5 and 8.1.4.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from gateway.shared_signals.sets import instant_of
from gateway.shared_signals.subjects import Member, Subject
from risk.model import Severity

_BASE = "https://schemas.openid.net/secevent/"
CAEP = _BASE + "caep/event-type/"
RISC = _BASE + "risc/event-type/"
SSF = _BASE + "ssf/event-type/"

MAX_REASON = 1024


class EventType(StrEnum):
    """Every event that is known, by its short name."""

    SESSION_REVOKED = "session-revoked"
    TOKEN_CLAIMS_CHANGE = "token-claims-change"  # noqa: S105 - an event
    CREDENTIAL_CHANGE = "credential-change"
    ASSURANCE_LEVEL_CHANGE = "assurance-level-change"
    DEVICE_COMPLIANCE_CHANGE = "device-compliance-change"
    SESSION_ESTABLISHED = "session-established"
    SESSION_PRESENTED = "session-presented"
    RISK_LEVEL_CHANGE = "risk-level-change"
    CREDENTIAL_CHANGE_REQUIRED = "account-credential-change-required"
    ACCOUNT_PURGED = "account-purged"
    ACCOUNT_DISABLED = "account-disabled"
    ACCOUNT_ENABLED = "account-enabled"
    IDENTIFIER_CHANGED = "identifier-changed"
    IDENTIFIER_RECYCLED = "identifier-recycled"
    CREDENTIAL_COMPROMISE = "credential-compromise"
    OPT_IN = "opt-in"
    OPT_OUT_INITIATED = "opt-out-initiated"
    OPT_OUT_CANCELLED = "opt-out-cancelled"
    OPT_OUT_EFFECTIVE = "opt-out-effective"
    RECOVERY_ACTIVATED = "recovery-activated"
    RECOVERY_INFORMATION_CHANGED = "recovery-information-changed"
    SESSIONS_REVOKED = "sessions-revoked"
    VERIFICATION = "verification"
    STREAM_UPDATED = "stream-updated"


_CAEP_EVENTS = tuple(EventType)[:8]
_RISC_EVENTS = tuple(EventType)[8:22]
_SSF_EVENTS = tuple(EventType)[22:]

URIS: Mapping[EventType, str] = {
    **{each: CAEP + each.value for each in _CAEP_EVENTS},
    **{each: RISC + each.value for each in _RISC_EVENTS},
    **{each: SSF + each.value for each in _SSF_EVENTS},
}
"""The URI of each event."""

BY_URI: Mapping[str, EventType] = {
    **{uri: each for each, uri in URIS.items()},
    # Drafts, and transmitters that never left them.
    **{_BASE + space + "/event-type/" + each: each for each in _SSF_EVENTS for space in ("risc", "sse")},
}

REQUESTABLE: tuple[EventType, ...] = (*_CAEP_EVENTS, *_RISC_EVENTS)
"""Events that a stream can be asked for; those of the stream itself come unasked."""

EFFECTIVE: tuple[EventType, ...] = tuple(
    each
    for each in REQUESTABLE
    if each
    not in {
        EventType.SESSION_ESTABLISHED,
        EventType.SESSION_PRESENTED,
        EventType.OPT_IN,
        EventType.OPT_OUT_INITIATED,
        EventType.OPT_OUT_CANCELLED,
        EventType.RECOVERY_ACTIVATED,
        EventType.RECOVERY_INFORMATION_CHANGED,
    }
)
"""Events that do more here than being recorded; asked for by default."""


class EventFault(ValueError):
    """A payload does not conform to its event's definition."""


class Condition(StrEnum):
    """What a transmitter can say of a device or user; each is one condition of that subject (`external_id`)."""

    RISK = "risk-level"
    COMPLIANCE = "device-compliance"
    ACCOUNT = "account"
    CREDENTIAL = "credential"


class EndSessions(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The sessions that `subject` names end, those excepted that began after the event."""

    subject: Subject
    reason: str


class State(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """A condition of the device or user that `subject` names. `level` None closes it. `facts` are of a device."""

    subject: Subject
    member: Member
    condition: Condition
    level: Severity | None
    title: str
    facts: Mapping[str, str | int | float | bool | None] = {}

    @property
    def is_relaxing(self) -> bool:
        """Whether this can only make access easier."""
        return self.level in (None, Severity.NONE, Severity.INFORMATIONAL, Severity.LOW)


class Record(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Nothing is to be done but to write down that it was told."""

    why: str


class Verification(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The stream works. `state` None: the transmitter sent it unasked."""

    state: str | None


class StreamUpdated(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """The transmitter changed the status of the stream."""

    status: str
    reason: str


Reaction = EndSessions | State | Record | Verification | StreamUpdated


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a token. `at` is when it happened: `event_timestamp`, else `toe`, else `iat` (SSF, CAEP 2)."""

    type: EventType
    payload: Mapping[str, Any]
    subject: Subject
    at: datetime


class Meaning(msgspec.Struct, frozen=True, kw_only=True):
    """How a receiver's configuration reads what the standard leaves open."""

    unknown_level: Severity = Severity.HIGH


_SESSION_FORMATS = frozenset({"jwt_id", "saml_assertion_id"})
_LEVELS = {"LOW": Severity.LOW, "MEDIUM": Severity.MEDIUM, "HIGH": Severity.HIGH}
_CREDENTIAL_CHANGES = frozenset({"create", "revoke", "update", "delete"})
_PRINCIPALS: Mapping[str, Member] = {
    "USER": Member.USER,
    "DEVICE": Member.DEVICE,
    "SESSION": Member.SESSION,
    "GROUP": Member.GROUP,
}


def happened_at(payload: Mapping[str, Any], toe: datetime | None, issued_at: datetime) -> datetime:
    """Return when an event happened, never later than the token was issued: no clock may block later news."""
    said = instant_of(payload.get("event_timestamp")) or toe or issued_at
    return min(said, issued_at)


def reactions(event: Event, meaning: Meaning) -> tuple[Reaction, ...]:  # noqa: C901, PLR0911, PLR0912 - one case a kind
    """Return what an event asks for. Raises `EventFault` for a payload that lacks what its event requires."""
    match event.type:
        case EventType.SESSION_REVOKED | EventType.SESSIONS_REVOKED:
            return (_end(event, Member.SESSION),)
        case EventType.TOKEN_CLAIMS_CHANGE:
            if not isinstance(event.payload.get("claims"), dict):
                raise EventFault("`claims` is an object")
            return (_end(event, Member.USER),)
        case EventType.CREDENTIAL_CHANGE:
            return _credential_change(event)
        case EventType.ASSURANCE_LEVEL_CHANGE:
            return _assurance(event)
        case EventType.DEVICE_COMPLIANCE_CHANGE:
            return (_compliance(event),)
        case EventType.RISK_LEVEL_CHANGE:
            return _risk(event, meaning)
        case EventType.ACCOUNT_DISABLED | EventType.ACCOUNT_PURGED:
            title = f"The account is {event.type.value.removeprefix('account-')}"
            return (_end(event, Member.USER), _user(event, Condition.ACCOUNT, Severity.HIGH, title))
        case EventType.ACCOUNT_ENABLED:
            return (_user(event, Condition.ACCOUNT, None, "The account is enabled"),)
        case EventType.CREDENTIAL_COMPROMISE:
            title = "A credential of the account is compromised"
            return (_end(event, Member.USER), _user(event, Condition.CREDENTIAL, Severity.HIGH, title))
        case EventType.CREDENTIAL_CHANGE_REQUIRED:
            title = "The account must change its credential"
            return (_end(event, Member.USER), _user(event, Condition.CREDENTIAL, Severity.MEDIUM, title))
        case EventType.IDENTIFIER_CHANGED | EventType.IDENTIFIER_RECYCLED:
            return (_end(event, Member.USER),)
        case EventType.VERIFICATION:
            state = event.payload.get("state")
            return (Verification(state=state if isinstance(state, str) else None),)
        case EventType.STREAM_UPDATED:
            return (_stream_updated(event),)
        case _:
            return (Record(why="this event has no effect here"),)


def meant_by(event: EventType, subject: Subject, bare: Member) -> Subject:
    """Return the subject with its bare part named: what a simple subject denotes depends on the event.

    `bare` is what the event is about; the format tells better where it can only be one thing.
    """
    found = subject.of(Member.ANY)
    if not found:
        return subject
    member = bare
    formats = {each.format for each in found}
    if formats <= _SESSION_FORMATS:
        member = Member.SESSION
    elif bare is Member.SESSION and formats != {"opaque"}:
        member = Member.USER
    elif event is EventType.DEVICE_COMPLIANCE_CHANGE:
        member = Member.DEVICE
    return msgspec.structs.replace(subject, members={member: found})


def reason_of(payload: Mapping[str, Any], name: str = "reason_admin") -> str:
    """Return the reason that a payload gives, in English if it does, "" without one; a text of bounded length."""
    said = payload.get(name)
    if isinstance(said, dict):
        texts = {str(tag).lower(): text for tag, text in said.items() if isinstance(text, str)}
        said = next((texts[tag] for tag in ("en", "en-us", "en-gb") if tag in texts), None) or next(
            iter(texts.values()), ""
        )
    return said[:MAX_REASON] if isinstance(said, str) and said.isprintable() else ""


def _end(event: Event, bare: Member) -> EndSessions:
    return EndSessions(subject=meant_by(event.type, event.subject, bare), reason=event.type.value)


def _user(event: Event, condition: Condition, level: Severity | None, title: str) -> State:
    subject = meant_by(event.type, event.subject, Member.USER)
    return State(subject=subject, member=Member.USER, condition=condition, level=level, title=title)


def _credential_change(event: Event) -> tuple[Reaction, ...]:
    change = event.payload.get("change_type")
    if not isinstance(event.payload.get("credential_type"), str) or not isinstance(change, str):
        raise EventFault("`credential_type` and `change_type` are texts")
    settled = _user(event, Condition.CREDENTIAL, None, "The credential was changed")
    if change == "create":
        return (Record(why="a new credential"),)
    ended = _end(event, Member.USER)
    # An unknown change is taken for the worst; only a credential that was replaced settles a compromise.
    return (ended, settled) if change in _CREDENTIAL_CHANGES - {"create"} else (ended,)


def _assurance(event: Event) -> tuple[Reaction, ...]:
    """A decrease, or a change of unknown direction, ends sessions. Drafts had no `namespace`: it is not asked for."""
    if not isinstance(event.payload.get("current_level"), str):
        raise EventFault("`current_level` is a text")
    if event.payload.get("change_direction") == "increase":
        return (Record(why="the assurance level rose"),)
    return (_end(event, Member.USER),)


def _compliance(event: Event) -> Reaction:
    status = event.payload.get("current_status")
    if not isinstance(status, str):
        raise EventFault("`current_status` is a text")
    is_compliant = status == "compliant"
    title = "The device meets the policies of its manager"
    return State(
        subject=meant_by(event.type, event.subject, Member.DEVICE),
        member=Member.DEVICE,
        condition=Condition.COMPLIANCE,
        # A status that the standard does not know can only be taken for the worse one.
        level=None if is_compliant else Severity.HIGH,
        title=title if is_compliant else "The device does not meet the policies of its manager",
        facts={"compliant": is_compliant},
    )


def _risk(event: Event, meaning: Meaning) -> tuple[Reaction, ...]:
    said = event.payload.get("current_level")
    if not isinstance(said, str):
        raise EventFault("`current_level` is a text")
    level = _LEVELS.get(said.upper(), meaning.unknown_level)
    principal = event.payload.get("principal")
    named = _PRINCIPALS.get(principal.upper()) if isinstance(principal, str) else None
    member = named or _present(event.subject)
    subject = meant_by(event.type, event.subject, member)
    if member is not Member.DEVICE and not subject.of(member) and named is not None:
        member = _present(subject)
    is_grave = level in (Severity.HIGH, Severity.CRITICAL, Severity.UNKNOWN)
    reason = reason_of(event.payload, "risk_reason")
    ended = EndSessions(subject=subject, reason=event.type.value)
    title = f"Risk level {said.lower()[:40]}" + (f": {reason}" if reason else "")
    state = State(subject=subject, member=member, condition=Condition.RISK, level=level, title=title)
    match member:
        case Member.DEVICE:
            return (state,)
        case Member.USER:
            return (ended, state) if is_grave else (state,)
        case _:
            return (ended,) if is_grave else (Record(why="the risk is not grave"),)


def _present(subject: Subject) -> Member:
    """Return what a subject is about when its event does not say (C3): the narrowest member that it has."""
    for member in (Member.DEVICE, Member.SESSION, Member.USER, Member.GROUP):
        if subject.of(member):
            return member
    return Member.USER


def _stream_updated(event: Event) -> StreamUpdated:
    status = event.payload.get("status")
    if status not in ("enabled", "paused", "disabled"):
        raise EventFault("`status` is `enabled`, `paused` or `disabled`")
    return StreamUpdated(status=status, reason=reason_of(event.payload, "reason"))
