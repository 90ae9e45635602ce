"""The one place of this package that talks: a client that starts with its provider down and recovers.

`ProviderClient.start` begins a background refresh of metadata and keys with back-off; sign-ins that come
while the provider is not known try at once (one attempt for all of them). Redirects are never followed,
answers are bounded, nothing is retried after a code has been sent.
"""

import asyncio
import base64
import random
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote_plus

import aiohttp
import msgspec
import structlog
from authlib.oauth2.rfc6749.parameters import prepare_token_request

from compliance.model import User
from gateway.config.schema import ClientAuth, DeviceClaim, Provider
from gateway.devices.claim import ClaimedDevice, claimed_devices
from gateway.oidc.authorize import NOTHING_WANTED, Attempt, Wanted, authorization_url
from gateway.oidc.backchannel import LOGOUT_TOKEN_KINDS, LogoutToken, verify_logout_token
from gateway.oidc.claims import UserRules, has_claim, merged_claims, user_of
from gateway.oidc.discovery import (
    MAX_METADATA_BYTES,
    ProviderMetadata,
    is_safe_url,
    metadata_url,
    parse_metadata,
)
from gateway.oidc.faults import ProviderFault, ProviderReason, TokenReason, TokenRefused
from gateway.oidc.jwks import MAX_KEY_SET_BYTES, FetchedKeys, Key, KeyCache, parse_key_set
from gateway.oidc.logout import end_session_url
from gateway.oidc.strict_json import number, parse_object
from gateway.oidc.tokens import (
    MAX_TOKEN,
    Expectation,
    IdToken,
    TokenHeader,
    parse_header,
    verify_id_token,
)
from gateway.tasks import spawn

log = structlog.get_logger("oidc")

REQUEST_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
MAX_TOKEN_RESPONSE_BYTES = 256 * 1024
MAX_USERINFO_BYTES = 256 * 1024
MAX_ACCESS_TOKEN = 64 * 1024
REFRESH_S = 900.0
FIRST_RETRY_S = 1.0
LAST_RETRY_S = 30.0
KEEP_METADATA_S = 14400.0
"""How long metadata stays in use while it cannot be refreshed (D6)."""

DEMAND_INTERVAL_S = 1.0
"""Least time between two fetches of metadata that sign-ins ask for."""

_TEMPORARY_STATUS = 500

T = TypeVar("T")


class ProviderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Readiness of one provider.

    `is_ready`: people can be sent to sign in. `reason` says why not, or what fails.
    """

    name: str
    is_ready: bool
    is_reachable: bool
    reason: str = ""
    checked_at: datetime | None = None


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """What a redeemed code proves: the user, the devices that the claims name, and tokens to keep sealed."""

    user: User
    devices: tuple[ClaimedDevice, ...]
    token: IdToken
    raw_id_token: str
    refresh_token: str | None = None


class TokenResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A token response of sound form (T4)."""

    id_token: str
    access_token: str
    refresh_token: str | None = None


