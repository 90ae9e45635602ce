"""Triage: which devices the incidents and the tasks have to look at after a delivery was enforced.

Most devices of most deliveries fail no rule and never did: about them nobody has anything to begin or to end. A large
delivery waits as one entry, and a few devices at a time are screened between two turns of the event loop. Those that
may fail a rule, or have an incident or a task that is not over, are looked at; no other is judged.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import NamedTuple

from compliance.screening import MayFail, Screen
from gateway.decision.judge import Interpretation
from gateway.incidents.model import Change
from risk.model import DeviceId, Posture

MAX_WAITING = 100_000
"""Most devices that wait; of a delivery that comes above it nothing is looked at, and that is counted."""

SLICE = 64
"""Devices screened between two turns of the event loop."""

AT_ONCE = 8
"""A delivery about at most so many devices is screened at once: to let it wait would cost more."""


class _Waiting(NamedTuple):
    devices: Iterator[DeviceId]
    change: Change | None


class Triage:
    """Screens the devices of deliveries, and gives `suspected` those that have to be looked at, with the change.

    `is_followed` tells whether something is open about a device.
    """

    def __init__(
        self,
        *,
        posture: Callable[[DeviceId], Posture | None],
        interpretation: Callable[[], Interpretation],
        is_followed: Callable[[str], bool],
        suspected: Callable[[Sequence[str], Change | None], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._posture = posture
        self._interpretation = interpretation
        self._is_followed = is_followed
        self._suspected = suspected
        self._clock = clock
        self._queue: deque[_Waiting] = deque()
        self._count = 0
        self._turn: asyncio.Handle | None = None
        self._screened: tuple[Interpretation, MayFail] | None = None
        self.dropped = 0

    def look(self, devices: frozenset[DeviceId], change: Change | None) -> None:
        """Look at the devices of a delivery soon. `change` is what it brought about, None when it is not enforced."""
        if not devices:
            return
        if not self._queue and len(devices) <= AT_ONCE:
            self._look_at(devices, change, self._clock(), self._screen())
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
            self._turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._turn = None
        try:
            self._look_at_some()
        finally:
            # What was begun is never begun again, so a fault ends nothing but its own turn.
            if self._queue:
                self._arm()

    def _look_at_some(self) -> None:
        now, may_fail = self._clock(), self._screen()
        left = SLICE
        while self._queue and left > 0:
            waiting = self._queue[0]
            some = list(islice(waiting.devices, left))
            if len(some) < left:
                self._queue.popleft()
            left -= len(some)
            self._count -= len(some)
            self._look_at(some, waiting.change, now, may_fail)

    def _look_at(
        self, devices: Iterable[DeviceId], change: Change | None, now: datetime, may_fail: MayFail
    ) -> None:
        gone: list[str] = []
        suspects: dict[str, None] = {}
        for device_id in devices:
            posture = self._posture(device_id)
            if posture is None:
                continue
            own = posture.device_id
            if own != device_id and self._is_followed(device_id):
                gone.append(device_id)
            if self._is_followed(own) or may_fail(posture, now):
                suspects[own] = None
        if gone or suspects:
            # Those first that became part of another record: it takes over what is open about them.
            self._suspected([*gone, *suspects], change)

    def _screen(self) -> MayFail:
        """Return the quick look by the configuration in force."""
        meaning = self._interpretation()
        if self._screened is None or self._screened[0] is not meaning:
            screen = Screen(
                meaning.policies,
                sensors=meaning.sensors,
                uncovered=meaning.uncovered,
                weighing=meaning.weighing,
            )
            self._screened = meaning, screen.may_fail
        return self._screened[1]
