"""The posture feed over a real Unix socket: order, re-decision, acknowledgement, fencing, leases, restart."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

from compliance.model import Decision, Outcome, Residual
from gateway.feed import hub_side, worker_side
from gateway.feed.hub_side import FeedHandlers, FeedHub, NotEnforced
from gateway.feed.process import Watch
from gateway.feed.protocol import (
    Ack,
    Cut,
    FeedFault,
    HubReader,
    Invalidate,
    Lease,
    Ticket,
    TicketRequest,
    WorkerReader,
    encode,
)
from gateway.feed.worker_side import Entry, FeedWorker, TicketKey

SOON_S = 60
"""What comes at once on a quiet machine comes within this on any."""


class Exchange:
    """Stands for an open exchange: remembers what became of it."""

    def __init__(self, key: TicketKey) -> None:
        self.key = key
        self.outcome: Outcome | None = None
        self.was_cut = False
        self.was_refused = False
        self.decided = asyncio.Event()


class Enforcer:
    """Admits what the ticket allows, cuts what it no longer does."""

    def __init__(self) -> None:
        self.configured: list[bytes] = []
        self.is_configured = asyncio.Event()
        self.drained = asyncio.Event()
        self.history: list[str] = []

    def admitted(self, exchange: Exchange, entry: Entry[Exchange] | None) -> None:
        exchange.outcome = None if entry is None else entry.ticket.residual.constant.outcome
        if entry is not None and exchange.outcome is Outcome.ALLOW:
            entry.live.add(exchange)
        self.history.append(f"admitted {exchange.outcome}")
        exchange.decided.set()

    def unavailable(self, exchange: Exchange) -> None:
        exchange.was_refused = True
        exchange.decided.set()

    def redecide(self, exchange: Exchange, entry: Entry[Exchange] | None) -> bool:
        outcome = None if entry is None else entry.ticket.residual.constant.outcome
        exchange.was_cut = outcome is not Outcome.ALLOW
        self.history.append(f"redecided {outcome}")
        return exchange.was_cut

    def configure(self, settings: bytes) -> dict[str, int]:
        self.configured.append(settings)
        self.is_configured.set()
        return {}

    def drain(self, seconds: float) -> None:
        self.drained.set()


class World:
    """A hub whose answer to every ticket request is `outcome` (None: no such session)."""

    def __init__(self, path: Path) -> None:
        self.path = path / "feed.sock"
        self.outcome: Outcome | None = Outcome.ALLOW
        self.requests: list[TicketRequest] = []
        self.lifetime_s = 60.0
        self.rounds: list[tuple[int, int]] = []
        self.hub = self.new_hub()

    def new_hub(self) -> FeedHub:
        handlers = FeedHandlers(
            ticket=self.ticket, touch=lambda _sessions: None, stats=lambda _worker, _counters: None
        )
        return FeedHub(
            handlers, lambda: b"settings", on_round=lambda cut, fenced: self.rounds.append((cut, fenced))
        )

    def ticket(self, request: TicketRequest) -> Ticket | None:
        self.requests.append(request)
        if self.outcome is None:
            return None
        decision = Decision(outcome=self.outcome, policy="p", reason="")
        return Ticket(
            keys=("device:d1", f"session:{request.cookie}"),
            session=request.cookie,
            decision="CODE",
            residual=Residual(entries=(), constant=decision, valid_until=None),
            headers=(),
            variants=(),
            valid_until=time.time() + self.lifetime_s,
        )


KEY = TicketKey("cookie", "app.example", "app", b"")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    await made.hub.start(made.path)
    yield made
    await made.hub.stop()


@asynccontextmanager
async def worker(world: World) -> AsyncIterator[tuple[FeedWorker[Exchange], Enforcer]]:
    enforcer = Enforcer()
    feed: FeedWorker[Exchange] = FeedWorker("w1", os.getpid(), enforcer)
    feed.start(world.path)
    try:
        await asyncio.wait_for(enforcer.is_configured.wait(), SOON_S)
        yield feed, enforcer
    finally:
        feed.close()
        await asyncio.sleep(0)


async def admit(feed: FeedWorker[Exchange], key: TicketKey = KEY) -> Exchange:
    exchange = Exchange(key)
    feed.request(key, exchange)
    await asyncio.wait_for(exchange.decided.wait(), SOON_S)
    return exchange


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not condition():  # noqa: ASYNC110 - conditions of other people's objects
            await asyncio.sleep(0.005)


async def test_a_ticket_is_asked_once_and_then_found(world: World) -> None:
    async with worker(world) as (feed, _):
        first, second = Exchange(KEY), Exchange(KEY)
        feed.request(KEY, first)
        feed.request(KEY, second)
        await asyncio.gather(first.decided.wait(), second.decided.wait())
        assert first.outcome is second.outcome is Outcome.ALLOW
        assert len(world.requests) == 1
        assert feed.lookup(KEY) is not None


async def test_when_invalidate_returns_the_open_exchange_has_been_cut(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        report = await world.hub.invalidate(("device:d1",), "test")
        assert exchange.was_cut
        assert report.cut == 1
        assert feed.lookup(KEY).ticket.residual.constant.outcome is Outcome.BLOCK


async def test_an_exchange_that_is_still_allowed_stays_and_stays_watched(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        assert (await world.hub.invalidate(("device:d1",), "still fine")).cut == 0
        assert not exchange.was_cut
        world.outcome = Outcome.REMEDIATE
        assert (await world.hub.invalidate(("device:d1",), "now not")).cut == 1
        assert exchange.was_cut


async def test_a_change_of_something_else_leaves_the_ticket(world: World) -> None:
    async with worker(world) as (feed, _):
        await admit(feed)
        await world.hub.invalidate(("device:other",), "test")
        assert feed.lookup(KEY) is not None
        assert len(world.requests) == 1


async def test_many_changes_at_once_are_all_acknowledged(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        reports = await asyncio.gather(*(world.hub.invalidate(("device:d1",), str(n)) for n in range(50)))
        assert exchange.was_cut
        assert {report.cut for report in reports} == {1}
        assert world.rounds == [(1, 0)]
        assert len(world.requests) == 2


async def test_each_caller_of_a_round_is_told_of_its_own_cuts(world: World) -> None:
    async with worker(world) as (feed, _):
        await admit(feed)
        await admit(feed, TicketKey("another", "app.example", "wiki", b""))
        world.outcome = Outcome.BLOCK
        mine, device, nothing = await asyncio.gather(
            world.hub.invalidate(("session:another",), "one"),
            world.hub.invalidate(("device:d1",), "both"),
            world.hub.invalidate(("device:d2",), "none"),
        )
        assert (mine.cuts, device.cuts, nothing.cuts) == ({"wiki": 1}, {"app": 1, "wiki": 1}, {})
        assert world.rounds == [(2, 0)]
        assert set(mine.by_worker) == {"w1"}


async def test_what_workers_will_ask_for_is_worked_out_once_they_have_been_told(world: World) -> None:
    async with worker(world) as (feed, _):
        await admit(feed)
        (link,) = world.hub._links()
        sent, seen = link.seq, []
        await world.hub.invalidate(
            ("device:d1",), "test", lambda: seen.append((link.seq - sent, len(world.requests)))
        )
        assert seen == [(1, 1)]
        assert len(world.requests) == 2


async def test_a_fault_while_working_ahead_stops_no_announcement(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        await world.hub.invalidate(("device:d1",), "test", lambda: 1 / 0)
        assert exchange.was_cut
        assert len(faults) == 1


async def test_who_gives_up_waiting_does_not_stop_what_he_announced(world: World) -> None:
    """A sensor that hangs up, or a browser that leaves, must not leave a change half enforced."""
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        caller = asyncio.ensure_future(world.hub.invalidate(("device:d1",), "hangs up"))
        await asyncio.sleep(0)
        caller.cancel()
        await until(lambda: exchange.was_cut)


async def test_a_fault_while_deciding_grants_nothing_and_kills_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(world) as (feed, _):
        monkeypatch.setattr(world, "lifetime_s", "not a number")
        assert (await admit(feed)).outcome is None
        assert feed.lookup(KEY) is None
        monkeypatch.setattr(world, "lifetime_s", 60.0)
        assert (await admit(feed)).outcome is Outcome.ALLOW


async def test_a_gone_session_cuts_what_it_had_open(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = None
        assert (await world.hub.invalidate(("session:cookie",), "signed out")).cut == 1
        assert exchange.was_cut
        assert feed.lookup(KEY) is None


async def test_time_alone_makes_an_open_exchange_be_decided_anew(world: World) -> None:
    world.lifetime_s = 0.05
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        await until(lambda: exchange.was_cut)


async def test_a_request_that_comes_when_the_time_is_over_also_decides_what_is_open(world: World) -> None:
    """The request may be earlier than the ticket's own timer: what is open must not move on undecided."""
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        entry = feed.lookup(KEY)
        feed._clock = lambda: entry.ticket.valid_until + 1
        assert feed.lookup(KEY) is None
        world.outcome = Outcome.BLOCK
        assert (await admit(feed)).outcome is Outcome.BLOCK
        assert exchange.was_cut


