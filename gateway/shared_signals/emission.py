"""What the gateway tells: compares what each stream was last told of a device or user with what holds now.

It looks after a change has been enforced, never on its way. What a stream was told is kept with the events in one
transaction: a crash loses nothing, and tells nothing twice. A new stream is told of all devices that are not well.

Loop guard: of a stream whose party is also a source of ours, what that source told us is left out of the judgement.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec
import structlog

from gateway.config.shared_signals import SignalSubscriber, SignalTransmitter
from gateway.decision.judge import Interpretation, judge
from gateway.localised import LocalisedTexts
from gateway.sessions.model import Session
from gateway.shared_signals.events import EventType
from gateway.shared_signals.letters import (
    Judged,
    Letter,
    delivered,
    device_subject,
    judged_of,
    one_a_user,
    seconds,
    session_subject,
    user_subject,
    without,
)
from gateway.shared_signals.outbox import WELL, Outgoing, Stream, Told, TransmitStore
from gateway.shared_signals.subjects import Member, Simple
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded
from risk.model import DeviceId, Posture
from risk.scoring import assess
from risk.users import is_user_id

log = structlog.get_logger("shared-signals")

MAX_QUEUED = 50_000
MAX_MOMENTS = 100_000
SLICE = 32
"""Devices judged between two turns of the event loop."""

SCAN_PAUSE_S = 0.02
RETRY_S = 2.0
LONGEST_SLEEP_S = 60.0


class Parties(msgspec.Struct, frozen=True, kw_only=True):
    """The transmitter's configuration in force, with its parties by name."""

    issuer: str
    settings: SignalTransmitter
    by_name: Mapping[str, SignalSubscriber]

    @property
    def is_everybody_in(self) -> bool:
        """Whether a new stream is about everybody."""
        return self.settings.subjects == "all"


