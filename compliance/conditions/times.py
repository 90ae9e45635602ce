"""`times`, `not_times`: windows of local time. Never unknown: the clock is ours.

A window belongs to the day on which it begins; one that ends at or before its start goes over midnight. Its ends are
wall-clock times of the zone, so that daylight saving moves them as people expect.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from compliance.analysis.inputs import MOMENT, Change, Here, Inputs, Variable, place_where
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.model import DAYS, AccessContext, TimeWindow
from compliance.reasons import AccessReason

_AHEAD_DAYS = 8
_YEAR_DAYS = 366


def _wall(day: date, text: str, zone: ZoneInfo) -> datetime:
    """Return the instant of a wall-clock time; `24:00` is the next midnight."""
    hours, minutes = int(text[:2]), int(text[3:])
    if hours == 24:  # noqa: PLR2004 - hours of a day
        day, hours = day + timedelta(days=1), 0
    return datetime.combine(day, time(hours, minutes), tzinfo=zone).astimezone(UTC)


def spans(window: TimeWindow, now: datetime, days: range) -> Iterator[tuple[datetime, datetime]]:
    """Yield begin and end of the windows that begin so many days from today."""
    zone = ZoneInfo(window.zone)
    today = now.astimezone(zone).date()
    for offset in days:
        day = today + timedelta(days=offset)
        if window.days and DAYS[day.weekday()] not in window.days:
            continue
        ends_on = day + timedelta(days=1) if window.end <= window.start else day
        yield _wall(day, window.start, zone), _wall(ends_on, window.end, zone)


def is_open(window: TimeWindow, now: datetime) -> bool:
    """Return whether a window is open now."""
    return any(start <= now < end for start, end in spans(window, now, range(-1, 1)))


def _holds(wanted: tuple[TimeWindow, ...], context: AccessContext) -> bool:
    return any(is_open(window, context.now) for window in wanted)


def _moments(wanted: tuple[TimeWindow, ...], context: AccessContext) -> list[datetime]:
    edges = (
        edge
        for window in wanted
        for span in spans(window, context.now, range(-1, _AHEAD_DAYS))
        for edge in span
        if edge > context.now
    )
    nearest = min(edges, default=None)
    return [] if nearest is None else [nearest]


def _clauses(wanted: tuple[TimeWindow, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("moment", lambda windows: not windows.isdisjoint(wanted)),)


def _not_clauses(wanted: tuple[TimeWindow, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("moment", lambda windows: windows.isdisjoint(wanted)),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.TIME_NOT_ACCEPTED,
    seen=lambda context: context.now.strftime("%A %H:%M UTC"),
    moments=_moments,
)
NOT_KIND = negated(KIND, _not_clauses)


# --- for the analysis: which windows are open -----------------------------------------------------------------


@lru_cache(maxsize=64)
def _instants(windows: tuple[TimeWindow, ...]) -> dict[frozenset[TimeWindow], datetime]:
    """Return every set of windows that can be open at once, with such an instant of a whole year."""
    open_in = {window: list(spans(window, MOMENT, range(-1, _YEAR_DAYS))) for window in windows}
    edges = {edge for each in open_in.values() for span in each for edge in span if edge >= MOMENT}
    found: dict[frozenset[TimeWindow], datetime] = {}
    for now in (MOMENT, *sorted(edges)):
        inside = frozenset(window for window, each in open_in.items() if _is_inside(each, now))
        found.setdefault(inside, now)
    return found


def _is_inside(spans_of_window: list[tuple[datetime, datetime]], now: datetime) -> bool:
    at = bisect_right(spans_of_window, now, key=lambda span: span[0])
    return any(start <= now < end for start, end in spans_of_window[max(0, at - 2) : at])


def _add(inputs: Inputs) -> None:
    windows = tuple(inputs.asked("times", "not_times"))
    inputs.add(
        "moment", [(inside_of, {"at": at.isoformat()}) for inside_of, at in _instants(windows).items()]
    )


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    windows = {window for value in variable.values for window in value.key}
    now = frozenset(window for window in windows if is_open(window, here.context.now))
    return place_where(variable, lambda key: key == now)


def _say(change: Change, _rest: str) -> Iterator[str]:
    yield f"it is {datetime.fromisoformat(str(change.says['at'])):%A, %Y-%m-%d %H:%M} UTC"


INPUT = Input(word="moment", add=_add, place=_place, say=saying(_say))
