"""Incidents as text: one line each in a list, and the timeline of one. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from gateway.incidents.model import Incident

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


def render(incidents: Sequence[Incident], now: datetime) -> str:
    """Return the timelines of incidents, in the given order."""
    blocks = ["\n".join(timeline(incident, now)) for incident in incidents]
    return "\n\n".join(blocks) + "\n" if blocks else "no incident is recorded\n"


def timeline(incident: Incident, now: datetime) -> Iterator[str]:
    """Yield the lines of one incident: what happened when, and how long after the webhook's first byte."""
    state = "open" if incident.is_open else "closed"
    device = _one_line(incident.device) or incident.device_id
    level = f" ({incident.level})" if incident.level else ""
    yield f"INCIDENT  {incident.id}   {device}   {_one_line(incident.title)}{level}   {state}"
    if incident.observed_at is not None:
        observer = f"observed by {incident.sensor or 'a sensor'} (its own clock)"
        yield f"  {_moment(incident.observed_at)}  {observer}"
    in_order = sorted(_steps(incident), key=lambda step: step[0])
    yield from (f"  {_moment(at)}  {what}" for at, what in in_order)
    if incident.is_open:
        yield f"  {'':23}  open for {span((now - incident.opened_at).total_seconds())}"
    if incident.enforced_in_s is not None:
        yield f"  exposure window: {span(incident.enforced_in_s)} from the webhook's first byte{_lag(incident)}"


def _steps(incident: Incident) -> Iterator[tuple[datetime, str]]:
    """Yield what happened by our own clock; a request may be refused by one worker before all enforce."""
    began = incident.received_at
    if began is None:
        yield incident.opened_at, "access got worse without a delivery: by time, or by an operator"
    else:
        yield began, "webhook received"
        yield from _measured(incident, began)
    if incident.first_refused_at is not None:
        code = f", {incident.first_refused_code}" if incident.first_refused_code else ""
        yield incident.first_refused_at, f"first request refused ({incident.first_refused_app}{code})"
    if incident.remediated_at is not None:
        yield (
            incident.remediated_at,
            f"remediated, by the sensor's evidence{_after(incident, incident.remediated_at)}",
        )
    if incident.restored_at is not None:
        yield incident.restored_at, f"access restored{_after(incident, incident.restored_at)}"


def _measured(incident: Incident, began: datetime) -> Iterator[tuple[datetime, str]]:
    if incident.durable_in_s is not None:
        yield (
            began + timedelta(seconds=incident.durable_in_s),
            f"durable            + {span(incident.durable_in_s)}",
        )
    if incident.enforced_in_s is None:
        return
    at = began + timedelta(seconds=incident.enforced_in_s)
    workers = ", ".join(f"{name} {span(took)}" for name, took in sorted(incident.by_worker.items()))
    fenced = f"; fenced: {', '.join(incident.fenced)}" if incident.fenced else ""
    yield at, f"enforced, answered + {span(incident.enforced_in_s)}   ({workers or 'no worker'}{fenced})"
    if incident.streams_cut:
        apps = ", ".join(f"{app} {count}" for app, count in sorted(incident.cuts.items()))
        yield at, f"{incident.streams_cut} open exchanges cut by then ({apps})"


def _after(incident: Incident, at: datetime) -> str:
    return f", {span((at - incident.opened_at).total_seconds())} after it began"


def _lag(incident: Incident) -> str:
    return "" if not incident.lag_s else f"; the sensor took {span(incident.lag_s)} to tell us"


def span(seconds: float) -> str:
    """Return a duration for people, with the digits that matter.

    >>> span(0.00421), span(1.5), span(90), span(7300)
    ('4.2 ms', '1.5 s', '1 min 30 s', '2 h 1 min')
    """
    if seconds < 1:
        return f"{seconds * 1000:.1f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    if seconds < _DAY:
        return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"
    return f"{int(seconds // _DAY)} d {int(seconds % _DAY // _HOUR)} h"


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def _one_line(text: str) -> str:
    """Return a text that a sensor wrote, without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in text)[:120]
