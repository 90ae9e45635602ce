"""ID-token validation (rules V1 to V18).

PyJWT verifies the signature and the registered claims; the rest is ours.

The second layer exists because no JOSE library refuses all of it: token kind, duplicate members, numbers that
are texts or booleans, strange audiences, ages, base64 padding. Every refusal has a reason of its own.
"""

import base64
import binascii
import hmac
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, TypeGuard

import jwt
import msgspec
from authlib.oidc.core.util import create_half_hash

from gateway.oidc.faults import TokenReason, TokenRefused
from gateway.oidc.jwks import MAX_KEY_ID, Key
from gateway.oidc.strict_json import DuplicateMember, number, parse_object

MAX_TOKEN = 16 * 1024
MAX_SUBJECT = 255
MAX_AUDIENCES = 20
MAX_AMR = 50
LEEWAY_S = 60.0
MAX_AGE_S = 600.0
"""Most seconds since `iat` of an ID token that is used to sign in."""

MAX_LIFETIME_S = 31 * 86400.0
"""Most seconds between `iat` and `exp`: a longer-lived ID token is a mistake or a forgery."""

ID_TOKEN_KINDS = frozenset({"JWT"})

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+\Z")
_JWE_PARTS = 5
_JWS_PARTS = 3


class Expectation(msgspec.Struct, frozen=True, kw_only=True):
    """What this sign-in requires of the ID token.

    `algorithms` come from the configuration, never from the token.
    """

    issuer: str
    client_id: str
    algorithms: tuple[str, ...]
    nonce: str = ""
    access_token: str | None = None
    extra_audiences: tuple[str, ...] = ()
    max_age_s: int | None = None
    acr_values: tuple[str, ...] = ()


class TokenHeader(msgspec.Struct, frozen=True):
    """The parts of a JOSE header that may steer verification; everything else in it is ignored."""

    algorithm: str
    key_id: str | None


class IdToken(msgspec.Struct, frozen=True, kw_only=True):
    """A verified ID token. `amr` None means that the provider did not say; `claims` are all of them."""

    issuer: str
    subject: str
    expires_at: datetime
    issued_at: datetime
    claims: dict[str, Any]
    auth_at: datetime | None = None
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    sid: str | None = None


def parse_header(
    token: str, algorithms: tuple[str, ...], kinds: frozenset[str] = ID_TOKEN_KINDS
) -> TokenHeader:
    """Return the checked header of a compact JWS (V1, V2, V3, V16). Raises `TokenRefused`.

    `kinds` are the accepted values of `typ`, in upper case; a header without it counts as `JWT`. `jwk`, `jku`,
    `x5u` and `x5c` are ignored: keys come from the provider's set only.
    """
    if len(token) > MAX_TOKEN:
        raise TokenRefused(TokenReason.TOO_LARGE, f"{len(token)} characters")
    parts = token.split(".")
    if len(parts) == _JWE_PARTS:
        raise TokenRefused(TokenReason.ENCRYPTED)
    if len(parts) != _JWS_PARTS:
        raise TokenRefused(TokenReason.MALFORMED, f"{len(parts)} parts")
    header = _object(_decode(parts[0]))
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in _accepted(algorithms):
        raise TokenRefused(TokenReason.ALGORITHM, repr(algorithm)[:40])
    # We understand no extension, so any `crit`, even an empty one, is refused; so is any `b64`.
    if "crit" in header or "b64" in header or "zip" in header:
        raise TokenRefused(TokenReason.CRITICAL_HEADER)
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() not in kinds:
        raise TokenRefused(TokenReason.TYPE, repr(kind)[:40])
    key_id = header.get("kid")
    if not isinstance(key_id, str | None) or (key_id is not None and not 0 < len(key_id) <= MAX_KEY_ID):
        raise TokenRefused(TokenReason.KEY_ID_MALFORMED)
    return TokenHeader(algorithm, key_id)


def untrusted_claims(token: str) -> dict[str, Any]:
    """Return what a token says, believed by nobody yet. Raises `TokenRefused` for what is no JWS with JSON in it."""
    if len(token) > MAX_TOKEN:
        raise TokenRefused(TokenReason.TOO_LARGE)
    parts = token.split(".")
    if len(parts) != _JWS_PARTS:
        raise TokenRefused(TokenReason.MALFORMED)
    return _object(_decode(parts[1]))


def verify_id_token(
    token: str,
    header: TokenHeader,
    candidates: Sequence[Key],
    expected: Expectation,
    now: datetime,
) -> IdToken:
    """Return the verified ID token. `header` is from `parse_header` of the same token.

    `candidates` are the keys that fit header and algorithm; a token without `kid` needs exactly one. Raises
    `TokenRefused` with the first rule that fails: form, signature, registered claims, then the second layer.
    """
    claims = verified_claims(token, header, candidates, expected, ("iss", "sub", "aud", "exp", "iat"))
    return _second_layer(claims, header, expected, now.timestamp())


