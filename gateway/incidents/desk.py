"""Keeps the incidents of a running hub: looks at devices after the answer has left, never on the way of a delivery.

Deliveries put their devices into a bounded queue, coalesced by device; a task evaluates a few at a time and writes what
changed, some at a time. An overflow is counted, and costs nothing but the record.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple, Protocol

import msgspec
import structlog

from gateway.decision.context import Interpret
from gateway.decision.explain import DecisionRecord
from gateway.decision.judge import Interpretation, judge
from gateway.decision.recorder import DecisionRecorder, RecordStore
from gateway.device_queue import DeviceQueue
from gateway.incidents.model import Cause, Change, Incident, advance, causes, new_home, refused
from gateway.observe.logs import EventLines
from gateway.tasks import spawn
from gateway.turns import Turn
from risk.database import StoreFault, StoreOverloaded
from risk.model import DeviceId, Posture

log = structlog.get_logger("incidents")

MAX_QUEUED = 50_000
MAX_OPEN = 10_000
"""Most open incidents kept in memory; above it no further one begins."""
SLICE = 8
"""Most devices evaluated between two turns of the event loop."""

MAX_ROWS = 256
"""Most incidents of one transaction, so that signals get their turn at the store between two."""

RETRY_S = 2.0

BEGAN_FIELDS = {
    "incident": "id",
    "device": "device_id",
    "sensor": "sensor",
    "cause": "cause",
    "enforced_in_s": "enforced_in_s",
    "cut": "streams_cut",
}
ENDED_FIELDS = {"incident": "id", "device": "device_id", "cause": "cause"}
"""What the log says of an incident."""


class IncidentStore(Protocol):
    """Where incidents are kept."""

    async def put(self, incidents: list[Incident]) -> None:
        """Keep incidents durably. Raises `StoreFault`, `StoreOverloaded`."""
        ...

    async def open_ones(self, most: int) -> list[Incident]:
        """Return those that are not over."""
        ...


class _Look(NamedTuple):
    """A device to look at, after which change, and the refusal that made us look if one did."""

    change: Change | None
    refusal: tuple[datetime, str, str] | None


class Observer(Protocol):
    """Who counts."""

    def incident_began(self, incident: Incident) -> None:
        """An incident began."""
        ...

    def incident_ended(self, incident: Incident) -> None:
        """Access is back."""
        ...

    def incidents_open(self, count: int) -> None:
        """So many are open now."""
        ...


class IncidentDesk:
    """Begins, advances and ends incidents. `await load()`, `start()`; `await stop()` at the end."""

    def __init__(
        self,
        store: IncidentStore,
        *,
        posture: Callable[[DeviceId], Posture | None],
        interpretation: Callable[[], Interpretation],
        clock: Callable[[], datetime],
        make_id: Callable[[], str],
        observer: Observer,
        interpret: Interpret = judge,
    ) -> None:
        self._interpret = interpret
        self._store = store
        self._posture = posture
        self._interpretation = interpretation
        self._clock = clock
        self._make_id = make_id
        self._observer = observer
        self._open: dict[str, dict[str, Incident]] = {}
        self._count = 0
        self._queue = DeviceQueue[_Look](MAX_QUEUED)
        self._unwritten: dict[str, Incident] = {}
        self._began = EventLines("incident-began", BEGAN_FIELDS, level="warning")
        self._ended = EventLines("incident-ended", ENDED_FIELDS)
        self._working: asyncio.Task[None] | None = None
        self.dropped = 0

    async def load(self) -> None:
        """Take over what was open when the last hub ended. Raises `StoreFault`."""
        for incident in await self._store.open_ones(MAX_OPEN):
            self._keep(incident)

    def start(self) -> None:
        """Begin to look."""
        # What changed while no hub was there, or by time, is seen at once.
        self.look_again()
        self._working = spawn(self._work(), name="incidents")

    async def stop(self) -> None:
        """End; what is queued is looked at first."""
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)
            await self._drain()
        for lines in (self._began, self._ended):
            lines.flush()

    async def settled(self) -> None:
        """Return when everything that was queued has been looked at and written (for tests and the canary)."""
        await self._queue.settled()

    @property
    def open_count(self) -> int:
        """Number of incidents that are not over."""
        return self._count

    def has_open(self, device_id: str) -> bool:
        """Return whether an incident of the device is not over."""
        return device_id in self._open

    def look(self, devices: Iterable[str], change: Change | None = None) -> None:
        """Look at devices soon: a change of theirs has been enforced."""
        for device_id in devices:
            if not self._want(device_id, _Look(change, None)):
                self.dropped += 1
        if self._queue:
            self._queue.stir()

    def look_again(self) -> None:
        """Look at every device with an open incident: the rules may have changed."""
        self.look(tuple(self._open))

    def regroup(self, devices: Iterable[str]) -> None:
        """Look at devices whose records an operator has changed: an incident goes where its cause has gone."""
        now, names, causes_of = self._clock(), {}, {}
        for device_id in devices:
            posture = self._posture(DeviceId(device_id))
            if posture is not None and posture.device_id == device_id:
                names[device_id] = posture.name
                causes_of[device_id] = {cause.key for cause in self._causes(posture, now)}
        for incident in [each for name in names for each in self._open.get(name, {}).values()]:
            to = new_home(incident.device_id, incident.cause, causes_of)
            if to is not None and incident.cause not in self._open.get(to, {}):
                self._move(incident, to, names[to])
        self.look(devices)

    def refused(self, device_id: str | None, app: str, code: str) -> None:
        """Note a refused request: looks at devices with an incident, or that time alone made worse."""
        if device_id is None:
            return
        incidents = self._open.get(device_id, {}).values()
        if incidents and all(each.first_refused_at is not None for each in incidents):
            return
        if self._want(device_id, _Look(None, (self._clock(), app, code))):
            self._queue.stir()

    # --- inside ----------------------------------------------------------------------------------------------

    def _want(self, device_id: str, look: _Look) -> bool:
        return self._queue.put(device_id, _merged(self._queue.wanted(device_id), look))

    async def _work(self) -> None:
        while True:
            await self._queue.stirred()
            await self._drain()
            if self._unwritten:
                await asyncio.sleep(RETRY_S)
                self._queue.stir()
            else:
                self._queue.rest()

    async def _drain(self) -> None:
        is_written = True
        while self._queue:
            turn = Turn(SLICE)
            while self._queue and turn.takes_another():
                for device_id, look in self._queue.take(1).items():
                    self._evaluate(device_id, look)
            if len(self._unwritten) >= MAX_ROWS and is_written:
                is_written = await self._write()
            await asyncio.sleep(0)
        if is_written:
            await self._write()

    async def _write(self) -> bool:
        """Write what has changed, and return whether the store took it."""
        while batch := list(itertools.islice(self._unwritten.values(), MAX_ROWS)):
            try:
                await self._store.put(batch)
            except (StoreFault, StoreOverloaded) as error:
                log.error("incidents-not-written", count=len(self._unwritten), error=str(error))
                return False
            for incident in batch:
                if self._unwritten.get(incident.id) is incident:
                    del self._unwritten[incident.id]
            self._observer.incidents_open(self.open_count)
        return True

    def _evaluate(self, device_id: str, look: _Look) -> None:
        posture = self._posture(DeviceId(device_id))
        if posture is None:
            return
        now = self._clock()
        if posture.device_id != device_id:
            self._adopt(device_id, posture, now)
            device_id = posture.device_id
        known = self._open.get(device_id, {})
        present = self._causes(posture, now)
        if not present and not known:
            return
        if len(known) == 0 and self.open_count >= MAX_OPEN:
            self.dropped += 1
            return
        changed = advance(
            tuple(known.values()),
            present,
            device_id=device_id,
            device=posture.name,
            change=look.change,
            now=now,
            new_ids=iter(self._make_id, None),
        )
        for incident in changed:
            self._note(incident, is_new=incident.cause not in known)
        if look.refusal is not None:
            for incident in list(self._open.get(device_id, {}).values()):
                after = refused(incident, *look.refusal)
                if after is not None:
                    self._note(after, is_new=False)

    def _adopt(self, device_id: str, posture: Posture, now: datetime) -> None:
        """Give a record the incidents of one that became part of it; what it has itself is not had twice."""
        for incident in list(self._open.get(device_id, {}).values()):
            if incident.cause in self._open.get(posture.device_id, {}):
                self._note(msgspec.structs.replace(incident, restored_at=now), is_new=False)
            else:
                self._move(incident, posture.device_id, posture.name)

    def _move(self, incident: Incident, to: str, name: str) -> None:
        log.info("incident-moved", incident=incident.id, device=incident.device_id, to=to)
        self._forget(incident)
        self._note(msgspec.structs.replace(incident, device_id=to, device=name), is_new=False)

    def _causes(self, posture: Posture, now: datetime) -> tuple[Cause, ...]:
        meaning = self._interpretation()
        risk, compliance = self._interpret(posture, meaning, now)
        return causes(risk, compliance, meaning.policies)

    def _note(self, incident: Incident, *, is_new: bool) -> None:
        self._unwritten[incident.id] = incident
        self._keep(incident)
        if is_new:
            self._observer.incident_began(incident)
            self._began.log(incident)
        elif not incident.is_open:
            self._observer.incident_ended(incident)
            self._ended.log(incident)

    def _keep(self, incident: Incident) -> None:
        self._forget(incident)
        if incident.is_open:
            self._open.setdefault(incident.device_id, {})[incident.cause] = incident
            self._count += 1

    def _forget(self, incident: Incident) -> None:
        mine = self._open.get(incident.device_id, {})
        if mine.pop(incident.cause, None) is not None:
            self._count -= 1
            if not mine:
                del self._open[incident.device_id]


class IncidentRecorder(DecisionRecorder):
    """Keeps decision records, and tells the incidents of every refused request."""

    def __init__(self, store: RecordStore) -> None:
        super().__init__(store)
        self.incidents: IncidentDesk | None = None

    async def now(self, record: DecisionRecord) -> bool:
        """Write a record and return whether it is kept."""
        if self.incidents is not None:
            # Now, and not when it was decided: the decision may have been made for the streams that were cut.
            self.incidents.refused(record.device_id, record.app, record.code)
        return await super().now(record)


def _merged(known: _Look | None, fresh: _Look) -> _Look:
    """Keep the first change of a device that waits: it is the one that made access worse; and the first refusal."""
    if known is None:
        return fresh
    return _Look(known.change or fresh.change, known.refusal or fresh.refusal)
