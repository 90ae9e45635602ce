"""Interpreting posture at one instant: the risk level with its sources, and the value of a fact. Pure.

A sensor that is not in the configuration is not heard: its findings and facts neither count for nor against.
An operator's override says what the risk level is as far as it was known then: findings that began before it count at
most that much, later ones in full. A device of which only the operator or the inventory has told is not known.
A *silent* sensor told of the device once and exceeded its `max_silence` since: what it last said still counts
against the device, never for it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import assert_never

import msgspec

from risk.builtin import OPERATOR, RULES, override_of
from risk.correlation import NOTHING, Weighed, Weighing, correlated, decayed
from risk.model import (
    RISK_ORDER,
    Fact,
    Finding,
    Posture,
    RiskAssessment,
    RiskContribution,
    RiskLevel,
    SensorRules,
    Severity,
)


class FactValue(msgspec.Struct, frozen=True, kw_only=True):
    """What a device's fact is taken to be, and on whose word.

    `age_s` is seconds since `observed_at`. `changes_at` is the next instant at which time alone ends this
    value (its expiry, or its sensor falling silent), None when time never does.
    """

    name: str
    value: str | int | float | bool | None
    source: str
    observed_at: datetime
    age_s: float
    changes_at: datetime | None = None


def assess(
    posture: Posture, sensors: Mapping[str, SensorRules], now: datetime, weighing: Weighing = NOTHING
) -> RiskAssessment:
    """Return the device's risk at `now`: the worst live open finding of any configured sensor wins.

    Expired findings do not count. Without a word of any configured sensor the level is `UNKNOWN`. `weighing` says what
    several findings mean together, and how resolved ones still count.
    `contributions` are sorted worst first, then oldest first; findings that carry no risk are left out.
    """
    told = {sensor for sensor in _told(posture) if sensor in sensors}
    override = _override(posture, told, now)
    witnesses = told - RULES.keys()
    silent = tuple(sorted(sensor for sensor in told if is_silent(posture, sensors[sensor], now)))
    counted = [finding for finding in posture.findings.values() if finding.sensor in told]
    live = [each for each in counted if each.is_open and not _is_past(each.expires_at, now)]
    weighed = [Weighed(each, _level(each, each.level, sensors, override)) for each in live]
    contributions = [_contribution(each) for each in weighed if each.level is not RiskLevel.NONE]
    moments: list[datetime | None] = [finding.expires_at for finding in live]
    moments += [silent_at(posture, sensors[sensor]) for sensor in told]
    for more, ends in _together(weighed, counted, sensors, override=override, weighing=weighing, now=now):
        contributions += more
        moments += ends
    contributions.sort(key=_worst_first)
    level = contributions[0].level if contributions else RiskLevel.NONE
    if posture.contested and level is not RiskLevel.HIGH:
        # What is known may be of another device: only the worst is sure enough to be said.
        level = RiskLevel.UNKNOWN
    is_told = bool(witnesses) or override is not None
    return RiskAssessment(
        level=level if is_told else RiskLevel.UNKNOWN,
        is_known=is_told and not silent and not posture.contested,
        contributions=tuple(contributions),
        silent_sensors=silent,
        changes_at=_next(moments, now),
        contested=posture.contested,
    )


def fact_value(
    posture: Posture, name: str, sensors: Mapping[str, SensorRules], now: datetime
) -> FactValue | None:
    """Return the newest observation of the most trusted live source, None without one.

    Live means: the sensor is configured and not silent, and the statement has not expired.
    """
    stated = [fact for (_, stated_name), fact in posture.facts.items() if stated_name == name]
    live = [fact for fact in stated if _is_live(fact, posture, sensors, now)]
    if not live:
        return None
    best = live[0]
    if len(live) > 1:
        best = max(live, key=lambda fact: (sensors[fact.sensor].trust, fact.observed_at, fact.sensor))
    return FactValue(
        name=name,
        value=best.value,
        source=best.sensor,
        observed_at=best.observed_at,
        age_s=max(0.0, (now - best.observed_at).total_seconds()),
        changes_at=_next([best.expires_at, silent_at(posture, sensors[best.sensor])], now),
    )


def risk_level(severity: Severity, unknown: Severity) -> RiskLevel:
    """Return the risk level that an open finding of this severity carries.

    `unknown` is what an unknown severity counts as; when that is unknown too, it counts as high.
    """
    match severity:
        case Severity.NONE | Severity.INFORMATIONAL:
            return RiskLevel.NONE
        case Severity.LOW:
            return RiskLevel.LOW
        case Severity.MEDIUM:
            return RiskLevel.MEDIUM
        case Severity.HIGH | Severity.CRITICAL:
            return RiskLevel.HIGH
        case Severity.UNKNOWN:
            return RiskLevel.HIGH if unknown is Severity.UNKNOWN else risk_level(unknown, unknown)
    assert_never(severity)


def silent_at(posture: Posture, rules: SensorRules) -> datetime | None:
    """Return when the sensor's silence about the device begins to count; None: never, or from the start."""
    heard = posture.heard.get(rules.name)
    if rules.max_silence_s is None or heard is None:
        return None
    return heard + _span(rules.max_silence_s)