def verified_claims(
    token: str,
    header: TokenHeader,
    candidates: Sequence[Key],
    expected: Expectation,
    required: tuple[str, ...],
) -> dict[str, Any]:
    """Return the claims of a token whose signature, `iss` and `aud` hold and that has all of `required`.

    What else they say is still to be checked. Raises `TokenRefused`.
    """
    parts = token.split(".")
    _decode(parts[2])
    claims = _object(_decode(parts[1]))
    if not candidates:
        raise TokenRefused(TokenReason.UNKNOWN_KEY, "no usable key with this id and type")
    if header.key_id is None and len(candidates) > 1:
        raise TokenRefused(TokenReason.KEY_ID_REQUIRED, f"{len(candidates)} keys would fit")
    _verify_signature(token, header, candidates, expected, required)
    return claims


def _verify_signature(
    token: str,
    header: TokenHeader,
    candidates: Sequence[Key],
    expected: Expectation,
    required: tuple[str, ...],
) -> None:
    """Let PyJWT verify signature, `iss`, `aud` and the presence of members.

    Times are checked with our own clock.
    """
    refused = TokenRefused(TokenReason.SIGNATURE)
    for key in candidates:
        try:
            jwt.decode(
                token,
                key.public_key,
                algorithms=[header.algorithm],
                audience=expected.client_id,
                issuer=expected.issuer,
                options={
                    "require": list(required),
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_sub": False,
                },
            )
        except jwt.PyJWTError as error:
            refused = _refusal(error)
            if refused.reason is not TokenReason.SIGNATURE:
                raise refused from error
        except (ValueError, TypeError) as error:
            raise TokenRefused(TokenReason.MALFORMED, type(error).__name__) from error
        else:
            return
    raise refused


_MISSING = {
    "iss": TokenReason.ISSUER,
    "sub": TokenReason.SUBJECT,
    "aud": TokenReason.AUDIENCE,
    "exp": TokenReason.EXPIRY_MALFORMED,
    "iat": TokenReason.ISSUED_AT_MALFORMED,
}


_REFUSALS: tuple[tuple[type[jwt.PyJWTError], TokenReason], ...] = (
    (jwt.InvalidSignatureError, TokenReason.SIGNATURE),
    (jwt.InvalidIssuerError, TokenReason.ISSUER),
    (jwt.InvalidAudienceError, TokenReason.AUDIENCE),
    (jwt.InvalidAlgorithmError, TokenReason.ALGORITHM),
    (jwt.InvalidKeyError, TokenReason.UNKNOWN_KEY),
)


def _refusal(error: jwt.PyJWTError) -> TokenRefused:
    if isinstance(error, jwt.MissingRequiredClaimError):
        return TokenRefused(_MISSING.get(error.claim, TokenReason.MALFORMED), "missing")
    for kind, reason in _REFUSALS:
        if isinstance(error, kind):
            return TokenRefused(reason)
    return TokenRefused(TokenReason.MALFORMED, type(error).__name__)


def _second_layer(
    claims: dict[str, Any], header: TokenHeader, expected: Expectation, now_s: float
) -> IdToken:
    if "events" in claims:
        raise TokenRefused(TokenReason.EVENTS)
    expires_s, issued_s = check_envelope(claims, expected, now_s)
    _check_nonce(claims, expected)
    subject = claims.get("sub")
    if not is_identifier(subject):
        raise TokenRefused(TokenReason.SUBJECT)
    _check_access_token_hash(claims, header, expected)
    acr = claims.get("acr") if isinstance(claims.get("acr"), str) else None
    auth_s = _check_authentication(claims, expected, acr, now_s)
    sid = claims.get("sid")
    return IdToken(
        issuer=expected.issuer,
        subject=subject,
        expires_at=_instant(expires_s),
        issued_at=_instant(issued_s),
        claims=claims,
        auth_at=None if auth_s is None else _instant(min(auth_s, now_s)),
        acr=acr,
        amr=_methods(claims.get("amr")),
        sid=sid if isinstance(sid, str) and 0 < len(sid) <= MAX_SUBJECT else None,
    )


def check_envelope(claims: dict[str, Any], expected: Expectation, now_s: float) -> tuple[float, float]:
    """Return `exp` and `iat` after checking whose token this is, for whom and when (V6 to V10)."""
    if claims.get("iss") != expected.issuer:
        raise TokenRefused(TokenReason.ISSUER)
    _check_audience(claims, expected)
    return _check_times(claims, now_s)


def is_identifier(value: Any) -> TypeGuard[str]:
    """Return whether a claim can name somebody or something: a printable text of bounded length (V12)."""
    return isinstance(value, str) and 0 < len(value) <= MAX_SUBJECT and value.isprintable()


def _check_audience(claims: dict[str, Any], expected: Expectation) -> None:
    audience = claims.get("aud")
    audiences = [audience] if isinstance(audience, str) else audience
    if not isinstance(audiences, list) or not 0 < len(audiences) <= MAX_AUDIENCES:
        raise TokenRefused(TokenReason.AUDIENCE)
    if not all(isinstance(each, str) for each in audiences) or expected.client_id not in audiences:
        raise TokenRefused(TokenReason.AUDIENCE)
    strangers = set(audiences) - {expected.client_id} - set(expected.extra_audiences)
    if strangers:
        raise TokenRefused(TokenReason.FOREIGN_AUDIENCE, f"{len(strangers)} not on the list")
    if "azp" in claims:
        if claims["azp"] != expected.client_id:
            raise TokenRefused(TokenReason.AUTHORIZED_PARTY)
    elif len(set(audiences)) > 1:
        raise TokenRefused(TokenReason.AUTHORIZED_PARTY_MISSING)


