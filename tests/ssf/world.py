"""A hub's worth of real parts around the receivers: SQLite, sessions, intake, an aiohttp server; no workers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from compliance.model import User
from gateway.config.schema import Sessions
from gateway.config.shared_signals import SignalReceiver
from gateway.devices.claim import ClaimedDevice
from gateway.feed.hub_side import NotEnforced
from gateway.sessions import sqlite as session_tables
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry, SignInFacts
from gateway.sessions.seal import Sealer
from gateway.shared_signals import received as tables
from gateway.shared_signals.applying import Applier
from gateway.shared_signals.push import Pushed, PushEndpoint
from gateway.shared_signals.received import ReceivedStore
from gateway.shared_signals.receiver import Receiver
from risk import sqlite as risk_tables
from risk.database import Database
from risk.intake import Intake
from risk.model import Identifier, Rejection, Signal
from risk.outcome import IntakeResult
from risk.snapshot import RiskState
from risk.values import Secret
from tests.op.gate import Clock, seeded
from tests.ssf.transmitter import Transmitter, push

ISSUER = "https://idp.example"
SECRET = "push-secret-of-the-unit-tests"


class World:
    """The ground of the effects, and what the tests look at."""

    def __init__(self, clock: Clock, database: Database) -> None:
        self.clock = clock
        self.database = database
        self.state = RiskState()
        self.intake = Intake(self.state, risk_tables.SqliteRiskStore(database), clock=clock.now)
        self.sealer = Sealer([b"k" * 32], seeded(1))
        self.sessions = SessionRegistry(
            session_tables.SqliteSessionStore(database),
            self.sealer,
            Sessions(),
            now=clock.now,
            random_bytes=seeded(2),
        )
        self.store = ReceivedStore(database)
        self.applier = Applier(self, self.store, clock=clock.now)
        self.receivers: dict[str, Receiver] = {}
        self.observed: list[Pushed] = []
        self.enforced: list[tuple[str, ...]] = []
        self.ended_sign_ins: list[tuple[str, str, str | None]] = []
        self.signals: list[Signal] = []
        self.is_failing = False
        self.url = ""

    # --- the ground ----------------------------------------------------------------------------------------

    async def submit(
        self, sensor: str, signals: Sequence[Signal], rejections: Sequence[Rejection], body: bytes
    ) -> IntakeResult:
        self.signals += signals
        return await self.intake.submit(sensor, signals, rejections, body)

    async def enforce(self, result: IntakeResult, ended: tuple[Session, ...]) -> object:
        if self.is_failing:
            raise NotEnforced("a worker is stuck")
        self.enforced.append((*sorted(result.changed), *(each.user.subject for each in ended)))
        return None

    def sessions_on(self, device: str) -> frozenset[str]:
        return frozenset(
            session.id
            for session in self.sessions
            if any(each.identifier.value == device for each in session.devices)
        )

    async def sign_in_ended(self, issuer: str, subject: str, sid: str | None) -> None:
        self.ended_sign_ins.append((issuer, subject, sid))

    # --- what tests do -------------------------------------------------------------------------------------

    async def sign_in(self, subject: str, *, device: str = "", issuer: str = ISSUER, **more: Any) -> Session:
        """Begin a session; its provider session is `sid-<subject>` unless told otherwise."""
        email = more.pop("email", f"{subject}@corp.example")
        user = User(
            provider=more.pop("provider", "corp"),
            issuer=issuer,
            subject=subject,
            email=email,
            names=frozenset({subject, email}),
            groups=frozenset(more.pop("groups", ())),
            claims=more.pop("claims", {}),
        )
        devices = (ClaimedDevice("device_id", Identifier("serial", device)),) if device else ()
        facts = {"provider_sid": f"sid-{subject}", "id_token": None, **more}
        return await self.sessions.create(SignInFacts(user=user, devices=devices, **facts))

    def signed_in(self) -> list[str]:
        return sorted(session.user.subject for session in self.sessions)

    async def receiver(self, transmitter: Transmitter, **changes: Any) -> Receiver:
        """Start a receiver of this transmitter in place of the one before; static and pushed unless told otherwise."""
        if "idp" in self.receivers:
            await self.receivers["idp"].stop()
        settings = {
            "name": "idp",
            "issuer": transmitter.issuer,
            "stream": "static",
            "audience": (transmitter.audience,),
            "secrets": (Secret(SECRET),),
            **changes,
        }
        made = Receiver(
            SignalReceiver(**settings),
            self.applier,
            self.store,
            push_url=f"{self.url}/.gate/ssf/idp",
            clock=self.clock.now,
            mono=self.clock.mono,
            observe=self.observed.append,
            sleep=more_sleep(changes.get("delivery")),
        )
        await made.start()
        self.receivers["idp"] = made
        return made

    async def push(
        self, token: str | bytes, *, authorization: str = f"Bearer {SECRET}", **options: Any
    ) -> tuple[int, str]:
        return await push(f"{self.url}/.gate/ssf/idp", token, authorization, **options)


def more_sleep(delivery: str | None) -> Callable[[float], Any]:
    """Return a sleep that is shorter than it says, for loops that would wait for the world outside."""

    async def sleep(seconds: float) -> None:
        await asyncio.sleep(min(seconds, 0.05) if delivery == "poll" else seconds)

    return sleep


@asynccontextmanager
async def running_world(clock: Clock | None = None) -> AsyncIterator[World]:
    """Run the parts until the block ends."""
    schemas = {"risk": risk_tables.SCHEMA, "sessions": session_tables.SCHEMA, "shared-signals": tables.SCHEMA}
    database = Database(":memory:", schemas)
    database.start()
    world = World(clock or Clock(), database)
    await world.intake.start()
    endpoint = PushEndpoint(
        lambda: world.receivers, is_login_host=lambda _: True, observe=world.observed.append
    )
    app = web.Application()
    app.router.add_route("*", "/.gate/ssf/{receiver}", endpoint.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    world.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield world
    finally:
        for receiver in world.receivers.values():
            await receiver.stop()
        await runner.cleanup()
        await world.intake.stop()
        database.close()
