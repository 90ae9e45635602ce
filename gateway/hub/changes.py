"""Who in the hub waits for a change: open status streams of remediation pages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

MAX_SUBSCRIBERS = 10_000
"""Most open status streams; above it a page falls back to its own refresh."""

STREAM_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Of a stream of server-sent events; the last keeps a proxy in front of us from collecting them."""


class TooManySubscribers(Exception):
    """No further status stream can be opened now."""


class Changes:
    """Wakes the subscribers of an invalidation key after that change is enforced."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[asyncio.Event]] = {}
        self._count = 0

    @contextmanager
    def subscribed(self, keys: tuple[str, ...]) -> Iterator[asyncio.Event]:
        """Give an event that is set at each change of one of `keys` (or of `*`). Raises `TooManySubscribers`."""
        if self._count >= MAX_SUBSCRIBERS:
            raise TooManySubscribers
        event = asyncio.Event()
        self._count += 1
        for key in (*keys, "*"):
            self._subscribers.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            self._count -= 1
            for key in (*keys, "*"):
                self._subscribers[key].discard(event)
                if not self._subscribers[key]:
                    del self._subscribers[key]

    def announce(self, keys: tuple[str, ...]) -> None:
        """Wake everyone who waits for one of `keys`; `*` wakes all."""
        if not self._subscribers:
            return
        if "*" in keys:
            woken = {event for events in self._subscribers.values() for event in events}
        else:
            woken = {event for key in keys for event in self._subscribers.get(key, ())}
        for event in woken:
            event.set()
