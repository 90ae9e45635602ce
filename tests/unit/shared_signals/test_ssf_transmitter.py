"""The gateway as a transmitter, in front of a receiver that was written from the specifications alone."""

import asyncio
import random
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest

from compliance.model import CompliancePolicy, ComplianceState, RiskRule, User
from gateway.config.schema import App, Config, Provider
from gateway.config.shared_signals import SharedSignals, SignalSubscriber, SignalTransmitter
from gateway.decision.judge import Interpretation
from gateway.localised import LocalisedTexts, RuleTexts
from gateway.sessions.model import Session, SessionId
from gateway.sessions.seal import Sealer
from gateway.shared_signals import received as tables
from gateway.shared_signals.administration import Administration, Request
from gateway.shared_signals.figures import Figures
from gateway.shared_signals.outbox import Overtaken, Status
from gateway.shared_signals.transmitter import Transmitter
from risk.database import Database
from risk.folding import fold
from risk.model import DeviceId, Identifier, Posture, RiskLevel, SensorRules, Severity, Signal, SignalType
from risk.snapshot import RiskState
from risk.users import is_user_id, user_record_id
from risk.values import Secret
from tests.op.gate import Clock, seeded
from tests.ssf.receiver import EVENTS, POLL, PUSH, ForeignReceiver, running_receiver

TOKEN, OTHER = "token-of-the-first-party", "token-of-the-other-party"
MALICE = "c0ffee"


class Gateway:
    """A transmitter on real storage, behind a real server; `told` is what its sensors say."""

    def __init__(self, clock: Clock, database: Database) -> None:
        self.clock = clock
        self.database = database
        self.state = RiskState()
        self.slept: list[float] = []
        self.policies: tuple[CompliancePolicy, ...] = ()
        self.texts = LocalisedTexts()
        self.url = ""
        self.transmitter = Transmitter(
            database,
            Sealer([b"k" * 32], seeded(3)),
            posture=lambda each: (
                self.state.user_record(each) if is_user_id(each) else self.state.posture(each)
            ),
            device_ids=self.state.device_ids,
            interpretation=lambda: Interpretation(
                sensors={name: SensorRules(name=name) for name in ("edr", "mdm", "peer")},
                policies=self.policies,
                uncovered=ComplianceState.COMPLIANT,
            ),
            texts=lambda: self.texts,
            is_login_host=lambda _: True,
            clock=clock.now,
            make_id=lambda: seeded_ids(16).hex(),
            mono=clock.mono,
            sleep=self.sleep,
        )
        self.registry = CollectorRegistry()
        self.registry.register(Figures({}, self.transmitter))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def config(self, port: int, **changes: Any) -> Config:
        parties = changes.pop("receivers", None) or (
            SignalSubscriber(name="siem", tokens=(Secret(TOKEN),), endpoints=("http://127.0.0.1/",)),
            SignalSubscriber(
                name="other", tokens=(Secret(OTHER),), access="read", audience="https://o.example"
            ),
        )
        parties = tuple(
            msgspec.structs.replace(each, endpoints=(f"http://127.0.0.1:{port}/",))
            if each.endpoints
            else each
            for each in parties
        )
        return Config(
            public_url=self.url,
            providers=(Provider(name="corp", issuer="https://idp.example", client_id="g"),),
            apps=(App(name="a", host="a.example", upstream="http://127.0.0.1:1"),),
            shared_signals=SharedSignals(transmitter=SignalTransmitter(receivers=parties, **changes)),
        )

    def tell(
        self,
        level: Severity | None,
        *,
        serial: str = "SER-1",
        sensor: str = "edr",
        expires_in_s: float | None = None,
    ) -> DeviceId:
        """Let a sensor say something of a device; None closes what it said."""
        self.clock.advance(1)
        identifiers = (Identifier("hostname", f"host-{serial.lower()}"), Identifier("serial", serial.lower()))
        device_id = self.state.resolve(identifiers) or DeviceId(f"dev_{serial.lower()}")
        posture = self.state.posture(device_id) or Posture(
            device_id=device_id, identifiers=identifiers, name=serial
        )
        expires_at = None if expires_in_s is None else self.clock.now() + timedelta(seconds=expires_in_s)
        signal = self._signal(level, sensor=sensor, device_ids=identifiers, expires_at=expires_at)
        self.state.put(fold(posture, signal))
        self.transmitter.look([device_id])
        return device_id

    def _signal(self, level: Severity | None, *, sensor: str = "edr", **about: Any) -> Signal:
        return Signal(
            sensor=sensor,
            type=SignalType.DETECTION,
            observed_at=self.clock.now(),
            received_at=self.clock.now(),
            external_id=MALICE,
            event_id=str(self.clock.now()),
            level=level,
            title="Credential stealer",
            resolves=level is None,
            **about,
        )

    def tell_user(self, identifier: Identifier, level: Severity | None) -> None:
        """Let a sensor say something of a user by this identifier alone."""
        self.clock.advance(1)
        user_id = user_record_id(identifier)
        assert user_id is not None
        before = self.state.user_record(user_id) or Posture(device_id=user_id, identifiers=(identifier,))
        self.state.put_user(fold(before, self._signal(level, user_ids=(identifier,))))
        self.transmitter.look([user_id])


seeded_ids = seeded(4)


@asynccontextmanager
async def running_gateway(
    path: Path | str = ":memory:", clock: Clock | None = None
) -> AsyncIterator[Gateway]:
    database = Database(path, {"shared-signals": tables.SCHEMA})
    database.start()
    gateway = Gateway(clock or Clock(), database)
    app = web.Application()
    app.router.add_routes(gateway.transmitter.routes())
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield gateway
    finally:
        await gateway.transmitter.stop()
        await runner.cleanup()
        database.close()


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    async with running_gateway() as made:
        yield made


@pytest.fixture
async def siem(gateway: Gateway) -> AsyncIterator[ForeignReceiver]:
    async with running_receiver(gateway.url, TOKEN) as made:
        await gateway.transmitter.configure(gateway.config(port_of(made)))
        yield made


def port_of(receiver: ForeignReceiver) -> int:
    return int(receiver.push_url.rpartition(":")[2].partition("/")[0])


# --- what is told -----------------------------------------------------------------------------------------


