"""Deliveries past the web framework: what is taken there, what is not, and that nothing is read by two."""

import asyncio
import contextlib
from datetime import UTC, datetime

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.decision.assertion import AssertionSigner
from gateway.hub import shortcut
from gateway.hub.pace import GivingWay
from gateway.hub.pages import Pages, problem
from gateway.hub.shortcut import Accepted, DeliverySite
from gateway.hub.web import HubWeb

FRONT = b"X-Gate-Client: 192.0.2.1\r\nX-Gate-Scheme: https\r\nX-Gate-Host: app.example\r\n"


class Hooks:
    """Says what it was given and by whom."""

    names = frozenset({"edr"})

    def __init__(self):
        self.taken = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.begun = asyncio.Event()
        self.done = asyncio.Event()
        self.sent = 0

    def is_sent(self):
        self.sent += 1

    async def handle(self, request):
        answer = await self.deliver(request, request.match_info["sensor"])
        return answer.response() if isinstance(answer, Accepted) else answer

    async def deliver(self, request, name):
        if name not in self.names:
            return problem(404, "no-such-sensor", "No such sensor")
        body = await request.content.readany()
        self.taken.append((type(request).__name__, name, body, dict(request.headers)))
        self.begun.set()
        await self.go_on.wait()
        if body == b"fault":
            raise RuntimeError("a fault of ours")
        self.done.set()
        return Accepted(b'{"got":%d}' % len(body), self.is_sent)


class Rest:
    """Stands for sign-in and remediation."""

    def routes(self):
        return [web.post("/page", self.page)]

    async def page(self, request):
        return web.Response(body=b"page:" + await request.read())

    def __getattr__(self, name):
        return self.page


