"""Logout tokens (rules B1 to B7): the provider says that a person's session there is over. Pure.

Source: OpenID Connect Back-Channel Logout 1.0 with errata 1, sections 2.4 and 2.6.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from gateway.oidc.faults import TokenReason, TokenRefused
from gateway.oidc.jwks import Key
from gateway.oidc.tokens import (
    LEEWAY_S,
    MAX_AGE_S,
    Expectation,
    TokenHeader,
    check_envelope,
    is_identifier,
    untrusted_claims,
    verified_claims,
)

LOGOUT_TOKEN_KINDS = frozenset({"JWT", "LOGOUT+JWT", "APPLICATION/LOGOUT+JWT"})
"""Accepted values of `typ`, in upper case (B7): older providers send `JWT` or nothing."""

EVENT = "http://schemas.openid.net/event/backchannel-logout"
LIFE_S = MAX_AGE_S + 2 * LEEWAY_S
"""A logout token cannot be accepted longer than this after it was first seen: how long its `jti` counts."""


class LogoutToken(msgspec.Struct, frozen=True, kw_only=True):
    """A verified logout token. `sid` alone or with `subject` ends one session, `subject` alone all of them (B9)."""

    issuer: str
    jti: str
    subject: str | None = None
    sid: str | None = None


def verify_logout_token(
    token: str,
    header: TokenHeader,
    candidates: Sequence[Key],
    expected: Expectation,
    now: datetime,
) -> LogoutToken:
    """Return the verified logout token. `header` is from `parse_header` with `LOGOUT_TOKEN_KINDS`.

    Raises `TokenRefused` with the first rule that fails; an `exp` is required, as errata 1 does.
    """
    claims = verified_claims(token, header, candidates, expected, ("iss", "aud", "exp", "iat"))
    check_envelope(claims, expected, now.timestamp())
    events = claims.get("events")
    if not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
        raise TokenRefused(TokenReason.LOGOUT_NO_EVENT)
    if "nonce" in claims:
        raise TokenRefused(TokenReason.LOGOUT_NONCE)
    jti, subject, sid = claims.get("jti"), claims.get("sub"), claims.get("sid")
    if not is_identifier(jti):
        raise TokenRefused(TokenReason.LOGOUT_ID)
    if (subject is None and sid is None) or not all(
        value is None or is_identifier(value) for value in (subject, sid)
    ):
        raise TokenRefused(TokenReason.LOGOUT_NOBODY)
    return LogoutToken(issuer=expected.issuer, jti=jti, subject=subject, sid=sid)


def untrusted_issuer(token: str) -> str:
    """Return the `iss` that a token claims, "" without one. It may only choose among configured issuers (D5).

    Whichever it chooses, `verify_logout_token` demands that issuer's signature and exactly this `iss`.
    """
    try:
        issuer = untrusted_claims(token).get("iss")
    except TokenRefused:
        return ""
    return issuer if isinstance(issuer, str) else ""
