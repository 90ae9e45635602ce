"""All live sessions in memory: looking one up by cookie is one dictionary access, and never waits.

INVARIANT: what ends, ends in memory first and at once; the store follows before the coroutine returns. What
begins is in the store first, so that nobody holds a cookie that a restart would forget.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta

import msgspec
import structlog

from compliance.model import User
from gateway.config.schema import Sessions
from gateway.devices.claim import ClaimedDevice
from gateway.sessions.model import (
    HostCookie,
    Lifetimes,
    Session,
    SessionId,
    cookie_hash,
    ends_at,
    host_name,
    is_live,
    new_cookie,
    new_session_id,
    sharing,
)
from gateway.sessions.seal import SealBroken, Sealer
from gateway.sessions.store import SessionStore
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("sessions")

MAX_SESSIONS = 500_000
MAX_HOSTS_PER_SESSION = 200
COOKIES_PER_HOST = 3
"""Parallel tabs each bring a cookie for their host; the newest few stay good, so that none is thrown out."""

MAX_ENDED = 20_000
"""Most cookies of ended sessions that are remembered: whose form it was that came a moment too late."""

UPKEEP_INTERVAL_S = 15.0

ID_TOKEN = "session-id-token"  # noqa: S105 - a sealing purpose
REFRESH_TOKEN = "session-refresh-token"  # noqa: S105 - a sealing purpose


class SignInFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished sign-in brings to a session. Tokens are plain here and sealed at once."""

    user: User
    devices: tuple[ClaimedDevice, ...] = ()
    provider_sid: str | None = None
    id_token: str | None = None
    refresh_token: str | None = None


