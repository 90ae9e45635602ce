"""What keeps sessions across a restart.

Two implementations may differ in nothing that the contract tests see.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Protocol

from gateway.sessions.model import HostCookie, Session, SessionId


class SessionStore(Protocol):
    """Durable sessions.

    Every write is on disk when it returns; all may raise `StoreFault` or `StoreOverloaded`.
    """

    async def load(self) -> tuple[list[Session], list[HostCookie]]:
        """Return every session and every cookie of them, ordered by `created_at`, then as they came."""
        ...

    async def put(self, session: Session) -> None:
        """Keep a session, in place of an earlier one with its id."""
        ...

    async def put_cookie(self, cookie: HostCookie, *, replaces: Iterable[str] = ()) -> None:
        """Keep a cookie and forget those with the hashes of `replaces`.

        A cookie of no known session is dropped.
        """
        ...

    async def touch(self, seen: Mapping[SessionId, datetime]) -> None:
        """Note when sessions were last used; never turns a time back, never makes a session."""
        ...

    async def remove(self, ids: Iterable[SessionId]) -> None:
        """Forget sessions with all their cookies and tokens. Unknown ids are fine."""
        ...
