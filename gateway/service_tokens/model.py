"""What a service token is. Frozen values; the registry replaces them.

A token is an id, which everybody may know, and a secret of 256 random bits, which is shown once: only the SHA-256 of
both together is kept. It speaks for one service identity, at the apps that it names and at no other.
"""

import base64
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType

import msgspec

from compliance.model import AccessPolicy, Outcome, User
from gateway.sessions.model import Session, SessionId
from gateway.wire.service_token import token_digest

TokenId = NewType("TokenId", str)
"""Our id of a service token: ``gst_`` and 12 characters. Alone it grants nothing."""

ISSUER = "urn:posturegate:service-token"
"""Who vouches for a service identity, in place of an identity provider."""
PROVIDER = "service-token"

ID_BYTES, ID_CHARACTERS = 8, 12
SECRET_BYTES = 32
MAX_APPS = 50
MAX_TEXT = 512
MAX_LIFE = timedelta(days=732)
DEFAULT_LIFE = timedelta(days=90)
KEPT_AFTER_END = timedelta(days=90)
"""How long a token that is over stays listed, and who holds it is told so."""

WARNED_BEFORE = timedelta(days=14)
"""How long before its end people are told that a token is going to expire; of a short life not before its half."""

_SERVICE = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")

OTHER_APP = (
    AccessPolicy(
        name="service-token-apps",
        decision=Outcome.BLOCK,
        reason="This service token is not for this app.",
    ),
)
"""What decides about a service token at an app that it does not name, in place of the configured policies."""


class TokenState(StrEnum):
    """Whether a token counts."""

    LIVE = "live"
    EXPIRED = "expired"
    REVOKED = "revoked"


class TokenRefused(Exception):
    """What an operator asks for cannot be done; the text says why."""


class ServiceToken(msgspec.Struct, frozen=True, kw_only=True):
    """One token of a service identity. `digest` stands for id and secret; `replaces` is the id of the one before."""

    id: TokenId
    service: str
    apps: tuple[str, ...]
    digest: str
    created_at: datetime
    expires_at: datetime
    created_by: str
    reason: str
    replaces: str = ""
    used_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    revoked_reason: str = ""

    def state(self, now: datetime) -> TokenState:
        """Return whether the token counts at `now`."""
        if self.revoked_at is not None:
            return TokenState.REVOKED
        return TokenState.LIVE if now < self.expires_at else TokenState.EXPIRED

    @property
    def ended_at(self) -> datetime:
        """When it stopped to count, or will."""
        return self.expires_at if self.revoked_at is None else min(self.revoked_at, self.expires_at)

    def is_running_out(self, now: datetime) -> bool:
        """Return whether it counts, but not for long."""
        before = min(WARNED_BEFORE, (self.expires_at - self.created_at) / 2)
        return self.state(now) is TokenState.LIVE and self.expires_at - now <= before


def new_token(
    *,
    service: str,
    apps: tuple[str, ...],
    life: timedelta,
    now: datetime,
    by: str,
    reason: str,
    random_bytes: Callable[[int], bytes],
    replaces: str = "",
) -> tuple[ServiceToken, str]:
    """Return a fresh token and its secret, which nobody can find out again. Raises `TokenRefused`."""
    _check(service, apps, life, reason)
    token_id = TokenId("gst_" + base64.b32encode(random_bytes(ID_BYTES)).decode().lower()[:ID_CHARACTERS])
    secret = base64.urlsafe_b64encode(random_bytes(SECRET_BYTES)).decode().rstrip("=")
    token = ServiceToken(
        id=token_id,
        service=service,
        apps=tuple(sorted(set(apps))),
        digest=token_digest(f"{token_id}.{secret}".encode()),
        created_at=now,
        expires_at=now + life,
        created_by=by,
        reason=reason,
        replaces=replaces,
    )
    return token, secret


def _check(service: str, apps: tuple[str, ...], life: timedelta, reason: str) -> None:
    if _SERVICE.fullmatch(service) is None:
        raise TokenRefused(
            f"`{service[:MAX_TEXT]}` is no name of a service: small letters, digits, `.`, `_`, `-`, at most 63"
        )
    if not 0 < len(apps) <= MAX_APPS:
        raise TokenRefused(f"a service token is for 1 to {MAX_APPS} apps")
    if not timedelta(0) < life <= MAX_LIFE:
        raise TokenRefused(f"a service token lives for at most {MAX_LIFE.days} days")
    if not 0 < len(reason) <= MAX_TEXT:
        raise TokenRefused(f"`reason` has 1 to {MAX_TEXT} characters")


def as_session(token: ServiceToken) -> Session:
    """Return the token as decisions see it: a session of its service identity that ends when the token does."""
    return Session(
        id=SessionId(token.id),
        user=User(
            provider=PROVIDER, issuer=ISSUER, subject=token.service, name=token.service, is_service=True
        ),
        created_at=token.created_at,
        last_seen_at=token.created_at,
        ends_at=token.ended_at,
    )
