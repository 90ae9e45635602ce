"""The registry: looking up, lifetimes, caps, indices, and what a failing store may and may not do."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from compliance.model import User
from gateway.config.schema import Sessions
from gateway.sessions.model import HostCookie, Session, SessionId, cookie_hash, host_name
from gateway.sessions.registry import COOKIES_PER_HOST, MAX_HOSTS_PER_SESSION, SessionRegistry, SignInFacts
from gateway.sessions.seal import Sealer
from gateway.sessions.sqlite import SCHEMA, SqliteSessionStore
from risk.database import Database, StoreFault
from tests.op.gate import Clock, seeded

HOST = "app.corp.example"


def facts(subject: str = "u-1", **changes: Any) -> SignInFacts:
    user = User(
        provider="corp",
        issuer="https://idp.example",
        subject=subject,
        groups=changes.pop("groups", frozenset()),
    )
    return SignInFacts(user=user, **{"provider_sid": f"sid-{subject}", "id_token": "a.b.c", **changes})


class Failing:
    """A store around another that fails when told to."""

    def __init__(self, store: SqliteSessionStore) -> None:
        self.store = store
        self.is_failing = False
        self.touches: list[dict[SessionId, datetime]] = []

    def check(self) -> None:
        if self.is_failing:
            raise StoreFault("disk full")

    async def load(self) -> tuple[list[Session], list[HostCookie]]:
        self.check()
        return await self.store.load()

    async def put(self, session: Session) -> None:
        self.check()
        await self.store.put(session)

    async def put_cookie(self, cookie: HostCookie, *, replaces: Iterable[str] = ()) -> None:
        self.check()
        await self.store.put_cookie(cookie, replaces=replaces)

    async def touch(self, seen: Mapping[SessionId, datetime]) -> None:
        self.check()
        self.touches.append(dict(seen))
        await self.store.touch(seen)

    async def remove(self, ids: Iterable[SessionId]) -> None:
        self.check()
        await self.store.remove(ids)


class Fixture:
    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.database = Database(":memory:", SCHEMA)
        self.database.start()
        self.store = Failing(SqliteSessionStore(self.database))
        self.ended: list[Session] = []
        self.random_bytes = seeded()
        self.registry = self.new(**options)

    def new(self, **options: Any) -> SessionRegistry:
        async def on_ended(session: Session) -> None:
            self.ended.append(session)

        most = options.pop("most", 1000)
        settings_ = Sessions(**{"idle": 600, "absolute": 3600, "per_user": 5, **options})
        return SessionRegistry(
            self.store,
            Sealer([b"k" * 32]),
            settings_,
            now=self.clock.now,
            random_bytes=self.random_bytes,
            on_ended=on_ended,
            sleep=self.clock.sleep,
            most=most,
        )

    async def cookie(self, session: Session, host: str = HOST, **options: Any) -> str:
        value = await self.registry.add_cookie(session.id, host, **options)
        assert value is not None
        return value

    def find(self, value: str, host: str = HOST) -> Session | None:
        return self.registry.lookup_cookie(value, host, self.clock.now())


@pytest.fixture
async def fix() -> AsyncIterator[Fixture]:
    made = Fixture()
    yield made
    made.database.close()


async def test_lookup_is_by_cookie_and_host(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    value = await fix.cookie(session)
    assert fix.find(value) is session
    assert fix.find(value, "APP.corp.example.:443") is session, "port and case do not matter to a cookie"
    assert fix.find(value, "wiki.corp.example") is None
    for wrong in ("", "x" * 43, value[:-1], value + "A", "é" * 43, value.swapcase()):
        assert fix.find(wrong) is None
    assert fix.registry.lookup(cookie_hash(value) or "", HOST, fix.clock.now()) is session


async def test_idle_and_absolute_ends(fix: Fixture) -> None:
    """G4: the edges, and that a touch moves only the idle one."""
    session = await fix.registry.create(facts())
    value = await fix.cookie(session)
    assert fix.registry.ends_at(session) == fix.clock.now() + timedelta(seconds=600)
    fix.clock.advance(599.999)
    assert fix.find(value)
    fix.registry.touch(session.id, fix.clock.now())
    fix.clock.advance(599)
    assert fix.find(value)
    for _ in range(20):
        fix.registry.touch(session.id, fix.clock.now())
        fix.clock.advance(200)
    assert fix.find(value) is None, "absolute"
    fix.registry.touch(session.id, fix.clock.now())
    assert fix.find(value) is None, "a touch wakes nobody up"


async def test_touches_are_written_together_and_only_once(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    for _ in range(100):
        fix.clock.advance(1)
        fix.registry.touch(session.id, fix.clock.now())
    fix.registry.touch("ses_unknown", fix.clock.now())
    await fix.registry.flush()
    await fix.registry.flush()
    assert fix.store.touches == [{session.id: fix.clock.now()}]
    again = fix.new()
    assert await again.load() == 1
    assert again.get(session.id, fix.clock.now()).last_seen_at == fix.clock.now()  # type: ignore[union-attr]


async def test_load_forgets_what_is_over(fix: Fixture) -> None:
    lives = await fix.registry.create(facts("lives"))
    over = await fix.registry.create(facts("over"))
    value, dead = await fix.cookie(lives), await fix.cookie(over)
    fix.clock.advance(500)
    fix.registry.touch(lives.id, fix.clock.now())
    await fix.registry.flush()
    fix.clock.advance(500)
    fix.registry = fix.new()
    assert await fix.registry.load() == 1
    found = fix.find(value)
    assert found is not None
    assert found.id == lives.id
    assert fix.find(dead) is None
    assert [each.id for each in (await fix.store.load())[0]] == [lives.id]


async def test_ending_is_at_once_and_everywhere(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    values = [await fix.cookie(session, host) for host in (HOST, "wiki.corp.example")]
    ended = await fix.registry.end(session.id)
    assert ended is session
    assert [fix.find(values[0]), fix.find(values[1], "wiki.corp.example")] == [None, None]
    assert fix.registry.by_subject("https://idp.example", "u-1") == ()
    assert fix.registry.by_sid("https://idp.example", "sid-u-1") == ()
    assert await fix.store.load() == ([], [])
    assert await fix.registry.end(session.id) is None
    assert await fix.registry.add_cookie(session.id, HOST) is None


async def test_indices(fix: Fixture) -> None:
    """G5: by provider session and by user, kept right by a new sign-in."""
    one = await fix.registry.create(facts())
    two = await fix.registry.create(facts())
    assert fix.registry.by_subject("https://idp.example", "u-1") == (one, two)
    assert fix.registry.by_sid("https://idp.example", "sid-u-1") == (one, two)
    assert fix.registry.by_sid("https://other.example", "sid-u-1") == ()
    again = await fix.registry.reauthenticate(one.id, facts(provider_sid="sid-new"))
    assert again is not None
    assert fix.registry.by_sid("https://idp.example", "sid-u-1") == (two,)
    assert fix.registry.by_sid("https://idp.example", "sid-new") == (again,)
    assert fix.registry.by_subject("https://idp.example", "u-1") == (again, two)


async def test_a_new_sign_in_changes_the_session_and_nobody_elses(fix: Fixture) -> None:
    """S1: strength, groups and tokens are the newest; another person's sign-in changes nothing."""
    session = await fix.registry.create(facts())
    value = await fix.cookie(session)
    fix.clock.advance(60)
    changed = await fix.registry.reauthenticate(session.id, facts(groups=frozenset({"g"}), id_token="d.e.f"))
    assert changed is not None
    assert fix.find(value) is changed
    assert (changed.id, changed.created_at, changed.user.groups) == (session.id, session.created_at, {"g"})
    assert fix.registry.id_token(changed) == "d.e.f"
    assert changed.ends_at == fix.clock.now() + timedelta(seconds=3600)
    assert await fix.registry.reauthenticate(session.id, facts("u-2")) is None
    assert await fix.registry.reauthenticate("ses_unknown", facts()) is None
    fix.clock.advance(3601)
    assert await fix.registry.reauthenticate(session.id, facts()) is None


