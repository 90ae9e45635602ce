"""What happened, and whether it was right. Pure: the judge reads a history when all is over.

Times are readings of one monotonic clock. The *border* of a change is its 2xx. Between the 2xx of a raise and the
moment at which the next lowering was sent, a device is *closed*; between the 2xx of a lowering and the sending of the
next raise it is *open*; otherwise anything may be true. The rules:

* FRESH: a request that lies within a closed time is never answered by the app.
* STREAM: no byte that an app produced within a closed time ever reaches a client. Apps stamp what they produce, so the
  bound on a stream is exact. How many older bytes may still be read after the 2xx (`docs/exposure.md` says why): of
  a stream that was reset, what had left for the client before (`RECEIVED_MOST`); of a WebSocket that was told why,
  what may lie before the close frame besides; of a worker that was killed, what its kernel had not sent besides.
* ENDED: a stream that was open before a raise is over before the run is.
* BACK: a request that lies within an open time is not refused; it may fail (502, 503, a lost connection) while parts of
  the gateway are down, but when all faults are over it is answered.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gateway.proxy.server import UNSENT_BYTES
from gateway.proxy.tunnel import MAX_UNSENT_AT_CUT

RECEIVE_BUFFER = 65536
"""Receive buffer of slow clients, as the kernel counts it (twice what is asked for)."""
SEGMENT = 65536
"""Most bytes of a segment on the loopback device."""
RECEIVED_MOST = RECEIVE_BUFFER + SEGMENT
"""Most bytes read after the 2xx from a stream that was reset: the client's receive buffer, and one segment that was
being put into it."""
TOLD_MOST = RECEIVED_MOST + MAX_UNSENT_AT_CUT
"""The same from a WebSocket that got a close frame."""
KILLED_MOST = RECEIVED_MOST + UNSENT_BYTES + SEGMENT
"""The same from a worker that was killed."""

APP_STATUSES = frozenset({101, 200})
FAILURES = frozenset({0, 502, 503, 504})
"""0 stands for a connection that was lost."""


class Change(NamedTuple):
    """A raise or a lowering that the sensor was told has been enforced. Retries are part of it."""

    device: str
    is_raise: bool
    sent_at: float
    answered_at: float


class Request(NamedTuple):
    """One request from before it was sent until its status was read."""

    device: str
    app: str
    began_at: float
    ended_at: float
    status: int
    when_calm: bool = False


class Stream(NamedTuple):
    """A long answer: `pieces` are (produced at, read at, bytes). `ended_at` None means that it was still open."""

    device: str
    app: str
    kind: str
    opened_at: float
    ended_at: float | None
    pieces: tuple[tuple[float, float, int], ...]
    end: str = ""


class History(NamedTuple):
    """Everything that was seen."""

    changes: tuple[Change, ...]
    requests: tuple[Request, ...]
    streams: tuple[Stream, ...]


class Violation(NamedTuple):
    """A rule that was broken, and by what."""

    rule: str
    text: str


class Span(NamedTuple):
    """A time between two changes in which the outcome is certain."""

    is_closed: bool
    begins: float
    ends: float


def spans(changes: tuple[Change, ...], device: str) -> list[Span]:
    """Return the certain times of a device, in order; the last one is endless."""
    mine = sorted((each for each in changes if each.device == device), key=lambda each: each.sent_at)
    ends = [each.sent_at for each in mine[1:]] + [float("inf")]
    return [Span(each.is_raise, each.answered_at, end) for each, end in zip(mine, ends, strict=True)]


def judge(history: History) -> list[Violation]:
    """Return every violation."""
    return [*_judge_requests(history), *_judge_streams(history)]


def _judge_requests(history: History) -> Iterator[Violation]:
    certain = _spans_of(history)
    for request in history.requests:
        span = next(
            (
                span
                for span in certain.get(request.device, ())
                if span.begins < request.began_at and request.ended_at < span.ends
            ),
            None,
        )
        what = f"{request.status} for {request.device} at {request.app}"
        if span is None:
            continue
        late = f"{(request.began_at - span.begins) * 1000:.1f} ms after the 2xx"
        if span.is_closed and request.status in APP_STATUSES:
            yield Violation("FRESH", f"{what}: began {late} of the raise")
        elif not span.is_closed and request.status not in APP_STATUSES | FAILURES:
            yield Violation("BACK", f"{what}: refused {late} of the lowering")
        elif not span.is_closed and request.when_calm and request.status not in APP_STATUSES:
            yield Violation("BACK", f"{what}: all faults are over")


def _judge_streams(history: History) -> Iterator[Violation]:
    certain = _spans_of(history)
    for stream in history.streams:
        what = f"{stream.kind} of {stream.device} at {stream.app}"
        for span in certain.get(stream.device, ()):
            if not span.is_closed:
                continue
            late = [piece for piece in stream.pieces if span.begins < piece[0] < span.ends]
            if late:
                after = (late[-1][0] - span.begins) * 1000
                yield Violation(
                    "STREAM", f"{what}: {len(late)} pieces, produced up to {after:.1f} ms after the 2xx"
                )
            if stream.opened_at < span.begins:
                read = sum(size for _, read_at, size in stream.pieces if read_at > span.begins)
                if read > _most_read(stream.end):
                    yield Violation("STREAM", f"{what}: {read} bytes read after the 2xx, end {stream.end!r}")
                if stream.ended_at is None:
                    yield Violation("ENDED", f"{what}: open before a raise, and still open")


def _most_read(end: str) -> int:
    if "reset" in end.lower():
        return RECEIVED_MOST
    return TOLD_MOST if end == "code 4403" else KILLED_MOST


def _spans_of(history: History) -> dict[str, list[Span]]:
    return {device: spans(history.changes, device) for device in {each.device for each in history.changes}}


def summary(history: History) -> str:
    """Return what was seen, in one line a kind."""
    certain = _spans_of(history)
    closed = open_ = 0
    for request in history.requests:
        for span in certain.get(request.device, ()):
            if span.begins < request.began_at and request.ended_at < span.ends:
                closed += span.is_closed
                open_ += not span.is_closed
    statuses: dict[int, int] = {}
    for request in history.requests:
        statuses[request.status] = statuses.get(request.status, 0) + 1
    cut = sum(stream.ended_at is not None for stream in history.streams)
    windows = sorted(each.answered_at - each.sent_at for each in history.changes if each.is_raise)
    middle = windows[len(windows) // 2] * 1000 if windows else float("nan")
    most = windows[-1] * 1000 if windows else float("nan")
    return (
        f"{len(history.changes)} changes (a raise took {middle:.1f} ms at the median, {most:.0f} ms at most)\n"
        f"{len(history.requests)} requests by status {dict(sorted(statuses.items()))}; "
        f"{closed} within closed times, {open_} within open times\n"
        f"{len(history.streams)} streams, {cut} ended, {sum(len(each.pieces) for each in history.streams)} pieces"
    )