async def test_metadata_follows_the_profile(siem: ForeignReceiver) -> None:
    """M3, section 9: what the CAEP interoperability profile requires of the metadata."""
    metadata = await siem.metadata()
    assert metadata["spec_version"] == "1_0"
    assert metadata["delivery_methods_supported"] == [PUSH, POLL]
    assert {"urn:ietf:rfc:6749"} <= {each["spec_urn"] for each in metadata["authorization_schemes"]}
    for name in ("configuration", "status", "verification", "add_subject", "remove_subject"):
        assert metadata[f"{name}_endpoint"].startswith(siem.base)
    async with siem.http.get(metadata["jwks_uri"]) as response:
        keys = (await response.json(content_type=None))["keys"]
        assert "max-age" in response.headers["Cache-Control"]
    assert [(key["kty"], key["alg"], key["use"]) for key in keys] == [("RSA", "RS256", "sig")]
    assert "d" not in keys[0]


async def test_pushed_changes_of_a_device(gateway: Gateway, siem: ForeignReceiver) -> None:
    """C6: only transitions are told, with their reasons; the authorization is the receiver's own."""
    await siem.subscribe()
    gateway.tell(Severity.HIGH)
    await siem.until(1)
    ((_, claims),) = siem.seen
    assert claims["sub_id"] == {"format": "complex", "device": {"format": "opaque", "id": "ser-1"}}
    event = claims["events"][EVENTS + "risk-level-change"]
    assert (event["principal"], event["previous_level"], event["current_level"]) == ("DEVICE", "LOW", "HIGH")
    assert event["initiating_entity"] == "policy"
    assert event["reason_admin"] == {"en": "Credential stealer (edr)"}
    assert (claims["aud"], bool(claims["txn"])) == ("siem", True)
    assert siem.headers[0]["Authorization"] == "Bearer what-we-want-to-see"
    for _ in range(5):
        gateway.tell(Severity.CRITICAL)
    gateway.tell(Severity.MEDIUM)
    gateway.tell(None)
    await siem.until(2)
    levels = [each["events"][EVENTS + "risk-level-change"]["current_level"] for _, each in siem.seen]
    assert levels[0] == "HIGH"
    assert levels[-1] == "LOW"


async def test_people_are_told_in_every_language_of_the_rule(gateway: Gateway, siem: ForeignReceiver) -> None:
    """CAEP 1.0 section 2: `reason_user` is by language tag; the texts of sensors are for administrators alone."""
    threat = RiskRule(name="threat", max=RiskLevel.LOW, title="No threat")
    gateway.policies = (CompliancePolicy(name="laptop", rules=(threat,)),)
    title = {"en": "No threat", "de": "Keine Gefahr"}
    gateway.texts = LocalisedTexts(rules={"laptop/threat": RuleTexts(title=title)})
    await siem.subscribe()
    gateway.tell(Severity.HIGH)
    await siem.until(2)
    gateway.tell(None)
    await siem.until(4)
    events = [event for _, claims in siem.seen for event in claims["events"].values()]
    assert [each.get("reason_user") for each in events] == [title, title, None, None]
    assert events[0]["reason_admin"] == {"en": "Credential stealer (edr); No threat"}


