"""All service tokens in memory: looking one up by its digest is one dictionary access, and never waits.

INVARIANT, as for sessions: what ends, ends in memory first and at once, and is enforced at every worker before the
caller is told; what begins is in the store first, so that nobody is given a token that a restart would forget.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

import msgspec
import structlog

from compliance.texts import duration_text
from gateway.decision.context import session_key
from gateway.service_tokens.model import (
    KEPT_AFTER_END,
    ServiceToken,
    TokenId,
    TokenRefused,
    TokenState,
    as_session,
    new_token,
)
from gateway.service_tokens.store import SqliteTokenStore
from gateway.sessions.model import Session
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("service-tokens")

MAX_TOKENS = 10_000
"""Most tokens that are kept, those that are over included."""
FLUSH_EVERY_S = 15.0
WARNED_EVERY = timedelta(days=1)


class Enforced(Protocol):
    """What the registry asks of who enforces a change: how many open exchanges ended."""

    @property
    def cut(self) -> int:
        """Exchanges that were cut."""
        ...


class ServiceTokens:
    """The service tokens of this gateway. Create, `await load()`, `start()`; `await stop()` at the end."""

    def __init__(
        self,
        store: SqliteTokenStore,
        changed: Callable[[tuple[str, ...], str], Awaitable[Enforced]],
        *,
        clock: Callable[[], datetime],
        random_bytes: Callable[[int], bytes],
        most: int = MAX_TOKENS,
    ) -> None:
        self._store = store
        self._changed = changed
        self._clock = clock
        self._random_bytes = random_bytes
        self._most = most
        self._tokens: dict[TokenId, ServiceToken] = {}
        self._by_digest: dict[str, TokenId] = {}
        self._sessions: dict[TokenId, Session] = {}
        self._used: dict[TokenId, datetime] = {}
        self._warned: dict[TokenId, datetime] = {}
        self._flushing: asyncio.Task[None] | None = None

    # --- life cycle ------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read every token. Raises `StoreFault`."""
        for token in await self._store.load():
            self._index(token)

    def start(self) -> None:
        """Begin to write when tokens were used, to tell of those that run out, and to forget those long over."""
        self._flushing = spawn(self._keep_flushing(), name="service-tokens")

    async def stop(self) -> None:
        """Write what is left."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
            self._flushing = None
        await self._flush()

    # --- looking up (synchronous, constant time) -------------------------------------------------------------

    def lookup(self, digest: str, now: datetime) -> Session | None:
        """Return the service identity of a live token, as a session; the same object while the token is unchanged."""
        token = self.find(digest)
        if token is None or token.state(now) is not TokenState.LIVE:
            return None
        return self._sessions[token.id]

    def find(self, digest: str) -> ServiceToken | None:
        """Return the token that a digest stands for, live or over."""
        token_id = self._by_digest.get(digest)
        return None if token_id is None else self._tokens[token_id]

    def may_use(self, session_id: str, app: str) -> bool:
        """Return whether the token of a session is for an app."""
        token = self._tokens.get(TokenId(session_id))
        return token is not None and app in token.apps

    def listed(self) -> list[ServiceToken]:
        """Return every token, newest first, with when it was used last."""
        newest = sorted(self._tokens.values(), key=lambda each: each.created_at, reverse=True)
        return [msgspec.structs.replace(each, used_at=self._last_used(each)) for each in newest]

    def soonest_expiry_s(self) -> float | None:
        """Return how long it takes until the next token expires that nothing replaces, None without any."""
        now = self._clock()
        return min(((each.expires_at - now).total_seconds() for each in self._lasting(now)), default=None)

    def warn(self) -> None:
        """Tell once a day of each token that runs out, unless another one has replaced it."""
        now = self._clock()
        self._warned = {each: at for each, at in self._warned.items() if at + WARNED_EVERY > now}
        for token in self._lasting(now):
            if token.is_running_out(now) and token.id not in self._warned:
                self._warned[token.id] = now
                left = duration_text((token.expires_at - now).total_seconds())
                used_at = self._last_used(token)
                log.warning(
                    "service-token-expires-soon",
                    token_id=token.id,
                    service=token.service,
                    apps=list(token.apps),
                    used="never" if used_at is None else used_at.isoformat(),
                    detail=f"expires {token.expires_at:%Y-%m-%d %H:%M} UTC, in {left}: "
                    f"`posturegate service-token rotate {token.id} --reason …` makes the next one",
                )

    def touch(self, session_id: str, now: datetime) -> None:
        """Note that a token was used; ids of others are ignored."""
        token_id = TokenId(session_id)
        if token_id in self._tokens:
            self._used[token_id] = now

    # --- changing --------------------------------------------------------------------------------------------

    async def create(
        self, service: str, apps: Iterable[str], life: timedelta, *, by: str, reason: str
    ) -> tuple[ServiceToken, str]:
        """Return a fresh token and its secret. Raises `TokenRefused`, `StoreFault`, `StoreOverloaded`."""
        made = self._new(service, tuple(apps), life, by=by, reason=reason)
        token, _ = made
        await self._store.put([token])
        self._index(token)
        self._tell("service-token-created", token, by=by, reason=reason, apps=list(token.apps))
        return made

    async def rotate(
        self, token_id: str, *, life: timedelta | None, overlap: timedelta, by: str, reason: str
    ) -> tuple[ServiceToken, str]:
        """Return a token in place of a live one, which goes on for `overlap`. `life` None: as that was made for.

        Raises `TokenRefused`, `StoreFault`, `StoreOverloaded`, `NotEnforced`.
        """
        now, old = self._clock(), self._live(token_id)
        wanted = old.expires_at - old.created_at if life is None else life
        made = self._new(old.service, old.apps, wanted, by=by, reason=reason, replaces=old.id)
        token, _ = made
        ending = msgspec.structs.replace(
            old, expires_at=min(old.expires_at, now + max(timedelta(0), overlap))
        )
        await self._store.put([token, ending])
        try:
            self._live(token_id)
        except TokenRefused:
            # Revoked while the store was writing: nobody gets another one for it.
            await self._store.remove([token.id])
            raise
        self._index(token)
        await self._end([ending], "service-token-rotated")
        self._tell("service-token-rotated", token, by=by, reason=reason, former=old.id)
        return made

    async def revoke(self, named: str, *, by: str, reason: str) -> tuple[list[ServiceToken], int]:
        """End a token by its id, or all of a service by its name; return them, and how many open exchanges were cut.

        No request is let through with them when this returns. Raises `TokenRefused`, `NotEnforced`; `StoreFault` and
        `StoreOverloaded` when they are over but a restart would not know.
        """
        now = self._clock()
        live = [each for each in self._tokens.values() if each.state(now) is TokenState.LIVE]
        found = [each for each in live if named in (each.id, each.service)]
        if not found:
            raise TokenRefused(f"no live service token has the id or the service `{named}`")
        ended = [
            msgspec.structs.replace(each, revoked_at=now, revoked_by=by, revoked_reason=reason)
            for each in found
        ]
        try:
            cut = await self._end(ended, "service-token-revoked")
        finally:
            await self._store.put(ended)
        for token in ended:
            self._tell("service-token-revoked", token, by=by, reason=reason, cut=cut)
        return ended, cut

    # --- inside ----------------------------------------------------------------------------------------------

    def _new(
        self,
        service: str,
        apps: tuple[str, ...],
        life: timedelta,
        *,
        by: str,
        reason: str,
        replaces: str = "",
    ) -> tuple[ServiceToken, str]:
        if len(self._tokens) >= self._most:
            raise TokenRefused(f"there are {self._most} service tokens: revoke some")
        return new_token(
            service=service,
            apps=apps,
            life=life,
            now=self._clock(),
            by=by,
            reason=reason,
            random_bytes=self._random_bytes,
            replaces=replaces,
        )

    def _last_used(self, token: ServiceToken) -> datetime | None:
        return self._used.get(token.id, token.used_at)

    def _lasting(self, now: datetime) -> list[ServiceToken]:
        """Return the tokens that count and that no other has replaced."""
        live = [each for each in self._tokens.values() if each.state(now) is TokenState.LIVE]
        replaced = {each.replaces for each in live}
        return [each for each in live if each.id not in replaced]

    def _live(self, token_id: str) -> ServiceToken:
        token = self._tokens.get(TokenId(token_id))
        if token is None or token.state(self._clock()) is not TokenState.LIVE:
            raise TokenRefused(f"no live service token has the id `{token_id}`")
        return token

    async def _end(self, tokens: list[ServiceToken], why: str) -> int:
        """Replace tokens by what ends sooner, in memory and then at every worker."""
        for token in tokens:
            self._index(token)
        enforced = await self._changed(tuple(session_key(each.id) for each in tokens), why)
        return enforced.cut

    def _index(self, token: ServiceToken) -> None:
        self._tokens[token.id] = token
        self._by_digest[token.digest] = token.id
        self._sessions[token.id] = as_session(token)

    def _forget(self, token: ServiceToken) -> None:
        del self._tokens[token.id], self._by_digest[token.digest], self._sessions[token.id]
        self._used.pop(token.id, None)

    @staticmethod
    def _tell(event: str, token: ServiceToken, **more: object) -> None:
        log.info(event, token_id=token.id, service=token.service, ends=token.ended_at.isoformat(), **more)

    async def _keep_flushing(self) -> None:
        while True:
            self.warn()
            await asyncio.sleep(FLUSH_EVERY_S)
            await self._flush()

    async def _flush(self) -> None:
        """Write when tokens were used, and forget those that have been over for long."""
        now, used = self._clock(), self._used
        self._used = {}
        old = [each for each in self._tokens.values() if each.ended_at + KEPT_AFTER_END <= now]
        try:
            if used:
                await self._store.touch(used)
            if old:
                await self._store.remove([each.id for each in old])
        except (StoreFault, StoreOverloaded) as fault:
            self._used = {**used, **self._used}
            log.error("service-tokens-not-written", detail=str(fault))
            return
        for token_id, at in used.items():
            self._tokens[token_id] = msgspec.structs.replace(self._tokens[token_id], used_at=at)
        for token in old:
            self._forget(token)
