"""The AuthZEN Authorization API at a running gateway: questions about real people, devices and risk."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from tests.system.stack import LoopbackResolver, Person, Stack, running_stack

pytestmark = [pytest.mark.op, pytest.mark.asyncio(loop_scope="module")]

SECRET = "a-secret-of-the-callers"
SECTION = f"authzen: {{secrets: [{SECRET}]}}\n"
ALICE = {"type": "user", "id": "alice"}
NOTES = {"type": "app", "id": "notes"}
READ = {"name": "GET"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with running_stack(extra=SECTION, workers=1) as made:
        yield made


async def ask(stack: Stack, path: str, body: Any, *, secret: str = SECRET, **headers: str) -> tuple[int, Any]:
    sent = {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=LoopbackResolver())) as http,
        http.post(stack.url(path, "login"), data=data, headers=sent) as response,
    ):
        return response.status, await response.json(content_type=None)


async def test_where_the_endpoints_are(stack: Stack) -> None:
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=LoopbackResolver())) as http,
        http.get(stack.url("/.well-known/authzen-configuration", "login")) as response,
    ):
        found = await response.json()
    assert response.status == 200
    assert found["access_evaluation_endpoint"] == stack.url("/.gate/access/v1/evaluation", "login")
    assert found["policy_decision_point"] == stack.url("", "login")
    assert found["search_subject_endpoint"] == stack.url("/.gate/access/v1/search/subject", "login")


async def test_answers_follow_the_device(stack: Stack) -> None:
    device = {"device": {"kind": "serial", "value": "SER-ASKED"}}
    asked = {
        "subject": {**ALICE, "properties": {"groups": ["staff"]}}, "action": READ, "resource": NOTES, "context": device,
    }  # fmt: skip
    path = "/.gate/access/v1/evaluation"
    status, answer = await ask(stack, path, asked)
    assert (status, answer["decision"]) == (200, False)
    assert answer["context"]["compliance"] == "unknown"
    healthy = {"kind": "heartbeat", "condition": "hb", "title": ""}
    await stack.signal_risk("open", event="a1", serial="SER-ASKED", **healthy)
    status, answer = await ask(stack, path, asked)
    assert answer == {
        "decision": True,
        "context": {
            "outcome": "allow",
            "policy": "staff",
            "reason": "",
            "compliance": "compliant",
            "risk": "none",
        },
    }
    await stack.signal_risk("open", event="a2", serial="SER-ASKED")
    _, answer = await ask(stack, path, asked)
    assert answer["decision"] is False
    assert answer["context"]["outcome"] == "remediate"
    assert answer["context"]["reason"] == "Your laptop needs attention."
    assert answer["context"]["reason_user"] == {"en": "Your laptop needs attention."}


async def test_a_session_and_the_latest_sign_in(stack: Stack) -> None:
    await stack.signal_risk("open", event="b1", kind="heartbeat", condition="hb", title="")
    person = Person()
    try:
        status, _, _ = await person.sign_in(stack.url("/"))
        assert status == 200
        session = stack.events("signed-in")[-1]["session"]
        device = {"device": {"kind": "serial", "value": "SER-ALICE-1"}}
        body = {"subject": ALICE, "action": READ, "resource": NOTES, "context": device}
        _, answer = await ask(stack, "/.gate/access/v1/evaluation", body)
        assert answer["decision"] is True, answer
        body = {"subject": {"type": "session", "id": session}, "action": READ, "resource": NOTES}
        _, answer = await ask(stack, "/.gate/access/v1/evaluation", body)
        assert answer["decision"] is True, answer
    finally:
        await person.close()


async def test_who_where_and_what(stack: Stack) -> None:
    """The three searches find exactly what an evaluation says yes to, and lose what risk takes away."""
    search = "/.gate/access/v1/search"
    await stack.signal_risk(
        "open", event="s1", kind="heartbeat", condition="hb", title="", serial="SER-SOUGHT"
    )
    device = {"device": {"kind": "serial", "value": "SER-SOUGHT"}}
    person = Person()
    try:
        status, _, _ = await person.sign_in(stack.url("/"))
        assert status == 200
        who = {"subject": {"type": "user"}, "action": READ, "resource": NOTES, "context": device}
        status, found = await ask(stack, f"{search}/subject", who)
        assert status == 200
        assert found == {"results": [{"type": "user", "id": "alice"}], "page": {"next_token": "", "count": 1}}
        where = {"subject": ALICE, "action": READ, "resource": {"type": "app"}, "context": device}
        status, found = await ask(stack, f"{search}/resource", where)
        assert {"type": "app", "id": "notes"} in found["results"]
        for each in found["results"]:
            body = {"subject": ALICE, "action": READ, "resource": each, "context": device}
            assert (await ask(stack, "/.gate/access/v1/evaluation", body))[1]["decision"] is True
        what = {"subject": ALICE, "resource": NOTES, "context": device}
        status, found = await ask(stack, f"{search}/action", {**what, "page": {"limit": 2}})
        assert found["results"] == [{"name": "DELETE"}, {"name": "GET"}]
        token = found["page"]["next_token"]
        status, found = await ask(stack, f"{search}/action", {**what, "page": {"limit": 100, "token": token}})
        assert [each["name"] for each in found["results"]] == ["HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
        assert found["page"] == {"next_token": "", "count": 5}
        await stack.signal_risk("open", event="s2", serial="SER-SOUGHT")
        _, found = await ask(stack, f"{search}/subject", who)
        assert found["results"] == []
        _, found = await ask(stack, f"{search}/action", what)
        assert found["results"] == []
    finally:
        await person.close()


async def test_searches_that_cannot_be_made(stack: Stack) -> None:
    search = "/.gate/access/v1/search"
    who = {"subject": {"type": "user"}, "action": READ, "resource": NOTES}
    for page in ({"limit": 0}, {"limit": 101}, {"token": "no token of ours"}):
        status, answer = await ask(stack, f"{search}/subject", {**who, "page": page})
        assert status == 400, answer
    status, _ = await ask(stack, f"{search}/subject", who, secret="wrong")
    assert status == 401
    status, _ = await ask(stack, f"{search}/resource", who)
    assert status == 400
    status, found = await ask(stack, f"{search}/subject", {**who, "subject": {"type": "robot"}})
    assert (status, found["results"]) == (200, [])
    status, found = await ask(
        stack, f"{search}/action", {"subject": ALICE, "resource": {"type": "app", "id": "none"}}
    )
    assert (status, found["results"]) == (200, [])


async def test_several_questions_at_once(stack: Stack) -> None:
    path = "/.gate/access/v1/evaluations"
    each = [
        {"resource": {"type": "app", "id": "nowhere"}},
        {"subject": {"type": "robot", "id": "x"}},
        {"resource": {"type": "app", "id": "notes", "properties": {"path": "no slash"}}},
    ]
    body = {"subject": ALICE, "action": READ, "resource": NOTES, "evaluations": each}
    status, answer = await ask(stack, path, body)
    assert status == 200
    first, second, third = answer["evaluations"]
    assert first["context"]["code"] == "resource-unknown"
    assert second["context"]["code"] == "subject-unknown"
    assert third["context"]["error"]["status"] == 400
    body["options"] = {"evaluations_semantic": "deny_on_first_deny"}
    _, answer = await ask(stack, path, body)
    assert len(answer["evaluations"]) == 1
    body["options"] = {"evaluations_semantic": "at_random"}
    assert (await ask(stack, path, body))[0] == 400
    assert (await ask(stack, path, {"subject": ALICE, "action": READ, "resource": NOTES}))[1][
        "decision"
    ] is False


FULL = {"subject": {"type": "user", "id": "a"}, "action": READ, "resource": NOTES}
LATE = {**FULL, "subject": {"type": "user", "id": "a", "properties": {"auth_time": 99999999999999999}}}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'"x"', 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b'{"subject": {"type": "user"}}', 400),
        (b"{}", 400),
        (b" " * 300_000, 413),
        (json.dumps(LATE).encode(), 400),
        (json.dumps({**FULL, "context": {"ip": "nonsense"}}).encode(), 200),
    ],
)
async def test_questions_that_are_none(stack: Stack, body: bytes, status: int) -> None:
    found, answer = await ask(stack, "/.gate/access/v1/evaluation", body)
    assert found == status
    assert isinstance(answer, dict)


async def test_who_may_not_ask(stack: Stack) -> None:
    path = "/.gate/access/v1/evaluation"
    body = {"subject": ALICE, "action": READ, "resource": NOTES}
    assert (await ask(stack, path, body, secret="wrong"))[0] == 401
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=LoopbackResolver())) as http,
        http.get(stack.url(path, "login"), headers={"Authorization": f"Bearer {SECRET}"}) as response,
    ):
        assert response.status == 405
    async with running_stack(workers=1) as without:
        assert (await ask(without, path, body))[0] == 404


async def test_a_service_is_no_person(stack: Stack) -> None:
    asked = {"subject": {"type": "service", "id": "alice"}, "action": READ, "resource": NOTES}
    status, answer = await ask(stack, "/.gate/access/v1/evaluation", asked)
    assert (status, answer["decision"]) == (200, False)


@pytest.mark.parametrize("name", ["can_read", "delete everything", "", "GET "])
async def test_no_other_action_passes_for_a_method(stack: Stack, name: str) -> None:
    asked = {"subject": ALICE, "action": {"name": name}, "resource": NOTES}
    _, answer = await ask(stack, "/.gate/access/v1/evaluation", asked)
    assert answer["context"]["code"] == "action-unknown"


@pytest.mark.parametrize("path", ["/@me/x", "/%40me/x"])
async def test_a_path_may_spell_its_signs_as_the_client_did(stack: Stack, path: str) -> None:
    asked = [
        {"subject": ALICE, "action": READ, "resource": {**NOTES, "properties": {"path": each}}}
        for each in (path, "/x")
    ]
    found, plain = [await ask(stack, "/.gate/access/v1/evaluation", each) for each in asked]
    assert found == plain
    assert found[0] == 200


@pytest.mark.parametrize("path", ["/a/../b", "/%61", "/a%2fb", "/a?b", "a"])
async def test_paths_are_asked_about_as_policies_see_them(stack: Stack, path: str) -> None:
    asked = {"subject": ALICE, "action": READ, "resource": {**NOTES, "properties": {"path": path}}}
    status, _ = await ask(stack, "/.gate/access/v1/evaluation", asked)
    assert status == 400


async def test_what_if(stack: Stack) -> None:
    path = "/.gate/access/v1/what-if"
    given = {
        "app": "notes",
        "groups": ["staff"],
        "compliance": "compliant",
        "risk": "none",
        "signed_in": "5m",
    }
    status, answer = await ask(stack, path, given)
    assert (status, answer["decision"]["outcome"]) == (200, "allow")
    status, answer = await ask(stack, path, {"app": "notes"})
    assert answer["decision"]["outcome"] != "allow"
    assert all(each["matched"] or each["missed"] for each in answer["policies"])
    for wrong in (
        {"app": "none"},
        {"app": "notes", "grops": []},
        {"app": {"file": "/etc/hostname"}},
        [],
        b"{",
    ):
        status, answer = await ask(stack, path, wrong)
        assert (status, answer["code"]) == (400, "malformed")
    assert (await ask(stack, path, given, secret="wrong"))[0] == 401