async def test_what_is_open_under_an_evicted_ticket_still_ends_in_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_side, "MAX_TICKETS", 1)
    world.lifetime_s = 0.2
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        await admit(feed, TicketKey("another", "app.example", "app", b""))
        assert feed.lookup(KEY) is None
        world.outcome = Outcome.BLOCK
        await until(lambda: exchange.was_cut)


async def test_a_step_of_the_wall_clock_sets_the_ends_of_tickets_again(world: World) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        feed._clock = lambda: time.time() + 3600
        feed.handle(Lease(99, time.monotonic() + 5))
        await until(lambda: exchange.was_cut)


async def test_a_lease_read_late_grants_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a hub that has died since wrote into the socket of a worker that stood still."""
    monkeypatch.setattr(hub_side, "LEASE_S", 0.2)
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        await world.hub.stop()
        await until(lambda: exchange.was_cut)
        feed._tickets[KEY] = Entry(KEY, world.ticket(TicketRequest(1, "cookie", "h", "app", b"")))
        feed.handle(Lease(99, time.monotonic() - 0.001))
        assert feed.lookup(KEY) is None


async def test_a_released_exchange_is_forgotten(world: World) -> None:
    async with worker(world) as (feed, enforcer):
        exchange = await admit(feed)
        feed.release(feed.lookup(KEY), exchange)
        world.outcome = Outcome.BLOCK
        assert (await world.hub.invalidate(("*",), "test")).cut == 0
        assert not exchange.was_cut
        assert enforcer.history == ["admitted allow"]


async def test_without_the_hub_the_lease_lapses_and_everything_ends(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_side, "LEASE_S", 0.2)
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        await world.hub.stop()
        await until(lambda: exchange.was_cut)
        assert feed.lookup(KEY) is None


async def test_after_a_hub_restart_open_exchanges_are_decided_by_the_new_hub(world: World) -> None:
    async with worker(world) as (feed, enforcer):
        exchange = await admit(feed)
        await world.hub.stop()
        world.outcome = Outcome.BLOCK
        world.hub = world.new_hub()
        await world.hub.start(world.path)
        await until(lambda: exchange.was_cut)
        assert len(enforcer.configured) == 2
        world.outcome = Outcome.ALLOW
        await world.hub.invalidate(("*",), "seq starts anew")
        assert (await admit(feed)).outcome is Outcome.ALLOW


async def test_a_request_while_the_hub_is_away_is_answered_after_a_bounded_wait(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_side, "WAIT_S", 0.05)
    async with worker(world) as (feed, _):
        await world.hub.stop()
        await until(lambda: not feed.is_connected)
        assert (await admit(feed)).was_refused


SILENT_WORKER = textwrap.dedent("""
    import os, socket, sys, time
    from gateway.feed.protocol import Hello, encode
    link = socket.socket(socket.AF_UNIX)
    link.connect(sys.argv[1])
    link.sendall(encode(Hello("silent", os.getpid())))
    while True:
        if not link.recv(65536):
            time.sleep(60)
