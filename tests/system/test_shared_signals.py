"""Shared Signals end to end: a foreign transmitter ends access, and two gateways tell each other of risk."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.ssf.transmitter import TOKEN, Transmitter, push, running_transmitter
from tests.system.stack import HEALTHY, LoopbackResolver, Person, Stack, running_stack

pytestmark = pytest.mark.op

PUSH_SECRET = "push-secret-of-the-system-tests"
DEVICE = {"format": "complex", "device": {"format": "opaque", "id": "SER-ALICE-1"}}

RECEIVER = """
shared_signals:
  receivers:
    - name: idp
      issuer: {issuer}
      secrets: [{{env: GATE_PUSH_SECRET}}]
      {stream}
"""
STATIC = "stream: static\n      audience: [https://gate.example/ssf]"
POLLED = "stream: static\n      audience: [https://gate.example/ssf]\n      token: {env: GATE_TOKEN}"


@pytest.fixture
async def transmitter() -> AsyncIterator[Transmitter]:
    async with running_transmitter() as made:
        yield made


@pytest.fixture
async def alice() -> AsyncIterator[Person]:
    person = Person()
    yield person
    await person.close()


def prepare(stack: Stack) -> None:
    stack.environment |= {"GATE_PUSH_SECRET": PUSH_SECRET, "GATE_TOKEN": TOKEN}


async def send(stack: Stack, token: str) -> tuple[int, str]:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    return await push(
        stack.url("/.gate/ssf/idp", "login"), token, f"Bearer {PUSH_SECRET}", connector=connector
    )


async def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - of a process that knows no events of ours
            await asyncio.sleep(0.02)


async def test_a_pushed_event_is_enforced_before_it_is_acknowledged(
    transmitter: Transmitter, alice: Person
) -> None:
    """Device events cut streams and give access back; session events end the session; a replay changes nothing."""
    async with running_stack(starts=False) as stack:
        prepare(stack)
        stack.write_config(RECEIVER.format(issuer=transmitter.issuer, stream=STATIC))
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        wanted = stack.url("/deep")
        assert (await alice.sign_in(wanted))[:2] == (200, wanted)
        socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
        assert (await socket.receive()).data == "tick"

        bad = transmitter.caep(
            "device-compliance-change",
            DEVICE,
            {"previous_status": "compliant", "current_status": "not-compliant"},
        )
        assert await send(stack, bad) == (202, "")
        close = await drained(socket)
        assert (close.type, close.data) == (aiohttp.WSMsgType.CLOSE, 4403)
        status, _, text = await alice.get(stack.url("/api"), navigate=False)
        assert (status, json.loads(text)["code"]) == (403, "remediation-required")
        assert await send(stack, bad) == (202, "")

        good = transmitter.caep(
            "device-compliance-change",
            DEVICE,
            {"previous_status": "not-compliant", "current_status": "compliant"},
        )
        assert (await send(stack, good))[0] == 202
        assert (await alice.get(wanted))[0] == 200

        subject = {"format": "iss_sub", "iss": stack.provider.issuer, "sub": "alice"}
        assert (await send(stack, transmitter.caep("session-revoked", subject)))[0] == 202
        assert (await alice.get(stack.url("/api"), navigate=False))[0] == 401
        assert [each["outcome"] for each in stack.events("security-event")] == [
            "applied",
            "duplicate",
            "applied",
            "applied",
        ]
        assert "Traceback" not in stack.log()


PARTY_TOKEN = "token-of-the-second-gateway-at-the-first"
TRANSMITTER = """
shared_signals:
  transmitter:
    min_verification_interval: 1ms
    receivers:
      - name: second
        tokens: [{{env: GATE_PARTY_TOKEN}}]
        endpoints: [{endpoint}]
"""
CHAINED = """
shared_signals:
  receivers:
    - name: first
      issuer: {issuer}
      delivery: {delivery}
      {secrets}
      {access}
