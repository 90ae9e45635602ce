"""Risk of a person, end to end: an Okta event hook blocks the session of the person before its 2xx."""

import json

import aiohttp
import pytest

from tests.system.stack import SENSOR_SECRET, LoopbackResolver, Person, running_stack
from tests.system.test_loop import HEALTHY, drained

pytestmark = pytest.mark.op

SENSOR = """\
  - name: okta
    kind: okta
    auth: {scheme: bearer, secrets: [{env: GATE_SENSOR_SECRET}]}
compliance:
"""
POLICY = "    - {name: account, decision: block, when: {user_risk: [high]}, reason: Your account is at risk.}"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def event(kind: str, uuid: str, level: str, at: str, *, who: str) -> dict[str, object]:
    return {
        "uuid": uuid,
        "published": at,
        "eventType": kind,
        "displayMessage": "User risk level changed",
        "actor": {"id": "SYSTEM", "type": "SystemPrincipal"},
        "target": [{"id": "00u-alice", "type": "User", "alternateId": who}],
        "debugContext": {"debugData": {"risk": f"{{level={level}, previousLevel=LOW}}"}},
    }


async def deliver(stack, *events: dict[str, object]) -> dict[str, object]:
    connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
    headers = {"Authorization": f"Bearer {SENSOR_SECRET}"}
    url = stack.url("/.gate/hooks/okta", "login")
    body = {"eventType": "com.okta.event_hook", "data": {"events": list(events)}}
    async with (
        aiohttp.ClientSession(connector=connector) as http,
        http.post(url, json=body, headers=headers) as response,
    ):
        return {"status": response.status, **await response.json()}


async def test_an_event_about_a_person_cuts_their_sessions_and_nobody_elses() -> None:
    async with running_stack(starts=False) as stack:
        stack.write_config(POLICY, **{"compliance:\n": SENSOR})
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        alice = Person()
        try:
            status, at, _ = await alice.sign_in(stack.url("/"))
            assert (status, at) == (200, stack.url("/"))
            socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
            assert (await socket.receive()).data == "tick"

            other = event("user.risk.detect", "u0", "HIGH", "2026-03-01T10:00:00Z", who="bob@corp.example")
            other["target"] = [{"id": "00u-bob", "type": "User", "alternateId": "bob@corp.example"}]
            assert (await deliver(stack, other))["users"] == 2
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 200

            risky = event("user.risk.detect", "u1", "HIGH", "2026-03-01T10:00:00Z", who="Alice@corp.example")
            answer = await deliver(stack, risky)
            assert (answer["status"], answer["accepted"], answer["enforced"]) == (200, 1, True)
            status, _, text = await alice.get(stack.url("/api"), navigate=False)
            assert status == 403
            assert "Your account is at risk" in text
            assert (await drained(socket)).data == 4403
            code = json.loads(text)["reference"]
            _, explained = await stack.cli("explain", code, "--config", str(stack.config_path))
            assert "user risk  high" in explained

            await stack.stop()
            await stack.start()
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 403, "it is durable"
            calm = event("user.risk.change", "u2", "NONE", "2026-03-01T11:00:00Z", who="alice@corp.example")
            assert (await deliver(stack, calm))["status"] == 200
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 200
        finally:
            await alice.close()
