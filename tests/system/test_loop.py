"""The loop, end to end: a person, a webhook, open streams, remediation and back, at the certified provider."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from tests.system.stack import HEALTHY, Person, Stack, lent, running_stack

pytestmark = [pytest.mark.op, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Stack]:
    async with running_stack() as made:
        await made.signal_risk("open", event="e-start", **HEALTHY)
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def stack(running: Stack) -> AsyncIterator[Stack]:
    async with lent(running) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def alice(stack: Stack) -> AsyncIterator[Person]:
    person = Person()
    yield person
    await person.close()


async def test_from_webhook_to_cut_streams_to_remediation_and_back(stack: Stack, alice: Person) -> None:
    """The sensor's 2xx comes after the streams are cut; the way back needs no click."""
    wanted = stack.url("/deep/page?x=1&y=z")
    status, at, text = await alice.sign_in(wanted)
    assert (status, at) == (200, wanted)
    assert "Notes" in text

    socket = await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
    assert (await socket.receive()).data == "tick"
    stream = await alice.http.get(stack.url("/events"), headers={"Accept": "text/event-stream"})
    assert await stream.content.readline() == b"data: tick\n"
    file = await alice.http.get(stack.url("/file"))
    assert len(await file.content.readexactly(65536)) == 65536
    slow = asyncio.create_task(alice.get(stack.url("/slow"), navigate=False))
    await until(lambda: stack.upstream.ticks > 1)

    answer = await stack.signal_risk("open", event="e1")
    assert answer["status"] == 200
    assert answer["enforced"] is True
    assert answer["accepted"] == 1
    ticks = stack.upstream.ticks
    close = await drained(socket)
    assert (close.type, close.data) == (aiohttp.WSMsgType.CLOSE, 4403)
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(stream.content.read(), 60)
    with pytest.raises(aiohttp.ClientPayloadError):
        await asyncio.wait_for(file.content.read(), 60)
    for response in (stream, file):
        response.close()
    status, _, text = await asyncio.wait_for(slow, 60)
    assert status == 403
    assert json.loads(text)["code"] == "remediation-required"
    assert stack.upstream.ticks <= ticks + 2

    status, _, text = await alice.get(stack.url("/api"), navigate=False)
    problem = json.loads(text)
    assert status == 403
    assert problem["remediation_url"].startswith(stack.url("/.gate/fix"))
    status, at, page = await alice.get(wanted)
    assert status == 403
    assert at.startswith(stack.url("/.gate/fix"))
    for text in ("alice-mbp", "Credential stealer found", "Call the security team", "Somebody may be using"):
        assert text in page
    code = re.search(r"[?&]c=([0-9A-Z-]+)", at)[1]

    exit_code, explained = await stack.cli("explain", code, "--config", str(stack.config_path))
    assert exit_code == 0
    for text in ("remediate", "repair", "alice", "threat", "Credential stealer"):
        assert text in explained

    events = await alice.http.get(stack.url("/.gate/status/stream" + at[at.index("?") :]))
    assert json.loads((await next_status(events))[6:])["can_continue"] is False
    assert (await stack.signal_risk("closed", event="e2"))["status"] == 200
    back = json.loads((await next_status(events))[6:])
    assert back["can_continue"] is True
    assert back["continue_url"] == wanted
    events.close()
    assert (await alice.get(back["continue_url"]))[:2] == (200, wanted)


async def test_a_request_after_the_answer_is_never_decided_on_older_risk(stack: Stack, alice: Person) -> None:
    """Many clients over both workers, while risk goes up and down: the 2xx is the border, in both directions."""
    await alice.sign_in(stack.url("/"))
    wrong: list[str] = []
    state = {"allowed": True, "since": time.monotonic()}
    stopping = asyncio.Event()

    async def client() -> None:
        connector = aiohttp.TCPConnector(resolver=alice.http.connector._resolver, force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=alice.http.cookie_jar) as http:
            while not stopping.is_set():
                began, expected, since = time.monotonic(), state["allowed"], state["since"]
                async with http.get(stack.url("/x"), headers={"Accept": "application/json"}) as response:
                    # Only requests that began and ended while nothing was under way are judged.
                    is_settled = began > since and state["since"] == since and state["allowed"] is expected
                    if expected is not None and is_settled and (response.status == 200) is not expected:
                        wrong.append(f"{response.status} while allowed={expected}")

    async with asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(client())
        for round_ in range(12):
            is_open = round_ % 2 == 0
            state.update(allowed=None)
            answer = await stack.signal_risk("open" if is_open else "closed", event=f"r{round_}")
            state.update(allowed=not is_open, since=time.monotonic())
            assert answer["status"] == 200
            await asyncio.sleep(0.05)
        stopping.set()
    assert wrong == []


