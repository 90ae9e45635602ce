"""The composition root of the hub: the only module that makes stores, clients and handlers, and joins them."""

import asyncio
import itertools
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog
import uvloop
from aiohttp import web

from gateway import __version__
from gateway.apidoc.routes import ApiDocuments
from gateway.asked.cloudflare import PostureAsked
from gateway.canary.watch import CanaryWatch
from gateway.config.load import ConfigInvalid, LoadedConfig
from gateway.config.locations import WithoutCountries
from gateway.config.paths import database_path
from gateway.config.schema import Config, DeviceCertificate, DeviceClaim
from gateway.config.sensors import installed, load_config
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import device_keys, person_key, session_key
from gateway.decision.judge import Judge
from gateway.decision.reference import new_reference
from gateway.decision.ticket import TicketMaker, utc_now
from gateway.deliveries import fragments as fragment_tables
from gateway.deliveries import store as delivery_tables
from gateway.deliveries.admin import delivery_routes
from gateway.deliveries.again import Again
from gateway.deliveries.fragments import Fragments
from gateway.deliveries.log import DeliveryLog
from gateway.deliveries.model import Judged
from gateway.deliveries.standing import Standings
from gateway.deliveries.store import DeliveryStore
from gateway.deliveries.whose import Devices
from gateway.devices.admin import device_routes
from gateway.devices.certificate import DeviceCa, parse_device_ca
from gateway.devices.desk import DeviceDesk, log_joined
from gateway.devices.figures import DeviceFigures
from gateway.feed.hub_side import Enforcement, FeedHandlers, FeedHub, NotEnforced, joined
from gateway.feed.settings import encode_settings, worker_settings
from gateway.hub.about_me import AboutMe
from gateway.hub.admin import AdminActions, ReloadReport, admin_application
from gateway.hub.ambience import Ambience, StyleFault, load_ambience, warm
from gateway.hub.authzen import AuthZenApi, Ground
from gateway.hub.changes import Changes
from gateway.hub.desk import Desk
from gateway.hub.exception_pages import ExceptionPages
from gateway.hub.hooks import Delivery, Hooks, SensorConfigFault, hook_sensors
from gateway.hub.kept_forms import KeptForms
from gateway.hub.limited_pages import LimitedPages, notice_texts
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages
from gateway.hub.remediation import Remediation
from gateway.hub.remedies import SCHEMAS as REMEDY_SCHEMAS
from gateway.hub.remedies import Remedies, with_exceptions
from gateway.hub.returns import SealedReturns
from gateway.hub.revocation import Revocation, Revoked, Revoker
from gateway.hub.runtime import Runtime, make_runtime
from gateway.hub.shortcut import Deliveries, DeliverySite
from gateway.hub.signin import SignIn
from gateway.hub.signin_pages import HubSignInPages
from gateway.hub.spare import spare_pages
from gateway.hub.speaking import Speaking
from gateway.hub.texts.catalogue import CatalogueFault
from gateway.hub.triage import Triage
from gateway.hub.web import MAX_FIELD_BYTES, HubWeb
from gateway.incidents import store as incident_tables
from gateway.incidents.desk import IncidentDesk, IncidentRecorder
from gateway.incidents.model import Change, Incident
from gateway.listeners import hold_run_dir, shared_listener
from gateway.memory import collect_seldom, leave_out_what_stays
from gateway.observe.logs import EventLines, configure_logs
from gateway.observe.metrics import Metrics, SensorFigures
from gateway.observe.ops import Component, country_database, ops_application
from gateway.observe.systemd import notify
from gateway.oidc.io import ProviderClient
from gateway.pulls import store as pull_tables
from gateway.pulls.hub import Pulls, RefreshResult
from gateway.pulls.ingest import Ingest
from gateway.pulls.store import CursorStore
from gateway.scheduling import ask_for_short_turns
from gateway.service_tokens import store as service_token_tables
from gateway.service_tokens.admin import TokenApi
from gateway.service_tokens.figures import TokenFigures
from gateway.service_tokens.registry import ServiceTokens
from gateway.sessions import sqlite as session_tables
from gateway.sessions.endings import Endings
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import Sealer, key_file_of, load_or_make_key
from gateway.shared_signals import received as shared_signal_tables
from gateway.shared_signals.hub import Connections, HubGround, SharedSignalsHub
from gateway.supervisor import worker_count
from gateway.tasks import spawn
from risk import sqlite as risk_tables
from risk.database import Database, StoreFault, StoreOverloaded
from risk.intake import Intake
from risk.model import DeviceId, Posture
from risk.snapshot import RiskState
from risk.users import UserId, is_user_id

