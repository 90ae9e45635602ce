"""Risk of one session, end to end: what is told of the session by its `sid` ends it, and no other of the person."""

import base64
import json

import aiohttp
import pytest

from tests.system.stack import SENSOR_SECRET, LoopbackResolver, Person, running_stack
from tests.system.test_loop import HEALTHY

pytestmark = pytest.mark.op

SENSOR = """\
  - name: ids
    kind: generic
    auth: {scheme: bearer, secrets: [{env: GATE_SENSOR_SECRET}]}
    options: {user: [{kind: session, path: sid}], level: {path: severity}, external_id: id}
compliance:
"""
POLICY = (
    "    - {name: stolen, decision: block, when: {session_risk: [high]}, reason: This session may be stolen.}"
)


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def sid_of(person: Person, stack) -> str:
    _, _, text = await person.get(stack.url("/api"), navigate=False)
    headers = {name.lower(): value for name, value in json.loads(text)["headers"]}
    payload = headers["x-gate-jwt"].split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=="))["sid"]


async def deliver(stack, **item: object) -> tuple[int, dict[str, object]]:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    headers = {"Authorization": f"Bearer {SENSOR_SECRET}"}
    url = stack.url("/.gate/hooks/ids", "login")
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(url, json=item, headers=headers) as response,
    ):
        return response.status, await response.json()


async def test_what_is_told_of_a_session_is_about_that_session_alone() -> None:
    async with running_stack(starts=False) as stack:
        stack.write_config(POLICY, **{"compliance:\n": SENSOR})
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        here, there = Person(), Person()
        try:
            for person in (here, there):
                status, _, _ = await person.sign_in(stack.url("/"))
                assert status == 200
            sid = await sid_of(here, stack)
            status, answer = await deliver(stack, sid=sid, severity="high", id="hijack")
            assert (status, answer["accepted"], answer["enforced"]) == (200, 1, True)
            status, _, text = await here.get(stack.url("/api"), navigate=False)
            assert status == 403
            assert "may be stolen" in text
            assert (await there.get(stack.url("/api"), navigate=False))[0] == 200
        finally:
            await here.close()
            await there.close()