async def test_apps_get_identity_that_clients_cannot_forge(stack: Stack, alice: Person) -> None:
    await alice.sign_in(stack.url("/"))
    forged = {
        "Accept": "application/json",
        "X-Gate-User": "root",
        "x-gate-jwt": "forged",
        "X_Gate_User": "root",
        "X-Forwarded-User": "root",
        "Remote-User": "root",
        "X-Forwarded-For": "203.0.113.9",
    }
    _, _, text = await alice.get(stack.url("/echo"), navigate=False, headers=forged)
    headers = [(name.lower(), value) for name, value in json.loads(text)["headers"]]
    names = dict(headers)
    assert names["x-gate-user"] == "alice"
    assert names["x-gate-email"] == "alice@corp.example"
    assert names["x-gate-groups"] == "engineering,staff"
    assert names["x-gate-outcome"] == "allow"
    assert names["x-forwarded-for"] == "127.0.0.1"
    assert "cookie" not in names
    assert not [value for _, value in headers if value in ("root", "forged")]


async def test_what_is_no_navigation_is_told_and_nothing_begins(stack: Stack, alice: Person) -> None:
    for headers in (
        {"Accept": "application/json"},
        {"Accept": "text/html", "X-Requested-With": "XMLHttpRequest"},
        {"Accept": "text/html", "Sec-Fetch-Mode": "cors"},
    ):
        async with alice.http.get(stack.url("/x"), headers=headers, allow_redirects=False) as response:
            assert response.status == 401
            assert response.content_type == "application/problem+json"
            assert "Set-Cookie" not in response.headers
            assert (await response.json())["sign_in_url"].startswith(stack.url("/.gate/login"))
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await alice.http.ws_connect(stack.url("/ws").replace("http", "ws"))
    assert refused.value.status == 401


async def test_public_paths_need_no_sign_in_in_no_spelling(stack: Stack, alice: Person) -> None:
    status, _, _ = await alice.get(stack.url("/public/logo"), navigate=False)
    assert status == 200
    for path in (
        "/public/../secret",
        "/public/%2e%2e/secret",
        "/public%2f..%2fsecret",
        "/publicity",
        "//public;/x",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", stack.port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: notes.localhost\r\nConnection: close\r\n\r\n".encode())
        line = await reader.readline()
        writer.close()
        assert line.split()[1] in (b"401", b"400"), path
    assert [request for request in stack.upstream.requests if "public" not in request["path"]] == []


async def test_several_tabs_that_sign_in_at_once_all_arrive(stack: Stack, alice: Person) -> None:
    tabs = [stack.url(f"/tab/{number}") for number in range(4)]
    forms = [await alice.get(tab) for tab in tabs]
    arrived = []
    for _, at, text in forms:
        assert "Sign in:" in text
        async with alice.http.post(
            at, data={"login": "alice", "password": "x"}, headers={"Accept": "text/html"}
        ) as r:
            arrived.append(str(r.url))
    assert arrived == tabs


async def drained(socket: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """Return the message that ends the socket."""
    async with asyncio.timeout(60):
        while True:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                return message


async def next_status(response: aiohttp.ClientResponse) -> bytes:
    """Return the data line of the next status event."""
    async with asyncio.timeout(60):
        while True:
            line = await response.content.readline()
            if line.startswith(b"data: "):
                return line


async def until(condition) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - it looks at another process
            await asyncio.sleep(0.02)
