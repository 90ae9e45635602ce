"""A model of the posture feed, small enough to try every interleaving of it.

It follows `gateway.feed.hub_side` and `worker_side` step by step: one hub that may crash and come back, worker
processes that may crash, be killed, break their link and come back, and ordered connections between them. Whatever
takes time in the real thing (a stopped process, a slow socket, a deadline, a lease) may here happen at any moment, or
late: a step that is not taken yet stands for a process that stands still.

What is decided is reduced to a *version*: the number of the newest change that the decision rests on. The search checks
at every step that

* at the moment a change is acknowledged, no living process has a usable ticket, or an open exchange, older than it;
* no request is decided on a version older than what had been acknowledged when it began;
* a worker that has read all that a new hub had to say holds nothing older than what that hub knew when it came up
  (a sensor may never repeat what a crash left unanswered).

Each field of `Rules` is a way to break the protocol; the test proves that the search finds all of them.
"""

from collections.abc import Iterator
from typing import NamedTuple

NONE = -1
SETTINGS = 0

LEASE, HELLO, ASK, ACK, INVALIDATE, REPLY, EOF = "lease", "hello", "ask", "ack", "invalidate", "reply", "eof"

Message = tuple[str, int]
Process = tuple[int, int]
"""Slot and incarnation: what a pid with its start time names."""


class Rules(NamedTuple):
    """The protocol. Every field but `strangers` is a fault when it is set."""

    strangers: str = "roster"
    """How a new hub accounts for the workers of a former one: `roster`, `count` (as many links as slots), `lease`
    (wait until every lease has run out, which a worker's own timer may notice late), `lease-from-receipt` (the same,
    and a lease that was read late from a socket still counts), `nothing`."""
    acks_before_redeciding: bool = False
    acks_before_enforced: bool = False
    reply_is_sent_later: bool = False
    lost_link_is_forgotten: bool = False
    settings_keep_tickets: bool = False
    undead_is_forgotten: bool = False


class Size(NamedTuple):
    """How much may happen."""

    workers: int = 2
    changes: int = 1
    hub_crashes: int = 0
    worker_crashes: int = 0
    breaks: int = 0
    fences: int = 0


class Worker(NamedTuple):
    """One worker slot with the process that lives in it."""

    incarnation: int = 1
    is_alive: bool = True
    connection: int = 0
    is_linked: bool = False
    has_lease: bool = False
    ticket: int = NONE
    live: int = NONE
    is_stale: bool = False
    is_asked: bool = False
    waiting: int = NONE
    unacknowledged: tuple[tuple[int, bool], ...] = ()
    down: tuple[Message, ...] = ()


class Up(NamedTuple):
    """What a worker process has sent on one connection and the hub has not read."""

    slot: int
    incarnation: int
    connection: int
    messages: tuple[Message, ...]


class Pending(NamedTuple):
    """A change that is announced, and who still owes an acknowledgement."""

    version: int
    owed: tuple[Process, ...]


class State(NamedTuple):
    """Everything at one instant."""

    workers: tuple[Worker, ...]
    ups: tuple[Up, ...] = ()
    is_hub_alive: bool = True
    members: tuple[tuple[Process, int], ...] = ()
    """Who may hold tickets as far as the hub knows, with its connection (0: not come back)."""
    roster: tuple[Process, ...] = ()
    is_lease_over: bool = True
    computed: tuple[tuple[Process, int, int], ...] = ()
    pending: tuple[Pending, ...] = ()
    version: int = 0
    loaded: int = 0
    acknowledged: int = 0
    hub_crashes: int = 0
    worker_crashes: int = 0
    breaks: int = 0
    fences: int = 0


class Broken(Exception):
    """The invariant does not hold."""


