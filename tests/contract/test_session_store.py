"""What every session store must do. Run on each implementation, over a file and across a reopening."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from compliance.model import User
from gateway.devices.claim import ClaimedDevice
from gateway.sessions.model import HostCookie, Session, SessionId
from gateway.sessions.sqlite import SCHEMA, SqliteSessionStore
from gateway.sessions.store import SessionStore
from risk.database import Database, StoreFault
from risk.model import Identifier

AT = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)


@asynccontextmanager
async def sqlite_store(folder: Path) -> AsyncIterator[SessionStore]:
    database = Database(folder / "state.db", SCHEMA)
    database.start()
    try:
        yield SqliteSessionStore(database)
    finally:
        database.close()


@pytest.fixture(params=[sqlite_store])
def opened(request: Any, tmp_path: Path) -> Callable[[], Any]:
    """Open the same store again and again."""
    return lambda: request.param(tmp_path)


def session(name: str = "a", **changes: Any) -> Session:
    base = Session(
        id=SessionId(f"ses_{name}"),
        user=User(
            provider="corp",
            issuer="https://idp.example",
            subject=f"u-{name}",
            name="Üma 漢",
            email="u@corp.example",
            names=frozenset({"u-1", "u@corp.example"}),
            groups=frozenset({"x", "y"}),
            are_groups_known=False,
            acr="mfa",
            amr=("pwd", "otp"),
            auth_at=AT - timedelta(seconds=5),
        ),
        created_at=AT,
        last_seen_at=AT,
        ends_at=AT + timedelta(hours=12),
        devices=(ClaimedDevice("device_id", Identifier("serial", "S-1", "corp")),),
        provider_sid="sid-1",
        sealed_id_token=b"\x00\xff sealed",
        sealed_refresh_token=None,
    )
    return msgspec.structs.replace(base, **changes)


def cookie(hashed: str, of: str = "a", **changes: Any) -> HostCookie:
    base = HostCookie(
        hash=hashed * 64, session_id=SessionId(f"ses_{of}"), host="app.corp.example", created_at=AT
    )
    return msgspec.structs.replace(base, **changes)


async def test_everything_comes_back_after_reopening(opened: Callable[[], Any]) -> None:
    """Every field, to the microsecond, in order of creation."""
    older = session(
        "b",
        created_at=AT - timedelta(seconds=1),
        user=User(provider="p", issuer="i", subject="s"),
        devices=(),
    )
    async with opened() as store:
        assert await store.load() == ([], [])
        await store.put(session())
        await store.put(older)
        await store.put_cookie(cookie("1"))
        await store.put_cookie(cookie("2", "b", created_at=AT - timedelta(seconds=9)))
    async with opened() as store:
        assert await store.load() == (
            [older, session()],
            [cookie("2", "b", created_at=AT - timedelta(seconds=9)), cookie("1")],
        )


async def test_what_people_have_in_common_is_there_once(opened: Callable[[], Any]) -> None:
    async with opened() as store:
        await store.put(session("a"))
        await store.put(session("b"))
        await store.put_cookie(cookie("1"))
        await store.put_cookie(cookie("2", "b"))
    async with opened() as store:
        (one, other), (mine, theirs) = await store.load()
    for name in ("provider", "issuer", "groups", "roles", "acr", "amr"):
        assert getattr(one.user, name) is getattr(other.user, name), name
    assert one.user.subject != other.user.subject
    assert mine.host is theirs.host


async def test_putting_again_replaces_and_keeps_cookies(opened: Callable[[], Any]) -> None:
    changed = session(
        provider_sid=None, sealed_id_token=None, sealed_refresh_token=b"r", ends_at=AT + timedelta(days=1)
    )
    async with opened() as store:
        await store.put(session())
        await store.put_cookie(cookie("1"))
        await store.put(changed)
        assert await store.load() == ([changed], [cookie("1")])


async def test_cookies_replace_others_and_need_a_session(opened: Callable[[], Any]) -> None:
    async with opened() as store:
        await store.put(session())
        await store.put_cookie(cookie("1"))
        await store.put_cookie(cookie("2"), replaces=["1" * 64, "unknown"])
        await store.put_cookie(cookie("3", "nobody"))
        await store.put_cookie(cookie("2"))
        assert (await store.load())[1] == [cookie("2")]


async def test_touch_only_goes_forward(opened: Callable[[], Any]) -> None:
    later = AT + timedelta(minutes=3)
    async with opened() as store:
        await store.put(session())
        await store.touch({SessionId("ses_a"): later, SessionId("ses_nobody"): later})
        await store.touch({SessionId("ses_a"): AT})
        await store.touch({})
        assert await store.load() == ([session(last_seen_at=later)], [])


async def test_removing_takes_cookies_along(opened: Callable[[], Any]) -> None:
    async with opened() as store:
        await store.put(session())
        await store.put(session("b"))
        await store.put_cookie(cookie("1"))
        await store.put_cookie(cookie("2", "b"))
        await store.remove([SessionId("ses_a"), SessionId("ses_nobody")])
        await store.remove([])
    async with opened() as store:
        assert await store.load() == ([session("b")], [cookie("2", "b")])


async def test_faults_are_store_faults(tmp_path: Path) -> None:
    """What goes wrong in the file is `StoreFault`, with the operator at fault, and nothing else."""
    database = Database(tmp_path / "state.db", SCHEMA)
    database.start()
    store = SqliteSessionStore(database)
    await store.put(session())
    await database.write(lambda connection: connection.execute("UPDATE session_session SET user = '{'"))
    with pytest.raises(StoreFault):
        await store.load()
    await database.write(lambda connection: connection.execute("DROP TABLE session_session"))
    for attempt in (store.load(), store.put(session()), store.remove([SessionId("x")])):
        with pytest.raises(StoreFault):
            await attempt
    database.close()
