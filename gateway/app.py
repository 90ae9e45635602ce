"""The composition root of the hub: the only module that makes stores, clients and handlers, and joins them."""

import asyncio
import os
import secrets
import signal
import socket
import time
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog
import uvloop
from aiohttp import web

from gateway import __version__
from gateway.config.load import ConfigInvalid, LoadedConfig
from gateway.config.paths import database_path
from gateway.config.schema import Config, DeviceCertificate, DeviceClaim
from gateway.config.sensors import installed, load_config
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import device_keys, session_key
from gateway.decision.reference import new_reference
from gateway.decision.ticket import TicketMaker, utc_now
from gateway.devices.certificate import DeviceCa, parse_device_ca
from gateway.feed.hub_side import Enforcement, FeedHandlers, FeedHub, NotEnforced
from gateway.feed.settings import encode_settings, worker_settings
from gateway.hub.admin import AdminActions, ReloadReport, admin_application
from gateway.hub.changes import Changes
from gateway.hub.desk import Desk
from gateway.hub.hooks import Delivery, Hooks, SensorConfigFault, hook_sensors
from gateway.hub.pages import Pages
from gateway.hub.remediation import Remediation
from gateway.hub.returns import SealedReturns
from gateway.hub.revocation import Revoker
from gateway.hub.runtime import make_runtime
from gateway.hub.signin import SignIn
from gateway.hub.signin_pages import HubSignInPages
from gateway.hub.web import MAX_FIELD_BYTES, HubWeb
from gateway.incidents import store as incident_tables
from gateway.incidents.desk import IncidentDesk, IncidentRecorder
from gateway.incidents.model import Change, Incident
from gateway.listeners import hold_run_dir, shared_listener
from gateway.observe.logs import configure_logs
from gateway.observe.metrics import Metrics
from gateway.observe.ops import Component, ops_application
from gateway.observe.systemd import notify
from gateway.oidc.io import ProviderClient
from gateway.sessions import sqlite as session_tables
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import Sealer, key_file_of, load_or_make_key
from gateway.supervisor import worker_count
from gateway.tasks import spawn
from risk import sqlite as risk_tables
from risk.database import Database, StoreFault, StoreOverloaded
from risk.intake import Intake
from risk.model import DeviceId
from risk.snapshot import RiskState

log = structlog.get_logger("hub")

SCHEMAS = {
    "risk": risk_tables.SCHEMA,
    "sessions": session_tables.SCHEMA,
    "incidents": incident_tables.SCHEMA,
}
PRUNE_EVERY_S = 600.0
READY_POLL_S = 0.05
ACK_EARLY = "POSTUREGATE_TEST_ACK_EARLY"
DELIVERY_FIELDS = (
    "id", "sensor", "status", "verdict", "body_bytes", "accepted", "duplicates", "rejected", "ignored", "devices",
    "durable_in_s", "enforced_in_s", "lag_s", "timings",
)  # fmt: skip
RESTART_ONLY = ("listen", "ops", "workers", "run_dir", "tls", "proxy_protocol")


