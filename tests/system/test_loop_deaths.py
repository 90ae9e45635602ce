"""The loop while parts of it die, restart, or read a new configuration: each test has a gateway of its own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.system.stack import Person, Stack, running_stack
from tests.system.test_loop import HEALTHY, drained, until

pytestmark = pytest.mark.op


@pytest.fixture
async def stack() -> AsyncIterator[Stack]:
    async with running_stack() as made:
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest.fixture
async def alice(stack: Stack) -> AsyncIterator[Person]:
    person = Person()
    yield person
    await person.close()


async def test_sessions_survive_a_restart_and_sign_out_ends_them(stack: Stack, alice: Person) -> None:
    await alice.sign_in(stack.url("/"))
    assert await stack.stop() == 0
    await stack.start()
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 200
    assert (await alice.get(stack.url("/", app="wiki"), navigate=True))[0] == 200
    origin = {"Origin": stack.url("")[:-0] or stack.url("")}
    async with alice.http.post(stack.url("/.gate/logout"), headers=origin, allow_redirects=False) as response:
        assert response.status == 303
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 401
    assert (await alice.get(stack.url("/", app="wiki"), navigate=False))[0] == 401


async def test_posture_survives_kill_9_right_after_the_answer(stack: Stack, alice: Person) -> None:
    """2xx means that it survives `kill -9` of everything at that moment."""
    await alice.sign_in(stack.url("/"))
    assert (await stack.signal_risk("open", event="k1"))["status"] == 200
    for pid in children(stack.process.pid):
        kill(pid)
    await stack.stop(signal.SIGKILL)
    await stack.start()
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 403
    assert (await stack.signal_risk("open", event="k1"))["duplicates"] == 1


async def test_a_stopped_worker_is_killed_before_the_sensor_is_answered(stack: Stack, alice: Person) -> None:
    await alice.sign_in(stack.url("/"))
    await alice.get(stack.url("/"), navigate=False)
    pid = stack.events("worker-connected")[0]["pid"]
    kill(pid, signal.SIGSTOP)
    answer = await delivered(stack, "s1")
    assert answer["status"] == 200
    fenced = [line["pid"] for name in ("worker-fenced", "worker-silent") for line in stack.events(name)]
    assert pid in fenced
    await stack.ready()
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 403


async def test_a_killed_hub_comes_back_and_streams_go_on(stack: Stack, alice: Person) -> None:
    await alice.sign_in(stack.url("/"))
    socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
    hub = next(pid for pid in children(stack.process.pid) if b"hub" in command(pid))
    kill(hub)
    await until(lambda: len(stack.events("hub-started")) == 2)
    await stack.ready()
    assert (await socket.receive()).data == "tick"
    assert (await stack.signal_risk("open", event="h1"))["status"] == 200
    assert (await drained(socket)).data == 4403


async def test_reload_applies_a_good_file_and_refuses_a_bad_one(stack: Stack, alice: Person) -> None:
    await alice.sign_in(stack.url("/"))
    good = stack.config_path.read_text()
    stack.config_path.write_text(good.replace("decision: allow", "decision: alow"))
    exit_code, output = await stack.cli("reload", "--config", str(stack.config_path))
    assert exit_code == 2
    assert "`allow`" in output
    assert "gate.yaml:" in output
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 200

    socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
    stack.config_path.write_text(good.replace("groups: [staff]", "groups: [nobody]"))
    exit_code, output = await stack.cli("reload", "--config", str(stack.config_path))
    assert exit_code == 0, output
    assert (await drained(socket)).data == 4403
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 403

    stack.config_path.write_text(good)
    stack.process.send_signal(signal.SIGHUP)
    await until(lambda: len(stack.events("reloaded")) == 2)
    assert (await alice.get(stack.url("/"), navigate=False))[0] == 200


async def test_it_serves_with_the_provider_down_and_recovers() -> None:
    async with running_stack(workers=0, starts=False) as stack:
        issuer = stack.provider.issuer
        stack.write_config(**{issuer: "http://127.0.0.1:9"})
        await stack.start()
        person = Person()
        try:
            status, _, text = await person.get(stack.url("/"))
            assert status == 503
            assert "sign-in" in text.lower()
            async with aiohttp.ClientSession() as http:
                readiness = await stack.readiness(http)
            assert readiness["is_degraded"] is True
            assert (await stack.signal_risk("open", event="p1", **HEALTHY))["status"] == 200
            stack.write_config()
            assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
            await until(lambda: bool(stack.events("provider-ready")))
            assert (await person.sign_in(stack.url("/")))[0] == 200
        finally:
            await person.close()


async def delivered(stack: Stack, event: str) -> dict[str, object]:
    """Deliver as a sensor does: again, when the connection is lost (it may lead to the stopped worker)."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await stack.signal_risk("open", event=event)
            except aiohttp.ClientError:
                continue


def children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)
