"""What a session is. Frozen values; the registry replaces them.

A session has one cookie per host. A cookie is 43 characters of base64url (256 random bits); only its SHA-256
is kept.
"""

import base64
import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NewType

import msgspec

from compliance.model import User
from gateway.devices.claim import ClaimedDevice

SessionId = NewType("SessionId", str)
"""Our id of a session: ``ses_`` and 22 characters. It is not the cookie and grants nothing."""

COOKIE_BYTES = 32
ID_BYTES = 16

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}\Z")


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A signed-in browser. `ends_at` is the absolute end, whatever happens.

    `devices` are the claims of the sign-in; `provider_sid` is the provider's own session id. Tokens are
    sealed.
    """

    id: SessionId
    user: User
    created_at: datetime
    last_seen_at: datetime
    ends_at: datetime
    devices: tuple[ClaimedDevice, ...] = ()
    provider_sid: str | None = None
    sealed_id_token: bytes | None = None
    sealed_refresh_token: bytes | None = None


MAX_SHARED = 4096
"""Most sets of groups, and most other values, that sessions share."""

_NOBODY: frozenset[str] = frozenset()


def sharing(user: User) -> User:
    """Return the user with what other users have as well, there once for all of them: a third of a session."""
    return msgspec.structs.replace(
        user,
        provider=shared_text(user.provider),
        issuer=shared_text(user.issuer),
        names=user.names or _NOBODY,
        groups=_set(user.groups),
        roles=_set(user.roles),
        acr=None if user.acr is None else shared_text(user.acr),
        amr=None if user.amr is None else _methods(user.amr),
    )


@lru_cache(maxsize=MAX_SHARED)
def shared_text(text: str) -> str:
    """Return a text that many sessions have, there once for all of them."""
    return text


@lru_cache(maxsize=MAX_SHARED)
def _set(names: frozenset[str]) -> frozenset[str]:
    return names


@lru_cache(maxsize=MAX_SHARED)
def _methods(amr: tuple[str, ...]) -> tuple[str, ...]:
    return amr


class HostCookie(msgspec.Struct, frozen=True, kw_only=True):
    """A cookie of a session on one host. `hash` is the SHA-256 of its value, hex; `host` has no port."""

    hash: str
    session_id: SessionId
    host: str
    created_at: datetime


class Lifetimes(msgspec.Struct, frozen=True):
    """How long sessions live, and how many one user may have."""

    idle: timedelta
    absolute: timedelta
    per_user: int


def ends_at(session: Session, lifetimes: Lifetimes) -> datetime:
    """Return when the session ends unless it is used again: idle or absolute, whichever is first."""
    return min(session.ends_at, session.last_seen_at + lifetimes.idle)


def is_live(session: Session, lifetimes: Lifetimes, now: datetime) -> bool:
    """Return whether the session counts at `now`."""
    return now < ends_at(session, lifetimes)


def new_cookie(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh cookie value."""
    return base64.urlsafe_b64encode(random_bytes(COOKIE_BYTES)).decode().rstrip("=")


def new_session_id(random_bytes: Callable[[int], bytes]) -> SessionId:
    """Return a fresh session id."""
    return SessionId("ses_" + base64.urlsafe_b64encode(random_bytes(ID_BYTES)).decode().rstrip("="))


def cookie_hash(untrusted: str) -> str | None:
    """Return the SHA-256 in hex of a cookie value, None for a text that is no cookie value of ours."""
    if _COOKIE.match(untrusted) is None:
        return None
    return hashlib.sha256(untrusted.encode("ascii")).hexdigest()


def host_name(host: str) -> str:
    """Return the host without port, lower-case and without trailing dot: what a cookie belongs to.

    >>> host_name("App.localhost:8080"), host_name("[::1]:8080"), host_name("a.example.")
    ('app.localhost', '[::1]', 'a.example')
    """
    if host.startswith("["):
        return (host.partition("]")[0] + "]").lower()
    return host.partition(":")[0].lower().removesuffix(".")
