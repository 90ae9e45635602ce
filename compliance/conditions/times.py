"""`times`, `not_times`: windows of local time. Never unknown: the clock is ours.

A window belongs to the day on which it begins; one that ends at or before its start goes over midnight. Its ends are
wall-clock times of the zone, so that daylight saving moves them as people expect.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from compliance.conditions.kind import Kind, negated
from compliance.model import DAYS, AccessContext, TimeWindow

_AHEAD_DAYS = 8


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


KIND = Kind(_holds, lambda context: context.now.strftime("%A %H:%M UTC"), _moments)
NOT_KIND = negated(KIND)
