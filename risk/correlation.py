"""What several findings mean together, and how long a resolved one still counts. Pure.

Both only ever raise the level above what single findings say. Ceilings of sensors and the operator's override are
applied before: a sensor that may say `low` at most cannot reach more by saying it often.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from risk.model import RISK_ORDER, Finding, RiskContribution, RiskLevel
from risk.values import Duration, Strict

CORRELATION = "correlation"
"""The `sensor` of a contribution that several findings make together."""

Known = Literal["low", "medium", "high"]


class Correlation(Strict, frozen=True):
    """A line of the table of what several open findings mean together.

    Field: name: how the line is called in records.
    Field: count: this many findings, or more.
    Field: at_least: findings of this level or worse count.
    Field: categories: findings of one of these categories count; none given, all.
    Field: within: findings that were observed this recently count; none given, all that are open.
    Field: distinct: what is counted: `findings`, `sensors` that have one, or `categories`.
    Field: level: the risk level that they make together.
    """

    name: str
    level: Known
    count: int = 2
    at_least: Known = "low"
    categories: tuple[str, ...] = ()
    within: Duration | None = None
    distinct: Literal["findings", "sensors", "categories"] = "findings"


class Decay(Strict, frozen=True):
    """How a finding counts after it has been resolved.

    Field: after: findings that were of this level when they were open.
    Field: level: what they count as afterwards.
    Field: lasts: for how long.
    """

    after: Known
    level: Known
    lasts: Duration


class Weighing(msgspec.Struct, frozen=True):
    """The configured tables."""

    correlation: tuple[Correlation, ...] = ()
    decay: tuple[Decay, ...] = ()


NOTHING = Weighing()


class Weighed(msgspec.Struct, frozen=True):
    """A finding that counts, with the level that it carries by itself."""

    finding: Finding
    level: RiskLevel


def correlated(
    weighed: Sequence[Weighed], table: Iterable[Correlation], now: datetime
) -> tuple[list[RiskContribution], list[datetime]]:
    """Return what the findings mean together, and the moments at which time alone may change that."""
    found: list[RiskContribution] = []
    moments: list[datetime] = []
    for line in table:
        counted = [each for each in weighed if _fits(each, line)]
        if line.within is not None:
            ends = [(each, each.finding.observed_at + timedelta(seconds=line.within)) for each in counted]
            counted = [each for each, end in ends if end > now]
            moments += [end for _, end in ends if end > now]
        if counted and len({_name(each.finding, line) for each in counted}) >= line.count:
            newest = max(each.finding.observed_at for each in counted)
            found.append(
                RiskContribution(
                    sensor=CORRELATION,
                    external_id=line.name,
                    level=RiskLevel(line.level),
                    title=f"{len(counted)} findings together: {line.name}",
                    observed_at=newest,
                )
            )
    return found, moments


def decayed(
    weighed: Iterable[Weighed], table: Sequence[Decay], now: datetime
) -> tuple[list[RiskContribution], list[datetime]]:
    """Return what resolved findings still count as; `weighed` has them with the level that they had when open."""
    found: list[RiskContribution] = []
    moments: list[datetime] = []
    for each in weighed:
        for line in table:
            end = each.finding.observed_at + timedelta(seconds=line.lasts)
            if each.level != line.after or end <= now:
                continue
            moments.append(end)
            # A table that would make it worse than it was is read as one that lets it stay.
            level = min(each.level, RiskLevel(line.level), key=RISK_ORDER.__getitem__)
            found.append(
                RiskContribution(
                    sensor=each.finding.sensor,
                    external_id=each.finding.external_id,
                    level=level,
                    title=f"Lately resolved: {each.finding.title}",
                    observed_at=each.finding.observed_at,
                )
            )
    return found, moments


def _fits(weighed: Weighed, line: Correlation) -> bool:
    if RISK_ORDER[weighed.level] < RISK_ORDER[RiskLevel(line.at_least)]:
        return False
    return not line.categories or weighed.finding.category in line.categories


def _name(finding: Finding, line: Correlation) -> object:
    match line.distinct:
        case "findings":
            return finding.sensor, finding.external_id
        case "sensors":
            return finding.sensor
        case "categories":
            return finding.category