async def test_most_sessions_of_one_user(fix: Fixture) -> None:
    """The oldest ends first, and whoever must know is told."""
    sessions = [await fix.registry.create(facts()) for _ in range(7)]
    other = await fix.registry.create(facts("u-2"))
    assert fix.registry.by_subject("https://idp.example", "u-1") == tuple(sessions[2:])
    assert fix.ended == sessions[:2]
    assert fix.registry.get(other.id, fix.clock.now()) is other


async def test_most_sessions_in_all() -> None:
    fix = Fixture(most=3)
    sessions = [await fix.registry.create(facts(f"u-{n}")) for n in range(5)]
    assert len(fix.registry) == 3
    assert fix.ended == sessions[:2]
    fix.database.close()


async def test_cookies_per_host_and_session(fix: Fixture) -> None:
    """Parallel tabs keep working; older ones make way; `is_only` clears the host; hosts are bounded too."""
    session = await fix.registry.create(facts())
    values = [await fix.cookie(session) for _ in range(5)]
    assert [fix.find(value) is not None for value in values] == [False] * (5 - COOKIES_PER_HOST) + [
        True
    ] * COOKIES_PER_HOST
    elsewhere = await fix.cookie(session, "wiki.corp.example")
    only = await fix.cookie(session, is_only=True)
    assert [fix.find(value) for value in values] == [None] * 5
    assert fix.find(only)
    assert fix.find(elsewhere, "wiki.corp.example")
    for n in range(MAX_HOSTS_PER_SESSION + 10):
        await fix.cookie(session, f"h{n}.many.example")
    assert len(fix.registry._cookies) <= MAX_HOSTS_PER_SESSION
    assert len((await fix.store.load())[1]) == len(fix.registry._cookies)


