"""Shared Signals in the hub: makes the parts, gives them their ground, starts and stops them with the configuration."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime

import msgspec
import structlog
from aiohttp import web

from gateway.config.schema import Config
from gateway.config.shared_signals import SignalReceiver
from gateway.decision.context import session_key
from gateway.decision.judge import Interpretation
from gateway.feed.hub_side import Enforcement
from gateway.hub.hooks import Delivery
from gateway.localised import LocalisedTexts
from gateway.observe.ops import Component
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import Sealer
from gateway.shared_signals.administration import Administration
from gateway.shared_signals.applying import Applier
from gateway.shared_signals.figures import Figures
from gateway.shared_signals.push import Pushed, PushEndpoint
from gateway.shared_signals.received import ReceivedStore
from gateway.shared_signals.receiver import Receiver, ReceiverStatus
from gateway.shared_signals.transmitter import Transmitter
from gateway.tasks import spawn
from risk.database import Database, StoreFault, StoreOverloaded
from risk.intake import Intake
from risk.model import DeviceId, Posture, Rejection, Signal
from risk.outcome import IntakeResult

log = structlog.get_logger("shared-signals")

ID_BYTES = 16


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """What the hub lends.

    `changed` enforces a change of invalidation keys everywhere; `enforce_devices` that of devices. `delivered` is told
    of every token as of a delivery of a sensor.
    """

    changed: Callable[[tuple[str, ...], str], Awaitable[Enforcement]]
    enforce_devices: Callable[[frozenset[DeviceId], int], Awaitable[Enforcement | None]]
    sessions_on: Callable[[str], frozenset[str]]
    sign_in_ended: Callable[[str, str, str | None], Awaitable[None]]
    is_login_host: Callable[[web.Request], bool]
    delivered: Callable[[Delivery], None]
    posture: Callable[[DeviceId], Posture | None]
    device_ids: Callable[[], Iterator[DeviceId]]
    interpretation: Callable[[], Interpretation]
    texts: Callable[[], LocalisedTexts]


class HubGround:
    """What the effects of tokens stand on: the hub's sessions, intake and feed."""

    def __init__(self, sessions: SessionRegistry, intake: Intake, connections: Connections) -> None:
        self.sessions = sessions
        self._intake = intake
        self._connections = connections

    async def submit(
        self, sensor: str, signals: Sequence[Signal], rejections: Sequence[Rejection], body: bytes
    ) -> IntakeResult:
        """Make signals durable and known."""
        return await self._intake.submit(sensor, signals, rejections, body)

    async def enforce(self, result: IntakeResult, ended: tuple[Session, ...]) -> Enforcement | None:
        """Return when every worker enforces what follows; sessions and devices are told of at once."""
        work: list[Awaitable[Enforcement | None]] = []
        if ended:
            keys = tuple(session_key(session.id) for session in ended)
            work.append(self._connections.changed(keys, "shared-signal"))
        if result.changed:
            work.append(self._connections.enforce_devices(result.changed, time.monotonic_ns()))
        # Both are awaited to their end before a fault of one is raised: neither may go on unseen.
        reports = await asyncio.gather(*work, return_exceptions=True)
        for report in reports:
            if isinstance(report, BaseException):
                raise report
        return next((report for report in reversed(reports) if isinstance(report, Enforcement)), None)

    def sessions_on(self, device: str) -> frozenset[str]:
        """Return the sessions on the device that a text names."""
        return self._connections.sessions_on(device)

    def sign_in_ended(self, issuer: str, subject: str, sid: str | None) -> Awaitable[None]:
        """Let no sign-in that is on its way slip past."""
        return self._connections.sign_in_ended(issuer, subject, sid)


