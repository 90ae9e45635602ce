"""The hub's end of the posture feed: answers ticket requests, spreads invalidations, waits until they are enforced.

INVARIANT: `invalidate` returns only when every process that may hold a ticket has enforced the change, or is dead. No
clock takes part in that: the roster (`gateway.feed.roster`) names every such process, those of a former hub included,
and one that does not acknowledge is killed (fenced) and its death awaited. The lease serves another end: workers that
no hub speaks to fail closed. `tests/property/test_feed_model.py` searches a model of this protocol for a way round it.
"""

import asyncio
import contextlib
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import msgspec
import structlog

from gateway.feed.process import ProcessId, Watch, process_id
from gateway.feed.protocol import (
    Ack,
    Cut,
    Drain,
    FeedFault,
    FrameWriter,
    Hello,
    HubMessage,
    HubReader,
    Invalidate,
    Lease,
    Leave,
    Serving,
    Settings,
    Stats,
    Ticket,
    TicketReply,
    TicketRequest,
    Touch,
    WorkerMessage,
    encode,
)
from gateway.feed.roster import Roster, RosterLine, RosterUnreadable
from gateway.tasks import spawn

log = structlog.get_logger("feed")

LEASE_S = 5.0
"""How long a worker may use its tickets after the hub last said that it lives."""
LEASE_EVERY_S = 1.0
ACK_DEADLINE_S = 2.0
"""A worker that owes an acknowledgement and says nothing for this long is fenced; so is one that does not come back."""
ENFORCE_MOST_S = 15.0
"""A worker that owes an acknowledgement for this long is fenced although it talks."""
DEATH_DEADLINE_S = 5.0
SILENCE_DEADLINE_S = 6.0
"""A worker reports every two seconds; one that says nothing for this long hangs with its clients, and is replaced."""
MAX_ROUND_KEYS = 20_000
"""Most keys of changes that are announced together."""
EARLY_S = 0.05
"""How late a hub that was broken on purpose begins to enforce what it has acknowledged (tests of the checker)."""


class NotEnforced(Exception):
    """A change could not be enforced everywhere; the sender must be told to retry."""


class Enforcement(msgspec.Struct, frozen=True):
    """How a change was enforced: by how many workers, how many open exchanges ended, who had to be fenced.

    `by_worker` are the seconds from the announcement to each worker's acknowledgement; `cuts` are by app.
    `evaluated_mono_ns` is when it was known what the change means, where that was worked out before anybody asked.
    """

    workers: int
    cut: int
    fenced: tuple[str, ...]
    seconds: float
    by_worker: dict[str, float] = {}
    cuts: dict[str, int] = {}
    evaluated_mono_ns: int | None = None


def joined(reports: Sequence[Enforcement]) -> Enforcement:
    """Return how a change was enforced that was announced in several pieces, one after the other; at least one."""
    cuts: Counter[str] = Counter()
    by_worker: dict[str, float] = {}
    for report in reports:
        cuts.update(report.cuts)
        for worker, took_s in report.by_worker.items():
            by_worker[worker] = max(took_s, by_worker.get(worker, 0.0))
    return Enforcement(
        workers=min(report.workers for report in reports),
        cut=sum(report.cut for report in reports),
        fenced=tuple(dict.fromkeys(worker for report in reports for worker in report.fenced)),
        seconds=sum(report.seconds for report in reports),
        by_worker=by_worker,
        cuts=dict(cuts),
    )


class FeedHandlers(msgspec.Struct, frozen=True):
    """What the feed asks of the hub.

    `ticket` is synchronous on purpose: between deciding and sending lies no await, so that a reply can never be
    overtaken by the invalidation of what it rests on.
    """

    ticket: Callable[[TicketRequest], Ticket | None]
    touch: Callable[[tuple[str, ...]], None]
    stats: Callable[[str, dict[str, float]], None]