class Hub:
    """One running hub: what lives as long as the process, and the runtime of the configuration in force."""

    def __init__(self, config_path: str, loaded: LoadedConfig) -> None:
        config = loaded.config
        self._config_path = config_path
        self._runtime = make_runtime(config, loaded.revision)
        self._run_dir = Path(config.server.run_dir)
        self._workers = worker_count(config.server.workers)
        self._providers: dict[str, ProviderClient] = {}
        self._runners: list[web.AppRunner] = []
        self._catalog = installed()
        self._pruning: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self.metrics = Metrics()
        self.changes = Changes()
        database = database_path(config.store.url, config_path)
        database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.database = Database(database, SCHEMAS)
        self.risk = RiskState()
        self.intake = Intake(self.risk, risk_tables.SqliteRiskStore(self.database), clock=utc_now)
        self.decisions = risk_tables.SqliteDecisionStore(self.database)
        self.recorder = IncidentRecorder(self.decisions)
        self.incident_store = incident_tables.SqliteIncidentStore(self.database)
        self.incidents = self.recorder.incidents = IncidentDesk(
            self.incident_store,
            posture=self.risk.posture,
            interpretation=lambda: self._runtime.interpretation,
            clock=utc_now,
            make_id=_incident_id,
            observer=self,
        )
        self.sealer = _sealer(config, database)
        self.signer = AssertionSigner.load(database.parent / "assertion-key.pem")
        self.sessions = SessionRegistry(
            session_tables.SqliteSessionStore(self.database),
            self.sealer,
            config.sessions,
            now=utc_now,
            random_bytes=secrets.token_bytes,
            on_ended=self._session_ended,
        )
        self.desk = Desk(
            runtime=lambda: self._runtime,
            sessions=self.sessions,
            postures=self.risk,
            maker=TicketMaker(
                self.signer,
                issuer=config.public_url,
                make_code=_decision_id,
                make_id=_decision_id,
            ),
            recorder=self.recorder,
            metrics=self.metrics,
            clock=utc_now,
        )
        self.desk.trust(_device_ca(config))
        self.feed = FeedHub(
            FeedHandlers(ticket=self.desk.ticket, touch=self._touch, stats=self.metrics.worker_stats),
            lambda: encode_settings(worker_settings(self._runtime.config, self._runtime.revision)),
            on_round=self._round_enforced,
            acknowledges_early=_acknowledges_early(),
        )
        self.hooks = Hooks(
            hook_sensors(config.sensors, self._catalog),
            self.intake,
            self._enforce_devices,
            clock=utc_now,
            observe=self._delivered,
        )
        self.pages = Pages()
        self.sign_in = SignIn(
            config=config,
            providers=self._providers,
            sessions=self.sessions,
            sealer=self.sealer,
            pages=HubSignInPages(self.pages, utc_now),
            now=utc_now,
            mono=time.monotonic,
            random_bytes=secrets.token_bytes,
            on_session_changed=self._session_changed,
        )
        self.metrics.build.labels(__version__, loaded.revision).set(1)
        self._note_reload(is_ok=True)

    # --- life cycle ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, load what is known, and begin to serve workers, operators and providers."""
        self.database.start()
        await self.intake.start()
        await self.sessions.load()
        self.sessions.start()
        self.recorder.start()
        await self.incidents.load()
        self.incidents.start()
        self._providers.update(await self._start_providers(self._runtime.config))
        self.sign_in.configure(self._runtime.config, self._providers)
        await self.feed.start(self._run_dir / "feed.sock")
        application = self._web().application()
        application.middlewares.append(self.sign_in.home)
        await self._listen_unix(application, "hub.sock")
        revoker = Revoker(self.sessions, self.risk, self.changed, sessions_on=self.desk.sessions_on)
        actions = AdminActions(reload=self.reload, status=self._status, revoke=revoker.revoke)
        await self._listen_unix(admin_application(actions), "admin.sock")
        await self._listen_ops(self._runtime.config.server.ops)
        self._pruning = spawn(self._keep_pruning(), name="prune")
        spawn(self._tell_ready(), name="notify-ready")
        log.info(
            "hub-started",
            revision=self._runtime.revision,
            devices=len(self.risk),
            sessions=len(self.sessions),
        )

    async def _tell_ready(self) -> None:
        """Tell the service manager once every worker serves."""
        while self.feed.serving < max(1, self._workers):  # noqa: ASYNC110 - once, at the start
            await asyncio.sleep(READY_POLL_S)
        notify("READY=1")

    async def stop(self) -> None:
        """End everything in the opposite order; what was accepted is on disk already."""
        if self._pruning is not None:
            self._pruning.cancel()
        await self.feed.stop()
        for runner in reversed(self._runners):
            await runner.cleanup()
        for provider in self._providers.values():
            await provider.stop()
        await self.intake.stop()
        await self.sessions.stop()
        await self.incidents.stop()
        await self.recorder.stop()
        self.database.close()

    async def _listen_unix(self, application: web.Application, name: str) -> None:
        path = self._run_dir / name
        path.unlink(missing_ok=True)
        runner = web.AppRunner(
            application,
            access_log=None,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            handler_cancellation=True,
            auto_decompress=False,  # signatures are over the bytes that were sent
            shutdown_timeout=1.0,
        )
        await runner.setup()
        await web.UnixSite(runner, str(path)).start()
        path.chmod(0o600)
        self._runners.append(runner)

    async def _listen_ops(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        runner = web.AppRunner(
            ops_application(self.metrics, self.components), access_log=None, shutdown_timeout=1.0
        )
        await runner.setup()
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        self._runners.append(runner)

    # --- readiness -------------------------------------------------------------------------------------------

    def _store_component(self) -> Component:
        """A store that cannot be written degrades: what is in memory is enforced, and sensors are told to retry."""
        fault, runs = self.database.write_fault, self.database.is_running
        return Component(
            "store", is_ready=runs and not fault, detail=fault or "sqlite", is_required=not (runs and fault)
        )

    def components(self) -> list[Component]:
        """Return the readiness of each part. A provider that is away degrades sign-in, not the gateway."""
        serving = self.feed.serving
        parts = [
            self._store_component(),
            Component(
                "workers", is_ready=serving >= 1, detail=f"{serving} of {max(1, self._workers)} serving"
            ),
        ]
        for name, client in sorted(self._providers.items()):
            status = client.status()
            parts.append(
                Component(
                    f"provider {name}",
                    is_ready=status.is_ready and status.is_reachable,
                    detail=status.reason,
                    is_required=False,
                ),
            )
        return parts

    def _status(self) -> dict[str, object]:
        return {
            "version": __version__,
            "revision": self._runtime.revision,
            "workers": self.feed.workers,
            "devices": len(self.risk),
            "sessions": len(self.sessions),
            "components": msgspec.to_builtins(self.components()),
        }

    # --- changes ---------------------------------------------------------------------------------------------

    async def changed(self, keys: tuple[str, ...], reason: str) -> Enforcement:
        """Enforce what follows from a change of `keys` everywhere, then wake the pages that wait for it.

        Raises `NotEnforced`.
        """
        report = await self.feed.invalidate(keys, reason)
        self.changes.announce(keys)
        if report.cut or report.fenced:
            log.info(
                "access-changed",
                reason=reason,
                cut=report.cut,
                fenced=report.fenced,
                seconds=round(report.seconds, 6),
            )
        return report

    async def _enforce_devices(self, devices: frozenset[DeviceId], _received_ns: int) -> Enforcement | None:
        keys: list[str] = []
        for device_id in devices:
            posture = self.risk.posture(device_id)
            if posture is not None:
                keys += device_keys(posture)
        return await self.changed(tuple(keys), "sensor") if keys else None

    def _round_enforced(self, cut: int, fenced: int) -> None:
        self.metrics.cut.inc(cut)
        self.metrics.fenced.inc(fenced)

    async def _session_ended(self, session: Session) -> None:
        """Told of sessions that ended by time: no ticket outlives them, so a fault here opens nothing."""
        try:
            await self.changed((session_key(session.id),), "session-ended")
        except NotEnforced as error:
            log.error("session-end-not-enforced", session=session.id, error=str(error))

    async def _session_changed(self, session: Session) -> None:
        await self.changed((session_key(session.id),), "session-changed")

    def _touch(self, session_ids: tuple[str, ...]) -> None:
        now = utc_now()
        for session_id in session_ids:
            self.sessions.touch(session_id, now)

    def _delivered(self, delivery: Delivery) -> None:
        self.metrics.deliveries.labels(delivery.sensor, delivery.verdict).inc()
        for verdict in ("accepted", "duplicates", "rejected", "ignored"):
            count = getattr(delivery, verdict)
            if count:
                self.metrics.signals.labels(delivery.sensor, verdict).inc(count)
        if delivery.enforced_in_s is not None:
            self.metrics.enforcement.labels(delivery.sensor).observe(delivery.enforced_in_s)
            self._measured(delivery, delivery.enforced_in_s)
        shown = {name: getattr(delivery, name) for name in DELIVERY_FIELDS}
        log.info("delivery", **shown)

    def _measured(self, delivery: Delivery, enforced_in_s: float) -> None:
        """Record how long this change took, and look whether an incident began or ended with it."""
        if delivery.lag_s is not None:
            self.metrics.sensor_lag.labels(delivery.sensor).observe(delivery.lag_s)
        durable_in_s = delivery.durable_in_s or 0.0
        self.metrics.durable.labels(delivery.sensor).observe(durable_in_s)
        report = delivery.enforcement
        if not isinstance(report, Enforcement) or delivery.received_at is None:
            return
        for worker, took in report.by_worker.items():
            self.metrics.worker_enforcement.labels(worker).observe(took)
        for app in report.cuts:
            self.metrics.cut_window.labels(delivery.sensor, app).observe(enforced_in_s)
        change = Change(
            sensor=delivery.sensor,
            received_at=delivery.received_at,
            durable_in_s=durable_in_s,
            enforced_in_s=enforced_in_s,
            cuts=report.cuts,
            by_worker=report.by_worker,
            fenced=report.fenced,
        )
        self.incidents.look(delivery.device_ids, change)

    def incident_began(self, incident: Incident) -> None:
        """Count an incident."""
        self.metrics.incidents.labels(incident.sensor).inc()

    def incident_ended(self, incident: Incident) -> None:
        """Measure how long access was withdrawn."""
        if incident.restored_at is not None:
            took_s = (incident.restored_at - incident.opened_at).total_seconds()
            self.metrics.remediation_time.labels(incident.sensor).observe(max(0.0, took_s))

    def incidents_open(self, count: int) -> None:
        """Take the number of open incidents."""
        self.metrics.open_incidents.set(count)

    # --- configuration ---------------------------------------------------------------------------------------

    async def reload(self) -> ReloadReport:
        """Load the configuration again and swap it in whole; on any fault the running one stays in force.

        One after the other: of two reloads at once the later must win.
        """
        async with self._reloading:
            return await self._reload()

    async def _reload(self) -> ReloadReport:
        try:
            loaded = load_config(self._config_path)
            sensors = hook_sensors(loaded.config.sensors, self._catalog)
            device_ca = _device_ca(loaded.config)
            fresh = await self._start_providers(loaded.config)
        except ConfigInvalid as invalid:
            self._note_reload(is_ok=False)
            log.error("reload-refused", revision=self._runtime.revision, faults=len(invalid.faults))
            faults = tuple(str(fault) for fault in invalid.faults)
            return ReloadReport(applied=False, revision=self._runtime.revision, faults=faults)
        except (OSError, ValueError, SensorConfigFault) as error:
            self._note_reload(is_ok=False)
            log.error("reload-refused", revision=self._runtime.revision, error=str(error))
            return ReloadReport(applied=False, revision=self._runtime.revision, faults=(str(error),))
        before = self._runtime.config
        self._runtime = make_runtime(loaded.config, loaded.revision)
        self.desk.trust(device_ca)
        self.hooks.swap(sensors)
        self.sessions.configure(loaded.config.sessions)
        retired = [client for name, client in self._providers.items() if fresh.get(name) is not client]
        self._providers.clear()
        self._providers.update(fresh)
        self.sign_in.configure(loaded.config, self._providers)
        for client in retired:
            await client.stop()
        await self.feed.swap()
        self.changes.announce(("*",))
        self.incidents.look_again()
        self._note_reload(is_ok=True)
        log.info("reloaded", revision=loaded.revision)
        return ReloadReport(
            applied=True,
            revision=loaded.revision,
            needs_restart=_restart_needed(before, loaded.config),
        )

    def _note_reload(self, *, is_ok: bool) -> None:
        self.metrics.reload_ok.set(1 if is_ok else 0)
        if is_ok:
            self.metrics.reload_at.set(time.time())

    async def _start_providers(self, config: Config) -> dict[str, ProviderClient]:
        """Return a running client per provider; one whose configuration did not change is kept as it is."""
        claims = tuple(source for source in config.devices if isinstance(source, DeviceClaim))
        before = self._runtime.config
        is_same_front = before.public_url == config.public_url and before.devices == config.devices
        clients: dict[str, ProviderClient] = {}
        for provider in config.providers:
            running = self._providers.get(provider.name)
            if running is not None and running.provider == provider and is_same_front:
                clients[provider.name] = running
                continue
            client = ProviderClient(
                provider,
                redirect_uri=config.public_url.rstrip("/") + "/.gate/callback",
                devices=claims,
                now=utc_now,
                mono=time.monotonic,
            )
            await client.start()
            clients[provider.name] = client
        return clients

    # --- parts -----------------------------------------------------------------------------------------------

    def _web(self) -> HubWeb:
        remediation = Remediation(
            desk=self.desk,
            pages=self.pages,
            sign_in=self.sign_in,
            returns=SealedReturns(self.sealer, utc_now),
            changes=self.changes,
            recorder=self.recorder,
            runtime=lambda: self._runtime,
            clock=utc_now,
            make_code=_reference,
        )
        return HubWeb(
            sign_in=self.sign_in,
            remediation=remediation,
            hooks=self.hooks,
            signer=self.signer,
            pages=self.pages,
            issuer=lambda: self._runtime.config.public_url,
            clock=utc_now,
            make_code=_reference,
        )

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            keep = self._runtime.config.decisions
            before = utc_now() - timedelta(seconds=keep.keep)
            try:
                await self.decisions.prune(before, keep.most)
                await self.incident_store.prune(before, keep.most)
            except (StoreFault, StoreOverloaded) as error:
                # The store may be back at the next round; nothing but old rows waits for this.
                log.warning("not-pruned", error=str(error))


def _sealer(config: Config, database: Path) -> Sealer:
    if config.store.key is not None:
        return Sealer([config.store.key.reveal().encode()])
    return Sealer([load_or_make_key(key_file_of(database))])


def _device_ca(config: Config) -> DeviceCa | None:
    """Return the device CA of the first certificate source that names one, else of the TLS listener."""
    named = [source.ca for source in config.devices if isinstance(source, DeviceCertificate) and source.ca]
    if not named and config.server.tls is not None and config.server.tls.client_ca is not None:
        named = [config.server.tls.client_ca]
    return parse_device_ca(Path(named[0]).read_bytes()) if named else None


def _restart_needed(before: Config, after: Config) -> tuple[str, ...]:
    changed = [
        f"server.{name}"
        for name in RESTART_ONLY
        if getattr(before.server, name) != getattr(after.server, name)
    ]
    return (*changed, *(["store"] if before.store != after.store else []))


def _acknowledges_early() -> bool:
    """Return whether this gateway is to be broken, for the test of the checker. Raises `RuntimeError` outside tests."""
    if os.environ.get(ACK_EARLY) != "1":
        return False
    if os.environ.get("POSTUREGATE_TESTING") != "1":
        raise RuntimeError(f"{ACK_EARLY} breaks the gateway on purpose; nothing but its own tests may set it")
    return True


def _reference() -> str:
    return new_reference(secrets.token_bytes)


def _decision_id() -> str:
    return "d_" + secrets.token_hex(10)


def _incident_id() -> str:
    return "inc_" + secrets.token_hex(5)


def serve_hub(config_path: str) -> int:
    """Run a hub (with `workers: 0` its worker too) until SIGTERM or SIGINT. Returns 2 for a bad configuration."""
    configure_logs()
    try:
        loaded = load_config(config_path)
    except ConfigInvalid as invalid:
        for fault in invalid.faults:
            log.error("configuration-invalid", fault=str(fault))
        return 2
    server = loaded.config.server
    if worker_count(server.workers) > 0:
        return uvloop.run(_serve(config_path, loaded, None))
    lock = hold_run_dir(Path(server.run_dir))
    try:
        return uvloop.run(_serve(config_path, loaded, shared_listener(server.listen)))
    finally:
        os.close(lock)


async def _serve(config_path: str, loaded: LoadedConfig, listener: socket.socket | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        hub = Hub(config_path, loaded)
        loop.add_signal_handler(signal.SIGHUP, lambda: spawn(hub.reload(), name="reload"))
        await hub.start()
    except (StoreFault, OSError) as error:
        # A folder that cannot be written, a port in use: for the operator, who needs no traceback.
        log.error("hub-cannot-start", error=str(error))
        return 1
    drain_s = loaded.config.server.drain
    if worker_count(loaded.config.server.workers) == 0:
        from gateway.worker import Worker  # noqa: PLC0415 - a hub with worker processes never proxies itself

        worker = Worker("inline", Path(loaded.config.server.run_dir), pid=os.getpid(), listener=listener)
        worker.start()
        await stopping.wait()
        hub.feed.is_stopping = True
        await worker.drain_and_close(drain_s)
    else:
        await stopping.wait()
        hub.feed.drain(drain_s)
        await hub.feed.until_empty(drain_s + 2)
    await hub.stop()
    return 0
