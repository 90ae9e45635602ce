"""Security Event Tokens: verification of their form, signature and claims. Pure.

Source: RFC 8417; SSF 1.0 section 4. The first layer (header, canonical base64url, duplicate members, PyJWT) is the one
that ID tokens pass; a token has no `exp`, so its `jti` is what keeps it from being applied twice.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

import msgspec

from gateway.oidc.faults import TokenReason, TokenRefused
from gateway.oidc.jwks import Key
from gateway.oidc.strict_json import number
from gateway.oidc.tokens import (
    Expectation,
    TokenHeader,
    is_identifier,
    parse_header,
    untrusted_claims,
    verified_claims,
)

SET_KINDS = frozenset({"SECEVENT+JWT", "APPLICATION/SECEVENT+JWT"})
"""Accepted values of `typ`, in upper case; a token without it could be of any kind and is refused."""

FUTURE_S = 300.0
"""How far ahead of ours a transmitter's clock may be."""

MAX_EVENTS = 16

VERIFICATIONS: frozenset[str] = frozenset(
    f"https://schemas.openid.net/secevent/{space}/event-type/verification" for space in ("ssf", "sse", "risc")
)
"""The URIs of the event that says nothing but that the stream works, those of drafts included."""


class SetError(StrEnum):
    """Error codes that a transmitter understands. Source: RFC 8935 section 2.4, SSF 1.0 section 8.1.4.2."""

    INVALID_REQUEST = "invalid_request"
    INVALID_KEY = "invalid_key"
    INVALID_ISSUER = "invalid_issuer"
    INVALID_AUDIENCE = "invalid_audience"
    AUTHENTICATION_FAILED = "authentication_failed"
    ACCESS_DENIED = "access_denied"
    INVALID_STATE = "invalid_state"


class SetRefused(Exception):
    """A token is not to be believed. `text` is for the transmitter, `reason` for the log; neither holds token text."""

    def __init__(self, code: SetError, text: str, reason: str = "") -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text
        self.reason = reason or code.value


class SecurityEventToken(msgspec.Struct, frozen=True, kw_only=True):
    """A verified token. `events` are by URI, unread; `claims` are all of it."""

    issuer: str
    jti: str
    issued_at: datetime
    events: Mapping[str, Mapping[str, Any]]
    claims: Mapping[str, Any]
    txn: str = ""
    happened_at: datetime | None = None


_CODES: Mapping[TokenReason, SetError] = {
    TokenReason.ALGORITHM: SetError.INVALID_KEY,
    TokenReason.KEY_ID_MALFORMED: SetError.INVALID_KEY,
    TokenReason.KEY_ID_REQUIRED: SetError.INVALID_KEY,
    TokenReason.UNKNOWN_KEY: SetError.INVALID_KEY,
    TokenReason.SIGNATURE: SetError.INVALID_KEY,
    TokenReason.ISSUER: SetError.INVALID_ISSUER,
    TokenReason.AUDIENCE: SetError.INVALID_AUDIENCE,
}


def set_refused(refused: TokenRefused) -> SetRefused:
    """Return the refusal as a transmitter is told it."""
    plain = refused.reason.removeprefix("id-token-").replace("-", " ")
    code = _CODES.get(refused.reason, SetError.INVALID_REQUEST)
    return SetRefused(
        code, f"the token is refused: {plain}", f"set-{refused.reason.removeprefix('id-token-')}"
    )


def set_header(raw: str, algorithms: tuple[str, ...]) -> TokenHeader:
    """Return the checked header; one without `typ` counts as a plain JWT, which is refused. Raises `TokenRefused`."""
    return parse_header(raw, algorithms, SET_KINDS)


def verify_set(
    raw: str,
    header: TokenHeader,
    candidates: Sequence[Key],
    *,
    issuer: str,
    audiences: tuple[str, ...],
    algorithms: tuple[str, ...],
    now: datetime,
) -> SecurityEventToken:
    """Return the verified token. `header` is from `set_header` of the same text.

    Raises `TokenRefused` for what every token is held to, `SetRefused` for what a SET is held to besides.
    """
    claims = untrusted_claims(raw)
    said = claims.get("aud")
    listed = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    audience = next((each for each in audiences if each in listed), audiences[0])
    expected = Expectation(issuer=issuer, client_id=audience, algorithms=algorithms)
    claims = verified_claims(raw, header, candidates, expected, ("iss", "aud", "iat"))
    if claims.get("iss") != issuer:
        raise TokenRefused(TokenReason.ISSUER)
    for name in ("exp", "sub"):
        if name in claims:
            raise _malformed(f"a SET has no `{name}`", f"set-has-{name}")
    jti = claims.get("jti")
    if not is_identifier(jti):
        raise _malformed("`jti` is a printable text of 1 to 255 characters", "set-bad-jti")
    txn = claims.get("txn", "")
    return SecurityEventToken(
        issuer=issuer,
        jti=jti,
        issued_at=_issued_at(claims, now),
        events=_events(claims.get("events")),
        claims=claims,
        txn=txn if is_identifier(txn) else "",
        happened_at=instant_of(claims.get("toe")),
    )


def audience_of_verification(raw: str) -> tuple[str, ...]:
    """Return the audience that a token claims when all that it claims to say is that the stream works, else none."""
    claims = untrusted_claims(raw)
    events, said = claims.get("events"), claims.get("aud")
    if not isinstance(events, dict) or not events or not all(uri in VERIFICATIONS for uri in events):
        return ()
    listed = [said] if isinstance(said, str) else said if isinstance(said, list) else []
    return tuple(each for each in listed[:1] if isinstance(each, str))


def _issued_at(claims: Mapping[str, Any], now: datetime) -> datetime:
    issued_at = instant_of(claims.get("iat"))
    if issued_at is None:
        raise _malformed("`iat` is a number of seconds", "set-bad-iat")
    if (issued_at - now).total_seconds() > FUTURE_S:
        raise _malformed("`iat` lies in the future", "set-from-the-future")
    return issued_at


def _events(said: Any) -> Mapping[str, Mapping[str, Any]]:
    if not isinstance(said, dict) or not 0 < len(said) <= MAX_EVENTS:
        raise _malformed(f"`events` is an object of 1 to {MAX_EVENTS} events", "set-bad-events")
    if not all(isinstance(payload, dict) for payload in said.values()):
        raise _malformed("every member of `events` is an object", "set-bad-events")
    return said


def _malformed(text: str, reason: str) -> SetRefused:
    return SetRefused(SetError.INVALID_REQUEST, text, reason)


def instant_of(value: Any) -> datetime | None:
    """Return a NumericDate as an instant, None for what is none."""
    seconds = number(value)
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
