"""Interpreting posture at one instant: the risk level with its sources, and the value of a fact. Pure.

A sensor that is not in the configuration is not heard: its findings and facts neither count for nor against.
A *silent* sensor told of the device once and exceeded its `max_silence` since: what it last said still counts
against the device, never for it.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import assert_never

import msgspec

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


def assess(posture: Posture, sensors: Mapping[str, SensorRules], now: datetime) -> RiskAssessment:
    """Return the device's risk at `now`: the worst live open finding of any configured sensor wins.

    Expired findings do not count. Without a word of any configured sensor the level is `UNKNOWN`.
    `contributions` are sorted worst first, then oldest first; findings that carry no risk are left out.
    """
    told = {sensor for sensor in _told(posture) if sensor in sensors}
    silent = tuple(sorted(sensor for sensor in told if is_silent(posture, sensors[sensor], now)))
    live = [
        finding
        for finding in posture.findings.values()
        if finding.is_open and finding.sensor in told and not _is_past(finding.expires_at, now)
    ]
    contributions = tuple(sorted(_contributions(live, sensors), key=_worst_first))
    level = contributions[0].level if contributions else RiskLevel.NONE
    moments = [finding.expires_at for finding in live]
    moments += [silent_at(posture, sensors[sensor]) for sensor in told]
    return RiskAssessment(
        level=level if told else RiskLevel.UNKNOWN,
        is_known=bool(told) and not silent,
        contributions=contributions,
        silent_sensors=silent,
        changes_at=_next(moments, now),
    )


def fact_value(
    posture: Posture, name: str, sensors: Mapping[str, SensorRules], now: datetime
) -> FactValue | None:
    """Return the newest observation of the most trusted live source, None without one.

    Live means: the sensor is configured and not silent, and the statement has not expired.
    """
    stated = [fact for fact in posture.facts.values() if fact.name == name]
    live = [fact for fact in stated if _is_live(fact, posture, sensors, now)]
    if not live:
        return None
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
    return heard + timedelta(seconds=rules.max_silence_s)


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


def _contributions(live: Iterable[Finding], sensors: Mapping[str, SensorRules]) -> Iterable[RiskContribution]:
    for finding in live:
        level = risk_level(finding.level, sensors[finding.sensor].unknown_level)
        if level is not RiskLevel.NONE:
            yield RiskContribution(
                sensor=finding.sensor,
                external_id=finding.external_id,
                level=level,
                title=finding.title,
                observed_at=finding.observed_at,
            )


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
