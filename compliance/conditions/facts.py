"""`facts`: comparisons of posture facts; all of them must hold."""

from datetime import datetime, timedelta

from compliance.comparison import FAILED, Verdict, compare, date_moment
from compliance.conditions.kind import Kind, all_of
from compliance.model import AccessContext, FactCondition
from compliance.texts import duration_text, shown_value
from risk.scoring import fact_value


def fact_held(asked: FactCondition, context: AccessContext) -> bool | None:
    """Return whether one comparison holds, None when it is not known."""
    if context.posture is None:
        return None
    fact = fact_value(context.posture, asked.fact, context.sensors, context.now)
    if fact is None or fact.value is None:
        return None
    if asked.max_age is not None and fact.observed_at + timedelta(seconds=asked.max_age) <= context.now:
        return None
    verdict = compare(asked, fact.value, context.now)
    if verdict is Verdict.MET:
        return True
    return False if verdict in FAILED else None


def _holds(wanted: tuple[FactCondition, ...], context: AccessContext) -> bool | None:
    return all_of([fact_held(asked, context) for asked in wanted])


def _moments(wanted: tuple[FactCondition, ...], context: AccessContext) -> list[datetime]:
    moments: list[datetime | None] = []
    for asked in wanted:
        if context.posture is None:
            continue
        fact = fact_value(context.posture, asked.fact, context.sensors, context.now)
        if fact is not None:
            moments += [fact.changes_at, date_moment(asked, fact.value)]
            if asked.max_age is not None:
                moments.append(fact.observed_at + timedelta(seconds=asked.max_age))
    return [moment for moment in moments if moment is not None]


def _seen(context: AccessContext) -> str:
    return "device not known" if context.posture is None else f"{len(context.posture.facts)} facts"


def seen_of_fact(name: str, context: AccessContext) -> str:
    """Return what is known of a fact, with who said it and how long ago."""
    if context.posture is None:
        return f"{name} of a device not known"
    fact = fact_value(context.posture, name, context.sensors, context.now)
    if fact is None:
        return f"{name} not known"
    return f"{name} {shown_value(fact.value)} ({fact.source}, {duration_text(fact.age_s)} ago)"


def _seen_of(wanted: tuple[FactCondition, ...], context: AccessContext) -> str:
    missed = [asked for asked in wanted if fact_held(asked, context) is not True]
    return "; ".join(seen_of_fact(asked.fact, context) for asked in missed or wanted)


KIND = Kind(_holds, _seen, _moments, _seen_of)