"""


LOCAL = {"login.localhost": "localhost"}
"""The one name of this machine that every process resolves."""


@asynccontextmanager
async def chained(
    delivery: str, *, first_extra: str = "", access: str = ""
) -> AsyncIterator[tuple[Stack, Stack]]:
    """Run two gateways, the second of which subscribes to the first."""
    async with (
        running_stack(starts=False, workers=1) as first,
        running_stack(starts=False, workers=1, login="localhost") as second,
    ):
        first.environment["GATE_PARTY_TOKEN"] = PARTY_TOKEN
        second.environment |= {"GATE_PARTY_TOKEN": PARTY_TOKEN, "GATE_PUSH_SECRET": PUSH_SECRET}
        endpoint = f"http://localhost:{second.port}/"
        first.write_config(TRANSMITTER.format(endpoint=endpoint) + first_extra, **LOCAL)
        issuer = f"http://localhost:{first.port}"
        access = access.format(issuer=issuer) or "token: {env: GATE_PARTY_TOKEN}"
        secrets = "secrets: [{env: GATE_PUSH_SECRET}]" if delivery == "push" else ""
        settings = CHAINED.format(issuer=issuer, delivery=delivery, secrets=secrets, access=access)
        second.write_config(settings, **LOCAL)
        await first.start()
        await second.start()
        yield first, second


CLIENT = """client:
        token_url: {issuer}/.gate/signals/token
        client_id: second
        client_secret: {{env: GATE_PARTY_TOKEN}}"""


@pytest.mark.parametrize(("delivery", "access"), [("push", ""), ("poll", CLIENT)])
async def test_two_gateways_chained(alice: Person, delivery: str, access: str) -> None:
    """Risk told to the first cuts access at the second, which manages its stream itself; and gives it back."""
    async with chained(delivery, access=access) as (first, second):
        await until(lambda: is_verified(second))
        await first.signal_risk("open", event="e-start", **HEALTHY)
        await second.signal_risk("open", event="e-start", **HEALTHY)
        wanted = second.url("/deep")
        assert (await alice.sign_in(wanted))[:2] == (200, wanted)
        socket = await alice.http.ws_connect(second.url("/ws").replace("http", "ws"))
        assert (await socket.receive()).data == "tick"

        assert (await first.signal_risk("open", event="e1"))["status"] == 200
        close = await drained(socket)
        assert (close.type, close.data) == (aiohttp.WSMsgType.CLOSE, 4403)
        status, _, text = await alice.get(second.url("/api"), navigate=False)
        assert (status, json.loads(text)["code"]) == (403, "remediation-required")

        assert (await first.signal_risk("closed", event="e2"))["status"] == 200
        await until(lambda: len(told(second)) == 4)
        assert (await alice.get(wanted))[0] == 200
        assert sorted(told(second)) == sorted(["device-compliance-change", "risk-level-change"] * 2)

        assert await ssf(second, "verify", "first") == (
            0,
            "the stream of `first` works: the verification event came\n",
        )
        code, text = await ssf(second, "status")
        assert (code, f"from first ({delivery}, managed stream): ok" in text) == (0, True)
        code, text = await ssf(first, "status")
        assert (code, "to second" in text, " 0 waiting" in text) == (0, True, True)
        for stack in (first, second):
            assert "Traceback" not in stack.log()
            assert [each for each in stack.events("delivery") if each["status"] >= 400] == []


async def test_a_killed_gateway_has_lost_nothing_that_it_acknowledged(
    transmitter: Transmitter, alice: Person
) -> None:
    """`kill -9` right after the 202: device, session and replay protection are as they were."""
    async with running_stack(starts=False, workers=1) as stack:
        prepare(stack)
        stack.write_config(RECEIVER.format(issuer=transmitter.issuer, stream=STATIC))
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        await alice.sign_in(stack.url("/"))
        bob = Person()
        await bob.sign_in(stack.url("/"), user="bob")
        subject = {"format": "iss_sub", "iss": stack.provider.issuer, "sub": "bob"}
        revoked = transmitter.caep("session-revoked", subject)
        risky = transmitter.caep(
            "risk-level-change", DEVICE, {"principal": "DEVICE", "current_level": "HIGH"}
        )
        assert [(await send(stack, token))[0] for token in (revoked, risky)] == [202, 202]
        await stack.stop(signal.SIGKILL)
        await stack.start()
        assert (await alice.get(stack.url("/api"), navigate=False))[0] == 403
        assert (await bob.get(stack.url("/api"), navigate=False))[0] == 401
        assert [(await send(stack, token))[0] for token in (revoked, risky)] == [202, 202]
        assert [each["outcome"] for each in stack.events("security-event")][2:] == ["duplicate"] * 2
        await bob.close()


async def test_an_account_event_becomes_user_risk(transmitter: Transmitter, alice: Person) -> None:
    """A disabled account loses its session, and a policy about user risk keeps it out until it is enabled again."""
    policy = """
    - name: accounts
      decision: block
      when: {user_risk: [high]}
      reason: This account is not in good standing.
