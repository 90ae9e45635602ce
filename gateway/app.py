"""The composition root of the hub: the only module that makes stores, clients and handlers, and joins them."""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from gateway import __version__
from gateway.apidoc.routes import ApiDocuments
from gateway.asked.cloudflare import PostureAsked
from gateway.canary.watch import CanaryWatch
from gateway.config.load import ConfigInvalid, LoadedConfig
from gateway.config.paths import database_path
from gateway.config.restart import restart_needed
from gateway.config.schema import Config, DeviceCertificate
from gateway.config.sensors import installed, load_config
from gateway.decision.assertion import AssertionSigner
from gateway.decision.context import device_keys
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
from gateway.deliveries.observing import DeliveryObserver
from gateway.deliveries.standing import Standings
from gateway.deliveries.store import DeliveryStore
from gateway.deliveries.whose import Devices
from gateway.devices.admin import device_routes
from gateway.devices.certificate import DeviceCa, parse_device_ca
from gateway.devices.desk import DeviceDesk, log_joined
from gateway.devices.figures import DeviceFigures
from gateway.feed.hub_side import FeedHandlers, FeedHub
from gateway.feed.settings import encode_settings, worker_settings
from gateway.hub.about_me import AboutMe
from gateway.hub.admin import AdminActions, ReloadReport, admin_application
from gateway.hub.ambience import Ambience, StyleFault, load_ambience, warm
from gateway.hub.authzen import AuthZenApi, Ground
from gateway.hub.changes import Changes
from gateway.hub.desk import Desk
from gateway.hub.enforcing import Enforcing
from gateway.hub.exception_pages import ExceptionPages
from gateway.hub.hooks import Hooks, SensorConfigFault, hook_sensors
from gateway.hub.kept_forms import KeptForms
from gateway.hub.limited_pages import LimitedPages, notice_texts
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages
from gateway.hub.readiness import Readiness
from gateway.hub.remediation import Remediation
from gateway.hub.remedies import SCHEMAS as REMEDY_SCHEMAS
from gateway.hub.remedies import Remedies, with_exceptions
from gateway.hub.returns import SealedReturns
from gateway.hub.revocation import Revocation, Revoked, Revoker
from gateway.hub.runtime import Runtime, make_runtime
from gateway.hub.signin import SignIn
from gateway.hub.signin_pages import HubSignInPages
from gateway.hub.sites import Sites
from gateway.hub.spare import spare_pages
from gateway.hub.speaking import Speaking
from gateway.hub.texts.catalogue import CatalogueFault
from gateway.hub.triage import Triage
from gateway.hub.web import HubWeb
from gateway.incidents import store as incident_tables
from gateway.incidents.desk import IncidentDesk, IncidentRecorder
from gateway.incidents.figures import IncidentFigures
from gateway.incidents.model import Change
from gateway.memory import leave_out_what_stays
from gateway.observe.metrics import Metrics
from gateway.observe.ops import ops_application
from gateway.observe.systemd import notify
from gateway.oidc.clients import ProviderClients
from gateway.pulls import store as pull_tables
from gateway.pulls.hub import Pulls, RefreshResult
from gateway.pulls.ingest import Ingest
from gateway.pulls.store import CursorStore
from gateway.service_tokens import store as service_token_tables
from gateway.service_tokens.admin import TokenApi
from gateway.service_tokens.figures import TokenFigures
from gateway.service_tokens.registry import ServiceTokens
from gateway.sessions import sqlite as session_tables
from gateway.sessions.endings import Endings
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import Sealer, key_file_of, load_or_make_key
from gateway.shared_signals import received as shared_signal_tables
from gateway.shared_signals.hub import Connections, HubGround, SharedSignalsHub
from gateway.supervisor import worker_count
from gateway.tasks import spawn
from gateway.turns import take_turns
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
ACK_EARLY = "POSTUREGATE_TEST_ACK_EARLY"


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
        self._providers = ProviderClients(now=utc_now, mono=time.monotonic)
        self._sites = Sites(self._run_dir)
        self._catalog = installed()
        self._pruning: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self.changes = Changes()
        database = _database_place(config, config_path)
        self.database = Database(database, SCHEMAS)
        self.risk = RiskState()
        self.intake = Intake(self.risk, risk_tables.SqliteRiskStore(self.database), clock=utc_now)
        self.intake.on_bulk = take_turns
        self.enforcing = Enforcing(
            self.risk,
            self.changes,
            feed=lambda: self.feed,
            desk=lambda: self.desk,
            transmitter=lambda: self.shared_signals.transmitter,
        )
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
            observer=IncidentFigures(self.metrics),
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
            on_ended=self.enforcing.session_ended,
        )
        self.service_tokens = ServiceTokens(
            service_token_tables.SqliteTokenStore(self.database),
            self.enforcing.changed,
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
        self.revoker = Revoker(
            self.sessions, self.risk, self.enforcing.changed, sessions_on=self.desk.sessions_on
        )
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
        self.observer = self._make_observer()
        self.devices = DeviceDesk(
            self.risk,
            self.intake,
            self.enforcing.enforce_devices,
            lambda: self._runtime.interpretation,
            clock=utc_now,
            amended=self._amended,
        )
        self.pulls = Pulls(
            Ingest(self.intake, self.enforcing.enforce_devices, self.observer.delivered, utc_now),
            CursorStore(self.database),
            self.risk,
            clock=utc_now,
            registry=self.metrics.registry,
        )
        self.fragments = Fragments(self.database, utc_now)
        self.hooks = Hooks(
            hook_sensors(self._runtime.sensors, self._catalog),
            self.intake,
            self.enforcing.enforce_devices,
            clock=utc_now,
            observe=self.observer.delivered,
            join=self.fragments.joined,
            on_pulls=self.pulls.want,
            on_answered=self.observer.answered,
        )
        self._configure_deliveries()
        self.pages = Pages()
        self._spare_pages = spare_pages(self.pages, self._ambience, utc_now())
        self.sign_in = SignIn(
            config=config,
            providers=self._providers.running,
            sessions=self.sessions,
            endings=Endings(self.database, now=utc_now),
            sealer=self.sealer,
            pages=HubSignInPages(self.pages, utc_now),
            now=utc_now,
            mono=time.monotonic,
            random_bytes=secrets.token_bytes,
            on_session_changed=self.enforcing.session_changed,
        )
        self.shared_signals = self._shared_signals()
        self.readiness = Readiness(
            database=self.database,
            feed=self.feed,
            workers=self._workers,
            providers=self._providers,
            metrics=self.metrics,
            config=lambda: self._runtime.config,
            further=(self.canary.components, self.shared_signals.components, self.pulls.components),
        )
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
        self.intake.on_late = lambda changed: spawn(self.enforcing.enforce_late(changed), name="late-change")
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
        config = self._runtime.config
        self._providers.swap(await self._providers.start(config, before=config))
        self.sign_in.configure(self._runtime.fronts, self._providers.running)
        await self.feed.start(self._run_dir / "feed.sock")
        await self.shared_signals.configure(self._runtime.config)
        front = self._web()
        application = front.application()
        application.middlewares.append(self.sign_in.home)
        application.middlewares.insert(0, self._speaking.middleware)
        await self._sites.listen_unix(application, "hub.sock", front.deliveries)
        actions = AdminActions(reload=self.reload, status=self._status, revoke=self._revoke)
        admin = admin_application(actions)
        admin.router.add_routes(self.remedies.admin_routes())
        admin.router.add_routes(self.shared_signals.admin_routes())
        admin.router.add_routes(device_routes(self.devices))
        admin.router.add_routes(TokenApi(self.service_tokens, self._is_app, utc_now).routes())
        known = Devices(self.risk.posture, self.risk.resolve)
        admin.router.add_routes(delivery_routes(self.deliveries, self.again, self.standings, known))
        await self._sites.listen_unix(admin, "admin.sock")
        await self._sites.listen_tcp(
            ops_application(self.metrics, self.readiness.components), self._runtime.config.server.ops
        )
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
        await self._sites.stop()
        await self._providers.stop()
        await self.intake.stop()
        await self.sessions.stop()
        await self.service_tokens.stop()
        self.triage.drain()
        await self.incidents.stop()
        await self.remedies.stop()
        await self.recorder.stop()
        self.observer.flush()
        self.enforcing.flush()
        await self.deliveries.stop()
        self.database.close()

    def _status(self) -> dict[str, object]:
        return {
            "version": __version__,
            "revision": self._runtime.revision,
            "workers": self.feed.workers,
            "devices": len(self.risk),
            "sessions": len(self.sessions),
            "components": msgspec.to_builtins(self.readiness.components()),
        }

    # --- changes ---------------------------------------------------------------------------------------------

    def _posture_of_others(self, device_id: DeviceId) -> Posture | None:
        posture = self.risk.posture(device_id)
        return None if posture is None or self.canary.is_its_device(posture) else posture

    def _is_app(self, name: str) -> bool:
        return self._runtime.app(name) is not None

    def _app_name(self, host: str, path: str) -> str:
        return self._runtime.app_name_at(host, path)

    async def _excepted(self, device_id: str) -> None:
        """An exception was given: what it means is in force before whoever asked hears of it. Raises `NotEnforced`."""
        self._runtime = with_exceptions(self._runtime, self.remedies.exceptions.exemptions())
        posture = self.risk.posture(DeviceId(device_id))
        if posture is not None:
            await self.enforcing.changed(device_keys(posture), "exception")
            self.remedies.looked_at((device_id,))

    def _touch(self, session_ids: tuple[str, ...]) -> None:
        now = utc_now()
        for session_id in session_ids:
            self.sessions.touch(session_id, now)
            self.service_tokens.touch(session_id, now)

    def _judged(self) -> Judged:
        """Return what the effects of deliveries are worked out with now."""
        return Judged(interpretation=self._runtime.interpretation, tickets=self.desk.tickets_on)

    def _is_hurried(self) -> bool:
        """Return whether a delivery is being taken, or a change enforced: what can wait should."""
        return self.feed.is_enforcing or self.hooks.is_taking

    def _amended(self, devices: frozenset[DeviceId]) -> None:
        """Look at devices whose records were changed together."""
        self.incidents.regroup(devices)
        self.remedies.tasks.regroup(devices)

    def _suspected(self, devices: Sequence[str], change: Change | None) -> None:
        """Look at devices that may fail a rule, or did; what was not enforced yet begins and ends no incident."""
        self.remedies.looked_at(devices)
        if change is not None:
            self.incidents.look(devices, change)

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
            fresh = await self._providers.start(loaded.config, before=self._runtime.config)
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
        retired = self._providers.swap(fresh)
        self.sign_in.configure(runtime.fronts, self._providers.running)
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
            needs_restart=restart_needed(before, loaded.config),
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
            ended=self.enforcing.sessions_ended,
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

    def _make_observer(self) -> DeliveryObserver:
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
        return DeliveryObserver(
            self.metrics,
            canary=self.canary,
            triage=self.triage,
            standings=lambda: self.standings,
            deliveries=self.deliveries,
            clock=utc_now,
        )

    def _configure_deliveries(self) -> None:
        self.again = Again(
            self.deliveries,
            self.intake,
            sensor=self.hooks.sensor,
            enforce=self.enforcing.enforce_devices,
            observe=self.observer.delivered,
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
            changed=self.enforcing.changed,
            enforce_devices=self.enforcing.enforce_devices,
            sessions_on=self._sessions_on,
            sign_in_ended=self.sign_in.note_ended,
            is_login_host=self.sign_in.is_login_host,
            delivered=self.observer.delivered,
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


def _reference() -> str:
    return new_reference(secrets.token_bytes)


def _decision_id() -> str:
    return "d_" + secrets.token_hex(10)


def _incident_id() -> str:
    return "inc_" + secrets.token_hex(5)
