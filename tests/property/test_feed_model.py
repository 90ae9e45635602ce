"""The feed protocol on every interleaving (a model of it), and the real hub and workers on many (their own code)."""

import asyncio
import os
import random
import time
from collections import deque
from pathlib import Path

import pytest

from compliance.model import Decision, Outcome, Residual
from gateway.feed import hub_side
from gateway.feed.hub_side import FeedHandlers, FeedHub, Link, NotEnforced
from gateway.feed.process import ProcessId
from gateway.feed.protocol import Ticket, TicketRequest
from gateway.feed.worker_side import Entry, FeedWorker, TicketKey, _Unacknowledged, _WorkerLink
from tests.property.feed_model import Rules, Size, search

SIZES = (
    Size(changes=2),
    Size(changes=1, fences=1),
    Size(changes=1, hub_crashes=1),
    Size(workers=1, changes=2, hub_crashes=1, fences=1),
    Size(workers=1, changes=1, hub_crashes=1, breaks=1, fences=1),
    Size(workers=1, changes=1, worker_crashes=1, breaks=1),
    Size(workers=1, changes=1, hub_crashes=1, worker_crashes=1),
)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_no_interleaving_breaks_the_invariant(size: Size) -> None:
    found = search(Rules(), size)
    assert found.fault == "", "\n".join(found.way)
    assert found.states > 1000
    assert found.acknowledgements > 0


FAULTS = (
    (Rules(acks_before_redeciding=True), Size(workers=1)),
    (Rules(acks_before_enforced=True), Size(workers=1)),
    (Rules(reply_is_sent_later=True), Size(workers=1)),
    (Rules(lost_link_is_forgotten=True), Size(workers=1, breaks=1)),
    (Rules(undead_is_forgotten=True), Size(workers=1, fences=1)),
    (Rules(settings_keep_tickets=True), Size(workers=1, changes=2, hub_crashes=1)),
    (Rules(strangers="nothing"), Size(workers=1, hub_crashes=1)),
    # How it was before the roster: a worker that stood still while its lease ran out had streams open.
    (Rules(strangers="lease"), Size(workers=1, hub_crashes=1)),
    (Rules(strangers="lease-from-receipt"), Size(workers=1, hub_crashes=1)),
)


@pytest.mark.parametrize(("rules", "size"), FAULTS, ids=str)
def test_the_search_finds_every_way_to_break_the_protocol(rules: Rules, size: Size) -> None:
    assert search(rules, size).fault != ""


# --- the real thing, message by message -------------------------------------------------------------------------


class Exchange:
    """An open exchange, and the version that it was last decided on."""

    def __init__(self, began_after: int) -> None:
        self.began_after = began_after
        self.decided_on = -1
        self.is_open = False


class Pipe:
    """One direction of a connection: bytes wait until the walk delivers them."""

    def __init__(self, protocol: asyncio.Protocol) -> None:
        self.protocol = protocol
        self.chunks: deque[bytes] = deque()
        self.is_cut = False
        self.is_over = False

    def deliver(self) -> None:
        if self.chunks:
            self.protocol.data_received(self.chunks.popleft())
        elif self.is_cut and not self.is_over:
            self.is_over = True
            self.protocol.connection_lost(None)


class Transport:
    """What one end writes to: the other end's pipe."""

    def __init__(self, out: Pipe, own: Pipe) -> None:
        self._out, self._own = out, own

    def write(self, data: bytes) -> None:
        if not self._out.is_cut:
            self._out.chunks.append(data)

    def is_closing(self) -> bool:
        return self._out.is_cut

    def abort(self) -> None:
        self._out.is_cut = self._own.is_cut = True
        self._own.chunks.clear()

    close = abort  # in both cases what was written before still arrives