""")


async def test_a_worker_that_does_not_acknowledge_is_dead_before_invalidate_returns(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_side, "ACK_DEADLINE_S", 0.2)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT_WORKER, str(world.path))
    await until(lambda: "silent" in world.hub.workers)
    report = await world.hub.invalidate(("device:d1",), "test")
    assert report.fenced == ("silent",)
    assert world.hub.workers == []
    assert await asyncio.wait_for(child.wait(), SOON_S) == -9


async def test_a_broken_link_is_fenced_before_the_next_change_counts(world: World) -> None:
    script = SILENT_WORKER.replace("if not link.recv(65536):", "link.close()\n    if True:")
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", script, str(world.path))
    assert await asyncio.wait_for(child.wait(), SOON_S) == -9
    assert world.hub.workers == []


LEAVING_WORKER = SILENT_WORKER.replace("import Hello", "import Hello, Leave").replace(
    "while True:",
    "link.recv(65536)\nlink.sendall(encode(Leave()))\nlink.close()\nsys.stdin.read()\nsys.exit(0)\nwhile True:",
)
"""One that was told to end, and ends when its standard input does."""


async def test_a_worker_that_leaves_counts_until_it_is_dead_and_is_not_killed(world: World) -> None:
    """An orderly stop is no error: whichever of hub and workers hears of it first."""
    with structlog.testing.capture_logs() as lines:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", LEAVING_WORKER, str(world.path), stdin=asyncio.subprocess.PIPE
        )
        await until(lambda: any(line["event"] == "worker-left" for line in lines))
        changing = asyncio.ensure_future(world.hub.invalidate(("device:d1",), "test"))
        await asyncio.sleep(0.1)
        assert not changing.done()
        child.stdin.close()
        assert await asyncio.wait_for(child.wait(), 10) == 0
        assert (await asyncio.wait_for(changing, 5)).workers == 0
    assert [line for line in lines if line["log_level"] not in {"info", "debug"}] == []


async def test_a_worker_that_leaves_and_does_not_end_is_fenced(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_side, "ACK_DEADLINE_S", 0.2)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVING_WORKER, str(world.path), stdin=asyncio.subprocess.PIPE
    )
    await until(lambda: any(member.is_leaving for member in world.hub._members.values()))
    report = await world.hub.invalidate(("device:d1",), "test")
    assert report.fenced == ("silent",)
    assert await asyncio.wait_for(child.wait(), 1) == -9


async def test_a_worker_that_cannot_be_killed_is_never_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_side, "ACK_DEADLINE_S", 0.1)
    monkeypatch.setattr(hub_side, "DEATH_DEADLINE_S", 0.1)
    monkeypatch.setattr(Watch, "kill", lambda self: None)
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT_WORKER, str(world.path))
    await until(lambda: "silent" in world.hub.workers)
    for _ in range(2):
        with pytest.raises(NotEnforced, match="does not die"):
            await world.hub.invalidate(("device:d1",), "test")
    child.kill()
    await child.wait()
    assert (await world.hub.invalidate(("device:d1",), "test")).workers == 0


async def test_a_new_hub_accounts_for_every_worker_of_the_former_one(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that stands still, with a lease in its socket, is dead before a change counts as enforced."""
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT_WORKER, str(world.path))
    await until(lambda: "silent" in world.hub.workers)
    child.send_signal(signal.SIGSTOP)
    await world.hub.stop()
    monkeypatch.setattr(hub_side, "ACK_DEADLINE_S", 0.2)
    world.hub = world.new_hub()
    await world.hub.start(world.path)
    assert world.hub.workers == []
    report = await world.hub.invalidate(("device:d1",), "test")
    assert (report.workers, report.fenced) == (0, ("silent",))
    assert await asyncio.wait_for(child.wait(), SOON_S) == -9


