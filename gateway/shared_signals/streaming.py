"""What stream management works on, and polling: events are given until they are acknowledged (RFC 8936)."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from cachetools import TTLCache

from gateway.shared_signals.access import Refused
from gateway.shared_signals.emission import Parties
from gateway.shared_signals.outbox import Outgoing, Stream, Waiting
from gateway.shared_signals.streams import POLL

MAX_ACKS = 1000
MAX_EVENTS_A_POLL = 100
HOLD_S = 10.0
"""How long a poll that has nothing to give is held."""

VISIBLE_AGAIN_S = 30.0
"""How long an event that was given to one poll is not given to another."""

MAX_LEASES = 50_000


class Streams(Protocol):
    """What the API works on: the transmitter."""

    def parties(self) -> Parties | None:
        """Return the configuration in force, None when nothing is transmitted."""
        ...

    def of_party(self, party: str) -> Stream | None:
        """Return the stream of a party, None without one."""
        ...

    async def put(self, stream: Stream, *, of: Stream | None) -> None:
        """Keep a new stream, or a changed one in place of `of`, and act by it. Raises `Overtaken`."""
        ...

    async def delete(self, stream: Stream) -> None:
        """Forget a stream with all that waits for it."""
        ...

    async def set_subject(self, stream: Stream, subject: Mapping[str, Any], *, is_added: bool) -> None:
        """Note a subject. Raises `SubjectFault`, `TooManySubjects`."""
        ...

    async def emit(self, event: Outgoing) -> None:
        """Put one event into the outbox."""
        ...

    async def waiting(self, stream: Stream, most: int, after: int) -> list[Waiting]:
        """Return the oldest events that a poll may be given now."""
        ...

    async def done(self, stream: Stream, acks: list[str], errors: Mapping[str, Any]) -> None:
        """Forget events that the receiver has, or will never take."""
        ...

    def arrived(self, stream: Stream) -> asyncio.Event:
        """Return what is set when there may be more to give."""
        ...

    def sign(self, waiting: Waiting) -> str:
        """Return the token of an event."""
        ...

    def jwks(self) -> dict[str, Any]:
        """Return the public keys."""
        ...


class Polling:
    """Answers polls. `mono` is a monotonic clock in seconds."""

    def __init__(self, streams: Streams, *, mono: Callable[[], float]) -> None:
        self._streams = streams
        self._mono = mono
        self._leases: TTLCache[tuple[str, int], bool] = TTLCache(MAX_LEASES, VISIBLE_AGAIN_S, timer=mono)

    async def answer(self, stream: Stream, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to one poll. Raises `Refused`."""
        most, is_hurried = wanted.get("maxEvents", MAX_EVENTS_A_POLL), wanted.get("returnImmediately", False)
        acks, errors = wanted.get("ack", []), wanted.get("setErrs", {})
        if (
            isinstance(most, bool)
            or not isinstance(most, int)
            or most < 0
            or not isinstance(is_hurried, bool)
        ):
            raise Refused(400, "malformed", "`maxEvents` is a number, `returnImmediately` is true or false")
        if not isinstance(acks, list) or not isinstance(errors, dict) or len(acks) + len(errors) > MAX_ACKS:
            raise Refused(400, "malformed", f"`ack` and `setErrs` name at most {MAX_ACKS} tokens")
        named = [jti for jti in acks if isinstance(jti, str)]
        if named or errors:
            await self._streams.done(stream, named, errors)
        found, is_more = await self._held(
            stream, min(most, MAX_EVENTS_A_POLL), is_hurried=is_hurried or most == 0
        )
        sets = {waiting.jti: self._streams.sign(waiting) for waiting in found}
        # Left out when false, as it may be: receivers exist that read nothing but `sets` (RFC 8936 section 2.3).
        return {"sets": sets, **({"moreAvailable": True} if is_more else {})}

    async def _held(self, stream: Stream, most: int, *, is_hurried: bool) -> tuple[list[Waiting], bool]:
        """Return what may be given now, waiting a while for it unless the receiver is in a hurry."""
        until = self._mono() + (0.0 if is_hurried else HOLD_S)
        while True:
            arrived = self._streams.arrived(stream)
            arrived.clear()
            found, is_more = await self._leased(stream, most)
            left = until - self._mono()
            if found or left <= 0:
                return found, is_more
            try:
                async with asyncio.timeout(left):
                    await arrived.wait()
            except TimeoutError:
                continue

    async def _leased(self, stream: Stream, most: int) -> tuple[list[Waiting], bool]:
        """Return the oldest events that no other poll was given lately, and whether there are more (Q4)."""
        present = self._streams.of_party(stream.party)
        if present is None or present.stream_id != stream.stream_id or present.method != POLL:
            return [], False
        found: list[Waiting] = []
        after = 0
        while True:
            batch = await self._streams.waiting(present, MAX_EVENTS_A_POLL, after)
            free = [each for each in batch if (stream.stream_id, each.seq) not in self._leases]
            found += free
            if len(found) > most or len(batch) < MAX_EVENTS_A_POLL:
                break
            after = batch[-1].seq
        if self._streams.of_party(stream.party) is not present:
            # Changed meanwhile: what was found may be pushed by now.
            return [], False
        for each in found[:most]:
            self._leases[stream.stream_id, each.seq] = True
        return found[:most], len(found) > most