class SharedSignalsHub:
    """All receivers of the configuration in force. `await start()`, `await configure(...)`, `await stop()`."""

    def __init__(
        self,
        database: Database,
        ground: HubGround,
        connections: Connections,
        sealer: Sealer,
        *,
        clock: Callable[[], datetime],
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._mono = mono
        self._store = ReceivedStore(database)
        self._applier = Applier(ground, self._store, clock=clock)
        self.transmitter = Transmitter(
            database,
            sealer,
            posture=connections.posture,
            device_ids=connections.device_ids,
            interpretation=connections.interpretation,
            texts=connections.texts,
            is_login_host=connections.is_login_host,
            clock=clock,
            make_id=lambda: secrets.token_urlsafe(ID_BYTES),
            mono=mono,
        )
        self.receivers: dict[str, Receiver] = {}
        self._public_url = ""
        self._push = PushEndpoint(
            lambda: self.receivers, is_login_host=connections.is_login_host, observe=self._observed
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; they answer every method themselves."""
        return [web.route("*", "/.gate/ssf/{receiver}", self._push.handle), *self.transmitter.routes()]

    def figures(self) -> Figures:
        """Return what tells the metrics."""
        return Figures(self.receivers, self.transmitter)

    def admin_routes(self) -> list[web.RouteDef]:
        """Return the routes of the administration socket."""
        return [web.post("/ssf", Administration(self.receivers, self.transmitter).handle)]

    async def configure(self, config: Config) -> None:
        """Hear these transmitters from now on; unchanged ones go on. One that cannot be started is shown as such."""
        is_same_front = self._public_url == config.public_url
        self._public_url = config.public_url
        wanted = {each.name: each for each in config.shared_signals.receivers}
        for name, running in list(self.receivers.items()):
            if wanted.get(name) != running.settings or not is_same_front:
                del self.receivers[name]
                await running.stop()
        for name, settings in wanted.items():
            if name not in self.receivers:
                await self._start(settings)
        try:
            await self.transmitter.configure(config)
        except (StoreFault, StoreOverloaded) as error:
            log.error("ssf-transmitter-not-started", error=str(error))

    async def _start(self, settings: SignalReceiver) -> None:
        receiver = self._receiver(settings)
        try:
            await receiver.start()
        except (OSError, StoreFault, StoreOverloaded) as error:
            await receiver.stop()
            log.error("ssf-receiver-not-started", receiver=settings.name, error=str(error))
            receiver.note_fault(str(error))
        self.receivers[settings.name] = receiver

    async def stop(self) -> None:
        """End everything. Safe to call twice."""
        for receiver in self.receivers.values():
            await receiver.stop()
        self.receivers.clear()
        await self.transmitter.stop()

    async def prune(self) -> None:
        """Forget what is old; a store that cannot be written is met again at the next round."""
        try:
            await self._store.prune(self._clock())
        except (StoreFault, StoreOverloaded) as error:
            log.warning("ssf-not-pruned", error=str(error))
        await self.transmitter.upkeep()

    def components(self) -> list[Component]:
        """Return the readiness of each receiver: one that cannot hear degrades, and blocks nobody."""
        told = [
            Component(f"signals to {name}", is_ready=False, detail=fault, is_required=False)
            for name, fault in sorted(self.transmitter.faults().items())
        ]
        return told + [
            Component(
                f"signals from {name}",
                is_ready=status.is_well,
                detail=status.reason or status.status or "static",
                is_required=False,
            )
            for name, status in sorted(self.statuses().items())
        ]

    def statuses(self) -> Mapping[str, ReceiverStatus]:
        """Return how each receiver is."""
        return {name: receiver.status() for name, receiver in self.receivers.items()}

    def _receiver(self, settings: SignalReceiver) -> Receiver:
        return Receiver(
            settings,
            self._applier,
            self._store,
            push_url=f"{self._public_url.rstrip('/')}/.gate/ssf/{settings.name}",
            clock=self._clock,
            mono=self._mono,
            observe=self._observed,
        )

    def _observed(self, pushed: Pushed) -> None:
        """Count and log a token, as a delivery of a sensor is."""
        applied = pushed.applied
        if applied is not None and applied.sessions:
            work = self.transmitter.sessions_ended(
                applied.sessions, by="system", reason=", ".join(applied.events), source=pushed.receiver
            )
            spawn(work, name="ssf-tell-sessions")
        if applied is None:
            self._connections.delivered(
                Delivery(id="", sensor=pushed.receiver, status=pushed.status, verdict=pushed.verdict)
            )
            return
        began_ns, now = pushed.received_mono_ns, self._clock()
        took_s = (time.monotonic_ns() - began_ns) / 1e9 if began_ns else None
        durable_ns = applied.durable_mono_ns
        lag = None if applied.newest_at is None else (now - applied.newest_at).total_seconds()
        log.info(
            "security-event",
            receiver=pushed.receiver,
            outcome=applied.outcome,
            jti=applied.jti,
            txn=applied.txn,
            events=list(applied.events),
            ended=list(applied.ended),
        )
        self._connections.delivered(
            Delivery(
                id=applied.jti,
                sensor=pushed.receiver,
                status=pushed.status,
                verdict=applied.outcome,
                body_bytes=pushed.body_bytes,
                accepted=applied.accepted,
                duplicates=applied.duplicates,
                rejected=applied.rejected,
                devices=len(applied.devices),
                parked=applied.parked,
                enforced_in_s=took_s,
                durable_in_s=(durable_ns - began_ns) / 1e9 if durable_ns and began_ns else None,
                lag_s=None if lag is None else max(0.0, lag),
                received_at=now,
                received_mono_ns=pushed.received_mono_ns or None,
                device_ids=applied.devices,
                enforcement=applied.enforcement,
            )
        )