class WorkerProcess:
    """A worker that can be killed; the enforcer of its own feed."""

    def __init__(self, walk: "Walk", name: str, pid: int) -> None:
        self.walk = walk
        self.pid = pid
        self.is_alive = True
        self.is_leaving = False
        self.feed: FeedWorker[Exchange] = FeedWorker(name, pid, self)
        self.key = TicketKey("cookie", "app.example", "app", b"")
        self.down: Pipe | None = None
        self.up: Pipe | None = None
        self.open: set[Exchange] = set()
        self.watch: FakeWatch | None = None

    def connect(self) -> None:
        link, there = _WorkerLink(self.feed), Link(self.walk.hub)
        self.down, self.up = Pipe(link), Pipe(there)
        self.walk.pipes += [self.down, self.up]
        there.connection_made(Transport(self.down, self.up))
        link.connection_made(Transport(self.up, self.down))

    def request(self) -> None:
        """A request begins; what the cache knows decides it at once."""
        exchange = Exchange(self.walk.acknowledged)
        entry = self.feed.lookup(self.key)
        if entry is None:
            self.feed.request(self.key, exchange)
        else:
            self.admitted(exchange, entry)

    def admitted(self, exchange: Exchange, entry: Entry[Exchange] | None) -> None:
        self.decided(exchange, entry)
        assert exchange.decided_on >= exchange.began_after, (
            "decided on older state than was acknowledged before"
        )
        entry.live.add(exchange)
        self.open.add(exchange)

    def decided(self, exchange: Exchange, entry: Entry[Exchange]) -> None:
        exchange.decided_on = int(entry.ticket.decision)

    def redecide(self, exchange: Exchange, entry: Entry[Exchange] | None) -> bool:
        if entry is None:
            self.open.discard(exchange)
            return True
        self.decided(exchange, entry)
        return False

    def unavailable(self, exchange: Exchange) -> None:
        return

    def configure(self, settings: bytes) -> dict[str, int]:
        return {}

    def drain(self, seconds: float) -> None:
        return

    def end_one(self) -> None:
        if self.open:
            exchange = self.open.pop()
            for entry in self.feed._all_entries():
                if exchange in entry.live:
                    self.feed.release(entry, exchange)

    def leave(self) -> None:
        """It was told to end: it serves nobody any more, says so, and lives on for a while."""
        self.is_leaving = True
        while self.open:
            self.end_one()
        self.feed.close()

    def die(self) -> None:
        if self.is_alive:
            self.is_alive = False
            self.open.clear()
            if self.up is not None:
                self.up.is_cut = self.down.is_cut = True
                self.down.is_over = True
            self.feed.close()
            if self.watch is not None:
                asyncio.get_running_loop().call_soon(self.watch.on_death)

    def check(self) -> None:
        """Nothing here may be older than what is acknowledged."""
        if self.is_alive and not self.is_leaving:
            entry = self.feed.lookup(self.key)
            assert entry is None or int(entry.ticket.decision) >= self.walk.acknowledged, (
                "a usable ticket is older"
            )
            assert all(each.decided_on >= self.walk.acknowledged for each in self.open), (
                "an open exchange is older"
            )


class FakeWatch:
    """Kills and mourns workers of a walk."""

    walk: "Walk"

    def __init__(self, pid: int, on_death) -> None:
        worker = self.walk.by_pid[pid]
        if not worker.is_alive:
            raise ProcessLookupError
        self.on_death = on_death
        self._worker = worker
        worker.watch = self

    def kill(self) -> None:
        self._worker.die()

    def close(self) -> None:
        self.on_death = lambda: None