async def test_a_new_stream_is_told_of_what_is_not_well(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Nothing of the devices that are well."""
    gateway.tell(Severity.HIGH, serial="BAD-1")
    gateway.tell(Severity.LOW, serial="GOOD-1")
    await siem.subscribe()
    await siem.until(1)
    gateway.tell(Severity.HIGH, serial="BAD-2")
    await siem.until(2)
    assert [each["sub_id"]["device"]["id"] for _, each in siem.seen] == ["bad-1", "bad-2"]


async def test_what_a_party_told_us_is_not_told_back(gateway: Gateway, siem: ForeignReceiver) -> None:
    """C7: two gateways that hear each other settle, and a level that both hold can fall again."""
    party = SignalSubscriber(name="siem", tokens=(Secret(TOKEN),), endpoints=("http://x/",), peer="peer")
    await gateway.transmitter.configure(gateway.config(port_of(siem), receivers=(party,)))
    await siem.subscribe()
    gateway.tell(Severity.HIGH, sensor="peer")
    gateway.tell(Severity.MEDIUM, sensor="edr")
    await siem.until(1)
    gateway.tell(None, sensor="edr")
    await siem.until(2)
    levels = [each["events"][EVENTS + "risk-level-change"]["current_level"] for _, each in siem.seen]
    assert levels == ["MEDIUM", "LOW"]


async def test_time_alone_changes_what_is_told(gateway: Gateway, siem: ForeignReceiver) -> None:
    """A finding that expires is told as gone without any word of a sensor."""
    await siem.subscribe()
    gateway.tell(Severity.HIGH, expires_in_s=30)
    await siem.until(1)
    gateway.clock.advance(31)
    gateway.tell(Severity.LOW, serial="SER-2")
    await siem.until(2)
    assert [each["sub_id"]["device"]["id"] for _, each in siem.seen] == ["ser-1", "ser-1"]
    assert siem.seen[1][1]["events"][EVENTS + "risk-level-change"]["current_level"] == "LOW"


async def test_the_risk_of_a_user(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Principal USER, by the identifier of the record; one that means nothing elsewhere is not told."""
    await siem.subscribe()
    for identifier in (
        Identifier("okta-user-id", "00u1"),
        Identifier("email", "alice@corp.example"),
        Identifier("iss-sub", "alice", "https://idp.example"),
    ):
        gateway.tell_user(identifier, Severity.HIGH)
    await siem.until(2)
    assert [each["sub_id"]["user"] for _, each in siem.seen] == [
        {"format": "email", "email": "alice@corp.example"},
        {"format": "iss_sub", "iss": "https://idp.example", "sub": "alice"},
    ]
    event = siem.seen[0][1]["events"][EVENTS + "risk-level-change"]
    assert (event["principal"], event["previous_level"], event["current_level"]) == ("USER", "LOW", "HIGH")
    gateway.tell_user(Identifier("email", "alice@corp.example"), None)
    await siem.until(3)
    assert siem.seen[-1][1]["events"][EVENTS + "risk-level-change"]["current_level"] == "LOW"


async def test_ended_sessions(gateway: Gateway, siem: ForeignReceiver) -> None:
    """A whole person, or one session by the provider's id; not to the party that told us."""
    await siem.subscribe(events_requested=[EVENTS + "session-revoked", "https://vendor.example/x"])
    session = session_of(gateway)
    await gateway.transmitter.sessions_ended([session], by="admin", reason="left", is_whole_user=True)
    await gateway.transmitter.sessions_ended([session], by="system", reason="")
    await siem.until(2)
    user = {"format": "iss_sub", "iss": "https://idp.example", "sub": "alice"}
    assert [each["sub_id"] for _, each in siem.seen] == [
        {"format": "complex", "user": user},
        {"format": "complex", "user": user, "session": {"format": "opaque", "id": "sid-alice"}},
    ]
    assert all(each["events"][EVENTS + "session-revoked"]["reason_admin"]["en"] for _, each in siem.seen)


async def test_simple_subjects(gateway: Gateway, siem: ForeignReceiver) -> None:
    """N6: for receivers that know no complex subjects."""
    party = SignalSubscriber(
        name="siem", tokens=(Secret(TOKEN),), endpoints=("http://x/",), simple_subjects=True
    )
    await gateway.transmitter.configure(gateway.config(port_of(siem), receivers=(party,)))
    await siem.subscribe()
    gateway.tell(Severity.HIGH)
    await gateway.transmitter.sessions_ended([session_of(gateway)], by="admin", reason="left")
    await siem.until(2)
    assert sorted(each["sub_id"]["format"] for _, each in siem.seen) == ["iss_sub", "opaque"]


# --- delivery ---------------------------------------------------------------------------------------------


async def test_retries_keep_the_order_and_a_refusal_is_final(gateway: Gateway, siem: ForeignReceiver) -> None:
    """P6: 503, 429 and 500 are tried again, ever more slowly; 400 ends the matter."""
    await siem.subscribe()
    siem.answers = [503, 429, 500, 202, 400, 202]
    for at in range(3):
        await gateway.transmitter.sessions_ended([session_of(gateway, f"user-{at}")], by="admin", reason="x")
    await siem.until(2)
    users = [(status, claims["sub_id"]["user"]["sub"]) for status, claims in siem.seen]
    assert users == [
        (503, "user-0"),
        (429, "user-0"),
        (500, "user-0"),
        (202, "user-0"),
        (400, "user-1"),
        (202, "user-2"),
    ]
    assert len({claims["jti"] for _, claims in siem.seen}) == 3
    assert gateway.slept == sorted(gateway.slept)
    async with asyncio.timeout(60):
        while (status := (await gateway.transmitter.statuses())[0]).waiting:  # noqa: ASYNC110 - another task settles it
            await asyncio.sleep(0.01)
    assert (status.sender.sent, status.sender.refused) == (2, 1)


async def test_an_event_is_kept_while_its_sender_is_refused(gateway: Gateway, siem: ForeignReceiver) -> None:
    """RFC 8935 section 2.4: these codes speak of us, not of the token; a secret that was changed loses nothing."""
    await siem.subscribe()
    siem.answers, siem.error = [400, 400], "authentication_failed"
    await gateway.transmitter.sessions_ended([session_of(gateway)], by="admin", reason="x")
    await siem.until(1)
    assert [status for status, _ in siem.seen] == [400, 400, 202]
    assert len({claims["jti"] for _, claims in siem.seen}) == 1


async def ended(gateway: Gateway, *people: str) -> None:
    """End a session of each of these people: one event each."""
    for each in people:
        await gateway.transmitter.sessions_ended([session_of(gateway, each)], by="admin", reason="x")


def people_of(siem: ForeignReceiver) -> list[str]:
    """Return whom the events are about that were pushed, in their order; "" where about nobody."""
    return [claims["sub_id"].get("user", {}).get("sub", "") for _, claims in siem.seen]


async def test_pausing_and_enabling_pushes_nothing_twice(gateway: Gateway, siem: ForeignReceiver) -> None:
    """What is under way is waited for by what follows, and not by the receiver, who may ask while it takes an event."""
    stream = await siem.subscribe()
    siem.may_answer.clear()
    await ended(gateway, "one", "two")
    await until(lambda: siem.seen)
    for status in ("paused", "enabled", "paused", "enabled"):
        await set_status(siem, stream, status)
    siem.may_answer.set()
    await ended(gateway, "three")
    await siem.until(3)
    assert people_of(siem) == ["one", "two", "three"]
    await until(lambda: not gateway.transmitter.backlog()["siem"])


async def test_a_reload_pushes_nothing_twice(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Also where the receiver changes its stream at the same time: one sender is left, not two."""
    stream = await siem.subscribe()
    siem.may_answer.clear()
    await ended(gateway, "one", "two")
    await until(lambda: siem.seen)
    config = gateway.config(port_of(siem))
    await asyncio.gather(
        gateway.transmitter.configure(config),
        set_status(siem, stream, "enabled"),
        gateway.transmitter.configure(config),
    )
    siem.may_answer.set()
    await siem.until(2)
    await ended(gateway, "three", "four")
    await siem.until(4)
    await until(lambda: not gateway.transmitter.backlog()["siem"])
    assert people_of(siem) == ["one", "two", "three", "four"]


async def test_after_a_pause_nothing_more_is_begun(gateway: Gateway, siem: ForeignReceiver) -> None:
    await siem.subscribe()
    siem.may_answer.clear()
    await ended(gateway, "one", "two")
    await until(lambda: siem.seen)
    await gateway.transmitter.set_status("siem", "paused", "maintenance")
    siem.may_answer.set()
    await siem.until(2)
    assert people_of(siem) == ["one", ""]
    await gateway.transmitter.set_status("siem", "enabled", "")
    await siem.until(4)
    assert people_of(siem) == ["one", "", "two", ""]


async def test_the_end_waits_for_the_answer_to_what_was_pushed(tmp_path: Path) -> None:
    """An orderly restart sends nothing again that its receiver has answered."""
    clock = Clock()
    async with (
        running_gateway(tmp_path / "state.db", clock) as first,
        running_receiver(first.url, TOKEN) as siem,
    ):
        await first.transmitter.configure(first.config(port_of(siem)))
        await siem.subscribe()
        siem.may_answer.clear()
        await ended(first, "one", "two")
        await until(lambda: siem.seen)
        ending = asyncio.create_task(first.transmitter.stop())
        await asyncio.sleep(0)
        siem.may_answer.set()
        await ending
        assert people_of(siem) == ["one"]
        (stream,) = await first.transmitter._store.streams()
        waiting = await first.transmitter._store.waiting(stream, 9)
        assert [b"two" in each.claims for each in waiting] == [True]


async def test_an_answer_that_cannot_be_noted_is_noted_later(tmp_path: Path) -> None:
    """While the store cannot be written, an event that its receiver has is not pushed again, and holds up the rest."""
    path = tmp_path / "state.db"
    async with running_gateway(path) as gateway, running_receiver(gateway.url, TOKEN) as siem:
        await gateway.transmitter.configure(gateway.config(port_of(siem)))
        stream = await siem.subscribe()
        await gateway.database.write(lambda connection: connection.execute("PRAGMA busy_timeout = 0"))
        siem.may_answer.clear()
        await ended(gateway, "one", "two")
        await until(lambda: siem.seen)
        with closing(sqlite3.connect(path, isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            siem.may_answer.set()
            await until(lambda: len(gateway.slept) > 1)
        await set_status(siem, stream, "paused")
        await set_status(siem, stream, "enabled")
        await siem.until(2)
        await until(lambda: not gateway.transmitter.backlog()["siem"])
        assert people_of(siem) == ["one", "two"]


async def test_an_event_that_is_not_answered_is_pushed_again(gateway: Gateway, siem: ForeignReceiver) -> None:
    """At least once: the receiver may have it or not."""
    await siem.subscribe()
    siem.is_breaking_off = True
    await ended(gateway, "one")
    await until(lambda: len(siem.seen) > 1)
    siem.is_breaking_off = False
    await until(lambda: not gateway.transmitter.backlog()["siem"])
    assert {claims["jti"] for _, claims in siem.seen} == {siem.seen[0][1]["jti"]}


async def delivered_by(siem: ForeignReceiver, stream: dict[str, Any], method: str) -> dict[str, Any]:
    """Change how a stream is delivered, and return it as it is then."""
    delivery = {"method": method, **({"endpoint_url": siem.push_url} if method == PUSH else {})}
    wanted = {"stream_id": stream["stream_id"], "delivery": delivery}
    status, changed = await siem.call("PATCH", "/.gate/signals/streams", wanted)
    assert (status, changed["delivery"]["method"]) == (200, method)
    return changed


def people_polled(found: dict[str, dict[str, Any]]) -> list[str]:
    return [claims["sub_id"]["user"]["sub"] for claims in found.values()]


async def test_what_is_being_pushed_is_given_to_no_poll(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Its answer says who has it; those behind it wait for that, and a poll that waits hears of them at once."""
    stream = await siem.subscribe()
    siem.may_answer.clear()
    await ended(gateway, "one", "two")
    await until(lambda: siem.seen)
    polled = await delivered_by(siem, stream, POLL)
    assert await siem.poll(polled) == {}
    waiting = asyncio.create_task(siem.poll(polled, returnImmediately=False))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    siem.may_answer.set()
    async with asyncio.timeout(5):
        found = await waiting
    assert people_polled(found) == ["two"]
    assert people_of(siem) == ["one"]
    assert await siem.poll(polled, ack=list(found)) == {}
    assert gateway.transmitter.backlog()["siem"] == 0


async def test_what_was_pushed_without_an_answer_is_given_to_the_next_poll(
    gateway: Gateway, siem: ForeignReceiver
) -> None:
    stream = await siem.subscribe()
    siem.may_answer.clear()
    siem.is_breaking_off = True
    await ended(gateway, "one", "two")
    await until(lambda: siem.seen)
    polled = await delivered_by(siem, stream, POLL)
    waiting = asyncio.create_task(siem.poll(polled, returnImmediately=False))
    await asyncio.sleep(0.05)
    siem.may_answer.set()
    async with asyncio.timeout(5):
        assert people_polled(await waiting) == ["one", "two"]
    assert people_of(siem) == ["one"]


async def test_an_answer_that_could_not_be_noted_keeps_the_event_from_polls(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    async with running_gateway(path) as gateway, running_receiver(gateway.url, TOKEN) as siem:
        await gateway.transmitter.configure(gateway.config(port_of(siem)))
        stream = await siem.subscribe()
        await gateway.database.write(lambda connection: connection.execute("PRAGMA busy_timeout = 0"))
        siem.may_answer.clear()
        await ended(gateway, "one", "two")
        await until(lambda: siem.seen)
        polled = await delivered_by(siem, stream, POLL)
        with closing(sqlite3.connect(path, isolation_level=None)) as somebody:
            somebody.execute("BEGIN IMMEDIATE")
            siem.may_answer.set()
            where = polled["delivery"]["endpoint_url"].removeprefix(siem.base)
            wanted = {"returnImmediately": True}
            async with asyncio.timeout(10):
                while (await siem.call("POST", where, wanted))[0] == 200:  # noqa: ASYNC110 - until the push has ended
                    await asyncio.sleep(0.01)
            assert (await siem.call("POST", where, wanted))[0] == 503
        assert people_polled(await siem.poll(polled)) == ["two"]
        assert people_of(siem) == ["one"]


async def test_a_poll_that_waits_is_given_nothing_of_a_stream_that_is_pushed_by_then(
    gateway: Gateway, siem: ForeignReceiver
) -> None:
    polled = await siem.subscribe(POLL)
    waiting = asyncio.create_task(siem.poll(polled, returnImmediately=False))
    await asyncio.sleep(0.1)
    await delivered_by(siem, polled, PUSH)
    await ended(gateway, "one")
    await siem.until(1)
    await until(lambda: not gateway.transmitter.backlog()["siem"])
    gateway.clock.advance(60)
    await ended(gateway, "two")
    await siem.until(2)
    async with asyncio.timeout(15):
        assert await waiting == {}
    assert people_of(siem) == ["one", "two"]


async def test_events_that_nobody_transmits_are_shown_and_never_sent(
    gateway: Gateway, siem: ForeignReceiver
) -> None:
    stream = await siem.subscribe(POLL, events_requested=["https://vendor.example/x"])
    assert (stream["events_requested"], stream["events_delivered"]) == (["https://vendor.example/x"], [])
    await gateway.transmitter.sessions_ended([session_of(gateway)], by="admin", reason="x")
    assert await siem.poll(stream) == {}


@pytest.mark.parametrize("method", [PUSH, POLL])
@pytest.mark.parametrize("status", ["paused", "disabled"])
async def test_an_operator_stops_a_stream_and_its_receiver_is_told(
    gateway: Gateway, siem: ForeignReceiver, method: str, status: Status
) -> None:
    """SSF 1.0 section 8.1.5: the event comes although the stream is stopped, and nothing else does."""
    stream = await siem.subscribe(method)
    await gateway.transmitter.set_status("siem", status, "maintenance")
    await gateway.transmitter.sessions_ended([session_of(gateway)], by="admin", reason="x")
    heard = [await siem.next(stream)]
    assert heard[0]["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
    where = f"/.gate/signals/status?stream_id={stream['stream_id']}"
    shown = {"stream_id": stream["stream_id"], "status": status, "reason": "maintenance"}
    assert await siem.call("GET", where) == (200, shown)
    wanted = {"stream_id": stream["stream_id"], "status": "enabled"}
    assert (await siem.call("POST", "/.gate/signals/status", wanted))[0] == 403
    await gateway.transmitter.set_status("siem", "enabled", "")
    heard += [await siem.next(stream) for _ in range(2 if status == "paused" else 1)]
    base = "https://schemas.openid.net/secevent/ssf/event-type/stream-updated"
    told = [each["events"][base] for each in heard if base in each["events"]]
    assert told == [{"status": status, "reason": "maintenance"}, {"status": "enabled"}]
    assert len(heard) - len(told) == (status == "paused")
    with pytest.raises(LookupError):
        await gateway.transmitter.set_status("nobody", "paused", "")


async def test_two_requests_at_once_make_one_stream(gateway: Gateway, siem: ForeignReceiver) -> None:
    body = {"delivery": {"method": POLL}}
    answers = await asyncio.gather(*(siem.call("POST", "/.gate/signals/streams", body) for _ in range(4)))
    assert sorted(status for status, _ in answers) == [201, 409, 409, 409]
    assert len(await gateway.transmitter._store.streams()) == 1


async def test_what_a_receiver_saw_before_undoes_no_hold(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Nor does it bring back a stream that was deleted meanwhile."""
    stream = await siem.subscribe(POLL)
    seen = gateway.transmitter.of_party("siem")
    assert seen is not None
    await gateway.transmitter.set_status("siem", "paused", "maintenance")
    with pytest.raises(Overtaken):
        await gateway.transmitter.put(msgspec.structs.replace(seen, status="enabled"), of=seen)
    held = gateway.transmitter.of_party("siem")
    assert held is not None
    assert (held.status, held.is_held) == ("paused", True)
    await siem.call("DELETE", f"/.gate/signals/streams?stream_id={stream['stream_id']}")
    with pytest.raises(Overtaken):
        await gateway.transmitter.put(held, of=held)
    assert gateway.transmitter.of_party("siem") is None


async def test_a_command_for_the_other_side_says_how_it_is_meant(
    gateway: Gateway, siem: ForeignReceiver
) -> None:
    await siem.subscribe()
    administration = Administration({}, gateway.transmitter)
    answer = await administration._answer(Request(action="pause", name="siem", reason="audit"))
    assert answer.fault.endswith("known: none; `--ours` means the stream that `siem` has here")


async def test_what_waits_survives_a_restart(tmp_path: Path) -> None:
    """The outbox, the stream with its secret, the signing key and what was told are on disk."""
    clock = Clock()
    async with (
        running_gateway(tmp_path / "state.db", clock) as first,
        running_receiver(first.url, TOKEN) as siem,
    ):
        await first.transmitter.configure(first.config(port_of(siem)))
        siem.answers = [503] * 10_000
        await siem.subscribe()
        kids = [key["kid"] for key in first.transmitter.jwks()["keys"]]
        first.tell(Severity.HIGH)
        await until(lambda: siem.seen)
        await first.transmitter.stop()
    async with (
        running_gateway(tmp_path / "state.db", clock) as second,
        running_receiver(second.url, TOKEN) as siem,
    ):
        siem.former_issuers.add(first.url)
        (stream,) = await second.transmitter._store.streams()
        moved = msgspec.structs.replace(stream, endpoint_url=siem.push_url)
        await second.transmitter._store.put_stream(moved)
        second.tell(Severity.HIGH)
        await second.transmitter.configure(second.config(port_of(siem)))
        await siem.until(1)
        assert siem.headers[0]["Authorization"] == "Bearer what-we-want-to-see"
        assert [key["kid"] for key in second.transmitter.jwks()["keys"]] == kids
        second.tell(None)
        await siem.until(2)
        assert siem.names() == ["risk-level-change"] * 2


async def test_a_full_outbox_drops_the_oldest(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Bounded: the newest state is what counts."""
    await gateway.transmitter.configure(gateway.config(port_of(siem), most=3))
    stream = await siem.subscribe(POLL)
    for at in range(5):
        await gateway.transmitter.sessions_ended([session_of(gateway, f"user-{at}")], by="admin", reason="x")
    found = await siem.poll(stream)
    assert [each["sub_id"]["user"]["sub"] for each in found.values()] == ["user-2", "user-3", "user-4"]
    figures = generate_latest(gateway.registry).decode()
    assert 'posturegate_ssf_waiting_events{subscriber="siem"} 3.0' in figures
    assert "posturegate_ssf_dropped_events_total 2.0" in figures


async def test_polling(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Q4: kept until acknowledged, not given twice at once, `maxEvents`, ack-only, errors, long poll."""
    stream = await siem.subscribe(POLL)
    assert await siem.poll(stream) == {}
    for at in range(3):
        await gateway.transmitter.sessions_ended([session_of(gateway, f"user-{at}")], by="admin", reason="x")
    first = await siem.poll(stream, maxEvents=2)
    assert len(first) == 2
    rest = await siem.poll(stream)
    assert len(rest) == 1
    assert await siem.poll(stream) == {}
    gateway.clock.advance(60)
    again = await siem.poll(stream)
    assert list(again) == [*first, *rest]
    one, two, three = again
    assert (
        await siem.poll(stream, maxEvents=0, ack=[one], setErrs={two: {"err": "x", "description": "y"}}) == {}
    )
    gateway.clock.advance(60)
    assert list(await siem.poll(stream)) == [three]
    assert gateway.transmitter.backlog() == {"siem": 1}
    assert await siem.poll(stream, ack=[three, "unknown"]) == {}
    assert gateway.transmitter.backlog() == {"siem": 0}
    waiting = asyncio.create_task(siem.poll(stream, returnImmediately=False))
    await asyncio.sleep(0)
    gateway.tell(Severity.HIGH)
    assert len(await asyncio.wait_for(waiting, 60)) == 1


async def test_paused_holds_and_disabled_forgets(gateway: Gateway, siem: ForeignReceiver) -> None:
    """S5: the order is kept; a disabled stream is told of the present when it is enabled again."""
    stream = await siem.subscribe()
    await set_status(siem, stream, "paused")
    for at in range(3):
        await gateway.transmitter.sessions_ended([session_of(gateway, f"user-{at}")], by="admin", reason="x")
    assert siem.seen == []
    await set_status(siem, stream, "enabled")
    await siem.until(3)
    assert [each["sub_id"]["user"]["sub"] for _, each in siem.seen] == ["user-0", "user-1", "user-2"]
    await set_status(siem, stream, "disabled")
    await gateway.transmitter.sessions_ended([session_of(gateway)], by="admin", reason="x")
    gateway.tell(Severity.HIGH)
    await set_status(siem, stream, "enabled")
    await siem.until(4)
    assert siem.names()[3:] == ["risk-level-change"]


async def test_subject_filters(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Streams of everybody without those removed, and of nobody but those added; by any name of the device."""
    stream = await siem.subscribe(POLL)
    body = {"stream_id": stream["stream_id"], "subject": {"format": "opaque", "id": "host-ser-1"}}
    assert (await siem.call("POST", "/.gate/signals/subjects/remove", body))[0] == 204
    gateway.tell(Severity.HIGH)
    gateway.tell(Severity.HIGH, serial="SER-2")
    assert await polled_devices(siem, stream, 1) == ["ser-2"]

    await gateway.transmitter.configure(gateway.config(port_of(siem), subjects="none"))
    assert (await siem.metadata())["default_subjects"] == "NONE"
    added = {"format": "complex", "device": {"format": "opaque", "id": "ser-3"}}
    body = {"stream_id": stream["stream_id"], "subject": added, "verified": True}
    assert (await siem.call("POST", "/.gate/signals/subjects/add", body))[0] == 200
    for serial in ("SER-3", "SER-4"):
        gateway.tell(Severity.HIGH, serial=serial)
    assert await polled_devices(siem, stream, 1) == ["ser-3"]
    # Who is added later is told of at once, with what was kept out before.
    body = {"stream_id": stream["stream_id"], "subject": {"format": "opaque", "id": "ser-4"}}
    assert (await siem.call("POST", "/.gate/signals/subjects/add", body))[0] == 200
    assert await polled_devices(siem, stream, 1) == ["ser-4"]


async def test_a_stream_may_be_named_in_the_address(siem: ForeignReceiver) -> None:
    """Receivers exist that say it there throughout; what the body says comes first, and another's is not found."""
    stream = await siem.subscribe(POLL)
    at = f"?stream_id={stream['stream_id']}"
    subject = {"subject": {"format": "opaque", "id": "ser-1"}}
    calls = [
        ("PATCH", f"/.gate/signals/streams{at}", {"description": "by address"}, 200),
        ("POST", f"/.gate/signals/status{at}", {"status": "paused"}, 200),
        ("POST", f"/.gate/signals/status{at}", {"status": "enabled"}, 200),
        ("POST", f"/.gate/signals/subjects/add{at}", subject, 200),
        ("POST", f"/.gate/signals/subjects/remove{at}", subject, 204),
        ("POST", f"/.gate/signals/verify{at}", {"state": "abc"}, 204),
        ("POST", f"/.gate/signals/status{at}", {"stream_id": "str_other", "status": "paused"}, 404),
        ("POST", "/.gate/signals/status", {"status": "paused"}, 400),
    ]
    for method, path, body, expected in calls:
        assert (await siem.call(method, path, body))[0] == expected, path
    (claims,) = (await siem.poll(stream)).values()
    assert list(claims["events"].values()) == [{"state": "abc"}]


async def test_verification(gateway: Gateway, siem: ForeignReceiver) -> None:
    """W4: the state comes back by the stream's own method; too often is 429."""
    stream = await siem.subscribe()
    body = {"stream_id": stream["stream_id"], "state": "VGhpcyBpcyBhIHRlc3Q"}
    assert (await siem.call("POST", "/.gate/signals/verify", body))[0] == 204
    await siem.until(1)
    claims = siem.seen[0][1]
    assert list(claims["events"].values()) == [{"state": "VGhpcyBpcyBhIHRlc3Q"}]
    assert claims["sub_id"] == {"format": "opaque", "id": stream["stream_id"]}
    assert (await siem.call("POST", "/.gate/signals/verify", body))[0] == 429
    gateway.clock.advance(61)
    assert (await siem.call("POST", "/.gate/signals/verify", {"stream_id": stream["stream_id"]}))[0] == 204
    await siem.until(2)
    assert list(siem.seen[1][1]["events"].values()) == [{}]


async def test_keys_rotate_without_a_gap(gateway: Gateway, siem: ForeignReceiver) -> None:
    """A new key is published before it signs; the old one stays until nothing it signed can still be checked."""
    await siem.subscribe()
    old = gateway.transmitter.jwks()["keys"][0]["kid"]
    gateway.clock.advance(timedelta(days=91).total_seconds())
    await gateway.transmitter.upkeep()
    new = next(key["kid"] for key in gateway.transmitter.jwks()["keys"] if key["kid"] != old)
    gateway.tell(Severity.HIGH)
    await siem.until(1)
    gateway.clock.advance(3600)
    gateway.tell(None)
    await siem.until(2)
    assert [head["kid"] for head in siem.heads] == [old, new]
    gateway.clock.advance(timedelta(days=91).total_seconds())
    await gateway.transmitter.upkeep()
    assert old not in {key["kid"] for key in gateway.transmitter.jwks()["keys"]}


# --- the API ----------------------------------------------------------------------------------------------


async def test_the_life_of_a_stream(gateway: Gateway, siem: ForeignReceiver) -> None:
    """Create, read, list, patch, replace, status, delete: the statuses and members of SSF 1.0 section 8.1."""
    path = "/.gate/signals/streams"
    assert await siem.call("GET", path) == (200, [])
    stream = await siem.subscribe(events_requested=[EVENTS + "risk-level-change", "https://vendor.example/x"])
    assert stream["events_delivered"] == [EVENTS + "risk-level-change"]
    assert stream["events_requested"] == [EVENTS + "risk-level-change", "https://vendor.example/x"]
    assert len(stream["events_supported"]) == 3
    assert "authorization_header" not in stream["delivery"]
    assert (stream["iss"], stream["aud"]) == (gateway.url, "siem")
    assert (await siem.call("POST", path, {}))[0] == 409
    one = f"{path}?stream_id={stream['stream_id']}"
    echoed = {**stream, "description": "as it was shown"}
    assert (await siem.call("PATCH", path, {**echoed, "delivery": {**stream["delivery"]}}))[0] == 200
    assert (await siem.call("PATCH", path, {"stream_id": stream["stream_id"], "description": ""}))[0] == 200
    assert await siem.call("GET", one) == (200, stream)
    assert await siem.call("GET", path) == (200, [stream])
    changes = {"stream_id": stream["stream_id"], "description": "production"}
    status, patched = await siem.call("PATCH", path, changes)
    assert (status, patched) == (200, {**stream, "description": "production"})
    status, replaced = await siem.call("PUT", path, {"stream_id": stream["stream_id"]})
    assert (status, replaced["delivery"]["method"], replaced["events_requested"]) == (200, POLL, [])
    assert "description" not in replaced
    where = f"/.gate/signals/status?stream_id={stream['stream_id']}"
    assert await siem.call("GET", where) == (200, {"stream_id": stream["stream_id"], "status": "enabled"})
    assert (await siem.call("DELETE", one))[0] == 204
    assert (await siem.call("DELETE", one))[0] == 404
    assert (await siem.call("GET", one))[0] == 404


async def test_others_streams_do_not_exist(siem: ForeignReceiver) -> None:
    """S8, N4, Q5: no token, a wrong one, another party's, one in the query, one that may only read."""
    stream = await siem.subscribe(POLL)
    paths = [
        ("GET", f"/.gate/signals/streams?stream_id={stream['stream_id']}", None),
        ("GET", f"/.gate/signals/status?stream_id={stream['stream_id']}", None),
        ("POST", f"/.gate/signals/poll/{stream['stream_id']}", {"returnImmediately": True}),
        ("POST", "/.gate/signals/verify", {"stream_id": stream["stream_id"]}),
    ]
    changing = [
        ("POST", "/.gate/signals/streams", {}),
        ("PATCH", "/.gate/signals/streams", {"stream_id": stream["stream_id"]}),
        ("DELETE", f"/.gate/signals/streams?stream_id={stream['stream_id']}", None),
        ("POST", "/.gate/signals/status", {"stream_id": stream["stream_id"], "status": "disabled"}),
        ("POST", "/.gate/signals/subjects/add", {"stream_id": stream["stream_id"], "subject": {}}),
    ]
    for method, path, body in [*paths, *changing]:
        for token in ("", "wrong", TOKEN + "x"):
            assert (await siem.call(method, path, body, token=token))[0] == 401
        joint = "&" if "?" in path else "?"
        assert (await siem.call(method, f"{path}{joint}access_token={TOKEN}", body, token=""))[0] == 401
    for method, path, body in paths:
        assert (await siem.call(method, path, body, token=OTHER))[0] == 404
    for method, path, body in changing:
        status, problem = await siem.call(method, path, body, token=OTHER)
        assert (status, problem["type"]) == (403, "urn:posturegate:problem:insufficient-scope")


BAD: list[tuple[str, str, Any]] = [
    ("POST", "streams", b"{"),
    ("POST", "streams", b"[]"),
    ("POST", "streams", b'{"description": 1}'),
    ("POST", "streams", b'{"events_requested": "x"}'),
    ("POST", "streams", b'{"events_requested": [""]}'),
    ("POST", "streams", b'{"events_requested": [' + b'"x",' * 200 + b'"y"]}'),
    ("POST", "streams", b'{"delivery": []}'),
    ("POST", "streams", b'{"delivery": {"method": "fax"}}'),
    ("PATCH", "streams", b'{"stream_id": "STREAM", "aud": "https://other.example"}'),
    ("PUT", "streams", b'{"stream_id": "STREAM", "events_delivered": []}'),
    ("POST", "streams", b'{"delivery": {"method": "urn:ietf:rfc:8935"}}'),
    ("POST", "streams", b'{"a": 1, "a": 2}'),
    ("POST", "streams", b'{"a": NaN}'),
    ("POST", "streams", b"[" * 100_000),
    ("PATCH", "streams", b"{}"),
    ("PUT", "streams", b'{"stream_id": 7}'),
    ("POST", "status", b'{"stream_id": "STREAM", "status": "asleep"}'),
    ("POST", "subjects/add", b'{"stream_id": "STREAM", "subject": "alice"}'),
    ("POST", "subjects/add", b'{"stream_id": "STREAM", "subject": {"format": "new"}}'),
    ("POST", "verify", b'{"stream_id": "STREAM", "state": 1}'),
    ("POST", "poll/STREAM", b'{"maxEvents": -1}'),
    ("POST", "poll/STREAM", b'{"maxEvents": "many"}'),
    ("POST", "poll/STREAM", b'{"ack": "x"}'),
    ("POST", "poll/STREAM", b'{"setErrs": []}'),
    ("POST", "poll/STREAM", b'{"returnImmediately": 1}'),
]


@pytest.mark.parametrize(("method", "path", "body"), BAD)
async def test_bad_requests_are_400(siem: ForeignReceiver, method: str, path: str, body: bytes) -> None:
    """S4: a problem, never a 500, and nothing has changed."""
    stream_id = ""
    if (method, path) != ("POST", "streams"):
        stream_id = (await siem.subscribe(POLL))["stream_id"]
    body = body.replace(b"STREAM", stream_id.encode())
    status, problem = await siem.call(method, f"/.gate/signals/{path.replace('STREAM', stream_id)}", body)
    assert (status, problem["status"]) == (400, 400)


JUNK: list[Any] = [
    None, True, 0, -1, 1e308, 10**30, "", "x", "\u2028", "STREAM", "urn:ietf:rfc:8935", "urn:ietf:rfc:8936", "email",
    "complex", [], {}, [[]], {"format": "opaque", "id": "x"}, {"format": "email", "email": 1}, {"method": 1},
    ["https://schemas.openid.net/secevent/caep/event-type/session-revoked"],
]  # fmt: skip
FIELDS = (
    "stream_id", "delivery", "events_requested", "description", "status", "reason", "subject", "verified", "state",
    "maxEvents", "returnImmediately", "ack", "setErrs", "method", "endpoint_url", "authorization_header", "format",
    "identifiers", "iss", "sub", "id", "device", "user", "aud",
)  # fmt: skip


def junk(source: random.Random, depth: int = 3) -> Any:
    if depth and source.random() < 0.4:
        return {source.choice(FIELDS): junk(source, depth - 1) for _ in range(source.randrange(4))}
    if depth and source.random() < 0.2:
        return [junk(source, depth - 1) for _ in range(source.randrange(4))]
    return source.choice(JUNK)


async def test_whatever_is_sent_is_answered(siem: ForeignReceiver) -> None:
    """No body brings the API to a 500; afterwards it works as before."""
    stream = await siem.subscribe(POLL)
    source = random.Random(7)  # noqa: S311 - the same junk every time
    calls = [
        ("PATCH", "streams"),
        ("PUT", "streams"),
        ("POST", "status"),
        ("POST", "verify"),
        ("POST", "streams"),
    ]
    calls += [("POST", "subjects/add"), ("POST", "subjects/remove"), ("POST", f"poll/{stream['stream_id']}")]
    for _ in range(400):
        method, path = source.choice(calls)
        body = {name: junk(source) for name in source.sample(FIELDS, 6)}
        body |= {"stream_id": stream["stream_id"]} if source.random() < 0.8 else {}
        body |= {"returnImmediately": True} if path.startswith("poll") else {}
        status, answer = await siem.call(method, f"/.gate/signals/{path}", body)
        assert status < 500, (path, body, answer)
    for body in (b"", b"\xff", b"&" * 1000, b"a=b&" * 100, b"grant_type=client_credentials&client_id=%ff"):
        url = f"{siem.base}/.gate/signals/token"
        for headers in ({}, {"Authorization": "Basic !!"}, {"Authorization": "Basic /////w=="}):
            async with siem.http.post(url, data=body, headers=headers) as response:
                assert response.status in (400, 401)
    assert (await siem.call("GET", f"/.gate/signals/streams?stream_id={stream['stream_id']}"))[0] == 200


async def test_a_huge_body_is_413(siem: ForeignReceiver) -> None:
    assert (await siem.call("POST", "/.gate/signals/streams", b"x" * 300_000))[0] == 413


@pytest.mark.parametrize(
    "url",
    [
        "https://169.254.169.254/latest",
        "https://127.0.0.1/x",
        "https://[::1]/x",
        "https://[::ffff:10.0.0.1]/x",
        "https://10.1.2.3/x",
        "https://localhost/x",
        "https://intra.internal/x",
        "http://example.com/x",
        "https://user@example.com/x",
        "file:///etc/passwd",
        "https://example.com/x#y",
        7,
    ],
)
async def test_addresses_that_are_not_called(gateway: Gateway, url: Any) -> None:
    """P7: without a list, only the public internet over https."""
    async with running_receiver(gateway.url, TOKEN) as siem:
        party = SignalSubscriber(name="siem", tokens=(Secret(TOKEN),))
        await gateway.transmitter.configure(gateway.config(1, receivers=(party,)))
        delivery = {"method": PUSH, "endpoint_url": url}
        status, problem = await siem.call("POST", "/.gate/signals/streams", {"delivery": delivery})
        assert (status, problem["type"]) == (400, "urn:posturegate:problem:endpoint-not-allowed")


async def test_a_name_that_turns_inward_is_not_called(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """P7: checked again at every connection, after the name was resolved."""
    inward = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.7", 443))]
    async with running_receiver(gateway.url, TOKEN) as siem:
        party = SignalSubscriber(name="siem", tokens=(Secret(TOKEN),))
        await gateway.transmitter.configure(gateway.config(1, receivers=(party,)))
        siem.push_url = "https://rebinding.example/events"
        loop = asyncio.get_running_loop()

        async def resolve(*_: Any, **__: Any) -> Any:
            return inward

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        monkeypatch.setattr(loop, "getnameinfo", resolve)
        stream = await siem.subscribe()
        gateway.tell(Severity.HIGH)
        await until(gateway.transmitter.faults)
        assert "no public address" in gateway.transmitter.faults()["siem"]
        assert stream["delivery"]["endpoint_url"] == siem.push_url


async def test_where_tokens_come_from_can_be_found(gateway: Gateway, siem: ForeignReceiver) -> None:
    """CAEP profile, N4: RFC 9728 leads to RFC 8414, and both name the scopes."""
    async with siem.http.get(siem.base + "/.gate/signals/streams") as response:
        challenge = response.headers["WWW-Authenticate"]
    where = challenge.partition('resource_metadata="')[2].partition('"')[0]
    async with siem.http.get(where) as response:
        resource = await response.json()
    assert resource["resource"] == gateway.url
    assert resource["scopes_supported"] == ["ssf.manage", "ssf.read"]
    (issuer,) = resource["authorization_servers"]
    async with siem.http.get(f"{issuer}/.well-known/oauth-authorization-server") as response:
        server = await response.json()
    assert server["issuer"] == issuer
    assert server["grant_types_supported"] == ["client_credentials"]
    form = {"grant_type": "client_credentials", "client_id": "siem", "client_secret": TOKEN}
    async with siem.http.post(server["token_endpoint"], data=form) as response:
        token = (await response.json())["access_token"]
    assert (await siem.call("GET", "/.gate/signals/streams", token=token))[0] == 200


async def test_client_credentials(gateway: Gateway, siem: ForeignReceiver) -> None:
    """N4: a token for half an hour, with no more scopes than the party has."""
    form = {"grant_type": "client_credentials", "scope": "ssf.read ssf.manage"}

    async def ask(name: str, secret: str, **more: str) -> tuple[int, dict[str, Any]]:
        url = f"{gateway.url}/.gate/signals/token"
        headers = {"Authorization": aiohttp.encode_basic_auth(name, secret)}
        async with siem.http.post(url, data={**form, **more}, headers=headers) as response:
            return response.status, await response.json()

    status, answer = await ask("siem", TOKEN)
    assert (status, answer["scope"]) == (200, "ssf.manage ssf.read")
    assert (await siem.call("GET", "/.gate/signals/streams", token=answer["access_token"]))[0] == 200
    gateway.clock.advance(answer["expires_in"])
    assert (await siem.call("GET", "/.gate/signals/streams", token=answer["access_token"]))[0] == 401
    assert (await ask("other", OTHER))[1]["scope"] == "ssf.read"
    assert (await ask("other", TOKEN))[0] == 401
    assert (await ask("siem", "wrong"))[0] == 401
    assert (await ask("siem", TOKEN, grant_type="password"))[0] == 400
    assert (await ask("siem", TOKEN, scope="admin"))[0] == 400


async def test_without_a_transmitter_there_is_nothing(gateway: Gateway, siem: ForeignReceiver) -> None:
    config = msgspec.structs.replace(gateway.config(1), shared_signals=SharedSignals())
    await gateway.transmitter.configure(config)
    assert (await siem.call("GET", "/.gate/signals/streams"))[0] == 404
    assert (await siem.call("GET", "/.well-known/ssf-configuration"))[0] == 404


# --- inside -----------------------------------------------------------------------------------------------


async def until(is_so: Any) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - of servers that know no events of ours
            await asyncio.sleep(0.01)


async def set_status(siem: ForeignReceiver, stream: dict[str, Any], status: str) -> None:
    body = {"stream_id": stream["stream_id"], "status": status, "reason": "test"}
    assert await siem.call("POST", "/.gate/signals/status", body) == (200, body)


async def polled_devices(siem: ForeignReceiver, stream: dict[str, Any], count: int) -> list[str]:
    """Return the devices of the events that can be polled, once there are `count`; they are acknowledged."""
    found: dict[str, Any] = {}
    async with asyncio.timeout(60):
        while len(found) < count:
            found |= await siem.poll(stream)
    await siem.poll(stream, ack=list(found))
    return [each["sub_id"]["device"]["id"] for each in found.values()]


def session_of(gateway: Gateway, subject: str = "alice") -> Session:
    now = gateway.clock.now()
    return Session(
        id=SessionId(f"ses_{subject}"),
        user=User(
            provider="corp", issuer="https://idp.example", subject=subject, email=f"{subject}@corp.example"
        ),
        created_at=now,
        last_seen_at=now,
        ends_at=now + timedelta(hours=1),
        provider_sid=f"sid-{subject}",
    )
