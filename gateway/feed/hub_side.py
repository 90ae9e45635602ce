"""The hub's end of the posture feed: answers ticket requests, spreads invalidations, waits until they are enforced.

INVARIANT: `invalidate` returns only when every worker process that might hold a ticket enforces the change, or is dead.
A worker whose link breaks, or that does not acknowledge in time, is killed (fenced) before it is left out of the count.
"""

import asyncio
import contextlib
import os
import select
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import msgspec
import structlog

from gateway.feed.protocol import (
    Ack,
    Drain,
    FeedFault,
    Hello,
    HubMessage,
    HubReader,
    Invalidate,
    Lease,
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
from gateway.tasks import spawn

log = structlog.get_logger("feed")

LEASE_S = 5.0
"""How long a worker may use its tickets after it last heard of the hub."""
LEASE_EVERY_S = 1.0
ACK_DEADLINE_S = 2.0
"""How long a worker may take to enforce a change before it is fenced."""
DEATH_DEADLINE_S = 5.0
SILENCE_DEADLINE_S = 6.0
"""A worker reports every two seconds; one that says nothing for this long hangs with its clients, and is replaced."""


class NotEnforced(Exception):
    """A change could not be enforced everywhere; the sender must be told to retry."""


class Enforcement(msgspec.Struct, frozen=True):
    """How a change was enforced: by how many workers, how many open exchanges ended, who had to be fenced."""

    workers: int
    cut: int
    fenced: tuple[str, ...]
    seconds: float


class FeedHandlers(msgspec.Struct, frozen=True):
    """What the feed asks of the hub. `ticket` is synchronous on purpose: between deciding and sending lies no await,
    so that a reply can never be overtaken by the invalidation of what it rests on.
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
        self.heard_mono_s = time.monotonic()
        self._transport: asyncio.Transport | None = None
        self._reader = HubReader()
        self._waiting: dict[int, asyncio.Future[int]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for `Hello`; until then this link counts for nothing."""
        # uvloop's transports do not derive from asyncio's, so this cannot be an isinstance.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Handle every complete message; a worker that breaks the protocol is dropped, and so fenced."""
        self.heard_mono_s = time.monotonic()
        try:
            for message in self._reader.messages(data):
                self._handle(message)
        except FeedFault as fault:
            log.error("feed-broken", worker=self.worker, error=str(fault))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand the link back; whoever waits for its acknowledgement is told by cancellation of the future."""
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
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(encode(make(self.seq)))
        return self.seq

    def acknowledged(self, seq: int) -> asyncio.Future[int]:
        """Return a future that gives the number of exchanges cut once `seq` is enforced.

        Raises `ConnectionError` through the future when the link is lost first.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if not self.is_open:
            future.set_exception(ConnectionError("link lost"))
        else:
            self._waiting[seq] = future
        return future

    def _handle(self, message: WorkerMessage) -> None:
        match message:
            case TicketRequest():
                ticket = self.hub.handlers.ticket(message)
                self.send(lambda seq: TicketReply(seq, message.request, ticket))
            case Ack():
                for seq in [waiting for waiting in self._waiting if waiting <= message.seq]:
                    future = self._waiting.pop(seq)
                    if not future.done():
                        future.set_result(message.cut if seq == message.seq else 0)
            case Touch():
                self.hub.handlers.touch(message.sessions)
            case Serving():
                self.is_serving = True
            case Stats():
                self.hub.handlers.stats(self.worker, message.counters)
            case Hello():
                self.worker, self.pid = message.worker, message.pid
                self.is_open = True
                self.hub.link_made(self)


class FeedHub:
    """Accepts workers on a Unix socket and keeps them in step.

    `settings()` gives the bytes that a worker serves by; `expected` is how many workers there will be: until that
    many are connected, or a whole lease has passed since `start`, nothing counts as enforced, because a worker that
    outlived a former hub may still use its old tickets.
    """

    def __init__(self, handlers: FeedHandlers, settings: Callable[[], bytes], *, expected: int) -> None:
        self.handlers = handlers
        self.expected = expected
        self._settings = settings
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._fencing: dict[Link, asyncio.Task[None]] = {}
        self._started_mono_s = 0.0
        self._changed = asyncio.Event()
        self._leasing: asyncio.Task[None] | None = None
        self.on_fence: Callable[[str], None] = lambda worker: None
        self.is_stopping = False

    async def start(self, path: Path) -> None:
        """Listen on `path`; a stale socket of a former hub is replaced."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        self._server = await loop.create_unix_server(lambda: Link(self), str(path))
        path.chmod(0o600)
        self._started_mono_s = time.monotonic()
        self._leasing = spawn(self._keep_leases(), name="feed-leases")

    async def stop(self) -> None:
        """Stop listening and drop every link without fencing (the workers are ending too)."""
        self.is_stopping = True
        if self._leasing is not None:
            self._leasing.cancel()
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.close()
        await asyncio.sleep(0)

    @property
    def workers(self) -> list[str]:
        """Names of the connected workers."""
        return sorted(link.worker for link in self._links)

    @property
    def serving(self) -> int:
        """Number of connected workers whose listener is open."""
        return sum(link.is_serving for link in self._links)

    async def invalidate(self, keys: tuple[str, ...], reason: str) -> Enforcement:
        """Make every worker enforce what follows from a change of `keys`; return once that is so.

        Raises `NotEnforced` when a worker could neither be reached nor killed.
        """
        return await self._spread(lambda seq: Invalidate(seq, keys, reason))

    async def swap(self) -> Enforcement:
        """Make every worker serve by the current settings and re-decide everything. Raises as `invalidate`."""
        payload = self._settings()
        return await self._spread(lambda seq: Settings(seq, payload))

    def drain(self, seconds: float) -> None:
        """Tell every worker to finish what is open and end."""
        self.is_stopping = True
        for link in self._links:
            link.send(lambda seq: Drain(seq, seconds))

    async def until_empty(self, seconds: float) -> None:
        """Return when every worker has left, or after `seconds`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._links:
                    self._changed.clear()
                    await self._changed.wait()

    def link_made(self, link: Link) -> None:
        """Bring a new worker up to date; its first tickets rest on the present state."""
        self._links.add(link)
        payload = self._settings()
        link.send(lambda seq: Lease(seq, LEASE_S))
        link.send(lambda seq: Settings(seq, payload))
        self._changed.set()
        log.info("worker-connected", worker=link.worker, pid=link.pid)

    def link_lost(self, link: Link) -> None:
        """Fence the process behind a lost link: it may still hold tickets until its lease runs out."""
        if link not in self._links:
            return
        self._links.discard(link)
        self._changed.set()
        if not self.is_stopping and link.pid != os.getpid():
            self._fencing[link] = spawn(self._fence(link), name=f"fence-{link.worker}")

    async def _spread(self, make: Callable[[int], HubMessage]) -> Enforcement:
        started = time.monotonic()
        await self._until_complete()
        links = list(self._links)
        waits = [self._enforced(link, link.acknowledged(link.send(make))) for link in links]
        waits += [self._fenced(link, task) for link, task in list(self._fencing.items())]
        results = await asyncio.gather(*waits)
        fenced = tuple(worker for worker, _ in results if worker)
        return Enforcement(len(links), sum(cut for _, cut in results), fenced, time.monotonic() - started)

    async def _until_complete(self) -> None:
        """Wait until all expected workers are linked, or a lease has passed in which strangers fail closed."""
        while len(self._links) < self.expected and not self.is_stopping:
            left = self._started_mono_s + LEASE_S - time.monotonic()
            if left <= 0:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()

    async def _enforced(self, link: Link, acknowledged: "asyncio.Future[int]") -> tuple[str, int]:
        try:
            async with asyncio.timeout(ACK_DEADLINE_S):
                return "", await acknowledged
        except (TimeoutError, ConnectionError):
            pass
        if link.pid == os.getpid():
            raise NotEnforced("the in-process worker did not acknowledge")
        log.error("worker-fenced", worker=link.worker, pid=link.pid)
        task = self._fencing.get(link)
        if task is None:
            task = self._fencing[link] = spawn(self._fence(link), name=f"fence-{link.worker}")
        return await self._fenced(link, task)

    @staticmethod
    async def _fenced(link: Link, task: "asyncio.Task[None]") -> tuple[str, int]:
        await asyncio.shield(task)
        return link.worker, 0

    async def _fence(self, link: Link) -> None:
        """Kill the worker's process and wait for its death. Raises `NotEnforced` when it does not die in time."""
        try:
            await kill_and_wait(link.pid, DEATH_DEADLINE_S)
        except TimeoutError as error:
            raise NotEnforced(f"worker {link.worker} (pid {link.pid}) does not die") from error
        finally:
            self._links.discard(link)
            self._fencing.pop(link, None)
            link.close()
        self.on_fence(link.worker)

    async def _keep_leases(self) -> None:
        while True:
            for link in self._links:
                link.send(lambda seq: Lease(seq, LEASE_S))
            before = time.monotonic()
            await asyncio.sleep(LEASE_EVERY_S)
            # A hub that was itself held up has not read what its workers said meanwhile: it must not blame them.
            if time.monotonic() - before < 2 * LEASE_EVERY_S:
                self._fence_silent()

    def _fence_silent(self) -> None:
        """Replace workers that say nothing any more."""
        overdue = time.monotonic() - SILENCE_DEADLINE_S
        for link in [each for each in self._links if each.heard_mono_s < overdue]:
            if link.pid != os.getpid() and link not in self._fencing:
                log.error("worker-silent", worker=link.worker, pid=link.pid)
                self._fencing[link] = spawn(self._fence(link), name=f"fence-{link.worker}")


async def kill_and_wait(pid: int, seconds: float) -> None:
    """Kill process `pid` and return once it is dead (also when it is nobody's child of ours, by its pidfd).

    Raises `TimeoutError` after `seconds`.
    """
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        await _readable(descriptor, seconds)
    finally:
        os.close(descriptor)


async def _readable(descriptor: int, seconds: float) -> None:
    """Wait until a pidfd says that its process ended. Raises `TimeoutError`."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    if select.select([descriptor], [], [], 0)[0]:
        return
    loop.add_reader(descriptor, done.set)
    try:
        async with asyncio.timeout(seconds):
            await done.wait()
    finally:
        loop.remove_reader(descriptor)


Enforce = Callable[[tuple[str, ...], str], Awaitable[Enforcement]]
"""The shape of `FeedHub.invalidate`, for whoever causes changes."""
