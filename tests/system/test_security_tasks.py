"""Tasks through the whole gateway: begun by a detection, told to a receiver, changed by command, ended by evidence."""

import asyncio
import base64
import json
import os

import pytest
from aiohttp import web
from standardwebhooks import Webhook

from tests.system.stack import HEALTHY, Stack, running_stack

pytestmark = pytest.mark.op

SECRETS = tuple(f"whsec_{base64.b64encode(os.urandom(32)).decode()}" for _ in range(2))


class Receiver:
    """Takes letters; refuses the first `refuses`, and remembers every attempt."""

    def __init__(self) -> None:
        self.refuses = 0
        self.attempts: list[str] = []
        self.taken: list[dict] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.text()
        for secret in SECRETS:
            Webhook(secret).verify(body, dict(request.headers))
        self.attempts.append(request.headers["webhook-id"])
        if self.refuses > 0:
            self.refuses -= 1
            return web.Response(status=503, headers={"Location": "http://127.0.0.1:1/"})
        self.taken.append(json.loads(body))
        return web.Response(status=204)

    async def until(self, kind: str) -> dict:
        async with asyncio.timeout(60):
            while True:
                for each in self.taken:
                    if each["type"] == f"task.{kind}":
                        self.taken.remove(each)
                        return each["data"]
                await asyncio.sleep(0.02)


@pytest.fixture
async def receiver():
    made = Receiver()
    app = web.Application()
    app.router.add_post("/in", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/in"
    yield made
    await runner.cleanup()


@pytest.fixture
async def stack(receiver):
    async with running_stack(starts=False) as made:
        made.environment |= {"TASKS_A": SECRETS[0], "TASKS_B": SECRETS[1]}
        text = made.config_path.read_text() + (
            "remediation:\n  tasks:\n    targets:\n      - name: helpdesk\n"
            f"        url: {receiver.url}\n        secrets: [{{env: TASKS_A}}, {{env: TASKS_B}}]\n"
        )
        made.config_path.write_text(text)
        await made.start()
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


async def tasks(stack: Stack, *arguments: str) -> tuple[int, str]:
    return await stack.cli("tasks", *arguments, "--config", str(stack.config_path))


async def test_a_task_from_detection_to_evidence_and_back(stack: Stack, receiver: Receiver) -> None:
    receiver.refuses = 1
    await stack.signal_risk("open", event="t1")
    opened = await receiver.until("opened")
    assert len(receiver.attempts) == 2, "refused once, tried again"
    assert receiver.attempts[0] == receiver.attempts[1], "under the same id"
    assert (opened["title"], opened["severity"], opened["state"]) == (
        "Credential stealer found",
        "high",
        "open",
    )

    # More signals of one cause are no more tasks.
    await stack.signal_risk("open", event="t2", severity="high")
    code, said = await tasks(stack, "list", "--json")
    assert code == 0
    (listed,) = [json.loads(line) for line in said.splitlines()]
    assert listed["id"] == opened["id"]

    for arguments in (("assign", "pat@corp.example"), ("ticket", "SEC-1234"), ("note", "called Alice")):
        code, said = await tasks(stack, arguments[0], opened["id"], arguments[1])
        assert code == 0, said
        await receiver.until("changed")
    code, said = await tasks(stack, "done", opened["id"])
    assert code == 0
    assert (await receiver.until("verifying"))["state"] == "verifying", "a word resolves nothing"

    await stack.signal_risk("open", event="t3")
    assert (await receiver.until("in-progress"))["state"] == "in-progress", "the sensor still sees it"
    await stack.signal_risk("closed", event="t4")
    resolved = await receiver.until("resolved")
    assert (resolved["resolution"], resolved["ticket"]) == ("evidence", "SEC-1234")
    code, said = await tasks(stack, "done", opened["id"])
    assert code == 2, said
    assert "resolved" in said

    await stack.signal_risk("open", event="t5")
    again = await receiver.until("reopened")
    assert (again["id"], again["relapses"], again["state"]) == (opened["id"], 1, "open")
    code, said = await tasks(stack, "show", opened["id"])
    assert code == 0
    for text in ("pat@corp.example", "SEC-1234", "called Alice", "helpdesk: opened: delivered (2 attempts"):
        assert text in said


async def test_what_was_not_told_is_told_by_the_next_process(stack: Stack, receiver: Receiver) -> None:
    receiver.refuses = 1000
    await stack.signal_risk("open", event="k1")
    async with asyncio.timeout(60):
        while not receiver.attempts:  # noqa: ASYNC110 - the receiver is the far side of a process
            await asyncio.sleep(0.02)
    assert stack.process is not None
    stack.process.kill()
    await stack.process.wait()
    receiver.refuses = 0
    await stack.start()
    assert (await receiver.until("opened"))["title"] == "Credential stealer found"


async def test_unknown_tasks_and_no_gateway_are_said(stack: Stack) -> None:
    code, said = await tasks(stack, "assign", "task_0", "x")
    assert (code, "no task has the id `task_0`" in said) == (1, True)
    code, said = await tasks(stack, "show", "task_0")
    assert code == 1
