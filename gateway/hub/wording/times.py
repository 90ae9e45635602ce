"""Instants as people read them. Pure: `now` is an argument."""

from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal

from babel.dates import get_day_names, get_month_names

from gateway.hub.texts import plural, spoken, text
from gateway.hub.views import Moment

_MINUTE = 60
_HOUR = 3600
_DAY = 86400
_WEEK_DAYS = 6
_NOW_S = 45


def moment(at: datetime, now: datetime, zone: tzinfo = UTC) -> Moment:
    """Return `at` for people: with its zone, and relative to `now`."""
    local = at.astimezone(zone)
    is_this_year = local.year == now.astimezone(zone).year
    return Moment(
        at=at, text=_dated("moment" if is_this_year else "moment_year", local), ago=relative(at, now)
    )


def relative(at: datetime, now: datetime) -> str:
    """Return how long ago or how far ahead `at` is, in one unit: ``3 minutes ago``, ``in 2 days``."""
    seconds = (now - at).total_seconds()
    word, size = ("ago", seconds) if seconds >= 0 else ("in", -seconds)
    if size < _NOW_S:
        return text(f"{word}_now")
    if size < _HOUR - _MINUTE / 2:
        return plural(f"{word}_minutes", max(1, round(size / _MINUTE)))
    if size < _DAY - _HOUR / 2:
        return plural(f"{word}_hours", max(1, round(size / _HOUR)))
    return plural(f"{word}_days", max(1, round(size / _DAY)))


def since(at: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return ``since 09:12 UTC``, ``since yesterday``, ``since Tuesday`` or ``since 3 November``."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    days = (today.date() - local.date()).days
    if days <= 0:
        return text("since_time", time=f"{local:%H:%M} {_zone(local)}")
    if days == 1:
        return text("since_yesterday")
    if days <= _WEEK_DAYS:
        return text("since_weekday", weekday=_weekday(local))
    return text("since_date", day=_day(local), month=_month(local))


def by_day(at: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return ``today``, ``by tomorrow``, ``by Friday`` or ``by 3 December``."""
    local = at.astimezone(zone)
    days = (local.date() - now.astimezone(zone).date()).days
    if days <= 1:
        return text("by_today" if days <= 0 else "by_tomorrow")
    return _dated("by_weekday" if days <= _WEEK_DAYS else "by_date", local)


def lasting(seconds: float) -> str:
    """Return a length of time in one unit: ``30 minutes``, ``4 hours``, ``2 days``."""
    span = timedelta(seconds=seconds)
    if span < timedelta(hours=1):
        return plural("for_minutes", max(1, round(span / timedelta(minutes=1))))
    if span < timedelta(days=2):
        return plural("for_hours", round(span / timedelta(hours=1)))
    return plural("for_days", round(span / timedelta(days=1)))


def _dated(key: str, local: datetime) -> str:
    return text(
        key,
        weekday=_weekday(local),
        weekday_short=_weekday(local, "abbreviated"),
        day=_day(local),
        month=_month(local),
        month_short=_month(local, "abbreviated"),
        year=local.year,
        time=f"{local:%H:%M}",
        zone=_zone(local),
    )


def _weekday(local: datetime, width: Literal["wide", "abbreviated"] = "wide") -> str:
    names = get_day_names(width, "format", locale=spoken().language.replace("-", "_"))
    return str(names[local.weekday()])


def _month(local: datetime, width: Literal["wide", "abbreviated"] = "wide") -> str:
    names = get_month_names(width, "format", locale=spoken().language.replace("-", "_"))
    return str(names[local.month])


def _day(local: datetime) -> str:
    """Return the day of the month; French alone counts its first by an ordinal."""
    is_first = local.day == 1 and spoken().language.partition("-")[0] == "fr"
    return "1er" if is_first else str(local.day)


def _zone(local: datetime) -> str:
    return local.tzname() or "UTC"