log = structlog.get_logger("hub")

SCHEMAS = {
    "risk": risk_tables.SCHEMA,
    "sessions": session_tables.SCHEMA,
    "incidents": incident_tables.SCHEMA,
    "shared-signals": shared_signal_tables.SCHEMA,
    "pulls": pull_tables.SCHEMA,
    "deliveries": delivery_tables.SCHEMA,
    "fragments": fragment_tables.SCHEMA,
    "service-tokens": service_token_tables.SCHEMA,
    **REMEDY_SCHEMAS,
}
PRUNE_EVERY_S = 600.0
READY_POLL_S = 0.05
SWITCH_S = 0.0001
"""How long the event loop may wait for the interpreter while another thread reads a large body; and the writer of the
store while the event loop is busy, which it does after each statement of a transaction.
"""
ENFORCED_AT_ONCE = 128
"""Devices whose change is announced together."""
MAX_EVALUATED = 32
"""Most devices of a delivery whose meaning is worked out before the workers ask for it; in a batch nobody may ask."""
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
        self.metrics = Metrics()
        self.canary = CanaryWatch(
            config,
            worker_count(config.server.workers),
            sessions=lambda: self.sessions,
            clock=utc_now,
            registry=self.metrics.registry,
        )
        self._runtime = _meaning(loaded, self.canary)
        self._ambience = ambience_of(config, config_path)
        self._speaking = Speaking(lambda: self._ambience, self._app_name)
        self._run_dir = Path(config.server.run_dir)
        self._workers = worker_count(config.server.workers)
        self._providers: dict[str, ProviderClient] = {}
        self._runners: list[web.AppRunner] = []
        self._catalog = installed()
        self._pruning: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self.changes = Changes()
        self._delivery_lines = EventLines("delivery", {name: name for name in DELIVERY_FIELDS})
        self._change_lines = EventLines("access-changed")
        database = _database_place(config, config_path)
        self.database = Database(database, SCHEMAS)
        self.risk = RiskState()
        self.intake = Intake(self.risk, risk_tables.SqliteRiskStore(self.database), clock=utc_now)
        self.decisions = risk_tables.SqliteDecisionStore(self.database)
        self.recorder = IncidentRecorder(self.decisions)
        # One memory for all who ask what a posture means: after a change of a device, several do.
        interpret = self._judge = Judge()
        self.incident_store = incident_tables.SqliteIncidentStore(self.database)
        self.incidents = self.recorder.incidents = IncidentDesk(
            self.incident_store,
            posture=self._posture_of_others,
            interpretation=lambda: self._runtime.interpretation,
            clock=utc_now,
            make_id=_incident_id,
            observer=self,
            interpret=interpret.lately,
        )
        self.remedies = Remedies(
            self.database,
            base=Path(config_path).parent,
            runtime=lambda: self._runtime,
            posture=self._posture_of_others,
            excepted=self._excepted,
            registry=self.metrics.registry,
            clock=utc_now,
            interpret=interpret.lately,
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
        self.service_tokens = ServiceTokens(
            service_token_tables.SqliteTokenStore(self.database),
            self.changed,
            clock=utc_now,
            random_bytes=secrets.token_bytes,
        )
        self.desk = Desk(
            runtime=lambda: self._runtime,
            sessions=self.sessions,
            service_tokens=self.service_tokens,
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
            interpret=interpret,
        )
        self.desk.trust(_device_ca(config))
        self.revoker = Revoker(self.sessions, self.risk, self.changed, sessions_on=self.desk.sessions_on)
        self.feed = FeedHub(
            FeedHandlers(ticket=self.desk.ticket, touch=self._touch, stats=self.metrics.worker_stats),
            lambda: encode_settings(
                worker_settings(
                    self._runtime.config,
                    self._runtime.revision,
                    self._runtime.served,
                    notice_texts(self._ambience),
                    texts=self._runtime.texts,
                    spare_pages=self._spare_pages,
                )
            ),
            on_round=self.metrics.round_ended,
            acknowledges_early=_acknowledges_early(),
        )
        self.recorder.is_hurried = self._is_hurried
        self.asked = PostureAsked(self.risk, lambda: self._runtime.interpretation, clock=utc_now)
        self.intake.on_joined = log_joined
        self.devices = DeviceDesk(
            self.risk,
            self.intake,
            self._enforce_devices,
            lambda: self._runtime.interpretation,
            clock=utc_now,
            amended=self._amended,
        )
        self.pulls = Pulls(
            Ingest(self.intake, self._enforce_devices, self._delivered, utc_now),
            CursorStore(self.database),
            self.risk,
            clock=utc_now,
            registry=self.metrics.registry,
        )
        self.fragments = Fragments(self.database, utc_now)
        self.hooks = Hooks(
            hook_sensors(self._runtime.sensors, self._catalog),
            self.intake,
            self._enforce_devices,
            clock=utc_now,
            observe=self._delivered,
            join=self.fragments.joined,
            on_pulls=self.pulls.want,
            on_answered=self._answered,
        )
        self._configure_deliveries()
        self.pages = Pages()
        self._spare_pages = spare_pages(self.pages, self._ambience, utc_now())
        self.sign_in = SignIn(
            config=config,
            providers=self._providers,
            sessions=self.sessions,
            endings=Endings(self.database, now=utc_now),
            sealer=self.sealer,
            pages=HubSignInPages(self.pages, utc_now),
            now=utc_now,
            mono=time.monotonic,
            random_bytes=secrets.token_bytes,
            on_session_changed=self._session_changed,
        )
        self.shared_signals = self._shared_signals()
        self._publish_figures(loaded.revision)

    def _publish_figures(self, revision: str) -> None:
        self.metrics.registry.register(self.shared_signals.figures())
        self.metrics.registry.register(DeviceFigures(self.risk))
        self.metrics.registry.register(TokenFigures(self.service_tokens))
        self.metrics.build.labels(__version__, revision).set(1)
        self._note_reload(is_ok=True)

    # --- life cycle ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, load what is known, and begin to serve workers, operators and providers."""
        self.database.start()
        self._configure_intake()
        self.intake.on_late = lambda changed: spawn(self._enforce_late(changed), name="late-change")
        await self.intake.start()
        await self.sessions.load()
        await self.sign_in.load()
        self.sessions.start()
        await self.service_tokens.load()
        self.service_tokens.start()
        self.recorder.start()
        await self.deliveries.start()
        await self.fragments.load()
        self.standings.load(await self.delivery_store.last_heard())
        await self.incidents.load()
        self.incidents.start()
        await self.remedies.load()
        self._runtime = with_exceptions(self._runtime, self.remedies.exceptions.exemptions())
        self.remedies.start()
        self._providers.update(await self._start_providers(self._runtime.config))
        self.sign_in.configure(self._runtime.fronts, self._providers)
        await self.feed.start(self._run_dir / "feed.sock")
        await self.shared_signals.configure(self._runtime.config)
        front = self._web()
        application = front.application()
        application.middlewares.append(self.sign_in.home)
        application.middlewares.insert(0, self._speaking.middleware)
        await self._listen_unix(application, "hub.sock", front.deliveries)
        actions = AdminActions(reload=self.reload, status=self._status, revoke=self._revoke)
        admin = admin_application(actions)
        admin.router.add_routes(self.remedies.admin_routes())
        admin.router.add_routes(self.shared_signals.admin_routes())
        admin.router.add_routes(device_routes(self.devices))
        admin.router.add_routes(TokenApi(self.service_tokens, self._is_app, utc_now).routes())
        known = Devices(self.risk.posture, self.risk.resolve)
        admin.router.add_routes(delivery_routes(self.deliveries, self.again, self.standings, known))
        await self._listen_unix(admin, "admin.sock")
        await self._listen_ops(self._runtime.config.server.ops)
        self._pruning = spawn(self._keep_pruning(), name="prune")
        await self.canary.configure(self._runtime.config)
        await self._configure_pulls()
        spawn(self._tell_ready(), name="notify-ready")
        spawn(asyncio.to_thread(warm, self._ambience), name="warm-languages")
        leave_out_what_stays()
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
        await self.canary.stop()
        await self.shared_signals.stop()
        await self.pulls.stop()
        await self.asked.close()
        await self.feed.stop()
        for runner in reversed(self._runners):
            await runner.cleanup()
        for provider in self._providers.values():
            await provider.stop()
        await self.intake.stop()
        await self.sessions.stop()
        await self.service_tokens.stop()
        self.triage.drain()
        await self.incidents.stop()
        await self.remedies.stop()
        await self.recorder.stop()
        self._delivery_lines.flush()
        self._change_lines.flush()
        await self.deliveries.stop()
        self.database.close()

    async def _listen_unix(
        self,
        application: web.Application,
        name: str,
        deliveries: Callable[[Callable[[], asyncio.Protocol]], Deliveries] | None = None,
    ) -> None:
        """Serve an application; with `deliveries`, what they make takes those of sensors before it."""
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
        if deliveries is None or runner.server is None:
            await web.UnixSite(runner, str(path)).start()
        else:
            await DeliverySite(runner, path, deliveries(runner.server)).start()
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
        config = self._runtime.config
        if config.country_database is not None:
            without = self.metrics.workers_with("without_country_database")
            is_refusing = config.without_country_database is WithoutCountries.REFUSE
            parts.append(country_database(without, serving, is_refusing=is_refusing))
        return parts + self.canary.components() + self.shared_signals.components() + self.pulls.components()

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

    async def changed(
        self, keys: tuple[str, ...], reason: str, meanwhile: Callable[[], None] | None = None
    ) -> Enforcement:
        """Enforce what follows from a change of `keys` everywhere, then wake the pages that wait for it.

        `meanwhile` is done once the workers have been told. Raises `NotEnforced`.
        """
        report = await self.feed.invalidate(keys, reason, meanwhile)
        self.changes.announce(keys)
        if report.cut or report.fenced:
            seconds = round(report.seconds, 6)
            self._change_lines.info(
                {"reason": reason, "cut": report.cut, "fenced": report.fenced, "seconds": seconds}
            )
        return report

    def _posture_of_others(self, device_id: DeviceId) -> Posture | None:
        posture = self.risk.posture(device_id)
        return None if posture is None or self.canary.is_its_device(posture) else posture

    async def _enforce_devices(self, devices: frozenset[DeviceId], _received_ns: int) -> Enforcement | None:
        """Enforce what follows for devices and users; of many, some at a time, so that others have their turn."""
        reports: list[Enforcement] = []
        evaluation = _Evaluation(self.risk, self.desk, devices if len(devices) <= MAX_EVALUATED else ())
        waiting = list(devices)
        for at in range(0, len(waiting), ENFORCED_AT_ONCE):
            keys = self._keys_of(waiting[at : at + ENFORCED_AT_ONCE])
            if keys:
                reports.append(await self.changed(tuple(keys), "sensor", evaluation))
        if not reports:
            return None
        self.shared_signals.transmitter.look(devices)
        report = reports[0] if len(reports) == 1 else joined(reports)
        return msgspec.structs.replace(report, evaluated_mono_ns=evaluation.done_mono_ns)

    def _keys_of(self, devices: Iterable[DeviceId]) -> list[str]:
        """Return the invalidation keys of devices and users."""
        keys: list[str] = []
        for device_id in devices:
            if is_user_id(device_id):
                keys.append(person_key(UserId(device_id)))
                continue
            posture = self.risk.posture(device_id)
            if posture is not None:
                keys += device_keys(posture, device_id)
        return keys

    async def _enforce_late(self, changed: frozenset[DeviceId]) -> None:
        """Enforce what became known when its sender no longer waited."""
        try:
            await self._enforce_devices(changed, time.monotonic_ns())
        except NotEnforced as error:
            log.error("late-change-not-enforced", devices=len(changed), error=str(error))

    async def _sessions_ended(self, sessions: tuple[Session, ...]) -> None:
        if sessions:
            await self.changed(tuple(session_key(each.id) for each in sessions), "signed-out-everywhere")

    def _is_app(self, name: str) -> bool:
        return self._runtime.app(name) is not None

    def _app_name(self, host: str, path: str) -> str:
        return self._runtime.app_name_at(host, path)

    async def _excepted(self, device_id: str) -> None:
        """An exception was given: what it means is in force before whoever asked hears of it. Raises `NotEnforced`."""
        self._runtime = with_exceptions(self._runtime, self.remedies.exceptions.exemptions())
        posture = self.risk.posture(DeviceId(device_id))
        if posture is not None:
            await self.changed(device_keys(posture), "exception")
            self.remedies.looked_at((device_id,))

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
            self.service_tokens.touch(session_id, now)

    def _delivered(self, delivery: Delivery) -> None:
        figures = self.metrics.of_sensor(delivery.sensor)
        figures.verdict(delivery.verdict).inc()
        for verdict in ("accepted", "duplicates", "rejected", "ignored"):
            count = getattr(delivery, verdict)
            if count:
                figures.signals(verdict).inc(count)
        change = None
        if delivery.enforced_in_s is not None:
            figures.enforcement.observe(delivery.enforced_in_s)
            change = self._measured(delivery, figures, delivery.enforced_in_s)
        self.triage.look(delivery.device_ids, change)
        if delivery.sensor and not self.canary.is_its_sensor(delivery.sensor):
            self.standings.note(delivery)
            self.deliveries.note(delivery)
        self._delivery_lines.log(delivery)

    def _answered(self, sensor: str, delivery_id: str, took_s: float) -> None:
        """Take note that the last byte of a delivery's answer has left."""
        self.metrics.of_sensor(sensor).answered.observe(took_s)
        self.deliveries.answered(delivery_id, took_s)

    def _judged(self) -> Judged:
        """Return what the effects of deliveries are worked out with now."""
        return Judged(interpretation=self._runtime.interpretation, tickets=self.desk.tickets_on)

    def _is_hurried(self) -> bool:
        """Return whether a delivery is being taken, or a change enforced: what can wait should."""
        return self.feed.is_enforcing or self.hooks.is_taking

    def _configure_deliveries(self) -> None:
        self.triage = Triage(
            posture=self._posture_of_others,
            interpretation=lambda: self._runtime.interpretation,
            incidents=self.incidents,
            tasks=self.remedies.tasks,
            interpret=self._judge.lately,
            suspected=self._suspected,
            clock=utc_now,
            is_hurried=self._is_hurried,
        )
        self.delivery_store = DeliveryStore(self.database)
        self.deliveries = DeliveryLog(
            self.delivery_store,
            settings=lambda: self._runtime.config.deliveries,
            judged=self._judged,
            clock=utc_now,
            is_hurried=self._is_hurried,
        )
        self.again = Again(
            self.deliveries,
            self.intake,
            sensor=self.hooks.sensor,
            enforce=self._enforce_devices,
            observe=self._delivered,
            judged=self._judged,
            clock=utc_now,
            fragments=self.fragments,
        )
        self.standings = Standings(
            lambda: [
                sensor
                for name in self.hooks.names
                if not self.canary.is_its_sensor(name) and (sensor := self.hooks.sensor(name)) is not None
            ],
            self.hooks.quota,
            utc_now,
            self.pulls.status,
        )
        self.metrics.registry.register(self.standings)

    def _amended(self, devices: frozenset[DeviceId]) -> None:
        """Look at devices whose records were changed together."""
        self.incidents.regroup(devices)
        self.remedies.tasks.regroup(devices)

    def _suspected(self, devices: Sequence[str], change: Change | None) -> None:
        """Look at devices that may fail a rule, or did; what was not enforced yet begins and ends no incident."""
        self.remedies.looked_at(devices)
        if change is not None:
            self.incidents.look(devices, change)

    def _measured(self, delivery: Delivery, figures: SensorFigures, enforced_in_s: float) -> Change | None:
        """Record how long this change took, and return what it brought about."""
        if delivery.lag_s is not None:
            figures.lag.observe(delivery.lag_s)
        durable_in_s = delivery.durable_in_s or 0.0
        figures.durable.observe(durable_in_s)
        report, began_at = delivery.enforcement, utc_now() if delivery.again else delivery.first_byte_at
        if not isinstance(report, Enforcement) or began_at is None:
            return None
        if report.evaluated_mono_ns is not None and delivery.received_mono_ns is not None:
            evaluated_in_s = (report.evaluated_mono_ns - delivery.received_mono_ns) / 1e9
            figures.evaluated.observe(evaluated_in_s)
        for worker, took in report.by_worker.items():
            self.metrics.enforced_by(worker, took)
        for app in report.cuts:
            self.metrics.cut_window.labels(delivery.sensor, app).observe(enforced_in_s)
        return Change(
            sensor=delivery.sensor,
            received_at=began_at,
            durable_in_s=durable_in_s,
            enforced_in_s=enforced_in_s,
            cuts=report.cuts,
            by_worker=report.by_worker,
            fenced=report.fenced,
        )

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
            runtime = _meaning(loaded, self.canary)
            sensors = hook_sensors(runtime.sensors, self._catalog)
            device_ca = _device_ca(loaded.config)
            ambience = ambience_of(loaded.config, self._config_path)
            spare = await asyncio.to_thread(spare_pages, self.pages, ambience, utc_now())
            fresh = await self._start_providers(loaded.config)
        except ConfigInvalid as invalid:
            self._note_reload(is_ok=False)
            log.error("reload-refused", revision=self._runtime.revision, faults=len(invalid.faults))
            faults = tuple(str(fault) for fault in invalid.faults)
            return ReloadReport(applied=False, revision=self._runtime.revision, faults=faults)
        except (OSError, ValueError, CatalogueFault, StyleFault, SensorConfigFault) as error:
            self._note_reload(is_ok=False)
            log.error("reload-refused", revision=self._runtime.revision, error=str(error))
            return ReloadReport(applied=False, revision=self._runtime.revision, faults=(str(error),))
        before = self._runtime.config
        self._runtime = with_exceptions(runtime, self.remedies.exceptions.exemptions())
        self._ambience, self._spare_pages = ambience, spare
        self.desk.trust(device_ca)
        self._configure_intake()
        self.hooks.swap(sensors)
        self.sessions.configure(loaded.config.sessions)
        retired = [client for name, client in self._providers.items() if fresh.get(name) is not client]
        self._providers.clear()
        self._providers.update(fresh)
        self.sign_in.configure(runtime.fronts, self._providers)
        for client in retired:
            await client.stop()
        await self.feed.swap()
        await self.canary.configure(loaded.config)
        await self.shared_signals.configure(loaded.config)
        await self._configure_pulls()
        self.changes.announce(("*",))
        self.incidents.look_again()
        self.remedies.reloaded()
        self._note_reload(is_ok=True)
        log.info("reloaded", revision=loaded.revision)
        return ReloadReport(
            applied=True,
            revision=loaded.revision,
            needs_restart=_restart_needed(before, loaded.config),
        )

    def _configure_intake(self) -> None:
        """Hold what sensors say to the configuration in force; to be done before one of them is listened to."""
        config = self._runtime.config
        self.asked.configure(config.sensors)
        self.intake.subjects = {
            each.name: each.subjects for each in config.sensors if each.subjects is not None
        }
        self.risk.join_by(config.risk.joining)

    async def _configure_pulls(self) -> None:
        sensors = self._runtime.config.sensors
        await self.pulls.configure(sensors, hook_sensors(sensors, self._catalog))

    async def refresh(self, device_id: DeviceId) -> dict[str, RefreshResult]:
        """Ask every product that can be asked about this device; what it tells is enforced when this returns."""
        return await self.pulls.refresh(device_id)

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
        forms = KeptForms(
            store=self.remedies.forms,
            sessions=self.sessions,
            sign_in=self.sign_in,
            desk=self.desk,
            pages=self.pages,
            settings=lambda: self._runtime.config.remediation.forms,
            clock=utc_now,
        )
        returns = SealedReturns(self.sealer, utc_now)
        exceptions = ExceptionPages(
            desk=self.desk,
            exceptions=self.remedies.exceptions,
            sign_in=self.sign_in,
            pages=self.pages,
            seals=SealedReturns(self.sealer, utc_now, purpose="approval"),
            runtime=lambda: self._runtime,
            clock=utc_now,
        )
        about_me = AboutMe(
            desk=self.desk,
            sessions=self.sessions,
            sign_in=self.sign_in,
            tasks=self.remedies.tasks,
            exceptions=self.remedies.exceptions,
            pages=self.pages,
            runtime=lambda: self._runtime,
            ended=self._sessions_ended,
            clock=utc_now,
        )
        giving_way = GivingWay(self._is_hurried)
        remediation = Remediation(
            forms=forms,
            exceptions=exceptions,
            tasks=self.remedies.tasks,
            service_tokens=self.service_tokens,
            looked_at=self.remedies.looked_at,
            refresh=self.pulls.refresh,
            giving_way=giving_way,
            desk=self.desk,
            pages=self.pages,
            sign_in=self.sign_in,
            returns=returns,
            changes=self.changes,
            recorder=self.recorder,
            runtime=lambda: self._runtime,
            clock=utc_now,
            make_code=_reference,
        )
        limited = LimitedPages(
            desk=self.desk,
            sign_in=self.sign_in,
            changes=self.changes,
            runtime=lambda: self._runtime,
            clock=utc_now,
        )
        return HubWeb(
            sign_in=self.sign_in,
            remediation=remediation,
            hooks=self.hooks,
            signer=self.signer,
            pages=self.pages,
            issuer=lambda: self._runtime.config.public_url,
            further=(
                *self.shared_signals.routes(),
                *self._authzen().routes(),
                *ApiDocuments(
                    self._catalog, lambda: self._runtime.config, self.sign_in.is_login_host
                ).routes(),
                *self.asked.routes(),
                *forms.routes(),
                *exceptions.routes(),
                *about_me.routes(),
                *limited.routes(),
                *self._speaking.routes(),
            ),
            clock=utc_now,
            make_code=_reference,
            giving_way=giving_way,
        )

    def _authzen(self) -> AuthZenApi:
        return AuthZenApi(
            Ground(
                runtime=lambda: self._runtime,
                sessions=self.sessions,
                postures=self.risk,
                of_session=self.desk.situation,
                is_login_host=self.sign_in.is_login_host,
                clock=utc_now,
                found=self.recorder.found,
            )
        )

    def _shared_signals(self) -> SharedSignalsHub:
        connections = Connections(
            changed=self.changed,
            enforce_devices=self._enforce_devices,
            sessions_on=self._sessions_on,
            sign_in_ended=self.sign_in.note_ended,
            is_login_host=self.sign_in.is_login_host,
            delivered=self._delivered,
            posture=self._record_of,
            device_ids=lambda: itertools.chain(self.risk.device_ids(), self.risk.user_ids()),
            interpretation=lambda: self._runtime.interpretation,
            texts=lambda: self._runtime.texts,
        )
        ground = HubGround(self.sessions, self.intake, connections)
        return SharedSignalsHub(self.database, ground, connections, self.sealer, clock=utc_now)

    def _record_of(self, subject_id: DeviceId) -> Posture | None:
        """Return what is known of a device (not the canary's), or what the record of a user says."""
        if is_user_id(subject_id):
            return self.risk.user_record(UserId(subject_id))
        return self._posture_of_others(subject_id)

    async def _revoke(self, wanted: Revocation, by: str) -> Revoked:
        """Revoke, and then tell who subscribed to that."""
        found = self.revoker.found(wanted)
        done = await self.revoker.revoke(wanted, by)
        await self.shared_signals.transmitter.sessions_ended(
            found, by="admin", reason=wanted.reason, is_whole_user=wanted.kind == "user"
        )
        return done

    def _sessions_on(self, device: str) -> frozenset[str]:
        """Return the sessions on the device that a text names."""
        named = Revocation(kind="device", id=device, reason="-")
        return frozenset(session.id for session in self.revoker.found(named))

    async def _keep_pruning(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY_S)
            await self.shared_signals.prune()
            keep = self._runtime.config.decisions
            before = utc_now() - timedelta(seconds=keep.keep)
            try:
                await self.decisions.prune(before, keep.most)
                await self.incident_store.prune(before, keep.most)
                await self.remedies.prune()
            except (StoreFault, StoreOverloaded) as error:
                # The store may be back at the next round; nothing but old rows waits for this.
                log.warning("not-pruned", error=str(error))


def _meaning(loaded: LoadedConfig, canary: CanaryWatch) -> Runtime:
    """Return what a configuration means while it is in force."""
    return make_runtime(
        loaded.config,
        loaded.revision,
        canary.parts_for(loaded.config),
        origins=loaded.origins,
        translations=loaded.translations,
        language=loaded.language,
    )


def ambience_of(config: Config, config_path: str) -> Ambience:
    """Return languages and looks of a configuration; what can be wrong with them was checked on load."""
    return load_ambience(config.pages, Path(config_path).parent, (app.name for app in config.apps))


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
    changed += ["risk.hostname_domains"] * (before.risk.hostname_domains != after.risk.hostname_domains)
    return (*changed, *(["store"] if before.store != after.store else []))


def _database_place(config: Config, config_path: str) -> Path:
    """Return where the database is, in a folder that exists and is ours alone."""
    path = database_path(config.store.url, config_path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def _acknowledges_early() -> bool:
    """Return whether this gateway is to be broken, for the test of the checker. Raises `RuntimeError` outside tests."""
    if os.environ.get(ACK_EARLY) != "1":
        return False
    if os.environ.get("POSTUREGATE_TESTING") != "1":
        raise RuntimeError(f"{ACK_EARLY} breaks the gateway on purpose; nothing but its own tests may set it")
    return True


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


def _reference() -> str:
    return new_reference(secrets.token_bytes)


def _decision_id() -> str:
    return "d_" + secrets.token_hex(10)


def _incident_id() -> str:
    return "inc_" + secrets.token_hex(5)


def serve_hub(config_path: str) -> int:
    """Run a hub (with `workers: 0` its worker too) until SIGTERM or SIGINT. Returns 2 for a bad configuration."""
    configure_logs()
    collect_seldom()
    sys.setswitchinterval(SWITCH_S)
    signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGHUP,)
    )  # one that comes now is taken when we have started
    try:
        loaded = load_config(config_path)
    except ConfigInvalid as invalid:
        for fault in invalid.faults:
            log.error("configuration-invalid", fault=str(fault))
        return 2
    server = loaded.config.server
    if worker_count(server.workers) > 0:
        # Without workers it is a proxy too, which would pay with a change of process for every few requests.
        ask_for_short_turns()
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
        await hub.start()
        loop.add_signal_handler(signal.SIGHUP, lambda: spawn(hub.reload(), name="reload"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
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
