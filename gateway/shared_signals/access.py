"""Who calls stream management: bearer tokens, the token endpoint, and bounded request bodies.

Source: RFC 6750 section 2.1 (the header, and nowhere else), RFC 6749 section 4.4 (client credentials).
"""

import asyncio
import base64
import hmac
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote_plus

import aiohttp
import msgspec
from aiohttp import web

from gateway.config.shared_signals import SignalSubscriber
from gateway.oidc.strict_json import parse_object
from gateway.sessions.seal import SealBroken, Sealer
from gateway.shared_signals.emission import Parties

MAX_BODY = 262_144
BODY_TIMEOUT_S = 15.0
MAX_FIELDS = 20
TOKEN_S = 1800
TOKEN_PURPOSE = "ssf-access-token"  # noqa: S105 - a sealing purpose
MANAGE, READ = "ssf.manage", "ssf.read"
UNAUTHORIZED = 401
RESOURCE = "/.well-known/oauth-protected-resource"
"""Where clients learn which tokens are wanted here. Source: RFC 9728 section 3."""


class Refused(Exception):
    """Ends a call with a problem."""

    def __init__(self, status: int, code: str, text: str, **extra: Any) -> None:
        super().__init__(text)
        self.status = status
        self.code = code
        self.text = text
        self.extra = extra


class Caller(NamedTuple):
    """Who calls, with what is allowed to it."""

    party: SignalSubscriber
    scopes: frozenset[str]

    def need(self, scope: str) -> None:
        """Check that the caller may do this. Raises `Refused`."""
        if scope not in self.scopes:
            challenge = f'Bearer error="insufficient_scope", scope="{scope}"'
            raise Refused(
                403, "insufficient-scope", f"this needs `{scope}`", headers={"WWW-Authenticate": challenge}
            )


class Access:
    """Finds out who calls. `now_s` is wall-clock seconds."""

    def __init__(self, sealer: Sealer, *, now_s: Callable[[], float]) -> None:
        self._sealer = sealer
        self._now_s = now_s

    def caller(self, request: web.Request, parties: Parties) -> Caller:
        """Return who calls, by the bearer token in the header and nowhere else. Raises `Refused`."""
        given = request.headers.getall("Authorization", [])
        scheme, _, token = (given[0] if len(given) == 1 else "").partition(" ")
        if scheme.lower() == "bearer" and token:
            found = self._by_secret(token, parties) or self._by_access_token(token, parties)
            if found is not None:
                return found
        raise Refused(
            401,
            "not-authenticated",
            "send `Authorization: Bearer` with one of your tokens",
            headers={
                "WWW-Authenticate": f'Bearer realm="ssf", resource_metadata="{parties.issuer.rstrip("/")}{RESOURCE}"'
            },
        )

    @staticmethod
    def _by_secret(token: str, parties: Parties) -> Caller | None:
        """Return the party with this token; all are compared, in constant time."""
        shown = token.encode("utf-8", "surrogateescape")
        found = [
            party
            for party in parties.by_name.values()
            for secret in party.tokens
            if hmac.compare_digest(shown, secret.reveal().encode())
        ]
        return Caller(found[0], _scopes(found[0])) if found else None

    def _by_access_token(self, token: str, parties: Parties) -> Caller | None:
        try:
            name, scopes, until = msgspec.json.decode(
                self._sealer.open_text(TOKEN_PURPOSE, token), type=tuple[str, list[str], float]
            )
        except (SealBroken, msgspec.MsgspecError):
            return None
        party = parties.by_name.get(name)
        if party is None or self._now_s() >= until:
            return None
        return Caller(party, _scopes(party) & frozenset(scopes))

    async def token(self, request: web.Request, parties: Parties) -> web.StreamResponse:
        """Give a short-lived access token for client credentials. Source: RFC 6749 section 4.4."""
        body = await read_body(request)
        try:
            fields = parse_qs(body.decode("ascii", "replace"), max_num_fields=MAX_FIELDS)
        except ValueError:
            return _oauth_error(400, "invalid_request")
        form = {name: each[0] for name, each in fields.items()}
        name, secret = _client(request, form)
        if form.get("grant_type") != "client_credentials":
            return _oauth_error(400, "unsupported_grant_type")
        found = self._by_secret(secret, parties)
        if found is None or not hmac.compare_digest(found.party.name.encode(), name.encode()):
            return _oauth_error(401, "invalid_client")
        wanted = frozenset(form.get("scope", "").split()) or found.scopes
        scopes = sorted(wanted & found.scopes)
        if not scopes:
            return _oauth_error(400, "invalid_scope")
        sealed = msgspec.json.encode((found.party.name, scopes, self._now_s() + TOKEN_S))
        answer = {
            "access_token": self._sealer.seal_text(TOKEN_PURPOSE, sealed),
            "token_type": "Bearer",
            "expires_in": TOKEN_S,
            "scope": " ".join(scopes),
        }
        return web.json_response(answer, headers={"Cache-Control": "no-store"})


def _scopes(party: SignalSubscriber) -> frozenset[str]:
    return frozenset({READ} if party.access == "read" else {READ, MANAGE})


def _client(request: web.Request, form: Mapping[str, str]) -> tuple[str, str]:
    """Return client id and secret, from the header or the form. Source: RFC 6749 section 2.3.1."""
    scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        login, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote_plus(login), unquote_plus(password)


def _oauth_error(status: int, error: str) -> web.Response:
    headers = {
        "Cache-Control": "no-store",
        **({"WWW-Authenticate": "Basic"} if status == UNAUTHORIZED else {}),
    }
    return web.json_response({"error": error}, status=status, headers=headers)


async def read_object(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request. Raises `Refused`."""
    try:
        return parse_object(await read_body(request))
    except ValueError as error:
        raise Refused(400, "malformed", f"the body is no JSON object: {error}") from error


async def read_body(request: web.Request) -> bytes:
    """Return the body of a request, of bounded size. Raises `Refused`."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for chunk in request.content.iter_chunked(65536):
                body += chunk
                if len(body) > MAX_BODY:
                    raise Refused(413, "too-large", f"at most {MAX_BODY} bytes are taken")
    except TimeoutError as error:
        raise Refused(408, "body-timeout", "the body did not arrive in time") from error
    except (aiohttp.ClientPayloadError, web.RequestPayloadError) as error:
        raise Refused(400, "malformed", "the body is not complete") from error
    return bytes(body)
