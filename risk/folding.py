"""Folding: one more statement of a sensor into what is known of a device. Pure.

INVARIANT: below the bounds of this module, folding a set of signals gives the same posture in every order and
with every repetition. Per condition (sensor, external id) and per fact (sensor, name) the statement with the
newest `observed_at` wins. Many products repeat the time at which a condition began in its close, so
statements of the same instant are ordered by when we received them; then the message id and the content break
ties. A close that wins stays as a tombstone, so that an older open that arrives later changes nothing.
"""

from datetime import datetime

import msgspec

from risk.model import Fact, Finding, Posture, Severity, Signal, SignalType

MAX_FINDINGS = 1000
"""Most conditions of one device, tombstones included."""

MAX_FACTS = 256
"""Most facts of one device over all sensors."""

MAX_OPENINGS = 16
"""Most instants kept of one open condition; beyond it `first_observed_at` alone can depend on the order."""

MAX_HEARD = 64
"""Most sensors remembered as having spoken of one device; the longest silent one is forgotten first."""

STATE_FACT = "state"
"""`pass`/`fail` of the signal's own condition: no attribute of the device, so it becomes no fact of it."""

REPORTING_FACT = "reporting"
"""A sensor that says `reporting: false` has NOT heard of the device: such a signal does not refresh
`heard`."""

SEVERITY_ORDER: dict[Severity, int] = {
    Severity.NONE: 0,
    Severity.INFORMATIONAL: 1,
    Severity.LOW: 2,
    Severity.MEDIUM: 3,
    Severity.UNKNOWN: 4,
    Severity.HIGH: 5,
    Severity.CRITICAL: 6,
}
"""Which finding gives way first when a device has too many: the least severe; unknown counts above medium."""

_content = msgspec.msgpack.Encoder()


MAX_STATEMENTS = 16
"""Most observations of one value that a fact remembers; only the oldest is ever asked for."""


class PostureFull(Exception):
    """The device already has as many conditions or facts as are kept; nothing of the signal was applied."""


def fold(posture: Posture, signal: Signal) -> Posture:
    """Return the posture that also knows `signal`. Idempotent and order-independent.

    At the bounds the oldest tombstone goes first, then an expired finding, then an open finding that is less
    severe than the new one; an open high finding never gives way to a lesser one.
    Raises `PostureFull` when nothing may give way; the caller rejects the signal then.
    """
    findings = posture.findings
    if _states_condition(signal):
        findings = _with_finding(findings, _finding(signal), signal.received_at)
    facts = posture.facts
    for name, value in signal.facts.items():
        if name != STATE_FACT:
            facts = _with_fact(facts, _fact(signal, name, value))
    heard = posture.heard if signal.facts.get(REPORTING_FACT) is False else _heard(posture.heard, signal)
    if findings is posture.findings and facts is posture.facts and heard is posture.heard:
        return posture
    return msgspec.structs.replace(posture, findings=findings, facts=facts, heard=heard)


def is_closing(signal: Signal) -> bool:
    """Return whether the signal closes its condition."""
    return signal.resolves or signal.type is SignalType.REMEDIATION


def clamp(signal: Signal) -> Signal:
    """Return the signal with a future `observed_at` moved to `received_at`: no clock may block later news."""
    if signal.observed_at <= signal.received_at:
        return signal
    return msgspec.structs.replace(signal, observed_at=signal.received_at)


def _states_condition(signal: Signal) -> bool:
    if is_closing(signal):
        return True
    match signal.type:
        case SignalType.HEARTBEAT | SignalType.REMEDIATION:
            return False
        case SignalType.POSTURE_FACT:
            return signal.level is not None
        case SignalType.RISK_LEVEL | SignalType.DETECTION | SignalType.EXPOSURE:
            return True


def _finding(signal: Signal) -> Finding:
    is_open = not is_closing(signal)
    return Finding(
        sensor=signal.sensor,
        external_id=signal.external_id,
        type=signal.type,
        level=(signal.level or Severity.UNKNOWN) if is_open else Severity.NONE,
        is_open=is_open,
        observed_at=signal.observed_at,
        received_at=signal.received_at,
        first_observed_at=signal.observed_at,
        version=signal.event_id,
        title=signal.title,
        description=signal.description,
        recommended_actions=signal.recommended_actions,
        rationale=signal.rationale,
        category=signal.category,
        expires_at=signal.expires_at if is_open else None,
        closed_at=None if is_open else signal.observed_at,
    )


def _fact(signal: Signal, name: str, value: str | float | bool | None) -> Fact:
    return Fact(
        name=name,
        sensor=signal.sensor,
        value=value,
        observed_at=signal.observed_at,
        received_at=signal.received_at,
        version=signal.event_id,
        expires_at=signal.expires_at,
    )


def _heard(heard: dict[str, datetime], signal: Signal) -> dict[str, datetime]:
    before = heard.get(signal.sensor)
    if before is not None and before >= signal.received_at:
        return heard
    heard = {**heard, signal.sensor: signal.received_at}
    while len(heard) > MAX_HEARD:
        del heard[min(heard, key=lambda sensor: (heard[sensor], sensor))]
    return heard


