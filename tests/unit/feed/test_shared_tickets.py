"""What tickets of many sessions have in common is there once, and each is found by all that it rests on."""

import asyncio
import time

import pytest

from compliance.model import Conditions, Mode, Outcome, Residual, ResidualEntry
from gateway.feed.protocol import HubMessage, Invalidate, Lease, Ticket, TicketReply
from gateway.feed.worker_side import Entry, FeedWorker, TicketKey


class Enforcer:
    """Admits everything, and notes what is decided anew."""

    def __init__(self) -> None:
        self.redecided: list[str] = []

    def admitted(self, exchange: str, entry: Entry[str] | None) -> None:
        assert entry is not None
        entry.live.add(exchange)

    def unavailable(self, exchange: str) -> None:
        raise AssertionError(exchange)

    def redecide(self, exchange: str, entry: Entry[str] | None) -> bool:
        self.redecided.append(exchange)
        return entry is None

    def configure(self, settings: bytes) -> dict[str, int]:
        return {}

    def drain(self, seconds: float) -> None:
        raise AssertionError(seconds)


def residual(path: str) -> Residual:
    """Return what is decided by the path, of different parts each time, as it comes over the feed."""
    entry = ResidualEntry(
        policy="admin area", outcome=Outcome.BLOCK, reason="", controls=frozenset(), step_up=None, mode=Mode.ENFORCE,
        when=Conditions(paths=(path,)),
    )  # fmt: skip
    return Residual(entries=(entry,), constant=None, valid_until=None)


def ticket(session: str, *keys: str, path: str = "/admin") -> Ticket:
    """Return a ticket that rests on its session and on `keys`."""
    until = time.time() + 60 + len(session)
    return Ticket(
        keys=(f"session:{session}", *keys), session=session, decision="CODE", headers=(), variants=(),
        residual=residual(path), valid_until=until,
    )  # fmt: skip


class Worker:
    """A worker without a hub."""

    def __init__(self) -> None:
        self.enforcer = Enforcer()
        self.feed: FeedWorker[str] = FeedWorker("w1", 1, self.enforcer)
        self.tell(Lease(0, time.monotonic() + 60))
        self.asked = 0

    def tell(self, message: HubMessage) -> None:
        self.feed.handle(message)

    def admit(self, given: Ticket) -> None:
        """Have the session of a ticket begin an exchange, named like it."""
        self.feed.request(key(given.session), given.session)
        self.reply(given)

    def reply(self, given: Ticket | None) -> None:
        self.asked += 1
        self.tell(TicketReply(0, self.asked, given))

    def entry(self, session: str) -> Entry[str]:
        found = self.feed.lookup(key(session))
        assert found is not None
        return found


def key(session: str) -> TicketKey:
    return TicketKey(session, "app.example", "app", b"")


@pytest.fixture
async def worker() -> Worker:
    return Worker()


async def test_the_same_policy_left_over_is_there_once(worker: Worker) -> None:
    for given in (ticket("one"), ticket("another"), ticket("else", path="/private")):
        worker.admit(given)
    one, another, other = (worker.entry(each) for each in ("one", "another", "else"))
    assert one.ticket.residual is another.ticket.residual
    assert one.decide is another.decide
    assert one.decide is not other.decide
    assert (one.ticket.session, another.ticket.session) == ("one", "another")
    assert one.ticket.valid_until != another.ticket.valid_until


async def test_each_ticket_is_found_by_all_that_it_rests_on(worker: Worker) -> None:
    for given in (ticket("a", "device:d1", "user:u1"), ticket("b", "device:d1"), ticket("c", "device:d2")):
        worker.admit(given)
    asked = worker.asked
    worker.tell(Invalidate(1, ("device:d1",), "test"))
    for given in (ticket("a", "device:d1"), ticket("b", "device:d1")):
        assert worker.feed.lookup(key(given.session)) is None
    assert worker.feed.lookup(key("c")) is not None
    replies = {each: number for number, each in worker.feed._requests.items()}
    for given in (ticket("a", "device:d1"), ticket("b", "device:d1")):
        worker.tell(TicketReply(2, replies[key(given.session)], given))
    assert sorted(worker.enforcer.redecided) == ["a", "b"]
    assert len(replies) == 2
    assert asked == 3
    # The renewed ticket of `a` does not rest on the user any more.
    worker.tell(Invalidate(3, ("user:u1",), "test"))
    assert worker.feed.lookup(key("a")) is not None


async def test_nothing_is_left_of_tickets_that_are_over(worker: Worker) -> None:
    for given in (ticket("a", "device:d1"), ticket("b", "device:d1"), ticket("c", "device:d2", "device:d2")):
        worker.admit(given)
    for session in ("a", "b", "c"):
        worker.feed.release(worker.entry(session), session)
    worker.tell(Invalidate(1, ("*",), "test"))
    assert worker.feed.ticket_count == 0
    assert not worker.feed._by_key
    await asyncio.sleep(0)