@lru_cache(maxsize=1024)
def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def is_silent(posture: Posture, rules: SensorRules, now: datetime) -> bool:
    """Return whether the sensor's silence about the device counts at `now`.

    A sensor that only ever told that the device does NOT report was never heard: silent from the start.
    """
    if rules.max_silence_s is None:
        return False
    return rules.name not in posture.heard or _is_past(silent_at(posture, rules), now)


def _told(posture: Posture) -> set[str]:
    """Return every sensor that has ever said anything of the device."""
    told = set(posture.heard)
    told.update(sensor for sensor, _ in posture.findings)
    told.update(sensor for sensor, _ in posture.facts)
    return told


def _override(posture: Posture, told: Iterable[str], now: datetime) -> Finding | None:
    """Return the operator's word on the risk level while it counts."""
    found = override_of(posture) if OPERATOR in told else None
    return None if found is None or _is_past(found.expires_at, now) else found


def _together(
    weighed: Sequence[Weighed],
    counted: Iterable[Finding],
    sensors: Mapping[str, SensorRules],
    *,
    override: Finding | None,
    weighing: Weighing,
    now: datetime,
) -> Iterator[tuple[list[RiskContribution], list[datetime]]]:
    """Yield what findings mean together, and what resolved ones still mean."""
    if weighing.correlation:
        yield correlated(
            [each for each in weighed if each.finding.sensor not in RULES], weighing.correlation, now
        )
    if weighing.decay:
        over = [each for each in counted if not each.is_open and each.open_level is not None]
        resolved = [
            Weighed(each, _level(each, each.open_level or Severity.UNKNOWN, sensors, override))
            for each in over
            if each.sensor not in RULES
        ]
        yield decayed(resolved, weighing.decay, now)


def _level(
    finding: Finding, severity: Severity, sensors: Mapping[str, SensorRules], override: Finding | None
) -> RiskLevel:
    """Return the level that a finding carries: by its severity, within its sensor's ceiling and the override."""
    rules = sensors[finding.sensor]
    level = _lower(risk_level(severity, rules.unknown_level), rules.max_level)
    if override is not None and _is_covered(finding, override):
        return _lower(level, risk_level(override.level, Severity.UNKNOWN))
    return level


def _contribution(weighed: Weighed) -> RiskContribution:
    finding = weighed.finding
    return RiskContribution(
        sensor=finding.sensor,
        external_id=finding.external_id,
        level=weighed.level,
        title=finding.title,
        observed_at=finding.observed_at,
    )


def _is_covered(finding: Finding, override: Finding) -> bool:
    """Return whether the operator knew of the finding: what begins after the override counts in full."""
    return finding.first_observed_at <= override.observed_at and finding.sensor != OPERATOR


def _lower(one: RiskLevel, other: RiskLevel) -> RiskLevel:
    return min(one, other, key=RISK_ORDER.__getitem__)


def _worst_first(contribution: RiskContribution) -> tuple[int, datetime, str, str]:
    return (
        -RISK_ORDER[contribution.level],
        contribution.observed_at,
        contribution.sensor,
        contribution.external_id,
    )


def _is_live(fact: Fact, posture: Posture, sensors: Mapping[str, SensorRules], now: datetime) -> bool:
    rules = sensors.get(fact.sensor)
    return rules is not None and not _is_past(fact.expires_at, now) and not is_silent(posture, rules, now)


def _is_past(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _next(moments: Iterable[datetime | None], now: datetime) -> datetime | None:
    """Return the nearest moment after `now`, None without one."""
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
