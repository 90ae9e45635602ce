"""The receiver's side of streams: created once, adopted, kept as configured, verified; and polling."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from gateway.shared_signals.client import TransmitterFault
from gateway.shared_signals.receiver import Receiver
from gateway.shared_signals.sets import SetError
from risk.values import Secret
from tests.ssf.transmitter import CAEP, POLL, SSF, TOKEN, Transmitter, rsa_key, running_transmitter
from tests.ssf.world import ISSUER, SECRET, World, running_world

ALICE = {"format": "iss_sub", "iss": ISSUER, "sub": "alice"}
MANAGED = {"stream": "managed", "audience": (), "token": Secret(TOKEN)}
POLLED = {"delivery": "poll", "secrets": (), **MANAGED}


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running_world() as made:
        yield made


@pytest.fixture
async def transmitter(world: World) -> AsyncIterator[Transmitter]:
    async with running_transmitter(world.clock.timestamp) as made:
        yield made


async def until(is_so: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not is_so():  # noqa: ASYNC110 - of a server that knows no events of ours
            await asyncio.sleep(0.01)


async def restarted(world: World, transmitter: Transmitter, **settings: Any) -> Receiver:
    if "idp" in world.receivers:
        await world.receivers["idp"].stop()
    transmitter.calls.clear()
    receiver = await world.receiver(transmitter, **settings)
    await until(lambda: receiver.status().is_well and receiver.status().verified_at)
    return receiver


async def test_a_stream_is_made_once_and_survives_restarts(world: World, transmitter: Transmitter) -> None:
    """S1, S3, W1: three starts, one stream; events are what has an effect; verified each time."""
    for _ in range(3):
        receiver = await restarted(world, transmitter, **MANAGED)
    assert list(transmitter.streams) == ["stream-1"]
    assert "POST /streams" not in transmitter.calls
    assert "PATCH /streams" not in transmitter.calls
    stream = transmitter.streams["stream-1"]
    assert CAEP + "session-revoked" in stream["events_requested"]
    assert CAEP + "session-presented" not in stream["events_requested"]
    assert stream["delivery"]["endpoint_url"] == f"{world.url}/.gate/ssf/idp"
    assert receiver.status().stream_id == "stream-1"
    await world.sign_in("alice")
    answer = await transmitter.deliver("stream-1", transmitter.caep("session-revoked", ALICE))
    assert answer == (202, "")
    assert world.signed_in() == []


async def test_drift_is_repaired(world: World, transmitter: Transmitter) -> None:
    """Other events, and another push secret, are told to the transmitter; nothing else is."""
    await restarted(world, transmitter, **MANAGED)
    await restarted(world, transmitter, **MANAGED, events=("session-revoked",))
    assert transmitter.streams["stream-1"]["events_requested"] == [CAEP + "session-revoked"]
    secret = "another-push-secret"
    await restarted(
        world, transmitter, **MANAGED, events=("session-revoked",), secrets=(Secret(secret), Secret(SECRET))
    )
    assert transmitter.streams["stream-1"]["delivery"]["authorization_header"] == f"Bearer {secret}"
    assert len(transmitter.streams) == 1


async def test_a_transmitter_that_looks_for_the_stream_in_the_address_is_understood(
    world: World, transmitter: Transmitter
) -> None:
    """Verification, status, subjects and changes; why it refused something else is told."""
    transmitter.wants_id_in_address = True
    subjects = ({"format": "email", "email": "alice@corp.example"},)
    await restarted(world, transmitter, **MANAGED, subjects=subjects)
    assert transmitter.subjects == [dict(subjects[0])]
    receiver = await restarted(world, transmitter, **MANAGED, events=("session-revoked",))
    assert transmitter.subjects == []
    assert transmitter.streams["stream-1"]["events_requested"] == [CAEP + "session-revoked"]
    await receiver.keeper.set_status("paused", "migration")
    assert transmitter.statuses["stream-1"]["status"] == "paused"


async def test_why_a_transmitter_refuses_is_told(world: World, transmitter: Transmitter) -> None:
    receiver = await restarted(world, transmitter, **MANAGED)
    transmitter.refusal = "this account has no\x1b[31m streams"
    with pytest.raises(TransmitterFault, match=r"answered 403: this account has no\?\[31m streams"):
        await receiver.keeper.set_status("paused")


async def test_a_stream_that_vanished_is_made_again(world: World, transmitter: Transmitter) -> None:
    """404 for the one that we knew."""
    await restarted(world, transmitter, **MANAGED)
    transmitter.streams.clear()
    await restarted(world, transmitter, **MANAGED)
    assert len(transmitter.streams) == 1


async def test_the_only_stream_is_adopted(world: World, transmitter: Transmitter) -> None:
    """S3: 409 means that there is one; it becomes ours."""
    transmitter.one_stream_only = True
    foreign = {"method": POLL, "endpoint_url": f"{transmitter.issuer}/poll"}
    transmitter.streams["old"] = {
        "stream_id": "old",
        "iss": transmitter.issuer,
        "aud": transmitter.audience,
        "delivery": foreign,
        "events_requested": [],
    }
    transmitter.statuses["old"] = {"stream_id": "old", "status": "enabled"}
    await restarted(world, transmitter, **MANAGED)
    assert transmitter.streams["old"]["delivery"]["endpoint_url"] == f"{world.url}/.gate/ssf/idp"


async def test_subjects_are_added_and_removed(world: World, transmitter: Transmitter) -> None:
    """As the configuration lists them; each once."""
    bob = {"format": "email", "email": "bob@corp.example"}
    await restarted(world, transmitter, **MANAGED, subjects=(ALICE, bob))
    assert transmitter.subjects == [ALICE, bob]
    await restarted(world, transmitter, **MANAGED, subjects=(bob,))
    assert transmitter.subjects == [bob]


async def test_a_paused_stream_is_asked_to_go_on_and_shown(world: World, transmitter: Transmitter) -> None:
    """S6: enabled once after a start; when the transmitter pauses it again, that degrades."""
    receiver = await restarted(world, transmitter, **MANAGED)
    transmitter.statuses["stream-1"]["status"] = "paused"
    receiver = await restarted(world, transmitter, **MANAGED)
    assert transmitter.statuses["stream-1"]["status"] == "enabled"
    updated = transmitter.token({SSF + "stream-updated": {"status": "paused", "reason": "maintenance"}})
    assert (await transmitter.deliver("stream-1", updated))[0] == 202
    assert not receiver.status().is_well
    assert "maintenance" in receiver.status().reason
    await receiver.keeper.set_status("enabled")
    assert receiver.status().is_well


async def test_verification(world: World, transmitter: Transmitter) -> None:
    """W1, W2: the state that was asked for, none at all, and a wrong one."""
    receiver = await restarted(world, transmitter, **MANAGED)
    assert await receiver.verify()
    assert (await transmitter.deliver("stream-1", transmitter.token({SSF + "verification": {}})))[0] == 202
    wrong = transmitter.token({SSF + "verification": {"state": "made-up"}})
    status, body = await transmitter.deliver("stream-1", wrong)
    assert (status, json.loads(body)["err"]) == (400, SetError.INVALID_STATE)


async def test_a_transmitter_that_sends_the_event_before_it_answers(
    world: World, transmitter: Transmitter
) -> None:
    """It makes no stream whose receiver does not take a verification event at once; and wants no member but these."""
    transmitter.is_synchronous = transmitter.wants_audience = True
    settings = {**MANAGED, "audience": (transmitter.audience,)}
    receiver = await restarted(world, transmitter, **settings)
    assert transmitter.streams["stream-1"]["aud"] == transmitter.audience
    assert await receiver.verify()


async def test_before_a_stream_is_known_nothing_but_a_verification_is_taken(
    world: World, transmitter: Transmitter
) -> None:
    transmitter.is_synchronous = True
    await restarted(world, transmitter, **MANAGED)
    transmitter.streams.clear()
    await world.receivers["idp"].stop()
    await world.store.forget_stream("idp")
    transmitter.metadata_changes = {"configuration_endpoint": ...}
    await world.receiver(transmitter, **MANAGED)
    await world.sign_in("alice")
    unasked = transmitter.token({SSF + "verification": {}})
    assert (await world.push(unasked))[0] == 202
    both = {SSF + "verification": {}, CAEP + "session-revoked": {}}
    for token in (transmitter.caep("session-revoked", ALICE), transmitter.token(both, ALICE)):
        assert (await world.push(token))[0] == 503
    foreign = transmitter.token({SSF + "verification": {}}, iss="https://evil.example")
    assert (await world.push(foreign))[0] == 400
    assert world.signed_in() == ["alice"]


async def test_a_stream_with_an_inactivity_timeout_is_looked_at_in_time(
    world: World, transmitter: Transmitter
) -> None:
    """S7: at half of it."""
    transmitter.stream_changes = {"inactivity_timeout": 2}
    await restarted(world, transmitter, **MANAGED)
    await until(lambda: transmitter.calls.count("GET /streams") >= 3)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"issuer": "https://evil.example"}, "another issuer"),
        ({"jwks_uri": "http://keys.example/jwks"}, "`jwks_uri`"),
        ({"jwks_uri": ...}, "`jwks_uri`"),
        ({"configuration_endpoint": "ftp://x"}, "`configuration_endpoint`"),
        ({"configuration_endpoint": ...}, "no stream management"),
    ],
)
async def test_metadata_that_cannot_be_used(
    world: World, transmitter: Transmitter, changes: dict[str, Any], text: str
) -> None:
    """M1: the stream is not used, and the reason is shown."""
    transmitter.metadata_changes = changes
    receiver = await world.receiver(transmitter, **MANAGED)
    await until(lambda: text in receiver.status().reason)
    assert transmitter.streams == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"stream_id": 7},
        {"stream_id": ""},
        {"iss": "https://other.example"},
        {"iss": None},
        {"delivery": {"method": POLL, "endpoint_url": "http://inside.example/"}},
    ],
)
async def test_a_stream_that_cannot_be_ours(
    world: World, transmitter: Transmitter, changes: dict[str, Any]
) -> None:
    """The receiver says so, and goes on asking."""
    transmitter.stream_changes = changes
    receiver = await world.receiver(transmitter, **POLLED)
    await until(lambda: "stream" in receiver.status().reason or "poll" in receiver.status().reason)
    assert not receiver.status().is_well


async def test_strange_members_of_a_stream_do_no_harm(world: World, transmitter: Transmitter) -> None:
    """Whatever a transmitter writes where nothing depends on it."""
    transmitter.stream_changes = {
        "events_delivered": 7,
        "min_verification_interval": "often",
        "events_requested": {"a": 1},
        "description": [],
    }
    receiver = await restarted(world, transmitter, **MANAGED)
    assert receiver.status().events_delivered == ()


@pytest.mark.parametrize("changes", [{"aud": None}, {"aud": []}, {"aud": {}}])
async def test_a_stream_without_an_audience_needs_one_from_the_configuration(
    world: World, transmitter: Transmitter, changes: dict[str, Any]
) -> None:
    transmitter.stream_changes = changes
    receiver = await world.receiver(transmitter, **MANAGED)
    await until(lambda: "`audience`" in receiver.status().reason)
    await restarted(world, transmitter, **{**MANAGED, "audience": (transmitter.audience,)})


@pytest.mark.parametrize("is_alone", [True, False])
async def test_tokens_that_name_no_key(world: World, transmitter: Transmitter, is_alone: bool) -> None:
    """One key in the set needs no name."""
    await restarted(world, transmitter, **MANAGED)
    await world.sign_in("alice")
    if not is_alone:
        transmitter.keys.append(rsa_key("k2"))
        second = transmitter.caep("session-revoked", ALICE, key=transmitter.keys[1])
        assert (await transmitter.deliver("stream-1", second))[0] == 202
        await world.sign_in("alice")
    token = transmitter.caep("session-revoked", ALICE, header={"kid": ...})
    status, body = await transmitter.deliver("stream-1", token)
    assert status == (202 if is_alone else 400), body
    assert world.signed_in() == ([] if is_alone else ["alice"])


async def test_metadata_where_drafts_put_it(world: World, transmitter: Transmitter) -> None:
    """Behind the path of the issuer, where it is not before it."""
    transmitter.issuer += "/realms/x"
    await restarted(world, transmitter, **MANAGED)


@pytest.mark.parametrize("path", ["/realms/y", "/realms/z"])
async def test_metadata_between_host_and_path(world: World, transmitter: Transmitter, path: str) -> None:
    """SSF 1.0 section 7.2, and the name of the file before SSF."""
    transmitter.issuer += path
    await restarted(world, transmitter, **MANAGED)


async def test_without_a_verification_endpoint(world: World, transmitter: Transmitter) -> None:
    """M2: then the stream counts as well without it."""
    transmitter.metadata_changes = {"verification_endpoint": ..., "status_endpoint": ...}
    receiver = await world.receiver(transmitter, **MANAGED)
    await until(lambda: receiver.status().is_well)
    with pytest.raises(TransmitterFault):
        await receiver.verify()


async def test_deleting_a_stream(world: World, transmitter: Transmitter) -> None:
    """At the transmitter, and here."""
    receiver = await restarted(world, transmitter, **MANAGED)
    await receiver.keeper.delete()
    assert transmitter.streams == {}
    assert await world.store.stream("idp") is None


# --- polling ----------------------------------------------------------------------------------------------


async def test_polled_events_are_acknowledged_after_their_effect(
    world: World, transmitter: Transmitter
) -> None:
    """Q1, Q2: good ones acknowledged, bad ones reported, both once."""
    await restarted(world, transmitter, **POLLED)
    await world.sign_in("alice")
    transmitter.outbox["good"] = transmitter.caep("session-revoked", ALICE)
    transmitter.outbox["bad"] = transmitter.caep("session-revoked", ALICE, aud="https://other.example")
    transmitter.outbox["worse"] = "nonsense"
    await until(lambda: not transmitter.outbox)
    assert world.signed_in() == []
    assert "good" in transmitter.acked
    assert {jti: error["err"] for jti, error in transmitter.errors.items()} == {
        "bad": "invalid_audience",
        "worse": "invalid_request",
    }


async def test_a_token_that_is_not_enforced_is_not_acknowledged(
    world: World, transmitter: Transmitter
) -> None:
    """It comes again, and then it is."""
    await restarted(world, transmitter, **POLLED)
    await world.sign_in("alice")
    world.is_failing = True
    transmitter.outbox["one"] = transmitter.caep("session-revoked", ALICE)
    await until(lambda: any(each.verdict == "held-up" for each in world.observed))
    assert "one" in transmitter.outbox
    world.is_failing = False
    await until(lambda: "one" in transmitter.acked)


async def test_polling_goes_on_after_the_transmitter_was_away(world: World, transmitter: Transmitter) -> None:
    """Back-off, then all that waited."""
    receiver = await restarted(world, transmitter, **POLLED)
    transmitter.is_poll_broken = True
    await until(lambda: not receiver.status().is_well)
    transmitter.outbox["late"] = transmitter.caep("session-revoked", ALICE)
    transmitter.is_poll_broken = False
    await until(lambda: "late" in transmitter.acked and receiver.status().is_well)