def _check_times(claims: dict[str, Any], now_s: float) -> tuple[float, float]:
    expires_s = _number(claims, "exp", TokenReason.EXPIRY_MALFORMED)
    issued_s = _number(claims, "iat", TokenReason.ISSUED_AT_MALFORMED)
    if now_s >= expires_s + LEEWAY_S:
        raise TokenRefused(TokenReason.EXPIRED)
    if "nbf" in claims and _number(claims, "nbf", TokenReason.NOT_BEFORE_MALFORMED) > now_s + LEEWAY_S:
        raise TokenRefused(TokenReason.NOT_YET_VALID)
    if issued_s > now_s + LEEWAY_S:
        raise TokenRefused(TokenReason.ISSUED_IN_FUTURE)
    if now_s - issued_s > MAX_AGE_S + LEEWAY_S:
        raise TokenRefused(TokenReason.TOO_OLD)
    if not 0 < expires_s - issued_s <= MAX_LIFETIME_S:
        raise TokenRefused(TokenReason.LIFETIME)
    return expires_s, issued_s


def _check_nonce(claims: dict[str, Any], expected: Expectation) -> None:
    nonce = claims.get("nonce")
    if nonce is None:
        raise TokenRefused(TokenReason.NONCE_MISSING)
    if (
        not expected.nonce
        or not isinstance(nonce, str)
        or not hmac.compare_digest(nonce.encode(), expected.nonce.encode())
    ):
        raise TokenRefused(TokenReason.NONCE)


def _check_access_token_hash(claims: dict[str, Any], header: TokenHeader, expected: Expectation) -> None:
    if "at_hash" not in claims or expected.access_token is None:
        return
    algorithm = "EdDSA" if header.algorithm.startswith("Ed") else header.algorithm
    half: bytes | None = create_half_hash(expected.access_token, algorithm)
    said = claims["at_hash"]
    if half is None or not isinstance(said, str) or not hmac.compare_digest(said.encode(), half):
        raise TokenRefused(TokenReason.ACCESS_TOKEN_HASH)


def _check_authentication(
    claims: dict[str, Any],
    expected: Expectation,
    acr: str | None,
    now_s: float,
) -> float | None:
    """Return `auth_time`. A step-up that was asked for is proved here or nowhere (V14, V15)."""
    auth_s = None
    if claims.get("auth_time") is not None:
        auth_s = _number(claims, "auth_time", TokenReason.AUTH_TIME_MALFORMED)
        if auth_s > now_s + LEEWAY_S:
            raise TokenRefused(TokenReason.AUTH_TIME_MALFORMED, "in the future")
    if expected.max_age_s is not None:
        if auth_s is None:
            raise TokenRefused(TokenReason.AUTH_TIME_MISSING)
        if now_s - auth_s > expected.max_age_s + LEEWAY_S:
            raise TokenRefused(TokenReason.AUTH_TOO_OLD)
    if expected.acr_values and acr not in expected.acr_values:
        raise TokenRefused(TokenReason.ACR, "missing" if acr is None else "another value")
    return auth_s


def _number(claims: dict[str, Any], name: str, reason: TokenReason) -> float:
    value = number(claims.get(name))
    if value is None:
        raise TokenRefused(reason)
    return value


def _methods(value: Any) -> tuple[str, ...] | None:
    """Return `amr`; what is no list of texts counts as not said, which satisfies nothing (S5)."""
    if (
        not isinstance(value, list)
        or len(value) > MAX_AMR
        or not all(isinstance(item, str) for item in value)
    ):
        return None
    return tuple(value)


def _accepted(algorithms: tuple[str, ...]) -> frozenset[str]:
    """Return the usable names: never `none`, never a shared secret, whatever the configuration says."""
    return frozenset(name for name in algorithms if name[:2] in {"RS", "ES", "PS", "Ed"})


def _instant(seconds: float) -> datetime:
    return datetime.fromtimestamp(math.floor(seconds), UTC)


def _decode(part: str) -> bytes:
    """Return the bytes of one part: canonical base64url without padding, so that a token has one spelling."""
    if _BASE64URL.match(part) is None:
        raise TokenRefused(TokenReason.MALFORMED, "not base64url")
    try:
        raw = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise TokenRefused(TokenReason.MALFORMED, "not base64url") from error
    if base64.urlsafe_b64encode(raw).decode().rstrip("=") != part:
        raise TokenRefused(TokenReason.MALFORMED, "base64url is not canonical")
    return raw


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except DuplicateMember as error:
        raise TokenRefused(TokenReason.DUPLICATE_MEMBER) from error
    except ValueError as error:
        raise TokenRefused(TokenReason.NOT_JSON) from error