class Connection:
    """One connection, as a worker makes it."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def ask(self, *pieces, pause_s=0.02):
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(pause_s)
            self.writer.write(piece)
        return await self.answer()

    async def answer(self):
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 60)
        lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        body = await self.reader.readexactly(int(headers["Content-Length"]))
        return int(lines[0].split()[1]), headers, body


def post(path, body, *fields):
    lines = [b"POST %b HTTP/1.1" % path.encode(), b"Host: x", *fields, b"Content-Length: %d" % len(body)]
    return b"\r\n".join(lines) + b"\r\n" + FRONT + b"\r\n" + body


@pytest.fixture
async def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(shortcut, "PATIENCE_S", 60.0)
    hooks = Hooks()
    front = HubWeb(
        sign_in=Rest(),
        remediation=Rest(),
        hooks=hooks,
        signer=AssertionSigner(ec.generate_private_key(ec.SECP256R1())),
        pages=Pages(),
        issuer=lambda: "https://login.example",
        clock=lambda: datetime.now(UTC),
        make_code=lambda: "7F3K-9QXM",
        giving_way=GivingWay(lambda: False),
    )
    runner = web.AppRunner(front.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = DeliverySite(runner, tmp_path / "hub.sock", front.deliveries(runner.server))
    await site.start()
    opened = []

    async def connect():
        opened.append(Connection(*await asyncio.open_unix_connection(str(tmp_path / "hub.sock"))))
        return opened[-1]

    hooks.runner = runner
    yield hooks, connect
    for each in opened:
        each.writer.close()
    hooks.go_on.set()
    await runner.cleanup()


def ways(hooks):
    """By which kind of request each delivery came."""
    return [kind for kind, *_ in hooks.taken]


async def test_small_deliveries_are_taken_one_after_the_other(hub) -> None:
    hooks, connect = hub
    link = await connect()
    for body in (b"{}", b"", b"[1]"):
        status, headers, answer = await link.ask(post("/.gate/hooks/edr", body, b"Webhook-Id: m\xc3\xa4"))
        assert (status, answer) == (200, b'{"got":%d}' % len(body))
        assert headers["Content-Type"] == "application/json"
    assert ways(hooks) == ["WholeRequest"] * 3
    assert [body for _, _, body, _ in hooks.taken] == [b"{}", b"", b"[1]"]
    assert hooks.taken[0][3]["webhook-id"] == "mä"
    assert hooks.sent == 3


async def test_the_answer_is_that_of_the_application(hub) -> None:
    hooks, connect = hub
    here = await (await connect()).ask(post("/.gate/hooks/edr", b"{}"))
    there = await (await connect()).ask(post("/.gate/hooks/edr?by=query", b"{}"))
    assert ways(hooks) == ["WholeRequest", "Request"]
    assert here[0] == there[0]
    assert here[2] == there[2]
    # The application ends its connection, so that the next delivery is taken here again.
    assert there[1].pop("Connection") == "close"
    for answer in (here, there):
        answer[1].pop("Date")
    assert here[1] == there[1]


async def test_a_delivery_in_pieces_is_waited_for(hub) -> None:
    hooks, connect = hub
    whole = post("/.gate/hooks/edr", b'{"a": 1}')
    status, _, answer = await (await connect()).ask(whole[:7], whole[7:60], whole[60:-3], whole[-3:])
    assert (status, answer, ways(hooks)) == (200, b'{"got":8}', ["WholeRequest"])


async def test_a_slow_delivery_is_left_to_the_application(hub, monkeypatch) -> None:
    hooks, connect = hub
    monkeypatch.setattr(shortcut, "PATIENCE_S", 0.01)
    link = await connect()
    link.writer.write(post("/.gate/hooks/edr", b'{"a": 1}')[:-3])
    await asyncio.wait_for(hooks.begun.wait(), 60)
    assert ways(hooks) == ["Request"]


@pytest.mark.parametrize(
    "fields",
    [
        (b"Transfer-Encoding: chunked",),
        (b"Expect: 100-continue",),
        (b"Connection: close",),
        (b"Upgrade: websocket",),
        (b"Content-Length: 2",),
        (b"no colon",),
        (b"bad name: x",),
        (b" folded",),
    ],
)
async def test_whatever_is_doubtful_is_left_to_the_application(hub, fields) -> None:
    hooks, connect = hub
    link = await connect()
    link.writer.write(post("/.gate/hooks/edr", b"{}", *fields))
    with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        await asyncio.wait_for(link.reader.readuntil(b"\r\n\r\n"), 0.5)
    assert "WholeRequest" not in ways(hooks)


async def test_large_deliveries_are_left_to_the_application(hub) -> None:
    hooks, connect = hub
    body = b"x" * (shortcut.MAX_WHOLE_BYTES + 1)
    status, *_ = await (await connect()).ask(post("/.gate/hooks/edr", body))
    assert (status, ways(hooks)) == (200, ["Request"])


async def test_what_the_application_reads_is_never_taken_for_a_delivery(hub) -> None:
    """A body that looks like a delivery comes in a read of its own: it is still that body."""
    hooks, connect = hub
    link = await connect()
    body = post("/.gate/hooks/edr", b"{}")
    head = post("/page", body)[: -len(body)]
    status, _, answer = await link.ask(head, body)
    assert (status, answer) == (200, b"page:" + body)
    assert hooks.taken == []
    status, _, _ = await link.ask(post("/.gate/hooks/edr", b"{}"))
    assert (status, ways(hooks)) == (200, ["Request"])


async def test_pages_follow_deliveries_on_one_connection(hub) -> None:
    hooks, connect = hub
    link = await connect()
    await link.ask(post("/.gate/hooks/edr", b"{}"))
    status, _, answer = await link.ask(post("/page", b"form"))
    assert (status, answer, ways(hooks)) == (200, b"page:form", ["WholeRequest"])


async def test_an_unknown_sensor_is_answered_by_the_application(hub) -> None:
    hooks, connect = hub
    status, *_ = await (await connect()).ask(post("/.gate/hooks/nobody", b"{}"))
    assert (status, hooks.taken) == (404, [])


async def test_what_was_taken_is_finished_though_its_sender_hung_up(hub) -> None:
    hooks, connect = hub
    hooks.go_on.clear()
    link = await connect()
    link.writer.write(post("/.gate/hooks/edr", b"{}"))
    await asyncio.wait_for(hooks.begun.wait(), 60)
    link.writer.transport.abort()
    await asyncio.sleep(0.05)
    hooks.go_on.set()
    await asyncio.wait_for(hooks.done.wait(), 60)
    assert hooks.sent == 0


async def test_a_fault_of_ours_is_an_answer_with_a_reference(hub) -> None:
    _, connect = hub
    link = await connect()
    status, headers, answer = await link.ask(post("/.gate/hooks/edr", b"fault"))
    assert (status, headers["Content-Type"]) == (500, "application/problem+json")
    assert b"7F3K-9QXM" in answer
    assert b"fault of ours" not in answer
    assert (await link.ask(post("/.gate/hooks/edr", b"{}")))[0] == 200


async def test_a_delivery_under_way_is_answered_before_the_end(hub) -> None:
    hooks, connect = hub
    hooks.go_on.clear()
    link, idle = await connect(), await connect()
    link.writer.write(post("/.gate/hooks/edr", b"{}"))
    await asyncio.wait_for(hooks.begun.wait(), 60)
    stopping = asyncio.ensure_future(hooks.runner.cleanup())
    await asyncio.sleep(0.02)
    hooks.go_on.set()
    assert (await link.answer())[0] == 200
    await asyncio.wait_for(stopping, 60)
    assert await idle.reader.read() == b""
