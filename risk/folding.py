"""Folding: one more statement of a sensor into what is known of a device. Pure.

INVARIANT: below the bounds of this module, folding a set of signals gives the same posture in every order and
with every repetition. Per condition (sensor, external id) and per fact (sensor, name) the statement with the
newest `observed_at` wins. Many products repeat the time at which a condition began in its close, so
statements of the same instant are ordered by when we received them (within a delivery by their place in it:
`as_received`); then the message id and the content break ties. A close that wins stays as a tombstone, so that an
older open that arrives later changes nothing.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

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

_HEARTBEAT: Final = SignalType.HEARTBEAT
_POSTURE_FACT: Final = SignalType.POSTURE_FACT
_replace: Final = msgspec.structs.replace
_MICROSECOND = timedelta(microseconds=1)
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
    told = signal.facts
    facts = _with_facts(posture.facts, signal, told) if told else posture.facts
    heard = posture.heard if told and told.get(REPORTING_FACT) is False else _heard(posture.heard, signal)
    if findings is posture.findings and facts is posture.facts and heard is posture.heard:
        return posture
    return _replace(posture, findings=findings, facts=facts, heard=heard)


def join(one: Posture, other: Posture) -> Posture:
    """Return what two records of one subject say together, under the name and identifiers of `one`.

    The same as if every statement had been folded into one of them. Above the bounds of a record the worst stay: what
    does not fit is closed or less severe than all that is kept.
    """
    findings = dict(one.findings)
    for key, finding in other.findings.items():
        known = findings.get(key)
        findings[key] = finding if known is None else _join(known, finding)
    facts = dict(one.facts)
    for key, fact in other.facts.items():
        held = facts.get(key)
        facts[key] = fact if held is None else _join_facts(held, fact)
    heard = dict(one.heard)
    for sensor, at in other.heard.items():
        heard[sensor] = max(at, heard.get(sensor, at))
    return msgspec.structs.replace(one, findings=_worst(findings), facts=_newest(facts), heard=heard)


def _worst(findings: dict[tuple[str, str], Finding]) -> dict[tuple[str, str], Finding]:
    """Return at most `MAX_FINDINGS` of the findings: open before closed, severe before mild, new before old."""
    if len(findings) <= MAX_FINDINGS:
        return findings

    def worth(key: tuple[str, str]) -> tuple[bool, int, datetime, tuple[str, str]]:
        finding = findings[key]
        return finding.is_open, SEVERITY_ORDER[finding.level], finding.observed_at, key

    return {key: findings[key] for key in sorted(findings, key=worth, reverse=True)[:MAX_FINDINGS]}


def _newest(facts: dict[tuple[str, str], Fact]) -> dict[tuple[str, str], Fact]:
    if len(facts) <= MAX_FACTS:
        return facts
    newest = sorted(facts, key=lambda key: (facts[key].observed_at, key), reverse=True)
    return {key: facts[key] for key in newest[:MAX_FACTS]}


def is_closing(signal: Signal) -> bool:
    """Return whether the signal closes its condition."""
    return signal.resolves or signal.type is SignalType.REMEDIATION


def as_received(signals: Sequence[Signal]) -> list[Signal]:
    """Return the signals of one delivery as they are folded.

    A future `observed_at` becomes `received_at`: no clock may block later news. Several such keep the order of what
    they claimed, and statements of one condition and instant the order in which they stand in the delivery, by
    microseconds.
    """
    future = [each.observed_at for each in signals if _is_future(each.observed_at, each.received_at)]
    future.sort()
    found: list[Signal] = []
    places: dict[tuple[object, ...], int] = {}
    for each in signals:
        observed_at, received_at = each.observed_at, each.received_at
        if future and observed_at > received_at:
            observed_at = received_at - (len(future) - bisect_right(future, observed_at)) * _MICROSECOND
        key = (each.device_ids, each.user_ids, observed_at)
        before = len(places)
        place = places.setdefault(key, 0)
        if len(places) == before:
            place = places[key] = place + 1
            received_at += place * _MICROSECOND
        if place or observed_at is not each.observed_at:
            each = msgspec.structs.replace(each, observed_at=observed_at, received_at=received_at)  # noqa: PLW2901
        found.append(each)
    return found


def _is_future(observed_at: datetime, received_at: datetime) -> bool:
    return observed_at is not received_at and observed_at > received_at


def _states_condition(signal: Signal) -> bool:
    kind = signal.type
    if kind is _HEARTBEAT or (kind is _POSTURE_FACT and signal.level is None):
        return signal.resolves
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


class _Alone:
    """What a device has heard that heard of one sensor only. All of a delivery share it, and nobody changes it."""

    def __init__(self) -> None:
        # Replaced as one, so that no thread meets a half of it.
        self._last: tuple[str, datetime | None, dict[str, datetime]] = ("", None, {})

    def heard(self, sensor: str, received_at: datetime) -> dict[str, datetime]:
        """Return that one sensor was heard then: what was returned last where that is the same."""
        last_sensor, last_received_at, heard = self._last
        if received_at is not last_received_at or sensor != last_sensor:
            heard = {sensor: received_at}
            self._last = (sensor, received_at, heard)
        return heard


_alone: Final = _Alone()


def _heard(heard: dict[str, datetime], signal: Signal) -> dict[str, datetime]:
    sensor, received_at = signal.sensor, signal.received_at
    before = heard.get(sensor)
    if before is not None and before >= received_at:
        return heard
    if len(heard) == (0 if before is None else 1):
        return _alone.heard(sensor, received_at)
    heard = {**heard, sensor: received_at}
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
    place, level = (None, None) if winner.is_open else _last_open(old, new)
    return msgspec.structs.replace(
        winner,
        open_place=place,
        open_level=level,
        first_observed_at=kept[0] if kept else winner.observed_at,
        closed_at=closed_at,
        openings=() if kept == (winner.observed_at,) else kept,
    )


def _last_open(one: Finding, other: Finding) -> tuple[tuple[datetime, datetime, str] | None, Severity | None]:
    """Return the newest statement that the condition was open that either knows of: its place, and what it said."""
    found: list[tuple[tuple[datetime, datetime, str], int, Severity]] = []
    for each in (one, other):
        if each.is_open:
            place = (each.observed_at, each.received_at, each.version)
            found.append((place, SEVERITY_ORDER[each.level], each.level))
        elif each.open_place is not None and each.open_level is not None:
            found.append((each.open_place, SEVERITY_ORDER[each.open_level], each.open_level))
    if not found:
        return None, None
    place, _, level = max(found)
    return place, level


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
        open_place=None,
        open_level=None,
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


def _with_facts(
    facts: dict[tuple[str, str], Fact], signal: Signal, told: Mapping[str, str | float | bool | None]
) -> dict[tuple[str, str], Fact]:
    """Return the facts with what the signal tells, the same ones where that is no news. Raises `PostureFull`."""
    sensor = signal.sensor
    observed_at = signal.observed_at
    found = facts
    for name, value in told.items():
        if name == STATE_FACT:
            continue
        key = (sensor, name)
        old = found.get(key)
        if old is None:
            if len(found) >= MAX_FACTS:
                raise PostureFull(f"the device has {MAX_FACTS} facts")
            new = _fact(signal, name, value, None, ())
        elif old.observed_at < observed_at and _is_surely_same(value, old.value):
            new = _repeated(old, signal, value)
        else:
            new = _join_facts(old, _fact(signal, name, value, None, ()))
            if new == old:
                continue
        if found is facts:
            found = dict(facts)
        found[key] = new
    return found


def _repeated(old: Fact, signal: Signal, value: str | float | bool | None) -> Fact:
    """Return what `_join_facts` makes of a newer statement of the same value: what nearly every report is."""
    differed_at, statements = old.differed_at, old.statements
    if len(statements) < MAX_STATEMENTS and (differed_at is None or old.observed_at > differed_at):
        statements = (*statements, old.observed_at)
    return _fact(signal, old.name, value, differed_at, statements)


def _fact(
    signal: Signal,
    name: str,
    value: str | float | bool | None,
    differed_at: datetime | None,
    statements: tuple[datetime, ...],
) -> Fact:
    return Fact(
        name=name,
        sensor=signal.sensor,
        value=value,
        observed_at=signal.observed_at,
        received_at=signal.received_at,
        version=signal.event_id,
        expires_at=signal.expires_at,
        differed_at=differed_at,
        statements=statements,
    )


def _is_surely_same(one: object, other: object) -> bool:
    """Return whether two values are one, as far as that can be told without writing them."""
    if one is other:
        return True
    return one.__class__ is other.__class__ and isinstance(one, (str, int)) and one == other


def _join_facts(one: Fact, other: Fact) -> Fact:
    """Return the newer of two statements of a fact, which remembers since when its value has been stated.

    INVARIANT: the same for every order of arrival (up to `MAX_STATEMENTS` late ones of one value).
    """
    older, newer = (one, other) if _is_not_after(one, other) else (other, one)
    differed = [each for each in (older.differed_at, newer.differed_at) if each is not None]
    is_same = _is_surely_same(older.value, newer.value) or _content.encode(older.value) == _content.encode(
        newer.value
    )
    if not is_same:
        differed.append(older.observed_at)
    differed_at = max(differed, default=None)
    stated = {*newer.statements, *((older.observed_at, *older.statements) if is_same else ())}
    stated.discard(newer.observed_at)
    kept = sorted(at for at in stated if differed_at is None or at > differed_at)[:MAX_STATEMENTS]
    return msgspec.structs.replace(newer, differed_at=differed_at, statements=tuple(kept))


def _is_not_after(one: Fact, other: Fact) -> bool:
    """Return whether the place of one statement is at or before that of the other; nearly always the times tell."""
    if one.observed_at != other.observed_at:
        return one.observed_at < other.observed_at
    return _fact_order(one) <= _fact_order(other)


def _fact_order(fact: Fact) -> tuple[datetime, datetime, str, bytes]:
    """Return the place of a statement among all of its fact: a total order over what the sensor said."""
    return fact.observed_at, fact.received_at, fact.version, _content.encode((fact.value, fact.expires_at))
