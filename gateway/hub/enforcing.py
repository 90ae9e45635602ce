"""Changes of devices, users and sessions, enforced by every worker before whoever told of them is answered."""

import time
from collections.abc import Callable, Iterable

import msgspec
import structlog

from gateway.decision.context import device_keys, person_key, session_key
from gateway.feed.hub_side import Enforcement, FeedHub, NotEnforced, joined
from gateway.hub.changes import Changes
from gateway.hub.desk import Desk
from gateway.observe.logs import EventLines
from gateway.sessions.model import Session
from gateway.shared_signals.transmitter import Transmitter
from risk.model import DeviceId
from risk.snapshot import RiskState
from risk.users import UserId, is_user_id

log = structlog.get_logger("enforcing")

ENFORCED_AT_ONCE = 128
"""Devices whose change is announced together."""
MAX_EVALUATED = 32
"""Most devices of a delivery whose meaning is worked out before the workers ask for it; in a batch nobody may ask."""


class Enforcing:
    """Has changes enforced everywhere.

    `feed` and `desk` are asked for when there is a change: both are made of parts that tell of changes themselves.
    So is `transmitter`, which is told of devices and users whose change is enforced.
    """

    def __init__(
        self,
        risk: RiskState,
        changes: Changes,
        *,
        feed: Callable[[], FeedHub],
        desk: Callable[[], Desk],
        transmitter: Callable[[], Transmitter],
    ) -> None:
        self._risk = risk
        self._changes = changes
        self._feed = feed
        self._desk = desk
        self._transmitter = transmitter
        self._change_lines = EventLines("access-changed")

    async def changed(
        self, keys: tuple[str, ...], reason: str, meanwhile: Callable[[], None] | None = None
    ) -> Enforcement:
        """Enforce what follows from a change of `keys` everywhere, then wake the pages that wait for it.

        `meanwhile` is done once the workers have been told. Raises `NotEnforced`.
        """
        report = await self._feed().invalidate(keys, reason, meanwhile)
        self._changes.announce(keys)
        if report.cut or report.fenced:
            seconds = round(report.seconds, 6)
            self._change_lines.info(
                {"reason": reason, "cut": report.cut, "fenced": report.fenced, "seconds": seconds}
            )
        return report

    async def enforce_devices(self, devices: frozenset[DeviceId], _received_ns: int) -> Enforcement | None:
        """Enforce what follows for devices and users; of many, some at a time, so that others have their turn."""
        reports: list[Enforcement] = []
        evaluation = _Evaluation(self._risk, self._desk(), devices if len(devices) <= MAX_EVALUATED else ())
        waiting = list(devices)
        for at in range(0, len(waiting), ENFORCED_AT_ONCE):
            keys = self._keys_of(waiting[at : at + ENFORCED_AT_ONCE])
            if keys:
                reports.append(await self.changed(tuple(keys), "sensor", evaluation))
        if not reports:
            return None
        self._transmitter().look(devices)
        report = reports[0] if len(reports) == 1 else joined(reports)
        return msgspec.structs.replace(report, evaluated_mono_ns=evaluation.done_mono_ns)

    async def enforce_late(self, changed: frozenset[DeviceId]) -> None:
        """Enforce what became known when its sender no longer waited."""
        try:
            await self.enforce_devices(changed, time.monotonic_ns())
        except NotEnforced as error:
            log.error("late-change-not-enforced", devices=len(changed), error=str(error))

    async def sessions_ended(self, sessions: tuple[Session, ...]) -> None:
        """Enforce that somebody ended these sessions. Raises `NotEnforced`."""
        if sessions:
            await self.changed(tuple(session_key(each.id) for each in sessions), "signed-out-everywhere")

    async def session_ended(self, session: Session) -> None:
        """Told of sessions that ended by time: no ticket outlives them, so a fault here opens nothing."""
        try:
            await self.changed((session_key(session.id),), "session-ended")
        except NotEnforced as error:
            log.error("session-end-not-enforced", session=session.id, error=str(error))

    async def session_changed(self, session: Session) -> None:
        """Enforce that a session is over, or that somebody signed in to it again. Raises `NotEnforced`."""
        await self.changed((session_key(session.id),), "session-changed")

    def flush(self) -> None:
        """Write what waits to be logged."""
        self._change_lines.flush()

    def _keys_of(self, devices: Iterable[DeviceId]) -> list[str]:
        """Return the invalidation keys of devices and users."""
        keys: list[str] = []
        for device_id in devices:
            if is_user_id(device_id):
                keys.append(person_key(UserId(device_id)))
                continue
            posture = self._risk.posture(device_id)
            if posture is not None:
                keys += device_keys(posture, device_id)
        return keys


class _Evaluation:
    """Works out what the postures of changed devices mean, once: for the tickets that workers are about to ask for."""

    def __init__(self, risk: RiskState, desk: Desk, devices: Iterable[DeviceId]) -> None:
        self._risk = risk
        self._desk = desk
        self._devices = devices
        self.done_mono_ns: int | None = None

    def __call__(self) -> None:
        if self.done_mono_ns is None:
            for posture in filter(None, map(self._risk.posture, self._devices)):
                self._desk.interpret(posture)
            self.done_mono_ns = time.monotonic_ns()
