"""Addresses too long for a cookie: kept exactly, bounded per client and in all, given up in a fair order."""

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from gateway.hub.signin_addresses import CLIENT_BYTES, ENTRY_BYTES, KEPT_S, KeptAddresses
from gateway.sessions.pending import PENDING_COOKIE_S, RETURN_S
from tests.op.gate import Clock, seeded

SIZE = 1000
PATH = "/" + "x" * (SIZE - ENTRY_BYTES - 1)


def store(clock: Clock, *, most: int = 10 * SIZE, client: int = 4 * SIZE) -> KeptAddresses:
    return KeptAddresses(mono=clock.mono, random_bytes=seeded(), most_bytes=most, client_bytes=client)


def test_what_is_kept_comes_back_until_its_sign_in_is_over():
    clock = Clock()
    kept = store(clock)
    key = kept.keep("192.0.2.1", PATH)
    assert len(key) == 43
    assert kept.find(key) == PATH
    clock.advance(KEPT_S - 1)
    assert kept.find(key) == PATH
    clock.advance(1)
    assert kept.find(key) is None
    kept.keep("192.0.2.1", "/")
    assert kept.held_bytes == ENTRY_BYTES + 1, "what expired is accounted for"
    assert kept.find("-") is None
    assert max(RETURN_S, PENDING_COOKIE_S) <= KEPT_S


def test_a_client_beyond_its_share_loses_its_own_oldest():
    kept = store(Clock())
    other = kept.keep("192.0.2.9", PATH)
    keys = [kept.keep("192.0.2.1", PATH) for _ in range(6)]
    assert [kept.find(key) is not None for key in keys] == [False, False, True, True, True, True]
    assert kept.find(other) == PATH


def test_networks_of_ipv6_and_mapped_addresses_are_one_client():
    kept = store(Clock())
    keys = [kept.keep(f"2001:db8::{n:x}", PATH) for n in range(5)]
    assert kept.find(keys[0]) is None
    keys = [kept.keep(text, PATH) for text in ("::ffff:192.0.2.1", "192.0.2.1") * 3]
    assert kept.find(keys[0]) is None
    keys = [kept.keep(text, PATH) for text in ("", "nonsense", "fe80::1%eth0\n", "1.2.3", "x" * 999)]
    assert kept.held_bytes <= 10 * SIZE


def test_when_all_is_full_who_holds_most_makes_room():
    """A flood from a few addresses never costs a person theirs, and cannot keep one out either."""
    kept = store(Clock())
    person = kept.keep("203.0.113.5", PATH)
    flood = [kept.keep(f"192.0.2.{n % 3}", PATH) for n in range(100)]
    assert kept.find(person) == PATH
    assert kept.held_bytes <= 10 * SIZE
    late = kept.keep("203.0.113.6", PATH)
    assert (kept.find(late), kept.find(person)) == (PATH, PATH)
    assert sum(kept.find(key) is not None for key in flood) == 8


def test_who_would_hold_no_less_is_not_kept():
    """With as many clients as there is room for, nobody is put out for a newcomer."""
    kept = store(Clock())
    keys = [kept.keep(f"192.0.2.{n}", PATH) for n in range(10)]
    assert kept.keep("203.0.113.5", PATH) == ""
    assert all(kept.find(key) == PATH for key in keys)


def test_nothing_larger_than_a_share_is_kept():
    kept = KeptAddresses(mono=Clock().mono, random_bytes=seeded())
    assert kept.keep("192.0.2.1", "/" + "x" * CLIENT_BYTES) == ""
    assert kept.held_bytes == 0


class Accounts(RuleBasedStateMachine):
    """Whatever comes and goes, the sums are right and the bounds hold."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.kept = store(self.clock, most=20 * SIZE, client=6 * SIZE)
        self.given: dict[str, str] = {}
        self.count = itertools.count()

    @rule(client=st.integers(0, 12), length=st.integers(1, 3 * SIZE))
    def keep(self, client, length):
        path = "/" + f"{next(self.count)}".ljust(length, "x")
        if key := self.kept.keep(f"192.0.2.{client}", path):
            self.given[key] = path
            assert self.kept.find(key) == path

    @rule(seconds=st.floats(1, KEPT_S))
    def wait(self, seconds):
        self.clock.advance(seconds)

    @invariant()
    def bounds_hold(self):
        assert 0 <= self.kept.held_bytes <= 20 * SIZE
        found = [self.kept.find(key) for key in self.given]
        assert all(path in (None, self.given[key]) for key, path in zip(self.given, found, strict=True))
        alive = sum(len(path) + ENTRY_BYTES for path in found if path is not None)
        assert alive <= self.kept.held_bytes


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
