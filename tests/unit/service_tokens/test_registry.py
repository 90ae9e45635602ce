"""Service tokens: what counts, what ends when, and that whatever fails, nothing that ended comes back."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import pytest_asyncio
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from gateway.feed.hub_side import Enforcement, NotEnforced
from gateway.service_tokens.figures import TokenFigures
from gateway.service_tokens.model import KEPT_AFTER_END, ServiceToken, TokenRefused, TokenState
from gateway.service_tokens.registry import ServiceTokens
from gateway.service_tokens.store import SCHEMA, SqliteTokenStore
from gateway.wire.service_token import token_digest
from risk.database import Database

NOW = datetime(2026, 12, 1, 8, 0, tzinfo=UTC)
DAY = timedelta(days=1)


class World:
    """A registry over a real store, a clock that is moved, and what was enforced."""

    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.enforced: list[tuple[str, ...]] = []
        self.fails = False
        self.store = SqliteTokenStore(database)
        self.tokens = self.registry()

    def registry(self, most: int = 100) -> ServiceTokens:
        return ServiceTokens(
            self.store, self.changed, clock=lambda: self.now, random_bytes=secrets.token_bytes, most=most
        )

    async def changed(self, keys: tuple[str, ...], _why: str) -> Enforcement:
        if self.fails:
            raise NotEnforced("a worker does not answer")
        self.enforced.append(keys)
        return Enforcement(workers=1, cut=3, fenced=(), seconds=0.0)

    async def create(self, service: str = "ci", life: timedelta = 30 * DAY) -> tuple[ServiceToken, str]:
        return await self.tokens.create(service, ("wiki",), life, by="uid 0", reason="test")

    def counts(self, token: ServiceToken, tokens: ServiceTokens | None = None) -> bool:
        return (tokens or self.tokens).lookup(token.digest, self.now) is not None


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(tmp_path / "state.db", {"service-tokens": SCHEMA})
    database.start()
    yield World(database)
    database.close()


async def test_a_token_speaks_for_its_service_until_it_ends(world: World) -> None:
    token, secret = await world.create()
    assert token.digest == token_digest(f"{token.id}.{secret}".encode())
    session = world.tokens.lookup(token.digest, NOW)
    assert session is not None
    assert session is world.tokens.lookup(token.digest, NOW)
    assert (session.id, session.user.subject, session.user.is_service) == (token.id, "ci", True)
    assert session.user.names == frozenset()
    assert session.ends_at == NOW + 30 * DAY
    assert world.tokens.may_use(session.id, "wiki")
    assert not world.tokens.may_use(session.id, "mail")
    assert not world.tokens.may_use("ses_somebody", "wiki")
    world.now = NOW + 30 * DAY
    assert not world.counts(token)
    assert token.state(world.now) is TokenState.EXPIRED


async def test_what_ends_ends_though_nobody_can_enforce_it_and_a_restart_knows(world: World) -> None:
    token, _ = await world.create()
    world.fails = True
    with pytest.raises(NotEnforced):
        await world.tokens.revoke(token.id, by="uid 0", reason="leaked")
    assert not world.counts(token)
    again = world.registry()
    await again.load()
    (known,) = again.listed()
    assert (known.state(NOW), known.revoked_by, known.revoked_reason) == (
        TokenState.REVOKED,
        "uid 0",
        "leaked",
    )


async def test_a_service_is_revoked_whole_and_no_other(world: World) -> None:
    (first, _), (second, _), (other, _) = await world.create(), await world.create(), await world.create("cd")
    ended, cut = await world.tokens.revoke("ci", by="uid 0", reason="leaked")
    assert {each.id for each in ended} == {first.id, second.id}
    assert cut == 3
    assert world.enforced == [(f"session:{first.id}", f"session:{second.id}")]
    assert [world.counts(each) for each in (first, second, other)] == [False, False, True]
    with pytest.raises(TokenRefused, match="no live service token"):
        await world.tokens.revoke("ci", by="uid 0", reason="again")


async def test_rotating_keeps_service_apps_and_life_and_lets_the_old_one_go_on_a_little(world: World) -> None:
    old, _ = await world.create(life=10 * DAY)
    world.now = NOW + 9 * DAY
    overlap = timedelta(hours=1)
    new, _ = await world.tokens.rotate(old.id, life=None, overlap=overlap, by="uid 0", reason="due")
    assert (new.service, new.apps, new.expires_at - new.created_at) == (old.service, old.apps, 10 * DAY)
    assert new.replaces == old.id
    assert world.enforced == [(f"session:{old.id}",)]
    assert world.counts(old)
    world.now += overlap
    assert not world.counts(old)
    assert world.counts(new)


async def test_an_overlap_never_makes_a_token_live_longer(world: World) -> None:
    old, _ = await world.create(life=DAY)
    await world.tokens.rotate(old.id, life=None, overlap=30 * DAY, by="uid 0", reason="due")
    world.now = NOW + DAY
    assert not world.counts(old)


async def test_a_token_that_is_revoked_while_it_is_rotated_has_no_heir(world: World) -> None:
    old, _ = await world.create()
    rotating = asyncio.create_task(
        world.tokens.rotate(old.id, life=None, overlap=DAY, by="uid 0", reason="due")
    )
    await asyncio.sleep(0)  # it waits for the store now
    await world.tokens.revoke(old.id, by="uid 0", reason="leaked")
    with pytest.raises(TokenRefused):
        await rotating
    again = world.registry()
    await again.load()
    assert [(each.id, each.state(NOW)) for each in again.listed()] == [(old.id, TokenState.REVOKED)]


async def test_when_a_token_was_used_outlives_a_restart_and_old_ones_are_forgotten(world: World) -> None:
    token, _ = await world.create()
    world.tokens.touch(token.id, NOW + timedelta(minutes=5))
    world.tokens.touch("ses_somebody", NOW)
    await world.tokens.stop()
    again = world.registry()
    await again.load()
    (known,) = again.listed()
    assert known.used_at == NOW + timedelta(minutes=5)
    world.now = token.expires_at + KEPT_AFTER_END
    await again.stop()
    assert again.listed() == []
    last = world.registry()
    await last.load()
    assert last.listed() == []


def warnings_of(world: World) -> list[tuple[str, str]]:
    """Return which tokens are told to expire now, and in how long."""
    with structlog.testing.capture_logs() as lines:
        world.tokens.warn()
    assert {(each["event"], each["log_level"]) for each in lines} <= {
        ("service-token-expires-soon", "warning")
    }
    return [(each["service"], each["detail"].partition(", in ")[2].partition(":")[0]) for each in lines]


async def test_a_token_that_runs_out_is_told_once_a_day(world: World) -> None:
    await world.create("ci", 30 * DAY)
    await world.create("brief", 4 * DAY)
    told = []
    while world.now < NOW + 31 * DAY:
        told += [(world.now - NOW, *each) for each in warnings_of(world)]
        world.now += timedelta(hours=6)
    assert [(at.days, left) for at, service, left in told if service == "brief"] == [(2, "2 d"), (3, "1 d")]
    of_ci = [(at.days, left) for at, service, left in told if service == "ci"]
    assert of_ci == [(day, f"{30 - day} d") for day in range(16, 30)]


async def test_a_token_that_was_replaced_or_revoked_is_not_told(world: World) -> None:
    kept, _ = await world.create("kept")
    replaced, _ = await world.create("replaced")
    revoked, _ = await world.create("revoked")
    world.now += 20 * DAY
    await world.tokens.rotate(replaced.id, life=None, overlap=5 * DAY, by="uid 0", reason="test")
    await world.tokens.revoke(revoked.id, by="uid 0", reason="test")
    assert warnings_of(world) == [("kept", "10 d")]
    assert world.tokens.soonest_expiry_s() == 10 * DAY.total_seconds()
    await world.tokens.revoke(kept.id, by="uid 0", reason="test")
    assert world.tokens.soonest_expiry_s() == 30 * DAY.total_seconds()
    await world.tokens.revoke("replaced", by="uid 0", reason="test")
    assert world.tokens.soonest_expiry_s() is None
    assert warnings_of(world) == []


async def test_a_start_tells_what_runs_out(world: World) -> None:
    await world.create()
    world.now += 29 * DAY
    with structlog.testing.capture_logs() as lines:
        world.tokens.start()
        await asyncio.sleep(0)
    await world.tokens.stop()
    assert [each["event"] for each in lines] == ["service-token-expires-soon"]


async def test_the_metric_is_of_the_token_that_expires_first(world: World) -> None:
    registry = CollectorRegistry()
    registry.register(TokenFigures(world.tokens))
    name = "posturegate_service_token_expiry_seconds"
    assert name not in generate_latest(registry).decode()
    await world.create("late", 60 * DAY)
    await world.create("early", 30 * DAY)
    world.now += DAY
    assert registry.get_sample_value(name) == 29 * 86400


async def test_there_are_bounds(world: World) -> None:
    few = world.registry(most=1)
    await few.create("ci", ("wiki",), DAY, by="uid 0", reason="test")
    with pytest.raises(TokenRefused, match="there are 1 service tokens"):
        await few.create("ci", ("wiki",), DAY, by="uid 0", reason="test")
    for service, apps, life, reason in (
        ("Upper", ("wiki",), DAY, "test"),
        ("ci", (), DAY, "test"),
        ("ci", ("wiki",), timedelta(0), "test"),
        ("ci", ("wiki",), 733 * DAY, "test"),
        ("ci", ("wiki",), DAY, ""),
    ):
        with pytest.raises(TokenRefused):
            await world.tokens.create(service, apps, life, by="uid 0", reason=reason)
