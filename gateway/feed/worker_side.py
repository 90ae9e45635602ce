"""A worker's end of the posture feed: the ticket cache, re-decision of open exchanges, acknowledgement, lease.

Knows nothing of HTTP: an exchange is an opaque object here, and what to do with it is the `Enforcer`'s business.

INVARIANTS: a ticket is found only while `valid_until` and the hub's lease both lie ahead; an invalidation is
acknowledged only after every open exchange that rested on a dropped ticket has been decided anew; whatever is open is
decided anew when its ticket's time is over, also under a ticket that is no longer the current one of its key.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, cast

import msgspec
import structlog

from compliance.model import Decision, RequestFacts, Residual
from compliance.residual import compile_residual
from gateway.feed.protocol import (
    Ack,
    Cut,
    Drain,
    FeedFault,
    FrameWriter,
    Hello,
    HubMessage,
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
    WorkerReader,
    encode,
)
from gateway.tasks import spawn

log = structlog.get_logger("feed")

MAX_TICKETS = 100_000
"""Most tickets kept without an open exchange; the oldest goes first."""
MAX_RESIDUALS = 1_000
"""Most residuals that are shared by tickets."""
MAX_WAITING = 5_000
"""Most exchanges that may wait for a ticket; above it they are answered 503."""
WAIT_S = 5.0
"""How long an exchange waits for a ticket while the hub is away."""
RECONNECT_S = 0.05
CLOCK_STEP_S = 0.25
"""How far the wall clock may move against the monotonic one before every ticket's end is looked at again."""
TOUCH_EVERY_S = 5.0

E = TypeVar("E")


class TicketKey(NamedTuple):
    """What a ticket is for. `cookie` is the digest of cookie or service token; `evidence` the device certificate."""

    cookie: str
    host: str
    app: str
    evidence: bytes


@lru_cache(maxsize=MAX_RESIDUALS)
def _shared(residual: Residual) -> tuple[Residual, Callable[[RequestFacts], Decision]]:
    """Return the residual, and as a function, once for all tickets that have the same: most have one of a few."""
    return residual, compile_residual(residual)


class Entry(Generic[E]):
    """A ticket with the exchanges that are open under it. `routes` is the enforcer's own."""

    __slots__ = ("decide", "expiry", "is_used", "key", "live", "routes", "ticket")

    def __init__(self, key: TicketKey, ticket: Ticket) -> None:
        self.key = key
        residual, self.decide = _shared(ticket.residual)
        self.ticket = msgspec.structs.replace(ticket, residual=residual)
        self.live: set[E] = set()
        self.routes: dict[Any, Any] = {}
        self.is_used = False
        self.expiry: asyncio.TimerHandle | None = None


class Enforcer(Protocol[E]):
    """What the feed asks of the worker. Every method returns at once; none may raise."""

    def admitted(self, exchange: E, entry: Entry[E] | None) -> None:
        """The ticket that `exchange` waited for is here; None means that its cookie names no session."""
        ...

    def unavailable(self, exchange: E) -> None:
        """No ticket can be had for `exchange` now."""
        ...

    def redecide(self, exchange: E, entry: Entry[E] | None) -> bool:
        """Decide an open exchange anew; return whether it was cut. None: its session is gone, or nobody knows."""
        ...

    def configure(self, settings: bytes) -> dict[str, int]:
        """Serve by these settings from now on; return how many open exchanges without a ticket were cut, by app."""
        ...

    def drain(self, seconds: float) -> None:
        """Finish what is open within `seconds`, then end."""
        ...


class _Unacknowledged:
    """An invalidation of `names` that waits for the tickets of `keys` to be decided anew."""

    __slots__ = ("cuts", "keys", "names", "seq")

    def __init__(self, seq: int, names: frozenset[str], keys: set[TicketKey]) -> None:
        self.seq = seq
        self.names = names
        self.keys = keys
        self.cuts: Counter[tuple[str, tuple[str, ...]]] = Counter()

    def count(self, key: TicketKey, rested_on: tuple[str, ...], cut: int) -> None:
        """Note that `cut` exchanges of `key` ended."""
        names = tuple(name for name in rested_on if name in self.names) or tuple(self.names & {"*"})
        self.cuts[key.app, names] += cut

    def ack(self) -> Ack:
        """Return what the hub is told."""
        return Ack(self.seq, tuple(Cut(app, names, count) for (app, names), count in self.cuts.items()))