class Model:
    """The steps of the protocol. Every method returns a new state; `steps` yields all that can happen next."""

    def __init__(self, rules: Rules, size: Size) -> None:
        self.rules = rules
        self.size = size

    def start(self) -> State:
        return State(workers=tuple(Worker() for _ in range(self.size.workers)))

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every step with its name. Raises `Broken`."""
        self._check_resynchronised(state)
        yield from self._hub_steps(state)
        for slot, worker in enumerate(state.workers):
            yield from self._worker_steps(state, slot, worker)

    @staticmethod
    def _check_resynchronised(state: State) -> None:
        members = dict(state.members)
        for slot, worker in enumerate(state.workers):
            is_in_step = worker.is_linked and not worker.down and not worker.is_asked
            if is_in_step and members.get((slot, worker.incarnation)) == worker.connection:
                oldest = min(
                    (each for each in (worker.ticket, worker.live) if each != NONE), default=state.loaded
                )
                if oldest < state.loaded:
                    raise Broken(f"a worker in step holds {oldest}, the hub came up with {state.loaded}")

    # --- the hub ---------------------------------------------------------------------------------------------

    def _hub_steps(self, state: State) -> Iterator[tuple[str, State]]:  # noqa: C901 - a list, one step a line
        if not state.is_hub_alive:
            yield "hub starts", self._hub_starts(state)
            return
        if state.version < self.size.changes:
            yield "change", state._replace(version=state.version + 1)
        is_announced = any(each.version == state.version for each in state.pending)
        if state.version > state.acknowledged and not is_announced and self._knows_all(state):
            yield "announce", self._announce(state)
        for index, up in enumerate(state.ups):
            yield f"hub reads {up.messages[0]} of {up.slot}", self._hub_reads(state, index)
        for process, _ in state.members:
            if not _lives(state, process):
                yield f"hub sees the death of {process}", self._killed(state, process)
        for each in state.computed:
            yield "hub sends late", self._send_computed(state, each)
        if state.fences < self.size.fences:
            for process in sorted({process for each in state.pending for process in each.owed}):
                yield f"fence {process}", self._killed(state._replace(fences=state.fences + 1), process)
        if self.rules.strangers.startswith("lease") and not state.is_lease_over:
            yield "lease is over", self._lease_is_over(state)
        if state.hub_crashes < self.size.hub_crashes:
            yield "hub crashes", self._hub_crashes(state)

    def _announce(self, state: State) -> State:
        pending = Pending(state.version, tuple(process for process, _ in state.members))
        state = state._replace(pending=(*state.pending, pending))
        if self.rules.acks_before_enforced:
            state = self._acknowledged(state, state.version)
        for process, connection in state.members:
            if connection:
                state = self._send(state, process, connection, (INVALIDATE, state.version))
        return self._settle(state)

    def _settle(self, state: State) -> State:
        """Acknowledge to the sensor what everybody has enforced."""
        done = [each.version for each in state.pending if not each.owed]
        if done:
            state = state._replace(pending=tuple(each for each in state.pending if each.owed))
            state = self._acknowledged(state, max(done))
        return state

    def _knows_all(self, state: State) -> bool:
        """Return whether the hub may believe that nobody but its members has tickets."""
        if self.rules.strangers == "count":
            return state.is_lease_over or len(state.members) >= self.size.workers
        return state.is_lease_over or not self.rules.strangers.startswith("lease")

    def _acknowledged(self, state: State, version: int) -> State:
        for worker in state.workers:
            if worker.is_alive and worker.has_lease and NONE < worker.ticket < version:
                raise Broken(
                    f"a ticket of {worker.ticket} can be used after the acknowledgement of {version}"
                )
            if worker.is_alive and NONE < worker.live < version:
                raise Broken(
                    f"an exchange decided on {worker.live} is open after the acknowledgement of {version}"
                )
        return state._replace(acknowledged=max(state.acknowledged, version))

    def _hub_reads(self, state: State, index: int) -> State:
        up = state.ups[index]
        (kind, number), rest = up.messages[0], up.messages[1:]
        left = (up._replace(messages=rest),) if rest else ()
        state = state._replace(ups=state.ups[:index] + left + state.ups[index + 1 :])
        process = (up.slot, up.incarnation)
        if kind == HELLO:
            return self._link_made(state, process, up.connection)
        if kind == EOF:
            return self._link_lost(state, process, up.connection)
        if kind == ASK:
            if self.rules.reply_is_sent_later:
                return state._replace(computed=(*state.computed, (process, up.connection, state.version)))
            return self._send(state, process, up.connection, (REPLY, state.version))
        return self._owes_no_more(state, process, number)

    def _owes_no_more(self, state: State, process: Process, version: int) -> State:
        pending = tuple(
            each._replace(owed=tuple(owing for owing in each.owed if owing != process))
            if each.version <= version
            else each
            for each in state.pending
        )
        return self._settle(state._replace(pending=pending))

    def _link_made(self, state: State, process: Process, connection: int) -> State:
        members = dict(state.members)
        owes = [each.version for each in state.pending if process in each.owed]
        if members.get(process) and owes:
            return self._killed(state, process)  # its former link, on which it owes something, is closed now
        members[process] = connection
        state = self._with_members(state, members)
        for message in ((LEASE, 0), (INVALIDATE, SETTINGS), *((INVALIDATE, version) for version in owes)):
            state = self._send(state, process, connection, message)
        return self._settle(state)

    def _link_lost(self, state: State, process: Process, connection: int) -> State:
        members = dict(state.members)
        if members.get(process) != connection:
            return state
        if self.rules.lost_link_is_forgotten:
            del members[process]
            return self._owes_no_more(self._with_members(state, members), process, state.version)
        return self._killed(state, process)

    def _killed(self, state: State, process: Process) -> State:
        """Fence: the process is dead before anything else happens."""
        if _lives(state, process) and not self.rules.undead_is_forgotten:
            state = self._worker_dies(state, process[0])
        members = dict(state.members)
        members.pop(process, None)
        return self._owes_no_more(self._with_members(state, members), process, state.version)

    def _with_members(self, state: State, members: dict[Process, int]) -> State:
        return state._replace(members=tuple(sorted(members.items())), roster=tuple(sorted(members)))

    def _send(self, state: State, process: Process, connection: int, message: Message) -> State:
        slot, incarnation = process
        worker = state.workers[slot]
        is_there = worker.is_alive and worker.is_linked
        if is_there and (worker.incarnation, worker.connection) == (incarnation, connection):
            return _with(state, slot, worker._replace(down=(*worker.down, message)))
        return state

    def _send_computed(self, state: State, computed: tuple[Process, int, int]) -> State:
        process, connection, version = computed
        left = tuple(each for each in state.computed if each is not computed)
        return self._send(state._replace(computed=left), process, connection, (REPLY, version))

    def _hub_crashes(self, state: State) -> State:
        """What it wrote to sockets can still be read; what was written to it is lost. The roster stays on disk."""
        workers = tuple(
            worker._replace(down=(*worker.down, (EOF, 0))) if worker.is_linked else worker
            for worker in state.workers
        )
        return state._replace(
            workers=workers,
            ups=(),
            is_hub_alive=False,
            members=(),
            computed=(),
            pending=(),
            hub_crashes=state.hub_crashes + 1,
        )

    def _hub_starts(self, state: State) -> State:
        known = state.roster if self.rules.strangers == "roster" else ()
        living = [process for process in known if _lives(state, process)]
        state = state._replace(is_hub_alive=True, is_lease_over=False, loaded=state.version)
        return self._with_members(state, dict.fromkeys(living, 0))

    def _lease_is_over(self, state: State) -> State:
        """A lease's length has passed since the hub started: no lease of a former one counts, for new requests.

        The worker's timer, which ends what is open, may come late: the process may stand still.
        """
        linked = {process[0] for process, connection in state.members if connection}
        workers = tuple(
            worker if slot in linked else worker._replace(has_lease=False)
            for slot, worker in enumerate(state.workers)
        )
        return self._settle(state._replace(workers=workers, is_lease_over=True))

    # --- a worker --------------------------------------------------------------------------------------------

    def _worker_steps(self, state: State, slot: int, worker: Worker) -> Iterator[tuple[str, State]]:
        if not worker.is_alive:
            yield f"{slot} starts", _with(state, slot, Worker(incarnation=worker.incarnation + 1))
            return
        if worker.down:
            yield f"{slot} reads {worker.down[0]}", self._worker_reads(state, slot)
        if not worker.is_linked and not worker.down and state.is_hub_alive:
            yield f"{slot} connects", self._connects(state, slot)
        yield from self._requests(state, slot, worker)
        if worker.has_lease and not state.is_hub_alive:
            lapsed = worker._replace(has_lease=False, ticket=NONE, live=NONE, is_stale=False)
            yield f"{slot}: lease lapses", _with(state, slot, lapsed)
        if state.worker_crashes < self.size.worker_crashes:
            yield (
                f"{slot} crashes",
                self._worker_dies(state, slot)._replace(worker_crashes=state.worker_crashes + 1),
            )
        if state.breaks < self.size.breaks and worker.is_linked:
            yield f"{slot} breaks its link", self._breaks(state, slot)

    def _requests(self, state: State, slot: int, worker: Worker) -> Iterator[tuple[str, State]]:
        """A request begins; it stays open when nothing else is. Or what is open ends by itself."""
        if worker.has_lease and worker.ticket != NONE:
            if worker.ticket < state.acknowledged:
                raise Broken(
                    f"a request is decided on {worker.ticket} after {state.acknowledged} was acknowledged"
                )
            if worker.live == NONE:
                yield f"{slot}: request", _with(state, slot, worker._replace(live=worker.ticket))
        elif worker.waiting == NONE and worker.live == NONE:
            waiting = _with(state, slot, worker._replace(waiting=state.acknowledged))
            yield f"{slot}: request waits", self._ask(waiting, slot)

    def _worker_dies(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        state = self._say(state, slot, (EOF, 0)) if worker.is_linked else state
        return _with(state, slot, Worker(incarnation=worker.incarnation, is_alive=False))

    def _breaks(self, state: State, slot: int) -> State:
        state = self._say(state, slot, (EOF, 0))._replace(breaks=state.breaks + 1)
        return _with(state, slot, state.workers[slot]._replace(is_linked=False, down=()))

    def _connects(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        fresh = worker._replace(connection=worker.connection + 1, is_linked=True, unacknowledged=(), down=())
        state = self._say(_with(state, slot, fresh), slot, (HELLO, 0))
        return self._say(state, slot, (ASK, 0)) if worker.is_asked else state

    def _worker_reads(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        (kind, number), worker = worker.down[0], worker._replace(down=worker.down[1:])
        if kind == EOF:
            return _with(state, slot, worker._replace(is_linked=False))
        if kind == LEASE:
            return self._lease(state, slot, worker)
        if kind == REPLY:
            return self._replied(state, slot, worker, number)
        return self._invalidated(state, slot, worker, number)

    def _lease(self, state: State, slot: int, worker: Worker) -> State:
        is_of_now = not any(kind == EOF for kind, _ in worker.down)
        counts = is_of_now or not state.is_lease_over or self.rules.strangers == "lease-from-receipt"
        return _with(state, slot, worker._replace(has_lease=worker.has_lease or counts))

    def _invalidated(self, state: State, slot: int, worker: Worker, version: int) -> State:
        if version == SETTINGS and self.rules.settings_keep_tickets:
            return _with(state, slot, worker)
        is_open = worker.live != NONE
        needs = is_open and not self.rules.acks_before_redeciding
        worker = worker._replace(
            ticket=NONE,
            is_stale=is_open,
            unacknowledged=(*worker.unacknowledged, (version, needs)),
        )
        state = _with(state, slot, worker)
        return self._acknowledge(self._ask(state, slot) if is_open else state, slot)

    def _replied(self, state: State, slot: int, worker: Worker, version: int) -> State:
        if not worker.is_asked:
            return _with(state, slot, worker)
        if worker.waiting > version:
            raise Broken(
                f"a request that began after {worker.waiting} was acknowledged is decided on {version}"
            )
        live = version if worker.is_stale or (worker.waiting != NONE and worker.live == NONE) else worker.live
        worker = worker._replace(
            is_asked=False,
            ticket=version,
            live=live,
            is_stale=False,
            waiting=NONE,
            unacknowledged=tuple((each, False) for each, _ in worker.unacknowledged),
        )
        return self._acknowledge(_with(state, slot, worker), slot)

    def _ask(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        if worker.is_asked:
            return state
        state = _with(state, slot, worker._replace(is_asked=True))
        return self._say(state, slot, (ASK, 0)) if worker.is_linked else state

    def _acknowledge(self, state: State, slot: int) -> State:
        worker = state.workers[slot]
        waiting = worker.unacknowledged
        while waiting and not waiting[0][1]:
            if waiting[0][0] != SETTINGS:
                state = self._say(state, slot, (ACK, waiting[0][0]))
            waiting = waiting[1:]
        return _with(state, slot, state.workers[slot]._replace(unacknowledged=waiting))

    def _say(self, state: State, slot: int, message: Message) -> State:
        """Write to the hub; nobody reads it when that one has gone."""
        worker = state.workers[slot]
        if not state.is_hub_alive or any(kind == EOF for kind, _ in worker.down):
            return state
        for index, up in enumerate(state.ups):
            if up[:3] == (slot, worker.incarnation, worker.connection):
                longer = up._replace(messages=(*up.messages, message))
                return state._replace(ups=(*state.ups[:index], longer, *state.ups[index + 1 :]))
        return state._replace(ups=(*state.ups, Up(slot, worker.incarnation, worker.connection, (message,))))


def _lives(state: State, process: Process) -> bool:
    worker = state.workers[process[0]]
    return worker.is_alive and worker.incarnation == process[1]


def _with(state: State, slot: int, worker: Worker) -> State:
    return state._replace(workers=(*state.workers[:slot], worker, *state.workers[slot + 1 :]))


def canonical(state: State) -> State:
    """Return the one of all states that differ only by the workers' numbers."""
    order = sorted(range(len(state.workers)), key=lambda slot: state.workers[slot])
    if order == sorted(order):
        return state._replace(ups=tuple(sorted(state.ups)), computed=tuple(sorted(state.computed)))
    new = {old: position for position, old in enumerate(order)}
    return state._replace(
        workers=tuple(state.workers[old] for old in order),
        ups=tuple(sorted(up._replace(slot=new[up.slot]) for up in state.ups)),
        members=tuple(sorted(((new[slot], number), link) for (slot, number), link in state.members)),
        roster=tuple(sorted((new[slot], number) for slot, number in state.roster)),
        computed=tuple(sorted(((new[p[0]], p[1]), link, version) for p, link, version in state.computed)),
        pending=tuple(
            Pending(each.version, tuple(sorted((new[slot], number) for slot, number in each.owed)))
            for each in state.pending
        ),
    )


class Found(NamedTuple):
    """The result of a search: how many states there are, and the way to the fault if there is one."""

    states: int
    acknowledgements: int
    fault: str
    way: tuple[str, ...]


def search(rules: Rules, size: Size) -> Found:
    """Visit every state that can be reached, nearest first; stop at the first that breaks the invariant."""
    model = Model(rules, size)
    first = canonical(model.start())
    came_from: dict[State, tuple[State | None, str]] = {first: (None, "")}
    frontier = [first]
    acknowledgements = 0
    while frontier:
        following: list[State] = []
        for state in frontier:
            try:
                for name, after in model.steps(state):
                    acknowledgements += after.acknowledged > state.acknowledged
                    known = canonical(after)
                    if known not in came_from:
                        came_from[known] = (state, name)
                        following.append(known)
            except Broken as broken:
                return Found(len(came_from), acknowledgements, str(broken), _way(came_from, state))
        frontier = following
    return Found(len(came_from), acknowledgements, "", ())


def _way(came_from: dict[State, tuple[State | None, str]], state: State | None) -> tuple[str, ...]:
    steps: list[str] = []
    while state is not None:
        state, name = came_from[state]
        steps.append(name)
    return tuple(reversed(steps[:-1]))