"""
    async with running_stack(starts=False, workers=1) as stack:
        prepare(stack)
        stack.write_config(policy + RECEIVER.format(issuer=transmitter.issuer, stream=STATIC))
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        wanted = stack.url("/deep")
        assert (await alice.sign_in(wanted))[0] == 200
        subject = {"format": "iss_sub", "iss": stack.provider.issuer, "sub": "alice"}
        assert (await send(stack, transmitter.risc("account-disabled", subject)))[0] == 202
        assert (await alice.get(stack.url("/api"), navigate=False))[0] == 401
        status, _, _ = await alice.sign_in(wanted)
        assert status == 403
        assert (await send(stack, transmitter.risc("account-enabled", subject)))[0] == 202
        assert (await alice.get(wanted))[0] == 200


MUTUAL = """
shared_signals:
  receivers:
    - name: other
      issuer: http://localhost:{port}
      secrets: [{{env: GATE_PUSH_SECRET}}]
      token: {{env: GATE_PARTY_TOKEN}}
  transmitter:
    receivers:
      - name: other
        tokens: [{{env: GATE_PARTY_TOKEN}}]
        endpoints: ["http://localhost:{port}/"]
        peer: other
"""


async def test_two_gateways_that_hear_each_other_settle(alice: Person) -> None:
    """C7: risk told to one is known to both, falls at both, and nothing goes round in circles."""
    async with (
        running_stack(starts=False, workers=1) as first,
        running_stack(starts=False, workers=1, login="localhost") as second,
    ):
        for stack, other in ((first, second), (second, first)):
            stack.environment |= {"GATE_PARTY_TOKEN": PARTY_TOKEN, "GATE_PUSH_SECRET": PUSH_SECRET}
            stack.write_config(MUTUAL.format(port=other.port), **LOCAL)
        await asyncio.gather(first.start(), second.start())
        await until(lambda: is_verified(first) and is_verified(second))
        for stack in (first, second):
            await stack.signal_risk("open", event="e-start", **HEALTHY)
        wanted = second.url("/deep")
        assert (await alice.sign_in(wanted))[0] == 200
        for turn in range(2):
            assert (await first.signal_risk("open", event=f"open-{turn}"))["status"] == 200
            await until(lambda turn=turn: len(told(second)) == 4 * turn + 2)
            assert (await alice.get(second.url("/api"), navigate=False))[0] == 403
            assert (await first.signal_risk("closed", event=f"closed-{turn}"))["status"] == 200
            await until(lambda turn=turn: len(told(second)) == 4 * turn + 4)
            assert (await alice.get(wanted))[0] == 200
        exit_code, _ = await second.cli(
            "revoke", "user", "alice", "--reason", "left", "--config", str(second.config_path)
        )
        assert exit_code == 0
        await until(lambda: "session-revoked" in told(first))
        assert told(first) == ["session-revoked"]
        assert len(told(second)) == 8


async def ssf(stack: Stack, *arguments: str) -> tuple[int, str]:
    return await stack.cli("ssf", *arguments, "--config", str(stack.config_path))


def told(stack: Stack) -> list[str]:
    return [
        name for each in stack.events("security-event") for name in each["events"] if name != "verification"
    ]


def is_verified(stack: Stack) -> bool:
    return any(each["events"] == ["verification"] for each in stack.events("security-event"))


async def drained(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """Return the first message that is no tick."""
    while True:
        message = await socket.receive(timeout=60)
        if message.type is not aiohttp.WSMsgType.TEXT:
            return message