class ProviderClient:
    """The relying party at one provider.

    `now` is the wall clock (aware UTC), `mono` a monotonic clock, `sleep` waits: all injected. `devices` are
    the configured sources; only claims matter here.
    """

    def __init__(
        self,
        provider: Provider,
        *,
        redirect_uri: str,
        devices: tuple[DeviceClaim, ...] = (),
        now: Callable[[], datetime],
        mono: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.provider = provider
        self._redirect_uri = redirect_uri
        self._devices = devices
        self._now = now
        self._mono = mono
        self._sleep = sleep
        self._http: aiohttp.ClientSession | None = None
        self._metadata: ProviderMetadata | None = None
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._fault: ProviderFault | None = None
        self._checked_at: datetime | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._background: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._keys = KeyCache(self._fetch_keys, mono)

    # --- life cycle ---------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to keep the metadata fresh. Returns at once, whether or not the provider answers.

        Raises `OSError` (or `ssl.SSLError`) when the configured `ca` file cannot be used.
        """
        connector = aiohttp.TCPConnector(ssl=_tls(self.provider.ca), limit=20, limit_per_host=20)
        self._http = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={"User-Agent": "posturegate", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )
        self._background = spawn(self._keep_fresh(), name=f"provider-{self.provider.name}")

    async def stop(self) -> None:
        """End the background refresh and close all connections.

        Safe to call twice, and after a failed start.
        """
        for task in (self._background, self._refreshing):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._background = None
        if self._http is not None:
            await self._http.close()
            self._http = None

    def status(self) -> ProviderStatus:
        """Return readiness as it is now; never waits."""
        fault = self._fault
        return ProviderStatus(
            name=self.provider.name,
            is_ready=self._known() is not None,
            is_reachable=fault is None and self._checked_at is not None,
            reason=str(fault) if fault is not None else ("" if self._checked_at else "not asked yet"),
            checked_at=self._checked_at,
        )

    @property
    def label(self) -> str:
        """What people call this provider."""
        return self.provider.label or self.provider.name

    # --- what sign-in asks --------------------------------------------------------------------------------

    async def metadata(self) -> ProviderMetadata:
        """Return usable metadata; asks the provider now when there is none. Raises `ProviderFault`."""
        known = self._known()
        if known is None:
            if self._refreshing is not None or self._mono() >= self._asked_at + DEMAND_INTERVAL_S:
                await self._refresh()
            known = self._known()
        if known is None:
            raise self._fault or ProviderFault(ProviderReason.NO_METADATA)
        return known

    async def authorization_url(
        self,
        attempt: Attempt,
        *,
        wanted: Wanted = NOTHING_WANTED,
        is_login_forced: bool = False,
    ) -> str:
        """Return where to send the browser. Raises `ProviderFault` while the provider is unknown."""
        return authorization_url(
            await self.metadata(),
            attempt,
            client_id=self.provider.client_id,
            redirect_uri=self._redirect_uri,
            scopes=self.provider.scopes,
            wanted=wanted,
            hint_acr_values=self.provider.acr_values,
            is_login_forced=is_login_forced,
            extra=self.provider.authorize_params,
        )

    async def redeem(self, code: str, attempt: Attempt, *, wanted: Wanted = NOTHING_WANTED) -> SignedIn:
        """Exchange a code for a verified identity. Raises `ProviderFault` or `TokenRefused`."""
        metadata = await self.metadata()
        response = await self._request_tokens(metadata, code, attempt)
        expected = Expectation(
            issuer=metadata.issuer,
            client_id=self.provider.client_id,
            algorithms=self.provider.algorithms,
            nonce=attempt.nonce,
            access_token=response.access_token,
            max_age_s=wanted.max_age_s,
            acr_values=wanted.acr_values,
        )
        token = await self._verify(response.id_token, expected)
        userinfo, is_missing = await self._userinfo(metadata, token, response.access_token)
        rules = UserRules(
            provider=self.provider.name,
            groups_claim=self.provider.groups_claim,
            roles_claim=self.provider.roles_claim,
            keep_claims=self.provider.keep_claims,
            is_email_verification_required=self.provider.require_email_verified,
        )
        return SignedIn(
            user=user_of(token, userinfo, rules, is_userinfo_missing=is_missing),
            devices=claimed_devices(merged_claims(token, userinfo), self._devices),
            token=token,
            raw_id_token=response.id_token,
            refresh_token=response.refresh_token,
        )

    async def verify_logout(self, raw: str) -> LogoutToken:
        """Return the verified logout token of a back-channel logout. Raises `ProviderFault` or `TokenRefused`."""
        header = parse_header(raw, self.provider.algorithms, LOGOUT_TOKEN_KINDS)
        expected = Expectation(
            issuer=self.provider.issuer,
            client_id=self.provider.client_id,
            algorithms=self.provider.algorithms,
        )
        return await self._with_keys(
            header, lambda keys: verify_logout_token(raw, header, keys, expected, self._now())
        )

    def end_session_url(
        self, *, id_token_hint: str | None, post_logout_redirect_uri: str, state: str
    ) -> str | None:
        """Return where the browser ends its session at the provider; None when it offers no such thing."""
        known = self._known()
        if known is None:
            return None
        return end_session_url(
            known,
            client_id=self.provider.client_id,
            id_token_hint=id_token_hint,
            post_logout_redirect_uri=post_logout_redirect_uri,
            state=state,
        )

    # --- metadata and keys --------------------------------------------------------------------------------

    def _known(self) -> ProviderMetadata | None:
        return self._metadata if self._mono() < self._fetched_at + KEEP_METADATA_S else None

    async def _keep_fresh(self) -> None:
        failures = 0
        while True:
            try:
                await self._refresh()
            except Exception:  # a defect of ours must not end the recovery
                log.exception("provider-refresh-failed", provider=self.provider.name)
            failures = 0 if self._fault is None else failures + 1
            await self._pause(REFRESH_S if failures == 0 else _backoff_s(failures))

    async def _pause(self, seconds: float) -> None:
        """Wait, or less when a call to the provider has failed meanwhile."""
        self._wake.clear()
        waits = [spawn(self._sleep_for(seconds), name="provider-pause")]
        waits.append(spawn(self._woken(), name="provider-wake"))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _sleep_for(self, seconds: float) -> None:
        await self._sleep(seconds)

    async def _woken(self) -> None:
        await self._wake.wait()

    async def _refresh(self) -> None:
        """Fetch the metadata once, together with everybody else who wants it now."""
        if self._refreshing is None:
            self._refreshing = spawn(self._load(), name="provider-metadata")
        await asyncio.shield(self._refreshing)

    async def _load(self) -> None:
        was_reachable = self._fault is None
        try:
            self._asked_at = self._mono()
            body, _ = await self._get_json(_metadata_url(self.provider.issuer), MAX_METADATA_BYTES)
            self._metadata = parse_metadata(
                body, issuer=self.provider.issuer, algorithms=self.provider.algorithms
            )
            self._fetched_at = self._mono()
            if self._fault is not None or self._checked_at is None:
                log.info("provider-ready", provider=self.provider.name)
            self._fault = None
        except ProviderFault as fault:
            self._fault = fault
            if was_reachable:
                log.warning(
                    "provider-unusable",
                    provider=self.provider.name,
                    reason=str(fault.reason),
                    detail=fault.detail,
                )
        finally:
            self._checked_at = self._now()
            self._refreshing = None

    async def _fetch_keys(self) -> FetchedKeys:
        metadata = await self.metadata()
        body, headers = await self._get_json(
            metadata.jwks_uri,
            MAX_KEY_SET_BYTES,
            kinds=("application/json", "application/jwk-set+json"),
        )
        return FetchedKeys(parse_key_set(body), headers.get("Cache-Control", ""))

    async def _verify(self, raw: str, expected: Expectation) -> IdToken:
        header = parse_header(raw, expected.algorithms)
        return await self._with_keys(
            header, lambda keys: verify_id_token(raw, header, keys, expected, self._now())
        )

    async def _with_keys(self, header: TokenHeader, verify: Callable[[Sequence[Key]], T]) -> T:
        """Return what `verify` makes of the keys that fit; when none does, once more with fresher ones (K2, K3)."""
        keys = await self._keys.current()
        try:
            return verify(keys.candidates(header.algorithm, header.key_id))
        except TokenRefused as refused:
            if refused.reason not in (TokenReason.UNKNOWN_KEY, TokenReason.SIGNATURE):
                raise
            fresher = await self._keys.refresh(keys)
            if fresher is None:
                raise
        return verify(fresher.candidates(header.algorithm, header.key_id))

    # --- token request and userinfo -----------------------------------------------------------------------

    async def _request_tokens(self, metadata: ProviderMetadata, code: str, attempt: Attempt) -> TokenResponse:
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        extra: dict[str, str] = {}
        secret = self.provider.client_secret
        match client_auth(self.provider, metadata.token_auth_methods):
            case ClientAuth.BASIC:
                headers["Authorization"] = basic_credentials(
                    self.provider.client_id,
                    "" if secret is None else secret.reveal(),
                )
            case ClientAuth.POST:
                extra = {
                    "client_id": self.provider.client_id,
                    "client_secret": "" if secret is None else secret.reveal(),
                }
            case ClientAuth.NONE:
                extra = {"client_id": self.provider.client_id}
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self._redirect_uri,
            code=code,
            code_verifier=attempt.verifier,
            **extra,
        )
        status, kind, answer, _ = await self._call(
            "POST",
            metadata.token_endpoint,
            MAX_TOKEN_RESPONSE_BYTES,
            headers=headers,
            body=body.encode(),
        )
        if status >= _TEMPORARY_STATUS:
            self._wake.set()
            raise ProviderFault(ProviderReason.BAD_STATUS, f"token endpoint answered {status}")
        if status != 200:  # noqa: PLR2004 - the one status of a token response
            raise _token_error(status, answer, is_public=self.provider.client_secret is None)
        if kind != "application/json":
            raise ProviderFault(ProviderReason.TOKEN_RESPONSE_MALFORMED, f"content type `{kind[:60]}`")
        return parse_token_response(answer)

    async def _userinfo(
        self,
        metadata: ProviderMetadata,
        token: IdToken,
        access_token: str,
    ) -> tuple[dict[str, Any] | None, bool]:
        """Return userinfo claims, and whether they were needed and are missing (U1, U2)."""
        roles = [self.provider.roles_claim] if self.provider.roles_claim else []
        wanted = [
            self.provider.groups_claim,
            *roles,
            "email",
            "name",
            *(device.claim for device in self._devices),
        ]
        if not self.provider.userinfo or all(has_claim(token.claims, path) for path in wanted):
            return None, False
        if metadata.userinfo_endpoint is None:
            return None, False
        try:
            body, _ = await self._get_json(
                metadata.userinfo_endpoint,
                MAX_USERINFO_BYTES,
                headers={"Authorization": f"Bearer {access_token}"},
            )
            try:
                claims = parse_object(body)
            except ValueError as error:
                raise ProviderFault(ProviderReason.USERINFO_MALFORMED, str(error)) from error
        except ProviderFault as fault:
            log.warning(
                "userinfo-missing", provider=self.provider.name, reason=str(fault.reason), detail=fault.detail
            )
            return None, True
        if claims.get("sub") != token.subject:
            raise ProviderFault(ProviderReason.USERINFO_OTHER_SUBJECT)
        return claims, False

    # --- HTTP ---------------------------------------------------------------------------------------------

    async def _get_json(
        self,
        url: str,
        most: int,
        *,
        headers: Mapping[str, str] | None = None,
        kinds: tuple[str, ...] = ("application/json",),
    ) -> tuple[bytes, Mapping[str, str]]:
        accept = {"Accept": ", ".join(kinds), **(headers or {})}
        status, kind, body, answer_headers = await self._call("GET", url, most, headers=accept)
        if status != 200:  # noqa: PLR2004 - redirects and errors alike are no answer
            raise ProviderFault(ProviderReason.BAD_STATUS, f"`{_shown(url)}` answered {status}")
        if kind not in kinds:
            raise ProviderFault(ProviderReason.NOT_JSON, f"`{_shown(url)}` sent content type `{kind[:60]}`")
        return body, answer_headers

    async def _call(
        self,
        method: str,
        url: str,
        most: int,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
    ) -> tuple[int, str, bytes, Mapping[str, str]]:
        """Return status, content type, body and headers of one exchange, or raise `ProviderFault`."""
        if self._http is None:
            raise ProviderFault(ProviderReason.UNREACHABLE, "the client is not started")
        try:
            async with self._http.request(
                method,
                url,
                headers=dict(headers),
                data=body,
                allow_redirects=False,
            ) as response:
                if "Content-Encoding" in response.headers:
                    raise ProviderFault(ProviderReason.NOT_JSON, "compressed although not asked for")
                answer = await _bounded(response, most, url)
                return response.status, response.content_type.lower(), answer, response.headers
        except aiohttp.ClientSSLError as error:
            self._wake.set()
            raise ProviderFault(ProviderReason.TLS, f"`{_shown(url)}`: {error}") from error
        except TimeoutError as error:
            self._wake.set()
            raise ProviderFault(ProviderReason.UNREACHABLE, f"`{_shown(url)}`: no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            self._wake.set()
            raise ProviderFault(ProviderReason.UNREACHABLE, f"`{_shown(url)}`: {error}") from error


def client_auth(provider: Provider, offered: tuple[str, ...]) -> ClientAuth:
    """Return how to authenticate at the token endpoint: as configured, else `none` without a secret.

    With one it is basic, unless the provider's metadata `offered` only knows the secret in the form.
    """
    if provider.client_auth is not None:
        return provider.client_auth
    if provider.client_secret is None:
        return ClientAuth.NONE
    return (
        ClientAuth.POST
        if ClientAuth.BASIC not in offered and ClientAuth.POST in offered
        else ClientAuth.BASIC
    )


def basic_credentials(client_id: str, secret: str) -> str:
    """Return the `Authorization` value; both parts are form-encoded first (T2).

    Source: RFC 6749 section 2.3.1.

    >>> basic_credentials("gate", "a:b c")
    'Basic Z2F0ZTphJTNBYitj'
    """
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def parse_token_response(body: bytes) -> TokenResponse:
    """Return the checked token response (T4). Raises `ProviderFault`."""

    def malformed(what: str) -> ProviderFault:
        return ProviderFault(ProviderReason.TOKEN_RESPONSE_MALFORMED, what)

    try:
        members = parse_object(body)
    except ValueError as error:
        raise malformed(str(error)) from error
    kind, expires_in, refresh = (
        members.get("token_type"),
        members.get("expires_in"),
        members.get("refresh_token"),
    )
    id_token, access_token = members.get("id_token"), members.get("access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise malformed("`token_type` is not Bearer")
    # Some providers send it as a text; it decides nothing here.
    is_digits = isinstance(expires_in, str) and expires_in.isascii() and expires_in.isdigit()
    if expires_in is not None and not is_digits and number(expires_in) is None:
        raise malformed("`expires_in` is no number")
    if not isinstance(id_token, str) or not id_token:
        raise malformed("no `id_token`")
    if len(id_token) > MAX_TOKEN:
        raise TokenRefused(TokenReason.TOO_LARGE)
    if not _is_token(access_token):
        raise malformed("no usable `access_token`")
    if refresh is not None and not _is_token(refresh):
        raise malformed("unusable `refresh_token`")
    return TokenResponse(id_token=id_token, access_token=str(access_token), refresh_token=refresh)


def _is_token(value: Any) -> bool:
    """Return whether a token fits in a header: printable ASCII without blanks."""
    return (
        isinstance(value, str)
        and 0 < len(value) <= MAX_ACCESS_TOKEN
        and value.isascii()
        and value.isprintable()
        and " " not in value
    )


def _token_error(status: int, body: bytes, *, is_public: bool) -> ProviderFault:
    try:
        error = parse_object(body).get("error")
    except ValueError:
        error = None
    detail = f"token endpoint answered {status} `{str(error)[:60]}`"
    if error == "invalid_grant":
        return ProviderFault(ProviderReason.CODE_REFUSED, detail)
    if error in ("invalid_client", "unauthorized_client") or status == 401:  # noqa: PLR2004 - RFC 6749 section 5.2
        if is_public:
            detail += "; there is no `client_secret` in the configuration"
        return ProviderFault(ProviderReason.CLIENT_REFUSED, detail)
    return ProviderFault(ProviderReason.TOKEN_REQUEST_REFUSED, detail)


async def _bounded(response: aiohttp.ClientResponse, most: int, url: str) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > most:
            raise ProviderFault(ProviderReason.TOO_LARGE, f"`{_shown(url)}` sent more than {most} bytes")
    return bytes(body)


def _shown(url: str) -> str:
    """Return a URL for the log: without its query."""
    return url.partition("?")[0][:200]


def _metadata_url(issuer: str) -> str:
    url = metadata_url(issuer)
    if not is_safe_url(url, is_http_allowed=True):
        raise ProviderFault(ProviderReason.METADATA_BAD_URL, "the issuer is no https URL")
    return url


def _backoff_s(failures: int) -> float:
    """Return the pause after that many failures in a row: doubling, capped, spread by a quarter."""
    pause = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 10), LAST_RETRY_S)
    return pause * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, hides nothing


def _tls(ca: str | None) -> ssl.SSLContext:
    """Return the TLS settings: the system's authorities, or only the configured one."""
    return (
        ssl.create_default_context()
        if ca is None
        else ssl.create_default_context(cadata=Path(ca).read_text())
    )