async def test_a_new_hub_waits_for_no_worker_that_died_meanwhile(world: World) -> None:
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", SILENT_WORKER, str(world.path))
    await until(lambda: "silent" in world.hub.workers)
    await world.hub.stop()
    child.kill()
    await child.wait()
    world.hub = world.new_hub()
    await world.hub.start(world.path)
    assert world.hub._members == {}


async def test_a_roster_that_cannot_be_read_costs_a_whole_lease(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_side, "LEASE_S", 0.3)
    await world.hub.stop()
    world.path.with_name("workers.json").write_text("not what we wrote")
    world.hub = world.new_hub()
    started = time.monotonic()
    await world.hub.start(world.path)
    await world.hub.invalidate(("device:d1",), "nobody knows who is there")
    assert time.monotonic() - started >= 0.3


async def test_an_in_process_worker_that_lost_its_link_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with worker(world) as (feed, _):
        exchange = await admit(feed)
        world.outcome = Outcome.BLOCK
        for task in feed._tasks:
            task.cancel()
        feed._link.close()
        await until(lambda: world.hub.workers == [])
        with monkeypatch.context() as impatient:
            impatient.setattr(hub_side, "ACK_DEADLINE_S", 0.1)
            with pytest.raises(NotEnforced):
                await world.hub.invalidate(("device:d1",), "test")
        feed.start(world.path)
        await world.hub.invalidate(("device:d1",), "test")
        assert exchange.was_cut


def test_any_split_of_the_stream_gives_the_same_messages() -> None:
    messages = [Ack(1, (Cut("a", ("*",), 2),)), TicketRequest(3, "c", "h", "a", b"x" * 300), Ack(9)]
    stream = b"".join(encode(message) for message in messages)
    for cut in range(len(stream)):
        reader = HubReader()
        assert [*reader.messages(stream[:cut]), *reader.messages(stream[cut:])] == messages


def test_an_oversized_or_strange_frame_is_a_fault() -> None:
    with pytest.raises(FeedFault):
        list(WorkerReader().messages(b"\xff\xff\xff\xff"))
    with pytest.raises(FeedFault):
        list(HubReader().messages(encode(Invalidate(1, ("*",), "a worker never says this"))))