class Walk:
    """A hub, two workers, and a random choice of what happens next. The same seed walks the same way."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.random = random.Random(seed)  # noqa: S311 - a walk that can be repeated
        self.folder = folder
        self.version = 0
        self.acknowledged = 0
        self.pipes: list[Pipe] = []
        self.workers: list[WorkerProcess] = []
        self.by_pid: dict[int, WorkerProcess] = {}
        self.tasks: list[asyncio.Task] = []
        self.faults: list[BaseException] = []
        self.hub = self.new_hub()
        for name in ("w1", "w2"):
            self.spawn(name)

    def new_hub(self) -> FeedHub:
        handlers = FeedHandlers(ticket=self.ticket, touch=lambda _: None, stats=lambda _, __: None)
        hub = FeedHub(handlers, lambda: b"settings")
        hub._await_strangers(hub_side.Roster(self.folder / "workers.json"))
        return hub

    def ticket(self, request: TicketRequest) -> Ticket:
        decision = Decision(outcome=Outcome.ALLOW, policy="p", reason="")
        return Ticket(
            keys=("device:d",), session="s", decision=str(self.version), headers=(), variants=(),
            residual=Residual(entries=(), constant=decision, valid_until=None), valid_until=time.time() + 3600,
        )  # fmt: skip

    def spawn(self, name: str) -> None:
        worker = WorkerProcess(self, name, 1_000_000 + len(self.by_pid))
        self.by_pid[worker.pid] = worker
        self.workers = [each for each in self.workers if each.is_alive] + [worker]

    async def change(self, hub: FeedHub) -> None:
        """What intake does: first it is so, then it is enforced, then it is acknowledged."""
        self.version += 1
        version = self.version
        await asyncio.sleep(0)
        try:
            await hub.invalidate(("device:d",), "test")
        except NotEnforced:
            return
        if hub is self.hub:
            self.acknowledged = max(self.acknowledged, version)
            for worker in self.workers:
                worker.check()

    def hub_dies(self) -> None:
        for task in self.tasks:
            task.cancel()
        for worker in self.workers:
            if worker.down is not None:
                worker.down.is_cut = True
                worker.up.is_cut = worker.up.is_over = True
                worker.up.chunks.clear()
            worker.watch = None
        self.hub.is_stopping = True
        self.hub = self.new_hub()

    async def step(self) -> None:
        """Do one thing, then let the hub's tasks come a random way further."""
        self.act()
        for _ in range(self.random.randrange(8)):
            await asyncio.sleep(0)
        self.look_after_workers()
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if not task.cancelled():
                task.result()

    def act(self) -> None:
        worker = self.random.choice(self.workers)
        ready = [pipe for pipe in self.pipes if pipe.chunks or (pipe.is_cut and not pipe.is_over)]
        match self.random.choices(
            ("deliver", "request", "change", "end", "die", "leave", "hub", "break"),
            (60, 14, 6, 4, 1, 1, 1, 1),
        )[0]:
            case "deliver" if ready:
                self.random.choice(ready).deliver()
            case "request" if worker.is_alive and not worker.is_leaving:
                worker.request()
            case "change":
                self.tasks.append(asyncio.get_running_loop().create_task(self.change(self.hub)))
            case "end" if worker.is_alive and not worker.is_leaving:
                worker.end_one()
            case "die":
                worker.die()
            case "leave" if worker.is_alive and not worker.is_leaving:
                worker.leave()
            case "hub":
                self.hub_dies()
            case "break" if worker.is_alive and worker.feed._link is not None:
                worker.feed._link.close()
            case _:
                return

    def look_after_workers(self) -> None:
        for each in list(self.workers):
            if each.is_leaving and not self.random.randrange(10):
                each.die()
            if not each.is_alive:
                self.spawn(each.feed._name)
            elif not each.is_leaving and each.feed._link is None and (each.down is None or each.down.is_over):
                each.connect()
            each.check()
        self.pipes = [pipe for pipe in self.pipes if not pipe.is_over]

    async def settle(self) -> None:
        """Deliver everything; then every change must have been acknowledged."""
        for worker in self.workers:
            if worker.is_leaving:
                worker.die()
        last = asyncio.get_running_loop().create_task(self.change(self.hub))
        async with asyncio.timeout(20):
            while not last.done():
                for pipe in [pipe for pipe in self.pipes if not pipe.is_over]:
                    pipe.deliver()
                for worker in [each for each in self.workers if each.is_alive and each.feed._link is None]:
                    if worker.down is None or worker.down.is_over:
                        worker.connect()
                await asyncio.sleep(0)
        assert self.acknowledged == self.version


async def walk(seed: int, folder: Path, steps: int) -> Walk:
    own = folder / str(seed)
    own.mkdir()
    made = Walk(seed, own)
    FakeWatch.walk = made
    for _ in range(steps):
        await made.step()
    await made.settle()
    for worker in made.workers:
        worker.die()
    return made


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(hub_side, "Watch", FakeWatch)
    monkeypatch.setattr(hub_side, "ACK_DEADLINE_S", 15.0)
    monkeypatch.setattr(hub_side, "process_id", lambda pid: ProcessId(pid, 1))
    monkeypatch.setattr("gateway.feed.roster.process_id", lambda pid: ProcessId(pid, 1))
    monkeypatch.setattr(hub_side.log, "error", lambda *_, **__: None)
    monkeypatch.setattr(hub_side.log, "info", lambda *_, **__: None)
    return monkeypatch


SEED = int(os.environ.get("FEED_SEED", "0"))
"""Where the walks begin; another number walks other ways."""


@pytest.mark.parametrize("seed", range(SEED, SEED + 40))
async def test_the_real_hub_and_workers_keep_the_invariant(seed: int, tmp_path: Path, fakes) -> None:
    made = await walk(seed, tmp_path, 600)
    assert made.acknowledged > 3


async def finds_a_fault(folder: Path) -> bool:
    for seed in range(60):
        try:
            await walk(seed, folder, 600)
        except AssertionError as error:
            return "older" in str(error)
    return False


async def test_the_walk_finds_a_worker_that_acknowledges_before_it_decided_anew(
    tmp_path: Path, fakes
) -> None:
    def hasty(self: FeedWorker, seq: int, names: frozenset[str], _cuts: object = None) -> None:
        for entry in self._resting_on(names):
            self._drop(entry)
            if entry.live:
                self._renew(entry)
        self._unacknowledged.append(_Unacknowledged(seq, names, set()))
        self._acknowledge()

    fakes.setattr(FeedWorker, "_invalidate", hasty)
    assert await finds_a_fault(tmp_path)


async def test_the_walk_finds_a_hub_that_forgets_whom_it_served(tmp_path: Path, fakes) -> None:
    fakes.setattr(FeedHub, "_await_strangers", lambda self, roster: None)
    assert await finds_a_fault(tmp_path)