# --- findings -------------------------------------------------------------------------------------


def _with_finding(
    findings: dict[tuple[str, str], Finding], new: Finding, now: datetime
) -> dict[tuple[str, str], Finding]:
    key = (new.sensor, new.external_id)
    old = findings.get(key)
    if old is None:
        findings = dict(findings)
        if len(findings) >= MAX_FINDINGS:
            del findings[_gives_way(findings, new, now)]
        findings[key] = new
        return findings
    joined = _join(old, new)
    return findings if joined == old else {**findings, key: joined}


def _join(old: Finding, new: Finding) -> Finding:
    """Return what both statements together say: the later one, opened since the newest close."""
    winner = new if _compare(old, new) < 0 else old
    closed_at = _latest(old.closed_at, new.closed_at)
    openings = {at for at in (*_openings(old), *_openings(new)) if closed_at is None or at > closed_at}
    kept = tuple(sorted(openings))[:MAX_OPENINGS] if winner.is_open else ()
    return msgspec.structs.replace(
        winner,
        first_observed_at=kept[0] if kept else winner.observed_at,
        closed_at=closed_at,
        openings=() if kept == (winner.observed_at,) else kept,
    )


def _openings(finding: Finding) -> tuple[datetime, ...]:
    """Return the known instants at which the condition was said to be open, since its last close."""
    if not finding.is_open:
        return ()
    return finding.openings or (finding.observed_at,)


def _latest(one: datetime | None, other: datetime | None) -> datetime | None:
    if one is None or other is None:
        return one or other
    return max(one, other)


def _compare(one: Finding, other: Finding) -> int:
    """Return -1, 0 or 1 as `one` is earlier than, the same statement as, or later than `other`. Total."""
    place = (one.observed_at, one.received_at, one.version)
    other_place = (other.observed_at, other.received_at, other.version)
    if place == other_place:
        said, other_said = _said(one), _said(other)
        return (said > other_said) - (said < other_said)
    return 1 if place > other_place else -1


def _said(statement: Finding) -> bytes:
    """Return the content of a statement without what only folding adds to it."""
    bare = msgspec.structs.replace(
        statement,
        first_observed_at=statement.observed_at,
        closed_at=None,
        openings=(),
    )
    return _content.encode(bare)


def _gives_way(findings: dict[tuple[str, str], Finding], new: Finding, now: datetime) -> tuple[str, str]:
    """Return the key of the finding that makes room for `new`. Raises `PostureFull`."""
    for is_spent in (_is_closed, lambda finding: _is_expired(finding, now)):
        spent = [key for key, finding in findings.items() if is_spent(finding)]
        if spent:
            return min(spent, key=lambda key: (findings[key].observed_at, key))

    def severity_then_age(key: tuple[str, str]) -> tuple[int, datetime, tuple[str, str]]:
        return SEVERITY_ORDER[findings[key].level], findings[key].observed_at, key

    least = min(findings, key=severity_then_age)
    if new.is_open and SEVERITY_ORDER[findings[least].level] < SEVERITY_ORDER[new.level]:
        return least
    raise PostureFull(f"the device has {MAX_FINDINGS} open conditions that are as severe")


def _is_closed(finding: Finding) -> bool:
    return not finding.is_open


def _is_expired(finding: Finding, now: datetime) -> bool:
    return finding.expires_at is not None and finding.expires_at <= now


# --- facts ----------------------------------------------------------------------------------------


def _with_fact(facts: dict[tuple[str, str], Fact], new: Fact) -> dict[tuple[str, str], Fact]:
    key = (new.sensor, new.name)
    old = facts.get(key)
    if old is None:
        if len(facts) >= MAX_FACTS:
            raise PostureFull(f"the device has {MAX_FACTS} facts")
        return {**facts, key: new}
    joined = _join_facts(old, new)
    return facts if joined == old else {**facts, key: joined}


def _join_facts(one: Fact, other: Fact) -> Fact:
    """Return the newer of two statements of a fact, which remembers since when its value has been stated.

    INVARIANT: the same for every order of arrival (up to `MAX_STATEMENTS` late ones of one value).
    """
    older, newer = sorted((one, other), key=_fact_order)
    differed = [each for each in (older.differed_at, newer.differed_at) if each is not None]
    is_same = _content.encode(older.value) == _content.encode(newer.value)
    if not is_same:
        differed.append(older.observed_at)
    differed_at = max(differed, default=None)
    stated = {*newer.statements, *((older.observed_at, *older.statements) if is_same else ())}
    stated.discard(newer.observed_at)
    kept = sorted(at for at in stated if differed_at is None or at > differed_at)[:MAX_STATEMENTS]
    return msgspec.structs.replace(newer, differed_at=differed_at, statements=tuple(kept))


def _fact_order(fact: Fact) -> tuple[datetime, datetime, str, bytes]:
    """Return the place of a statement among all of its fact: a total order over what the sensor said."""
    return fact.observed_at, fact.received_at, fact.version, _content.encode((fact.value, fact.expires_at))