class SessionRegistry:
    """The sessions of this gateway. Create, `await load()`, `start()`; `await stop()` at the end.

    `on_ended` is told of every session that ends by time or by the per-user cap; those ended by a call are
    returned to the caller instead.
    """

    def __init__(
        self,
        store: SessionStore,
        sealer: Sealer,
        settings: Sessions,
        *,
        now: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        on_ended: Callable[[Session], Awaitable[None]] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        most: int = MAX_SESSIONS,
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._now = now
        self._random_bytes = random_bytes
        self._on_ended = on_ended
        self._sleep = sleep
        self._most = most
        self._sessions: OrderedDict[SessionId, Session] = OrderedDict()
        self._cookies: dict[str, HostCookie] = {}
        self._cookies_of: dict[SessionId, dict[str, HostCookie]] = {}
        self._by_subject: dict[tuple[str, str], dict[SessionId, None]] = {}
        self._by_sid: dict[tuple[str, str], dict[SessionId, None]] = {}
        self._touched: dict[SessionId, datetime] = {}
        self._ended: OrderedDict[str, tuple[str, Session]] = OrderedDict()
        self._unfinished: set[SessionId] = set()
        self._upkeep: asyncio.Task[None] | None = None
        self.configure(settings)

    def configure(self, settings: Sessions) -> None:
        """Use other lifetimes from now on; absolute ends of running sessions stay as they were promised."""
        self.lifetimes = Lifetimes(
            timedelta(seconds=settings.idle),
            timedelta(seconds=settings.absolute),
            settings.per_user,
        )

    # --- life cycle ---------------------------------------------------------------------------------------

    async def load(self) -> int:
        """Read every session that is still live; forget the others.

        Returns how many live. Raises `StoreFault`.
        """
        sessions, cookies = await self._store.load()
        now = self._now()
        over = [session.id for session in sessions if not is_live(session, self.lifetimes, now)]
        for session in sessions:
            if is_live(session, self.lifetimes, now):
                self._index(session)
        for cookie in cookies:
            if cookie.session_id in self._sessions:
                self._index_cookie(cookie)
        ended = {session.id: session for session in sessions if session.id not in self._sessions}
        for cookie in cookies:
            if cookie.session_id in ended:
                self._remember(cookie, ended[cookie.session_id])
        if over:
            await self._store.remove(over)
        return len(self._sessions)

    def start(self) -> None:
        """Begin the upkeep: write what was touched, end what is over."""
        if self._upkeep is None:
            self._upkeep = spawn(self._keep(), name="session-upkeep")

    async def stop(self) -> None:
        """End the upkeep and write what was touched. Safe to call twice."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)
            self._upkeep = None
        await self.flush()

    # --- looking up (synchronous, constant time) ----------------------------------------------------------

    def lookup(self, cookie_hash_hex: str, host: str, now: datetime) -> Session | None:
        """Return the live session that a cookie names on `host` (with or without port), or None."""
        cookie = self._cookies.get(cookie_hash_hex)
        if cookie is None or cookie.host != host_name(host):
            return None
        return self.get(cookie.session_id, now)

    def lookup_cookie(self, untrusted_value: str, host: str, now: datetime) -> Session | None:
        """Return the live session of a cookie's value as a client sent it, or None."""
        hashed = cookie_hash(untrusted_value)
        return None if hashed is None else self.lookup(hashed, host, now)

    def lately(self, untrusted_value: str, host: str) -> Session | None:
        """Return the session that a cookie's value names or named on `host`, live or over. It grants nothing.

        Only the latest `MAX_ENDED` cookies of sessions that are over are remembered.
        """
        hashed = cookie_hash(untrusted_value)
        if hashed is None:
            return None
        cookie = self._cookies.get(hashed)
        if cookie is not None:
            return self._sessions.get(cookie.session_id) if cookie.host == host_name(host) else None
        of_host, session = self._ended.get(hashed, ("", None))
        return session if of_host == host_name(host) else None

    def get(self, session_id: str, now: datetime) -> Session | None:
        """Return the live session with this id, or None."""
        session = self._sessions.get(SessionId(session_id))
        return session if session is not None and is_live(session, self.lifetimes, now) else None

    def ends_at(self, session: Session) -> datetime:
        """Return when the session ends unless it is used again."""
        return ends_at(session, self.lifetimes)

    def by_subject(self, issuer: str, subject: str) -> tuple[Session, ...]:
        """Return the sessions of a user, oldest first."""
        return tuple(self._sessions[each] for each in self._by_subject.get((issuer, subject), ()))

    def by_sid(self, issuer: str, sid: str) -> tuple[Session, ...]:
        """Return the sessions of a provider's session, oldest first."""
        return tuple(self._sessions[each] for each in self._by_sid.get((issuer, sid), ()))

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        """Yield every session as it is now, oldest first; for rare administrative questions."""
        return iter(tuple(self._sessions.values()))

    def touch(self, session_id: str, now: datetime) -> None:
        """Note that a session was used.

        Unknown and ended sessions are ignored; the store hears of it later.
        """
        session = self._sessions.get(SessionId(session_id))
        if session is None or now <= session.last_seen_at or not is_live(session, self.lifetimes, now):
            return
        self._sessions[session.id] = msgspec.structs.replace(session, last_seen_at=now)
        self._touched[session.id] = now

    # --- changing -----------------------------------------------------------------------------------------

    async def create(self, facts: SignInFacts) -> Session:
        """Begin a session with a fresh id. Sessions beyond the user's cap end, oldest first."""
        now = self._now()
        session_id = new_session_id(self._random_bytes)
        session = self._filled(
            Session(
                id=session_id,
                user=sharing(facts.user),
                created_at=now,
                last_seen_at=now,
                ends_at=now + self.lifetimes.absolute,
            ),
            facts,
        )
        await self._store.put(session)
        self._index(session)
        await self._end_surplus(session)
        return session

    async def reauthenticate(self, session_id: str, facts: SignInFacts) -> Session | None:
        """Put a newer sign-in of the same person into a session, with a new absolute end.

        Returns the changed session, None when it is over or belongs to somebody else.
        """
        now = self._now()
        old = self.get(session_id, now)
        if old is None or (old.user.issuer, old.user.subject) != (facts.user.issuer, facts.user.subject):
            return None
        fresh = msgspec.structs.replace(
            old,
            user=sharing(facts.user),
            last_seen_at=now,
            ends_at=now + self.lifetimes.absolute,
        )
        session = self._filled(fresh, facts)
        await self._store.put(session)
        if old.id not in self._sessions:
            # It ended while the store was writing: the end wins.
            await self._store.remove([old.id])
            return None
        self._unindex_sid(old)
        self._index(session)
        return session

    async def add_cookie(self, session_id: str, host: str, *, is_only: bool = False) -> str | None:
        """Return a fresh cookie value of a session for `host`, None when the session is over.

        `is_only` makes every earlier cookie of this session on that host worthless.
        """
        now = self._now()
        session = self.get(session_id, now)
        if session is None:
            return None
        value, name = new_cookie(self._random_bytes), host_name(host)
        hashed = cookie_hash(value)
        assert hashed is not None  # noqa: S101 - new_cookie gives nothing else
        cookie = HostCookie(hash=hashed, session_id=session.id, host=name, created_at=now)
        old = self._replaced_by(cookie, is_only=is_only)
        await self._store.put_cookie(cookie, replaces=[each.hash for each in old])
        if session.id not in self._sessions:
            return None
        for each in old:
            self._unindex_cookie(each)
        self._index_cookie(cookie)
        return value

    async def end(self, session_id: str) -> Session | None:
        """End a session: no cookie of it works from this moment. Returns it, None when there was none.

        Raises `StoreFault` when the store cannot follow; it is over in memory all the same, and the upkeep
        tries again.
        """
        session = self._drop(SessionId(session_id))
        if session is not None:
            await self._remove([session.id])
        return session

    async def end_all(self, sessions: Iterable[Session]) -> tuple[Session, ...]:
        """End several sessions in one write. Returns those that were still there."""
        ended = tuple(
            each for each in (self._drop(session.id) for session in tuple(sessions)) if each is not None
        )
        if ended:
            await self._remove([each.id for each in ended])
        return ended

    async def purge(self, now: datetime) -> tuple[Session, ...]:
        """End every session whose time is over and return them."""
        over = [session for session in self._sessions.values() if not is_live(session, self.lifetimes, now)]
        return await self.end_all(over)

    async def flush(self) -> None:
        """Write the times of last use, and removals that failed before. Raises `StoreFault`."""
        touched, self._touched = self._touched, {}
        if touched:
            try:
                await self._store.touch(touched)
            except (StoreFault, StoreOverloaded):
                self._touched = {**touched, **self._touched}
                raise
        if self._unfinished:
            await self._remove(list(self._unfinished))

    def id_token(self, session: Session) -> str | None:
        """Return the session's ID token (a hint for signing out), None when it cannot be opened any more."""
        return self._opened(ID_TOKEN, session.sealed_id_token, session.id)

    def refresh_token(self, session: Session) -> str | None:
        """Return the session's refresh token, None without one."""
        return self._opened(REFRESH_TOKEN, session.sealed_refresh_token, session.id)

    # --- inside -------------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        while True:
            await self._sleep(UPKEEP_INTERVAL_S)
            try:
                await self.flush()
                for session in await self.purge(self._now()):
                    await self._tell(session, "lifetime")
            except (StoreFault, StoreOverloaded) as fault:
                log.error("session-upkeep-failed", detail=str(fault))

    async def _tell(self, session: Session, why: str) -> None:
        log.info("session-ended", session=session.id, why=why)
        if self._on_ended is not None:
            await self._on_ended(session)

    async def _end_surplus(self, newest: Session) -> None:
        mine = self.by_subject(newest.user.issuer, newest.user.subject)
        surplus = list(mine[: max(0, len(mine) - max(1, self.lifetimes.per_user))])
        if len(self._sessions) - len(surplus) > self._most:
            surplus.append(next(iter(self._sessions.values())))
        for session in await self.end_all(surplus):
            await self._tell(session, "too-many")

    async def _remove(self, ids: list[SessionId]) -> None:
        self._unfinished.update(ids)
        await self._store.remove(ids)
        self._unfinished.difference_update(ids)

    def _filled(self, session: Session, facts: SignInFacts) -> Session:
        def sealed(purpose: str, token: str | None) -> bytes | None:
            return None if token is None else self._sealer.seal(purpose, token.encode(), session.id.encode())

        return msgspec.structs.replace(
            session,
            devices=facts.devices,
            provider_sid=facts.provider_sid,
            sealed_id_token=sealed(ID_TOKEN, facts.id_token),
            sealed_refresh_token=sealed(REFRESH_TOKEN, facts.refresh_token),
        )

    def _opened(self, purpose: str, sealed: bytes | None, session_id: SessionId) -> str | None:
        if sealed is None:
            return None
        try:
            return self._sealer.open(purpose, sealed, session_id.encode()).decode()
        except SealBroken:
            return None

    def _replaced_by(self, cookie: HostCookie, *, is_only: bool) -> list[HostCookie]:
        """Return the cookies that make way: older ones of the host, or of a session with too many."""
        all_of_session = list(self._cookies_of.get(cookie.session_id, {}).values())
        of_host = [each for each in all_of_session if each.host == cookie.host]
        kept = 0 if is_only else COOKIES_PER_HOST - 1
        old = of_host[: max(0, len(of_host) - kept)]
        others = [each for each in all_of_session if each not in old]
        surplus = len(others) + 1 - MAX_HOSTS_PER_SESSION
        return old + others[: max(0, surplus)]

    def _index(self, session: Session) -> None:
        self._sessions[session.id] = session
        self._cookies_of.setdefault(session.id, {})
        user = session.user
        self._by_subject.setdefault((user.issuer, user.subject), {})[session.id] = None
        if session.provider_sid is not None:
            self._by_sid.setdefault((user.issuer, session.provider_sid), {})[session.id] = None

    def _index_cookie(self, cookie: HostCookie) -> None:
        self._cookies[cookie.hash] = cookie
        self._cookies_of[cookie.session_id][cookie.hash] = cookie

    def _remember(self, cookie: HostCookie, session: Session) -> None:
        """Remember whose a cookie was that opens nothing any more; no token is remembered."""
        without = msgspec.structs.replace(session, sealed_id_token=None, sealed_refresh_token=None)
        self._ended[cookie.hash] = (cookie.host, without)
        while len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _unindex_cookie(self, cookie: HostCookie) -> None:
        self._cookies.pop(cookie.hash, None)
        self._cookies_of.get(cookie.session_id, {}).pop(cookie.hash, None)

    def _unindex_sid(self, session: Session) -> None:
        if session.provider_sid is not None:
            _discard(self._by_sid, (session.user.issuer, session.provider_sid), session.id)

    def _drop(self, session_id: SessionId) -> Session | None:
        session = self._sessions.pop(session_id, None)
        if session is None:
            return None
        for hashed, cookie in self._cookies_of.pop(session_id, {}).items():
            self._cookies.pop(hashed, None)
            self._remember(cookie, session)
        _discard(self._by_subject, (session.user.issuer, session.user.subject), session_id)
        self._unindex_sid(session)
        self._touched.pop(session_id, None)
        return session


def _discard(
    index: dict[tuple[str, str], dict[SessionId, None]],
    key: tuple[str, str],
    session_id: SessionId,
) -> None:
    members = index.get(key)
    if members is not None:
        members.pop(session_id, None)
        if not members:
            del index[key]