class FeedWorker(Generic[E]):
    """The ticket cache of one worker, kept true by the feed."""

    def __init__(
        self, name: str, pid: int, enforcer: Enforcer[E], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._name, self._pid = name, pid
        self._enforcer = enforcer
        self._clock = clock
        self._tickets: dict[TicketKey, Entry[E]] = {}
        self._by_key: dict[str, Entry[E] | set[Entry[E]]] = {}
        self._waiting: dict[TicketKey, list[E]] = {}
        self._waiting_count = 0
        self._stale: dict[TicketKey, list[Entry[E]]] = {}
        self._requests: dict[int, TicketKey] = {}
        self._requested: dict[TicketKey, int] = {}
        self._next_request = 0
        self._unacknowledged: deque[_Unacknowledged] = deque()
        self._lease_until_mono_s = 0.0
        self._clock_offset_s = clock() - time.monotonic()
        self._lease_timer: asyncio.TimerHandle | None = None
        self._link: _WorkerLink[E] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_closed = False
        self._is_serving = False

    # --- life cycle ------------------------------------------------------------------------------------------

    def start(self, path: Path) -> None:
        """Keep a connection to the hub at `path` until `close`."""
        self._tasks = [
            spawn(self._stay_connected(path), name="feed-connection"),
            spawn(self._keep_touching(), name="feed-touch"),
        ]

    def close(self) -> None:
        """Leave the feed. Open exchanges are the caller's to end, before this."""
        self._is_closed = True
        for task in self._tasks:
            task.cancel()
        if self._link is not None:
            self._link.leave()
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        for entry in self._tickets.values():
            if entry.expiry is not None:
                entry.expiry.cancel()

    @property
    def is_connected(self) -> bool:
        """Whether the hub is there."""
        return self._link is not None

    @property
    def ticket_count(self) -> int:
        """Tickets that could be used now."""
        return len(self._tickets)

    def serving(self) -> None:
        """Tell the hub that the listener is open, and every later hub too."""
        self._is_serving = True
        self._send(Serving())

    def report(self, counters: dict[str, float]) -> None:
        """Send the worker's counters to the hub; lost without harm when the hub is away."""
        self._send(Stats(counters))

    # --- the hot path ----------------------------------------------------------------------------------------

    def lookup(self, key: TicketKey) -> Entry[E] | None:
        """Return a usable ticket, or None. O(1), no I/O."""
        entry = self._tickets.get(key)
        if entry is None or entry.ticket.valid_until <= self._clock():
            return None
        if time.monotonic() >= self._lease_until_mono_s:
            return None
        entry.is_used = True
        return entry

    def request(self, key: TicketKey, exchange: E) -> None:
        """Ask the hub for a ticket; `Enforcer.admitted` or `unavailable` follows, never before this returns."""
        if self._waiting_count >= MAX_WAITING:
            asyncio.get_running_loop().call_soon(self._enforcer.unavailable, exchange)
            return
        self._waiting.setdefault(key, []).append(exchange)
        self._waiting_count += 1
        self._ask(key)
        asyncio.get_running_loop().call_later(WAIT_S, self._give_up, key, exchange)

    def release(self, entry: Entry[E], exchange: E) -> None:
        """The exchange is over."""
        entry.live.discard(exchange)
        if not entry.live and self._tickets.get(entry.key) is not entry:
            self._drop(entry)

    def forget(self, key: TicketKey, exchange: E) -> None:
        """The exchange ended while it waited for a ticket."""
        waiting = self._waiting.get(key)
        if waiting is not None and exchange in waiting:
            waiting.remove(exchange)
            self._waiting_count -= 1

    # --- messages of the hub ---------------------------------------------------------------------------------

    def handle(self, message: HubMessage) -> None:
        """Do what the hub says, in the order in which it says it."""
        match message:
            case TicketReply():
                self._replied(message)
            case Invalidate():
                self._invalidate(message.seq, frozenset(message.keys))
            case Settings():
                cuts = self._enforcer.configure(message.settings)
                self._invalidate(message.seq, frozenset(("*",)), cuts)
            case Lease():
                self._extend_lease(message.until_mono_s)
            case Drain():
                self._enforcer.drain(message.seconds)

    def _replied(self, reply: TicketReply) -> None:
        key = self._requests.pop(reply.request, None)
        if key is None or self._requested.get(key) != reply.request:
            return
        del self._requested[key]
        former = self._tickets.get(key)
        if former is not None:
            # Its time was over when somebody asked, or nobody would have: what is open under it is decided anew too.
            self._drop(former)
            if former.live:
                self._note_stale(former)
        entry = None if reply.ticket is None else self._remember(key, reply.ticket)
        for stale in self._stale.pop(key, []):
            self._redecide(stale, entry)
        waiting = self._waiting.pop(key, [])
        self._waiting_count -= len(waiting)
        for exchange in waiting:
            self._admit(exchange, entry)
        self._settle(key)

    def _admit(self, exchange: E, entry: Entry[E] | None) -> None:
        if entry is not None:
            entry.is_used = True
        self._enforcer.admitted(exchange, entry)

    def _redecide(self, stale: Entry[E], entry: Entry[E] | None) -> None:
        cut = 0
        for exchange in list(stale.live):
            stale.live.discard(exchange)
            if self._enforcer.redecide(exchange, entry):
                cut += 1
            elif entry is not None:
                entry.live.add(exchange)
        self._unindex(stale)
        if not cut:
            return
        for pending in self._unacknowledged:
            if stale.key in pending.keys:
                pending.count(stale.key, stale.ticket.keys, cut)
                break

    def _remember(self, key: TicketKey, ticket: Ticket) -> Entry[E]:
        entry: Entry[E] = Entry(key, ticket)
        self._tickets[key] = entry
        for name in ticket.keys:
            self._index(name, entry)
        self._arm(entry)
        if len(self._tickets) > MAX_TICKETS:
            self._evict(next(iter(self._tickets.values())))
        return entry

    def _arm(self, entry: Entry[E]) -> None:
        if entry.expiry is not None:
            entry.expiry.cancel()
        delay = max(0.0, entry.ticket.valid_until - self._clock())
        entry.expiry = asyncio.get_running_loop().call_later(delay, self._expired, entry)

    def _evict(self, entry: Entry[E]) -> None:
        """Make room. What is open under the ticket keeps it, with its end in time, but no further request finds it."""
        if entry.live:
            del self._tickets[entry.key]
        else:
            self._drop(entry)

    def _expired(self, entry: Entry[E]) -> None:
        """Time alone changed something: drop the ticket, and decide anew what is open under it."""
        self._drop(entry)
        if entry.live:
            self._renew(entry)

    def _invalidate(
        self, seq: int, names: frozenset[str], cuts: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        keys: set[TicketKey] = set()
        for entry in self._resting_on(names):
            self._drop(entry)
            if entry.live:
                keys.add(entry.key)
                self._renew(entry)
        # A renewal that is under way already was asked before this change was announced: its reply, if it were
        # computed before the change, would have come before this message. So waiting for it is enough.
        pending = _Unacknowledged(seq, names, keys)
        pending.cuts.update({(app, ("*",)): count for app, count in cuts.items()})
        self._unacknowledged.append(pending)
        self._acknowledge()

    def _renew(self, entry: Entry[E]) -> None:
        self._note_stale(entry)
        self._ask(entry.key)

    def _note_stale(self, entry: Entry[E]) -> None:
        stale = self._stale.setdefault(entry.key, [])
        if entry not in stale:
            stale.append(entry)

    def _settle(self, key: TicketKey) -> None:
        for pending in self._unacknowledged:
            pending.keys.discard(key)
        self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what is enforced, in the next turn of the loop: in this one it closes what was cut."""
        link = self._link
        while self._unacknowledged and not self._unacknowledged[0].keys:
            ack = self._unacknowledged.popleft().ack()
            if link is not None:  # and to no other one: sequence numbers are a link's own
                asyncio.get_running_loop().call_soon(link.send, ack)

    def _extend_lease(self, until_mono_s: float) -> None:
        """Use tickets until then; an instant that is past, read late from a socket, grants nothing."""
        self._watch_clock()
        left = until_mono_s - time.monotonic()
        if left <= 0 or until_mono_s <= self._lease_until_mono_s:
            return
        self._lease_until_mono_s = until_mono_s
        if self._lease_timer is not None:
            self._lease_timer.cancel()
        self._lease_timer = asyncio.get_running_loop().call_later(left, self._lease_lapsed)

    def _watch_clock(self) -> None:
        """Timers run by the monotonic clock, tickets end by the wall clock: after a step of it, set them again."""
        offset = self._clock() - time.monotonic()
        if abs(offset - self._clock_offset_s) > CLOCK_STEP_S:
            self._clock_offset_s = offset
            for entry in self._all_entries():
                if entry.expiry is not None:
                    self._arm(entry)

    def _lease_lapsed(self) -> None:
        """Fail closed: nobody can say any more that these tickets are still true."""
        log.error("lease-lapsed", worker=self._name, tickets=len(self._tickets))
        for entry in self._all_entries():
            self._drop(entry)
            self._redecide(entry, None)
        for key in list(self._stale):
            for entry in self._stale.pop(key):
                self._redecide(entry, None)

    # --- bookkeeping -----------------------------------------------------------------------------------------

    def _resting_on(self, names: frozenset[str]) -> "set[Entry[E]]":
        if "*" in names:
            return self._all_entries()
        found: set[Entry[E]] = set()
        for name in names:
            found |= _several(self._by_key.get(name))
        return found

    def _all_entries(self) -> "set[Entry[E]]":
        found = set(self._tickets.values())
        for entries in self._by_key.values():
            found |= _several(entries)
        return found

    def _drop(self, entry: Entry[E]) -> None:
        """Make sure that the ticket is never used again; keep it findable while exchanges are open under it."""
        if self._tickets.get(entry.key) is entry:
            del self._tickets[entry.key]
        if entry.expiry is not None:
            entry.expiry.cancel()
            entry.expiry = None
        if not entry.live:
            self._unindex(entry)

    def _index(self, name: str, entry: Entry[E]) -> None:
        """Note that a ticket rests on a name. Most names have one: a set of its own for each would double a ticket."""
        known = self._by_key.get(name)
        if known is None:
            self._by_key[name] = entry
        elif isinstance(known, set):
            known.add(entry)
        elif known is not entry:
            self._by_key[name] = {known, entry}

    def _unindex(self, entry: Entry[E]) -> None:
        for name in entry.ticket.keys:
            known = self._by_key.get(name)
            if isinstance(known, set):
                known.discard(entry)
            if known is entry or (isinstance(known, set) and not known):
                del self._by_key[name]

    def _ask(self, key: TicketKey) -> None:
        if key in self._requested:
            return
        self._next_request += 1
        self._requested[key] = self._next_request
        self._requests[self._next_request] = key
        self._send(TicketRequest(self._next_request, key.cookie, key.host, key.app, key.evidence))

    def _give_up(self, key: TicketKey, exchange: E) -> None:
        waiting = self._waiting.get(key)
        if waiting is not None and exchange in waiting:
            waiting.remove(exchange)
            self._waiting_count -= 1
            self._enforcer.unavailable(exchange)

    def _send(self, message: WorkerMessage) -> None:
        if self._link is not None:
            self._link.send(message)

    # --- connection ------------------------------------------------------------------------------------------

    def linked(self, link: "_WorkerLink[E]") -> None:
        """A (new) hub is there: introduce ourselves and ask again for all that was open with the former one."""
        self._link = link
        self._unacknowledged.clear()
        self._requests.clear()
        keys = list(self._requested)
        self._requested.clear()
        self._send(Hello(self._name, self._pid))
        if self._is_serving:
            self._send(Serving())
        for key in keys:
            self._ask(key)

    def unlinked(self, link: "_WorkerLink[E]") -> None:
        """The hub is gone; tickets stay in use until the lease lapses."""
        if self._link is link:
            self._link = None

    async def _stay_connected(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            try:
                _, link = await loop.create_unix_connection(lambda: _WorkerLink(self), str(path))
            except OSError:
                await asyncio.sleep(RECONNECT_S)
                continue
            await link.closed.wait()

    async def _keep_touching(self) -> None:
        while True:
            await asyncio.sleep(TOUCH_EVERY_S)
            used = {entry.ticket.session for entry in self._all_entries() if entry.is_used or entry.live}
            for entry in self._tickets.values():
                entry.is_used = False
            if used:
                self._send(Touch(tuple(used)))


def _several(entries: "Entry[E] | set[Entry[E]] | None") -> "set[Entry[E]]":
    """Return the tickets that rest on a name."""
    if entries is None:
        return set()
    return entries if isinstance(entries, set) else {entries}


class _WorkerLink(asyncio.Protocol, Generic[E]):
    """The connection to the hub."""

    def __init__(self, worker: FeedWorker[E]) -> None:
        self._worker = worker
        self._reader = WorkerReader()
        self._writer = FrameWriter()
        self._transport: asyncio.Transport | None = None
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports do not derive from asyncio's, so this cannot be an isinstance.
        self._transport = cast("asyncio.Transport", transport)
        self._writer.connect(self._transport)
        self._worker.linked(self)

    def data_received(self, data: bytes) -> None:
        self._writer.hold()
        try:
            for message in self._reader.messages(data):
                self._worker.handle(message)
        except FeedFault as fault:
            log.error("feed-broken", error=str(fault))
            self.close()
        finally:
            self._writer.release()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - how it ended is of no use
        self._worker.unlinked(self)
        self.closed.set()

    def send(self, message: WorkerMessage) -> None:
        self._writer.send(encode(message))

    def leave(self) -> None:
        self.send(Leave())
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
