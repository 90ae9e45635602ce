"""The authorization request (rules A1, A2, A3, A8): fresh state, nonce and verifier, and their URL."""

import base64
import re
from collections.abc import Callable, Mapping

import msgspec
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from gateway.oidc.discovery import ProviderMetadata

RANDOM_BYTES = 32
"""Bytes of randomness in each of state, nonce and verifier; 43 characters of base64url."""

RESERVED = frozenset(
    {
        "response_type",
        "client_id",
        "redirect_uri",
        "scope",
        "state",
        "nonce",
        "code_challenge",
        "code_challenge_method",
        "response_mode",
        "max_age",
        "acr_values",
        "request",
        "request_uri",
    },
)
"""Parameters that `authorize_params` of the configuration cannot replace: safety rests on them."""

_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}\Z")


class Attempt(msgspec.Struct, frozen=True):
    """The three secrets of one sign-in attempt: bound to one browser by the pending-login cookie."""

    state: str
    nonce: str
    verifier: str


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a sign-in must prove: one of `acr_values`, authentication at most `max_age_s` old.

    Empty asks nothing.
    """

    acr_values: tuple[str, ...] = ()
    max_age_s: int | None = None


NOTHING_WANTED = Wanted()


def random_text(random_bytes: Callable[[int], bytes]) -> str:
    """Return 43 characters of base64url that hold 256 random bits."""
    return base64.urlsafe_b64encode(random_bytes(RANDOM_BYTES)).decode().rstrip("=")


def new_attempt(random_bytes: Callable[[int], bytes]) -> Attempt:
    """Return a fresh attempt. `random_bytes` must be a CSPRNG such as ``secrets.token_bytes``."""
    return Attempt(*(random_text(random_bytes) for _ in range(3)))


def authorization_url(
    metadata: ProviderMetadata,
    attempt: Attempt,
    *,
    client_id: str,
    redirect_uri: str,
    scopes: tuple[str, ...],
    wanted: Wanted = NOTHING_WANTED,
    hint_acr_values: tuple[str, ...] = (),
    is_login_forced: bool = False,
    extra: Mapping[str, str] | None = None,
) -> str:
    """Return the URL that the browser is sent to.

    PKCE is always S256 (A2). `hint_acr_values` are asked for when `wanted` names none; nobody checks them on
    return. `is_login_forced` asks for the credentials again. `extra` cannot replace a parameter of
    `RESERVED`.
    """
    if _VERIFIER.match(attempt.verifier) is None:
        raise ValueError("verifier breaks RFC 7636 section 4.1")
    parameters = {name: value for name, value in (extra or {}).items() if name not in RESERVED}
    parameters["nonce"] = attempt.nonce
    parameters["code_challenge"] = create_s256_code_challenge(attempt.verifier)
    parameters["code_challenge_method"] = "S256"
    acr_values = wanted.acr_values or hint_acr_values
    if acr_values:
        parameters["acr_values"] = " ".join(acr_values)
    if wanted.max_age_s is not None:
        parameters["max_age"] = str(wanted.max_age_s)
    if is_login_forced:
        parameters["prompt"] = "login"
    scope = " ".join(dict.fromkeys(("openid", *scopes)))
    url: str = prepare_grant_uri(
        metadata.authorization_endpoint,
        client_id=client_id,
        response_type="code",
        redirect_uri=redirect_uri,
        scope=scope,
        state=attempt.state,
        **parameters,
    )
    return url