class Link(asyncio.Protocol):
    """One connected worker."""

    def __init__(self, hub: "FeedHub") -> None:
        self.hub = hub
        self.worker = ""
        self.pid = 0
        self.seq = 0
        self.is_open = False
        self.is_serving = False
        self.is_leaving = False
        self.heard_mono_s = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._writer = FrameWriter()
        self._reader = HubReader()
        self._waiting: dict[int, asyncio.Future[Ack]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `Hello`; until then this link counts for nothing."""
        # uvloop's transports do not derive from asyncio's, so this cannot be an isinstance.
        self._transport = cast("asyncio.Transport", transport)
        self._writer.connect(self._transport)

    def data_received(self, data: bytes) -> None:
        """Handle every complete message; a worker that breaks the protocol is dropped, and so fenced."""
        self._writer.hold()
        try:
            for message in self._reader.messages(data):
                self._handle(message)
        except FeedFault as fault:
            log.error("feed-broken", worker=self.worker, error=str(fault))
            self.close()
        finally:
            self._writer.release()
        self.heard_mono_s = time.monotonic()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is of no use
        """Hand the link back; whoever waits for its acknowledgement is told by `ConnectionError`."""
        self.is_open = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ConnectionError("link lost"))
        self._waiting.clear()
        self.hub.link_lost(self)

    def close(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    def send(self, make: Callable[[int], HubMessage]) -> int:
        """Send `make(seq)` with the next sequence number; return that number."""
        self.seq += 1
        self._writer.send(encode(make(self.seq)))
        return self.seq

    def acknowledged(self, seq: int) -> asyncio.Future[Ack]:
        """Return a future of the acknowledgement of `seq`.

        Raises `ConnectionError` through the future when the link is lost first.
        """
        future: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        if not self.is_open:
            future.set_exception(ConnectionError("link lost"))
        else:
            self._waiting[seq] = future
        return future

    def _handle(self, message: WorkerMessage) -> None:
        match message:
            case TicketRequest():
                ticket = self._ticket(message)
                self.send(lambda seq: TicketReply(seq, message.request, ticket))
            case Ack():
                for seq in [waiting for waiting in self._waiting if waiting <= message.seq]:
                    future = self._waiting.pop(seq)
                    if not future.done():
                        future.set_result(message if seq == message.seq else Ack(seq))
            case Touch():
                self.hub.handlers.touch(message.sessions)
            case Serving():
                self.is_serving = True
            case Leave():
                self.is_leaving = True
            case Stats():
                self.hub.handlers.stats(self.worker, message.counters)
            case Hello():
                self.worker, self.pid = message.worker, message.pid
                self.is_open = True
                self.hub.link_made(self)

    def _ticket(self, request: TicketRequest) -> Ticket | None:
        """Return the hub's answer. A fault of ours grants nothing, and costs no worker its life."""
        try:
            return self.hub.handlers.ticket(request)
        except Exception:
            log.exception("ticket-failed", app=request.app)
            return None


class Member:
    """A worker process that may hold tickets. Without a `link` it lost it, or has not come back to a new hub yet.

    One that `is_leaving` was told to end and is at it: nobody has to kill it unless it takes too long.
    """

    def __init__(self, worker: str, process: ProcessId) -> None:
        self.worker = worker
        self.process = process
        self.link: Link | None = None
        self.watch: Watch | None = None
        self.since_mono_s = time.monotonic()
        self.is_condemned = False
        self.is_leaving = False
        self.is_dead = False
        self.changed = asyncio.Event()

    @property
    def is_ourselves(self) -> bool:
        """Whether it proxies inside the hub's own process: it ends with the hub, and cannot be fenced."""
        return self.process.pid == os.getpid()


class _Round:
    """Changes that are announced together: one frame and one acknowledgement per worker."""

    def __init__(self) -> None:
        self.keys: dict[str, None] = {}
        self.reasons: dict[str, None] = {}
        self.meanwhile: list[Callable[[], None]] = []
        self.done: asyncio.Future[_Spread] = asyncio.get_running_loop().create_future()


class _Spread(msgspec.Struct, frozen=True):
    """What became of one announcement."""

    workers: int
    fenced: tuple[str, ...]
    by_worker: dict[str, float]
    cuts: tuple[Cut, ...]

    def enforcement(self, keys: frozenset[str] | None, started_mono_s: float) -> Enforcement:
        """Return the part that concerns `keys`; None means all."""
        cuts: dict[str, int] = {}
        for cut in self.cuts:
            if keys is None or not keys.isdisjoint(cut.keys):
                cuts[cut.app] = cuts.get(cut.app, 0) + cut.count
        took = time.monotonic() - started_mono_s
        return Enforcement(self.workers, sum(cuts.values()), self.fenced, took, self.by_worker, cuts)


class FeedHub:
    """Accepts workers on a Unix socket and keeps them in step. `settings()` gives the bytes that a worker serves by.

    `on_round` hears of the exchanges cut and the workers fenced by each announcement, once.
    `acknowledges_early` breaks the invariant on purpose, so that the checker in `tests/faults` can be tested.
    """

    def __init__(
        self,
        handlers: FeedHandlers,
        settings: Callable[[], bytes],
        *,
        on_round: Callable[[int, int], None] = lambda cut, fenced: None,  # noqa: ARG005 - nobody listens
        acknowledges_early: bool = False,
    ) -> None:
        self.handlers = handlers
        self._settings = settings
        self._on_round = on_round
        self._acknowledges_early = acknowledges_early
        self._members: dict[tuple[str, int], Member] = {}
        self._roster: Roster | None = None
        self._strangers_until_mono_s = 0.0
        self._round: _Round | None = None
        self._spreading = 0
        self._server: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._leasing: asyncio.Task[None] | None = None
        self.is_stopping = False

    # --- life cycle ------------------------------------------------------------------------------------------

    async def start(self, path: Path) -> None:
        """Listen on `path`; a stale socket of a former hub is replaced, and its workers are waited for."""
        loop = asyncio.get_running_loop()
        self._await_strangers(Roster(path.with_name("workers.json")))
        path.unlink(missing_ok=True)  # noqa: ASYNC240 - a local folder, before anything is served
        self._server = await loop.create_unix_server(lambda: Link(self), str(path))
        path.chmod(0o600)  # noqa: ASYNC240 - as above
        self._leasing = spawn(self._keep_leases(), name="feed-leases")

    async def stop(self) -> None:
        """Stop listening and drop every link without fencing (the workers are ending too)."""
        self.is_stopping = True
        if self._leasing is not None:
            self._leasing.cancel()
        if self._server is not None:
            self._server.close()
        for member in list(self._members.values()):
            if member.link is not None:
                member.link.close()
            if member.watch is not None:
                member.watch.close()
        await asyncio.sleep(0)

    def drain(self, seconds: float) -> None:
        """Tell every worker to finish what is open and end."""
        self.is_stopping = True
        for link in self._links():
            link.send(lambda seq: Drain(seq, seconds))

    async def until_empty(self, seconds: float) -> None:
        """Return when every worker has left, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._links():
                    self._changed.clear()
                    await self._changed.wait()

    @property
    def workers(self) -> list[str]:
        """Names of the connected workers."""
        return sorted(link.worker for link in self._links())

    @property
    def is_enforcing(self) -> bool:
        """Whether a change is on its way to the workers."""
        return self._spreading > 0

    @property
    def serving(self) -> int:
        """Number of connected workers whose listener is open."""
        return sum(link.is_serving for link in self._links())

    # --- changes ---------------------------------------------------------------------------------------------

    async def invalidate(
        self, keys: tuple[str, ...], reason: str, meanwhile: Callable[[], None] | None = None
    ) -> Enforcement:
        """Make every worker enforce what follows from a change of `keys`; return once that is so.

        Calls of one turn of the event loop are announced together. `meanwhile` is work that the workers will ask for:
        it is done while they are at it already. A caller that is cancelled leaves the announcement on its way. Raises
        `NotEnforced` when a worker could neither be reached nor killed.
        """
        started = time.monotonic()
        current = self._round
        if current is None or len(current.keys) + len(keys) > MAX_ROUND_KEYS:
            current = self._round = _Round()
            loop = asyncio.get_running_loop()
            loop.call_later(EARLY_S if self._acknowledges_early else 0, self._announce, current)
        current.keys.update(dict.fromkeys(keys))
        current.reasons[reason] = None
        if meanwhile is not None:
            current.meanwhile.append(meanwhile)
        if self._acknowledges_early:
            return Enforcement(0, 0, (), 0.0)
        spread = await asyncio.shield(current.done)
        return spread.enforcement(frozenset(keys), started)

    async def swap(self) -> Enforcement:
        """Make every worker serve by the current settings and re-decide everything. Raises as `invalidate`."""
        started = time.monotonic()
        # The settings are read when they are sent: of two swaps at once, neither may bring back the older ones.
        spread = await self._spread(lambda seq: Settings(seq, self._settings()))
        return spread.enforcement(None, started)

    def _announce(self, current: _Round) -> None:
        """Tell the workers now, and wait in a task: they are at it before the task has begun."""
        if self._round is current:
            self._round = None
        keys, reason = tuple(current.keys), ",".join(current.reasons)

        def invalidate(seq: int) -> HubMessage:
            return Invalidate(seq, keys, reason)

        told = None if self._are_strangers_about else self._tell(invalidate)
        spawn(self._run(current, invalidate, told), name="feed-round")
        for work in current.meanwhile:
            work()

    async def _run(
        self, current: _Round, make: Callable[[int], HubMessage], told: "_Announcement | None"
    ) -> None:
        try:
            spread = await self._spread(make, told)
        except NotEnforced as error:
            current.done.set_exception(error)
            current.done.exception()  # it is no fault if every caller has left
        else:
            current.done.set_result(spread)

    def _tell(self, make: Callable[[int], HubMessage]) -> "_Announcement":
        """Send to every process that may hold a ticket, as far as it is connected."""
        now = time.monotonic()
        told = [_Told(member, self._sent(member, make)) for member in self._members.values()]
        return _Announcement(now, told)

    @staticmethod
    def _sent(member: Member, make: Callable[[int], HubMessage]) -> "_Sent | None":
        link = member.link
        if link is None or member.is_condemned:
            return None
        return _Sent(link, link.acknowledged(link.send(make)))

    async def _spread(
        self, make: Callable[[int], HubMessage], told: "_Announcement | None" = None
    ) -> _Spread:
        """Tell every process that may hold a ticket, unless `told`; wait until each has enforced it or is dead."""
        self._spreading += 1
        try:
            return await self._spread_now(make, told)
        finally:
            self._spreading -= 1

    async def _spread_now(self, make: Callable[[int], HubMessage], told: "_Announcement | None") -> _Spread:
        if told is None:
            await self._strangers_lapsed()
            told = self._tell(make)
        started, members = told
        outcomes = await asyncio.gather(
            *(self._enforced(each.member, make, each.sent) for each in members),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        acks = [(each.member.worker, outcome) for each, outcome in zip(members, outcomes, strict=True)]
        cuts = tuple(cut for _, each in acks if isinstance(each, _Acked) for cut in each.ack.cuts)
        fenced = tuple(worker for worker, each in acks if each is None)
        by_worker = {worker: each.at_mono_s - started for worker, each in acks if isinstance(each, _Acked)}
        self._on_round(sum(cut.count for cut in cuts), len(fenced))
        return _Spread(len(members) - len(fenced), fenced, by_worker, cuts)

    async def _enforced(
        self, member: Member, make: Callable[[int], HubMessage], sent: "_Sent | None"
    ) -> "_Acked | None":
        """Return the worker's acknowledgement, or None once it is dead. Raises `NotEnforced`."""
        if sent is not None or not member.is_condemned:
            with contextlib.suppress(TimeoutError, ConnectionError):
                if sent is None:
                    link = await self._linked(member)
                    sent = _Sent(link, link.acknowledged(link.send(make)))
                return await self._acknowledged(sent)
        if member.is_leaving:
            with contextlib.suppress(TimeoutError, ConnectionError):
                await self._linked(member)  # until it is dead
        if member.is_dead:
            return None
        if member.is_ourselves:
            raise NotEnforced("the in-process worker did not acknowledge")
        self._condemn(member, "worker-fenced")
        await self._dead(member)
        return None

    @staticmethod
    async def _linked(member: Member) -> Link:
        """Return the link, for which a worker has `ACK_DEADLINE_S`. Raises `TimeoutError`, `ConnectionError`."""
        async with asyncio.timeout(ACK_DEADLINE_S):
            while member.link is None:
                if member.is_dead or member.is_condemned:
                    raise ConnectionError("gone")
                member.changed.clear()
                await member.changed.wait()
            return member.link

    @staticmethod
    async def _acknowledged(sent: "_Sent") -> "_Acked":
        """Wait for an acknowledgement as long as the worker talks. Raises `TimeoutError`, `ConnectionError`."""
        link, future = sent
        latest = time.monotonic() + ENFORCE_MOST_S
        while True:
            before = time.monotonic()
            await asyncio.wait([future], timeout=ACK_DEADLINE_S)
            now = time.monotonic()
            if future.done():
                return _Acked(future.result(), now)
            # A hub that was itself held up has not read what its workers said meanwhile: it must not blame them.
            is_held_up = now - before > ACK_DEADLINE_S * 1.5
            if not is_held_up and (now >= latest or now - link.heard_mono_s >= ACK_DEADLINE_S):
                raise TimeoutError

    # --- members ---------------------------------------------------------------------------------------------

    def link_made(self, link: Link) -> None:
        """Bring a worker up to date; its first tickets rest on the present state."""
        member = self._members.get((link.worker, link.pid)) or self._enrol(link.worker, link.pid)
        if member is None or member.is_condemned:
            link.close()
            return
        former, member.link = member.link, link
        if former is not None:
            former.close()
        link.send(lambda seq: Lease(seq, time.monotonic() + LEASE_S))
        link.send(lambda seq: Settings(seq, self._settings()))
        member.changed.set()
        self._changed.set()
        log.info("worker-connected", worker=link.worker, pid=link.pid)

    def link_lost(self, link: Link) -> None:
        """Fence the process behind a lost link: it may still hold tickets until its lease runs out.

        One that has said that it leaves is let be: it is a member until it is dead, which is soon.
        """
        member = self._members.get((link.worker, link.pid))
        if member is None or member.link is not link:
            return
        member.link = None
        member.since_mono_s = time.monotonic()
        member.changed.set()
        self._changed.set()
        member.is_leaving = link.is_leaving
        if member.is_ourselves and self.is_stopping:
            self._forget(member)
        elif link.is_leaving:
            log.info("worker-left", worker=member.worker, pid=member.process.pid)
        elif not self.is_stopping and not member.is_ourselves:
            self._condemn(member, "worker-link-lost")

    def _links(self) -> list[Link]:
        return [member.link for member in self._members.values() if member.link is not None]

    def _enrol(self, worker: str, pid: int, *, writes: bool = True) -> Member | None:
        """Put a process on the roster before it gets anything; return None when it cannot be accounted for."""
        process = process_id(pid)
        if process is None:
            return None
        member = Member(worker, process)
        try:
            if not member.is_ourselves:
                member.watch = Watch(pid, lambda: self._died(member))
            self._members[worker, pid] = member
            if writes:
                self._write_roster()
        except OSError as error:
            log.error("worker-refused", worker=worker, pid=pid, error=str(error))
            self._forget(member)
            return None
        return member

    def _forget(self, member: Member) -> None:
        if member.watch is not None:
            member.watch.close()
        self._members.pop((member.worker, member.process.pid), None)

    def _write_roster(self) -> None:
        """Raises `OSError`."""
        if self._roster is not None:
            members = [each for each in self._members.values() if not each.is_ourselves]
            self._roster.write(tuple(RosterLine(each.worker, *each.process) for each in members))

    def _await_strangers(self, roster: Roster) -> None:
        """Count every living worker of a former hub as a member that has still to come back."""
        try:
            for line in roster.read():
                self._enrol(line.worker, line.pid, writes=False)
        except RosterUnreadable as error:
            log.error("roster-unreadable", error=str(error))
            self._strangers_until_mono_s = time.monotonic() + LEASE_S
        self._roster = roster

    @property
    def _are_strangers_about(self) -> bool:
        return self._strangers_until_mono_s > time.monotonic()

    async def _strangers_lapsed(self) -> None:
        """Wait until no unknown process can have a lease: only after a roster that could not be read."""
        left = self._strangers_until_mono_s - time.monotonic()
        if left > 0:
            await asyncio.sleep(left)

    # --- fencing ---------------------------------------------------------------------------------------------

    def _condemn(self, member: Member, event: str) -> None:
        """Kill the process; it stays a member until it is dead."""
        if not member.is_condemned:
            log.error(event, worker=member.worker, pid=member.process.pid)
        member.is_condemned = True
        member.changed.set()
        if member.watch is not None:
            with contextlib.suppress(PermissionError):
                member.watch.kill()

    async def _dead(self, member: Member) -> None:
        """Wait for a condemned process to die. Raises `NotEnforced`; it is still a member then."""
        try:
            async with asyncio.timeout(DEATH_DEADLINE_S):
                while not member.is_dead:
                    member.changed.clear()
                    await member.changed.wait()
        except TimeoutError as error:
            raise NotEnforced(f"worker {member.worker} (pid {member.process.pid}) does not die") from error

    def _died(self, member: Member) -> None:
        member.is_dead = True
        self._forget(member)
        with contextlib.suppress(OSError):  # who is dead and on the roster is left out when it is read
            self._write_roster()
        link, member.link = member.link, None
        if link is not None:
            link.close()
        member.changed.set()
        self._changed.set()

    async def _keep_leases(self) -> None:
        while True:
            until = time.monotonic() + LEASE_S
            for link in self._links():
                link.send(lambda seq, until=until: Lease(seq, until))  # type: ignore[misc]
            before = time.monotonic()
            await asyncio.sleep(LEASE_EVERY_S)
            # As in `_acknowledged`: not while we were held up ourselves.
            if time.monotonic() - before < 2 * LEASE_EVERY_S and not self.is_stopping:
                self._fence_silent()

    def _fence_silent(self) -> None:
        """Replace workers that say nothing any more, or never came back to this hub."""
        overdue = time.monotonic() - SILENCE_DEADLINE_S
        for member in list(self._members.values()):
            heard = member.since_mono_s if member.link is None else member.link.heard_mono_s
            if heard < overdue and not member.is_ourselves and not member.is_condemned:
                self._condemn(member, "worker-silent")


class _Sent(NamedTuple):
    """What a worker was sent over a link, as the acknowledgement that it owes."""

    link: Link
    owed: asyncio.Future[Ack]


class _Told(NamedTuple):
    """A process that may hold a ticket, and what it was sent; None when it was not connected."""

    member: Member
    sent: _Sent | None


class _Announcement(NamedTuple):
    """Whom a change was announced to, and when."""

    at_mono_s: float
    told: list[_Told]


class _Acked(msgspec.Struct, frozen=True):
    """A worker's acknowledgement, and when it was here."""

    ack: Ack
    at_mono_s: float


Enforce = Callable[[tuple[str, ...], str], Awaitable[Enforcement]]
"""The shape of `FeedHub.invalidate`, for whoever causes changes."""