class Emitter:
    """Writes events into the outbox. `start`, then `look` and `sessions_ended`; `await stop()`.

    `texts` are those of the rules, for the people who are told.
    """

    def __init__(
        self,
        store: TransmitStore,
        *,
        parties: Callable[[], Parties | None],
        streams: Callable[[], Sequence[Stream]],
        posture: Callable[[DeviceId], Posture | None],
        device_ids: Callable[[], Iterator[DeviceId]],
        interpretation: Callable[[], Interpretation],
        clock: Callable[[], datetime],
        make_id: Callable[[], str],
        on_written: Callable[[Iterable[str]], None],
        texts: Callable[[], LocalisedTexts] = LocalisedTexts,
    ) -> None:
        self._store = store
        self._parties = parties
        self._streams = streams
        self._posture = posture
        self._device_ids = device_ids
        self._interpretation = interpretation
        self._clock = clock
        self._make_id = make_id
        self._on_written = on_written
        self._texts = texts
        self._queue: dict[DeviceId, None] = {}
        self._moments: list[tuple[datetime, DeviceId]] = []
        self._next_of: dict[DeviceId, datetime] = {}
        self._scan: Iterator[DeviceId] | None = None
        self._is_scan_due = False
        self._wake = asyncio.Event()
        self._working: asyncio.Task[None] | None = None
        self.dropped = 0

    def start(self) -> None:
        """Begin, with a look at every device."""
        self.look_at_all()
        self._working = spawn(self._work(), name="ssf-emission")

    async def stop(self) -> None:
        """End; what was queued is looked at by the next start."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
            self._working = None

    def look(self, devices: Iterable[DeviceId]) -> None:
        """Look at devices soon: a change of theirs has been enforced."""
        if not any(stream.holds for stream in self._streams()):
            return
        for device_id in devices:
            if len(self._queue) >= MAX_QUEUED and device_id not in self._queue:
                # Too many to remember one by one: then all of them are looked at.
                self._is_scan_due = True
                break
            self._queue[device_id] = None
        self._wake.set()

    def look_at_all(self) -> None:
        """Look at every device: the rules have changed, or a stream is new."""
        self._is_scan_due = True
        self._wake.set()

    async def sessions_ended(
        self,
        sessions: Sequence[Session],
        *,
        by: str,
        reason: str,
        source: str = "",
        is_whole_user: bool = False,
    ) -> None:
        """Tell that sessions were ended. `by` is the initiating entity; `source` the receiver that made us do it.

        `is_whole_user`: all sessions of these people ended, so that the events name no session. Faults are logged.
        """
        parties = self._parties()
        if parties is None or not sessions:
            return
        now, txn = self._clock(), self._make_id()
        payload = {
            "event_timestamp": seconds(now),
            "initiating_entity": by,
            "reason_admin": {"en": reason or by},
        }
        events: list[Outgoing] = []
        named = one_a_user(sessions) if is_whole_user else tuple(sessions)
        for stream, party in self._listening(parties, EventType.SESSION_REVOKED):
            if source and party.peer == source:
                continue
            letter = Letter(parties.issuer, stream, party, txn, now)
            for session in named:
                members, keys = session_subject(session, is_whole_user=is_whole_user)
                if party.simple_subjects:
                    members = {Member.ANY: members[Member.USER]}
                events.append(
                    letter.event(EventType.SESSION_REVOKED, payload, members, keys, self._make_id())
                )
        await self._write(parties, events, now)

    # --- inside ------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            try:
                await self._round()
            except (StoreFault, StoreOverloaded) as error:
                log.warning("ssf-not-emitted", error=str(error))
                await asyncio.sleep(RETRY_S)

    async def _round(self) -> None:
        """Look at the devices that wait, then at a slice of all of them if that is due, then wait."""
        now = self._clock()
        while self._moments and self._moments[0][0] <= now and len(self._queue) < MAX_QUEUED:
            moment, device_id = heapq.heappop(self._moments)
            if self._next_of.get(device_id) == moment:
                del self._next_of[device_id]
                self._queue[device_id] = None
        if self._queue:
            slice_ = list(islice(self._queue, SLICE))
            await self._look_at(slice_)
            return
        if self._is_scan_due:
            self._is_scan_due, self._scan = False, iter(list(self._device_ids()))
        if self._scan is not None:
            await self._scan_on(self._scan)
            return
        self._wake.clear()
        until = (self._moments[0][0] - now).total_seconds() if self._moments else LONGEST_SLEEP_S
        try:
            async with asyncio.timeout(min(max(until, 0.0), LONGEST_SLEEP_S)):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _scan_on(self, scan: Iterator[DeviceId]) -> None:
        slice_ = [device_id for _, device_id in zip(range(SLICE), scan, strict=False)]
        if not slice_:
            self._scan = None
            return
        await self._look_at(slice_)
        await asyncio.sleep(SCAN_PAUSE_S)

    async def _look_at(self, devices: Sequence[DeviceId]) -> None:
        """Write what has changed about devices; they leave the queue once that is on disk."""
        parties = self._parties()
        listening = [] if parties is None else self._listening(parties)
        if parties is None or not listening:
            self._queue.clear()
            self._scan = None
            return
        known = await self._store.told(devices)
        now = self._clock()
        # INVARIANT: between taking a device off the queue and judging it lies no await.
        for device_id in devices:
            self._queue.pop(device_id, None)
        events: list[Outgoing] = []
        told: list[tuple[str, str, Told]] = []
        for device_id in devices:
            posture, txn = self._posture(device_id), self._make_id()
            views: dict[str, Judged] = {}
            for stream, party in listening:
                if posture is None:
                    break
                letter = Letter(parties.issuer, stream, party, txn, now)
                before = known.get((stream.stream_id, device_id), WELL)
                judged = self._judged(posture, party.peer or "", now, views)
                after = Told(judged.level or before.level, judged.status)
                if before != after:
                    events += self._changes(letter, posture, before, after, judged)
                    told.append((stream.stream_id, device_id, after))
        try:
            await self._write(parties, events, now, told)
        except BaseException:
            self._queue.update(dict.fromkeys(devices))
            raise

    def _judged(self, posture: Posture, peer: str, now: datetime, views: dict[str, Judged]) -> Judged:
        """Return what holds of a device, without what `peer` told of it; judged once for all streams of that view."""
        if peer not in views:
            interpretation, rest = self._interpretation(), without(posture, peer)
            if is_user_id(posture.device_id):
                views[peer] = judged_of(
                    assess(rest, interpretation.sensors, now, interpretation.weighing), None
                )
            else:
                views[peer] = judged_of(*judge(rest, interpretation, now))
            self._note_moment(posture.device_id, views[peer].changes_at)
        return views[peer]

    def _note_moment(self, device_id: DeviceId, moment: datetime | None) -> None:
        """Remember when time alone changes what holds of a device."""
        known = self._next_of.get(device_id)
        if moment is None or (known is not None and known <= moment) or len(self._moments) >= MAX_MOMENTS:
            return
        moment += timedelta(milliseconds=1)
        self._next_of[device_id] = moment
        heapq.heappush(self._moments, (moment, device_id))

    def _changes(
        self, letter: Letter, posture: Posture, before: Told, after: Told, judged: Judged
    ) -> list[Outgoing]:
        """Return the events that say how a device or user changed; none where the party has no name for it."""
        party = letter.party
        member = Member.USER if is_user_id(posture.device_id) else Member.DEVICE
        is_user = member is Member.USER
        named = user_subject(posture) if is_user else device_subject(posture, party.device_kinds)
        if named is None:
            log.info("ssf-subject-without-name", party=party.name, subject=posture.device_id)
            return []
        members = {Member.ANY if party.simple_subjects else member: named}
        own = posture.identifiers[:1] if is_user else posture.identifiers
        keys = {member: frozenset({named.key, *(Simple("opaque", (each.value,)).key for each in own)})}
        reason = "; ".join(judged.reasons) or f"nothing is held against the {member.value} any more"
        common: dict[str, Any] = {
            "event_timestamp": seconds(letter.now),
            "initiating_entity": "policy",
            "reason_admin": {"en": reason},
        }
        for_people = self._texts().titles_in_all(judged.failed)
        if for_people:
            common["reason_user"] = for_people
        payloads: dict[EventType, dict[str, Any]] = {}
        if before.status != after.status:
            payloads[EventType.DEVICE_COMPLIANCE_CHANGE] = {
                "previous_status": before.status,
                "current_status": after.status,
            }
        if before.level != after.level:
            payloads[EventType.RISK_LEVEL_CHANGE] = {
                "principal": member.name,
                "previous_level": before.level,
                "current_level": after.level,
                "risk_reason": reason,
            }
        asked = delivered(letter.stream, party)
        return [
            letter.event(kind, common | payload, members, keys, self._make_id(), about=posture.device_id)
            for kind, payload in payloads.items()
            if kind in asked
        ]

    def _listening(
        self, parties: Parties, kind: EventType | None = None
    ) -> list[tuple[Stream, SignalSubscriber]]:
        """Return the streams that keep events (of this kind), with their parties."""
        return [
            (stream, party)
            for stream in self._streams()
            if stream.holds
            and (party := parties.by_name.get(stream.party)) is not None
            and (kind is None or kind in delivered(stream, party))
        ]

    async def _write(
        self,
        parties: Parties,
        events: Sequence[Outgoing],
        now: datetime,
        told: Sequence[tuple[str, str, Told]] = (),
    ) -> None:
        if not events and not told:
            return
        dropped = await self._store.put(
            events, now=now, most=parties.settings.most, is_everybody_in=parties.is_everybody_in, told=told
        )
        for stream_id, count in dropped.items():
            self.dropped += count
            log.error("ssf-events-dropped", stream=stream_id, count=count)
        self._on_written({each.stream_id for each in events})