async def test_upkeep_purges_flushes_and_survives_a_failing_store(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    fix.registry.start()
    fix.registry.start()
    fix.clock.advance(700)
    fix.store.is_failing = True
    await woken(fix)
    assert fix.registry.get(session.id, fix.clock.now()) is None
    assert len(fix.registry) == 0, "over in memory although the store failed"
    fix.store.is_failing = False
    await woken(fix)
    assert await fix.store.load() == ([], [])
    await fix.registry.stop()
    await fix.registry.stop()


async def test_upkeep_tells_whose_time_is_over(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    fix.registry.start()
    fix.clock.advance(700)
    await woken(fix)
    assert fix.ended == [session]
    await fix.registry.stop()


async def test_what_a_failing_store_may_not_do(fix: Fixture) -> None:
    """Nothing begins without the store; what ends, ends all the same, and the store hears of it later."""
    session = await fix.registry.create(facts())
    value = await fix.cookie(session)
    fix.store.is_failing = True
    with pytest.raises(StoreFault):
        await fix.registry.create(facts("u-2"))
    with pytest.raises(StoreFault):
        await fix.registry.add_cookie(session.id, HOST)
    with pytest.raises(StoreFault):
        await fix.registry.reauthenticate(session.id, facts(groups=frozenset({"g"})))
    assert len(fix.registry) == 1
    assert fix.find(value) is session
    fix.registry.touch(session.id, fix.clock.now() + timedelta(seconds=1))
    with pytest.raises(StoreFault):
        await fix.registry.flush()
    with pytest.raises(StoreFault):
        await fix.registry.end(session.id)
    assert fix.find(value) is None
    fix.store.is_failing = False
    await fix.registry.flush()
    assert await fix.store.load() == ([], [])


async def test_tokens_open_only_for_their_session(fix: Fixture) -> None:
    """R1: sealed with the session's id, so that a swapped row opens nothing; nor does another purpose."""
    one = await fix.registry.create(facts(refresh_token="r-1"))
    two = await fix.registry.create(facts("u-2", id_token=None))
    assert fix.registry.id_token(one) == "a.b.c"
    assert fix.registry.refresh_token(one) == "r-1"
    assert (fix.registry.id_token(two), fix.registry.refresh_token(two)) == (None, None)
    swapped = msgspec.structs.replace(
        two, sealed_id_token=one.sealed_id_token, sealed_refresh_token=one.sealed_id_token
    )
    assert (fix.registry.id_token(swapped), fix.registry.refresh_token(swapped)) == (None, None)
    confused = msgspec.structs.replace(one, sealed_id_token=one.sealed_refresh_token)
    assert fix.registry.id_token(confused) is None


async def test_shorter_lifetimes_count_at_once(fix: Fixture) -> None:
    session = await fix.registry.create(facts())
    fix.clock.advance(100)
    fix.registry.configure(Sessions(idle=50, absolute=3600, per_user=5))
    assert fix.registry.get(session.id, fix.clock.now()) is None
    assert await fix.registry.purge(fix.clock.now()) == (session,)


async def woken(fix: Fixture) -> None:
    """Let the upkeep run once. The writer thread needs real time, so the loop turns until it sleeps again."""
    async with asyncio.timeout(60):
        while not fix.clock.slept:  # noqa: ASYNC110 - turns the loop, waits for no time
            await asyncio.sleep(0)
        before = len(fix.clock.slept)
        fix.clock.wake()
        while len(fix.clock.slept) == before:  # noqa: ASYNC110 - the same
            await asyncio.sleep(0)


class Life(RuleBasedStateMachine):
    """The registry against the obvious model: a list of what was signed in, and nothing clever."""

    def __init__(self) -> None:
        super().__init__()

        self.loop = asyncio.new_event_loop()
        self.fix = Fixture(per_user=3, idle=100, absolute=300)
        self.known: dict[str, tuple[str, datetime, datetime]] = {}
        self.values: list[tuple[str, str, str]] = []

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def alive(self, session_id: str) -> bool:
        now = self.fix.clock.now()
        if session_id not in self.known:
            return False
        _, seen, end = self.known[session_id]
        return now < end and now < seen + timedelta(seconds=100)

    @rule(subject=st.sampled_from(["a", "b"]))
    def sign_in(self, subject: str) -> None:
        session = self.run(self.fix.registry.create(facts(subject)))
        now = self.fix.clock.now()
        self.known[session.id] = (subject, now, now + timedelta(seconds=300))
        mine = [each for each, (name, _, _) in self.known.items() if name == subject]
        for surplus in mine[:-3]:
            del self.known[surplus]

    @rule(n=st.integers(0, 5), host=st.sampled_from(["h1", "h2"]))
    def cookie(self, n: int, host: str) -> None:
        ids = list(self.known)
        if ids and (value := self.run(self.fix.registry.add_cookie(ids[n % len(ids)], host))) is not None:
            self.values.append((value, host, ids[n % len(ids)]))

    @rule(n=st.integers(0, 5))
    def touch(self, n: int) -> None:
        ids = list(self.known)
        if ids:
            session_id = ids[n % len(ids)]
            if self.alive(session_id):
                name, _, end = self.known[session_id]
                self.known[session_id] = (name, self.fix.clock.now(), end)
            self.fix.registry.touch(session_id, self.fix.clock.now())

    @rule(n=st.integers(0, 5))
    def end(self, n: int) -> None:
        ids = list(self.known)
        if ids:
            self.run(self.fix.registry.end(ids[n % len(ids)]))
            del self.known[ids[n % len(ids)]]

    @rule(seconds=st.sampled_from([1, 50, 99, 100]))
    def wait(self, seconds: int) -> None:
        self.fix.clock.advance(seconds)

    @rule()
    def purge(self) -> None:
        self.run(self.fix.registry.purge(self.fix.clock.now()))
        self.known = {each: value for each, value in self.known.items() if self.alive(each)}

    @rule()
    def restart(self) -> None:
        self.run(self.fix.registry.flush())
        self.fix.registry = self.fix.new(per_user=3, idle=100, absolute=300)
        self.run(self.fix.registry.load())
        self.known = {each: value for each, value in self.known.items() if self.alive(each)}

    @invariant()
    def agrees(self) -> None:
        now = self.fix.clock.now()
        for session_id in self.known:
            assert (self.fix.registry.get(session_id, now) is not None) == self.alive(session_id)
        assert len(self.fix.registry) == len(self.known)
        newest: dict[tuple[str, str], list[str]] = {}
        for value, host, session_id in self.values:
            newest.setdefault((host, session_id), []).append(value)
        for value, host, session_id in self.values:
            found = self.fix.registry.lookup_cookie(value, host, now)
            is_newest = value in newest[host, session_id][-COOKIES_PER_HOST:]
            assert (found is not None and found.id == session_id) == (self.alive(session_id) and is_newest)

    def teardown(self) -> None:
        self.fix.database.close()
        self.loop.close()


Life.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase


@pytest.mark.parametrize(
    ("host", "name"), [("A.b:1", "a.b"), ("[::1]:80", "[::1]"), ("[::1]", "[::1]"), ("a.", "a"), ("", "")],
)  # fmt: skip
def test_host_names(host: str, name: str) -> None:
    assert host_name(host) == name
