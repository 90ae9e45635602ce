"""Triage: which devices the incidents and the tasks have to look at after a delivery was enforced.

Most devices of most deliveries fail no rule and never did: about them nobody has anything to begin or to end. A large
delivery waits as one entry, and a few devices at a time are screened between two turns of the event loop. Those that
may fail a rule, or have an incident or a task that is not over, are judged; no other is. Of those, too, nobody has
anything to do while only the same is said again: a device is looked at when what its judgement rests on has changed,
when time has changed it, or when what is open about it is not what there should be.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple, Protocol

from compliance.model import ComplianceResult, ComplianceState, RuleLevel
from compliance.screening import FAILING, Screen, is_fresh
from gateway.decision.context import Interpret
from gateway.decision.judge import Interpretation
from gateway.incidents.model import Change
from gateway.turns import STEP_ASIDE_S, Turn
from risk.model import DeviceId, Posture

MAX_WAITING = 100_000
"""Most devices that wait; of a delivery that comes above it nothing is looked at, and that is counted."""

MANY = 20_000
"""From so many waiting devices on they are looked at without giving way."""

STEP = 16
"""Devices screened in one go."""

SLICE = 8
"""Most such steps between two turns of the event loop."""

AT_ONCE = 8
"""A delivery about at most so many devices is screened at once: to let it wait would cost more."""


MAX_REMEMBERED = 50_000
"""Most devices of which it is remembered what was found; those that fail nothing are not among them."""


class Incidents(Protocol):
    """Which devices have an incident that is not over."""

    def has_open(self, device_id: str) -> bool:
        """Return whether a device has one."""
        ...


class Tasks(Incidents, Protocol):
    """Which devices have a task that is not resolved."""

    def awaits_evidence(self, device_id: str) -> bool:
        """Return whether somebody said that a task is done: then each report of the sensor tells something."""
        ...


class _Found(NamedTuple):
    """What was found of a device: as long as its digest is the same, until time changes it."""

    digest: int
    meaning: Interpretation
    until: datetime | None
    has_incident: bool
    has_task: bool


class _Waiting(NamedTuple):
    devices: Iterator[DeviceId]
    change: Change | None


class Triage:
    """Screens the devices of deliveries, and gives `suspected` those that have to be looked at, with the change.

    `interpret` is the judgement that incidents and tasks ask for, too, and find done. `is_hurried` tells whether a
    delivery is being taken or a change enforced: those go first, unless `MANY` devices wait.
    """

    def __init__(
        self,
        *,
        posture: Callable[[DeviceId], Posture | None],
        interpretation: Callable[[], Interpretation],
        incidents: Incidents,
        tasks: Tasks,
        interpret: Interpret,
        suspected: Callable[[Sequence[str], Change | None], None],
        clock: Callable[[], datetime],
        is_hurried: Callable[[], bool] = lambda: False,
    ) -> None:
        self._is_hurried = is_hurried
        self._posture = posture
        self._interpretation = interpretation
        self._incidents = incidents
        self._tasks = tasks
        self._interpret = interpret
        self._suspected = suspected
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._count = 0
        self._turn: asyncio.Handle | None = None
        self._screened: tuple[Interpretation, Screen] | None = None
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self.dropped = 0

    def look(self, devices: frozenset[DeviceId], change: Change | None) -> None:
        """Look at the devices of a delivery soon. `change` is what it brought about, None when it is not enforced."""
        if not devices:
            return
        if not self._queue and len(devices) <= AT_ONCE:
            self._look_at(devices, change)
            return
        if self._queue and self._count + len(devices) > MAX_WAITING:
            self.dropped += len(devices)
            return
        self._queue.append(_Waiting(iter(devices), change))
        self._count += len(devices)
        self._arm()

    def drain(self) -> None:
        """Look at everything that waits, now."""
        while self._queue:
            self._look_at_some()

    # --- inside ----------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._turn is None:
            loop = asyncio.get_running_loop()
            is_hurried = self._count < MANY and self._is_hurried()
            self._turn = (
                loop.call_later(STEP_ASIDE_S, self._take_turn)
                if is_hurried
                else loop.call_soon(self._take_turn)
            )

    def _take_turn(self) -> None:
        self._turn = None
        try:
            self._look_at_some()
        finally:
            # A device that was taken is never taken again, so a fault ends nothing but its own turn.
            if self._queue:
                self._arm()

    def _look_at_some(self) -> None:
        turn = Turn(SLICE)
        while self._queue and turn.takes_another():
            waiting = self._queue[0]
            some = list(islice(waiting.devices, STEP))
            if len(some) < STEP:
                self._queue.popleft()
            self._count -= len(some)
            self._look_at(some, waiting.change)

    def _look_at(self, devices: Iterable[DeviceId], change: Change | None) -> None:
        meaning, now = self._interpretation(), self._clock()
        screen = self._screen(meaning)
        gone: list[str] = []
        suspects: dict[str, None] = {}
        for device_id in devices:
            posture = self._posture(device_id)
            if posture is None:
                continue
            own = posture.device_id
            if own != device_id and self._is_followed(device_id):
                gone.append(device_id)
            if (self._is_followed(own) or screen.may_fail(posture, now)) and not self._is_as_it_was(
                posture, screen, meaning, now
            ):
                suspects[own] = None
        if gone or suspects:
            # Those first that became part of another record: it takes over what is open about them.
            self._suspected([*gone, *suspects], change)

    def _is_followed(self, device_id: str) -> bool:
        return self._incidents.has_open(device_id) or self._tasks.has_open(device_id)

    def _is_as_it_was(self, posture: Posture, screen: Screen, meaning: Interpretation, now: datetime) -> bool:
        """Return whether nobody has to look: nothing has changed, and all is open that should be. Else judge anew."""
        device_id, digest = posture.device_id, screen.digest(posture, now)
        known = self._found.get(device_id)
        if (
            known is not None
            and known.digest == digest
            and known.meaning is meaning
            and (known.until is None or now < known.until)
            and known.has_incident is self._incidents.has_open(device_id)
            and known.has_task is self._tasks.has_open(device_id)
            and not self._tasks.awaits_evidence(device_id)
        ):
            return True
        risk, compliance = self._interpret(posture, meaning, now)
        self._found.pop(device_id, None)
        if is_fresh(risk, compliance):
            moments = [each for each in (risk.changes_at, compliance.changes_at) if each is not None]
            until = min(moments, default=None)
            self._found[device_id] = _Found(digest, meaning, until, *_should_be_open(compliance))
            if len(self._found) > MAX_REMEMBERED:
                self._found.popitem(last=False)
        return False

    def _screen(self, meaning: Interpretation) -> Screen:
        """Return the quick look by the configuration in force."""
        if self._screened is None or self._screened[0] is not meaning:
            screen = Screen(
                meaning.policies,
                sensors=meaning.sensors,
                uncovered=meaning.uncovered,
                weighing=meaning.weighing,
            )
            self._screened = meaning, screen
        return self._screened[1]


def _should_be_open(compliance: ComplianceResult) -> tuple[bool, bool]:
    """Return whether a device has an incident and a task: as `incidents.model.causes` and `tasks.task_causes` find."""
    failed = [each for each in compliance.results if each.state in FAILING]
    has_incident = any(each.is_required and each.state is ComplianceState.NONCOMPLIANT for each in failed)
    return has_incident, any(each.level is not RuleLevel.REPORT for each in failed)
