"""The gateway as a client of one transmitter: metadata, keys, access tokens, bounded calls.

Redirects are never followed; answers are bounded; plain http is for loopback hosts only.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlencode, urlsplit

import aiohttp
import msgspec
import structlog

from gateway.config.shared_signals import SignalReceiver
from gateway.oidc.discovery import is_safe_url
from gateway.oidc.faults import ProviderFault, ProviderReason, TokenReason, TokenRefused
from gateway.oidc.io import basic_credentials
from gateway.oidc.jwks import MAX_KEY_SET_BYTES, FetchedKeys, Key, KeyCache, parse_key_set
from gateway.oidc.strict_json import number, parse_object
from gateway.oidc.tokens import TokenHeader

log = structlog.get_logger("shared-signals")

CALL_TIMEOUT_S = 10.0
CONNECT_TIMEOUT_S = 5.0
MAX_ANSWER_BYTES = 256 * 1024
METADATA_TTL_S = 3600.0
METADATA_RETRY_S = 10.0
TOKEN_MARGIN_S = 60.0
"""An access token is renewed this long before it ends."""

UNAUTHORIZED, NOT_FOUND = 401, 404
OK = 200

T = TypeVar("T")


class TransmitterFault(Exception):
    """The transmitter (or the way to it) is at fault. `status` is what it answered, 0 without an answer."""

    def __init__(self, text: str, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class KeysBusy(Exception):
    """A token names a key that is not known, and it is too soon to ask for fresher keys once more."""


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway uses of a transmitter's metadata; URLs have been checked, "" means that it offers none."""

    issuer: str
    jwks_uri: str
    configuration_endpoint: str = ""
    status_endpoint: str = ""
    add_subject_endpoint: str = ""
    remove_subject_endpoint: str = ""
    verification_endpoint: str = ""
    delivery_methods: tuple[str, ...] = ()
    critical_members: frozenset[str] = frozenset()
    spec_version: str = "1_0-ID1"


class Answer(msgspec.Struct, frozen=True):
    """An answer of bounded size."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def members(self) -> dict[str, Any]:
        """Return the JSON object that the body is. Raises `TransmitterFault`."""
        try:
            return parse_object(self.body)
        except ValueError as error:
            raise TransmitterFault(f"the answer is no JSON object: {error}", self.status) from error


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Return where a transmitter's metadata may be, the standard's place first. Source: SSF 1.0 section 7.2.

    >>> metadata_urls("https://t.example/a/b/")[0]
    'https://t.example/.well-known/ssf-configuration/a/b'
    >>> metadata_urls("https://t.example")
    ('https://t.example/.well-known/ssf-configuration', 'https://t.example/.well-known/risc-configuration')
    """
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.removesuffix("/")
    found = [f"{base}/.well-known/ssf-configuration{path}"]
    if path:
        found.append(f"{base}{path}/.well-known/ssf-configuration")
    return (*found, f"{base}/.well-known/risc-configuration{path}")


def parse_metadata(body: bytes, issuer: str) -> Metadata:
    """Return what the metadata offers. Raises `TransmitterFault` when it is not this issuer's or names unsafe URLs."""
    try:
        members = parse_object(body)
    except ValueError as error:
        raise TransmitterFault(f"the metadata is no JSON object: {error}") from error
    if members.get("issuer") != issuer:
        raise TransmitterFault("the metadata is of another issuer")
    names = (
        "jwks_uri", "configuration_endpoint", "status_endpoint", "add_subject_endpoint", "remove_subject_endpoint",
        "verification_endpoint",
    )  # fmt: skip
    urls: dict[str, str] = {}
    for name in names:
        url = members.get(name)
        if url is not None and not is_safe_url(url, is_http_allowed=issuer.startswith("http:")):
            raise TransmitterFault(f"`{name}` of the metadata is no https URL")
        urls[name] = url or ""
    if not urls["jwks_uri"]:
        raise TransmitterFault("the metadata has no `jwks_uri`")
    version = members.get("spec_version")
    return Metadata(
        issuer=issuer,
        **urls,
        delivery_methods=texts(members.get("delivery_methods_supported")),
        critical_members=frozenset(texts(members.get("critical_subject_members"))),
        spec_version=version if isinstance(version, str) else "1_0-ID1",
    )


class Limits(TypedDict):
    """What bounds one call, and its further headers."""

    most: int
    timeout_s: float
    more: Mapping[str, str]


class TransmitterClient:
    """Everything that one receiver asks of its transmitter. `start`, then anything, then `stop`."""

    def __init__(self, receiver: SignalReceiver, *, mono: Callable[[], float]) -> None:
        self.receiver = receiver
        self._mono = mono
        self._http: aiohttp.ClientSession | None = None
        self._metadata: Metadata | None = None
        self._metadata_until = float("-inf")
        self._metadata_retry_at = float("-inf")
        self._metadata_fault = ""
        self._asking = asyncio.Lock()
        self._keys = KeyCache(self._fetch_keys, mono)
        self._are_keys_failing = False
        self._token = ""
        self._token_until = float("-inf")

    def start(self) -> None:
        """Open the client. Raises `OSError` when the configured `ca` cannot be used."""
        ca = self.receiver.ca
        tls = ssl.create_default_context(cadata=None if ca is None else Path(ca).read_text())
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=8),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "posturegate", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def stop(self) -> None:
        """Close all connections. Safe to call twice."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    # --- metadata and keys -------------------------------------------------------------------------------

    async def metadata(self) -> Metadata:
        """Return the transmitter's metadata, fetched once for everybody who waits. Raises `TransmitterFault`."""
        async with self._asking:
            if self._mono() >= self._metadata_until and self._mono() >= self._metadata_retry_at:
                await self._load_metadata()
        if self._metadata is None:
            raise TransmitterFault(self._metadata_fault or "the metadata has not been read yet")
        return self._metadata

    @property
    def critical_members(self) -> frozenset[str]:
        """Members of complex subjects without which an event may not be used, as far as is known now."""
        return frozenset() if self._metadata is None else self._metadata.critical_members

    async def with_keys(self, header: TokenHeader, verify: Callable[[Sequence[Key]], T]) -> T:
        """Return what `verify` makes of the keys that fit; when none does, once more with fresher ones.

        Raises what `verify` raises, `ProviderFault` while the keys cannot be fetched, `KeysBusy` when too many unknown
        keys were named lately to ask again.
        """
        keys = await self._keys.current()
        try:
            return verify(keys.candidates(header.algorithm, header.key_id))
        except TokenRefused as refused:
            if refused.reason not in (TokenReason.UNKNOWN_KEY, TokenReason.SIGNATURE):
                raise
            fresher = await self._keys.refresh(keys)
            if fresher is None and self._are_keys_failing:
                raise ProviderFault(ProviderReason.KEYS_UNAVAILABLE) from refused
            if fresher is None and refused.reason is TokenReason.UNKNOWN_KEY:
                raise KeysBusy from refused
            if fresher is None:
                raise
        return verify(fresher.candidates(header.algorithm, header.key_id))

    async def _load_metadata(self) -> None:
        self._metadata_retry_at = self._mono() + METADATA_RETRY_S
        try:
            answer = await self._read_metadata()
            self._metadata = parse_metadata(answer.body, self.receiver.issuer)
            self._metadata_until = self._mono() + METADATA_TTL_S
            self._metadata_fault = ""
        except TransmitterFault as fault:
            self._metadata_fault = str(fault)
            log.warning("transmitter-metadata-not-read", receiver=self.receiver.name, detail=str(fault))

    async def _read_metadata(self) -> Answer:
        """Return the metadata document; where there is none, from where drafts put it."""
        *others, last = metadata_urls(self.receiver.issuer)
        for url in others:
            try:
                return await self._read("the metadata", url)
            except TransmitterFault as fault:
                if fault.status != NOT_FOUND:
                    raise
        return await self._read("the metadata", last)

    async def _fetch_keys(self) -> FetchedKeys:
        try:
            url = self.receiver.jwks_uri or (await self.metadata()).jwks_uri
            answer = await self._read("the key set", url)
            keys = FetchedKeys(parse_key_set(answer.body), answer.headers.get("Cache-Control", ""))
        except TransmitterFault as fault:
            self._are_keys_failing = True
            raise ProviderFault(ProviderReason.KEYS_UNAVAILABLE, str(fault)) from fault
        except ProviderFault:
            self._are_keys_failing = True
            raise
        self._are_keys_failing = False
        return keys

    async def _read(self, what: str, url: str) -> Answer:
        """Return a public document. Raises `TransmitterFault`."""
        answer = await self.call("GET", url, is_authorized=False, most=MAX_KEY_SET_BYTES)
        if answer.status != OK:
            raise TransmitterFault(f"{what} answered {answer.status}", answer.status)
        return answer

    # --- calls -------------------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        url: str,
        body: Any = None,
        *,
        is_authorized: bool = True,
        most: int = MAX_ANSWER_BYTES,
        timeout_s: float = CALL_TIMEOUT_S,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Return the answer to one call, whatever its status; a 401 renews the access token and tries once more.

        Raises `TransmitterFault` without an answer.
        """
        limits: Limits = {"most": most, "timeout_s": timeout_s, "more": headers or {}}
        answer = await self._send(method, url, body, is_authorized=is_authorized, **limits)
        if answer.status == UNAUTHORIZED and is_authorized and self.receiver.client is not None:
            self._token_until = float("-inf")
            answer = await self._send(method, url, body, is_authorized=True, **limits)
        return answer

    async def _send(
        self,
        method: str,
        url: str,
        body: Any,
        *,
        is_authorized: bool,
        most: int,
        timeout_s: float,
        more: Mapping[str, str],
    ) -> Answer:
        headers = {"Accept": "application/json", **more}
        if is_authorized and (token := await self._access_token()):
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = msgspec.json.encode(body)
        return await self._exchange(method, url, headers, data=data, most=most, timeout_s=timeout_s)

    async def _access_token(self) -> str:
        client = self.receiver.client
        if client is None:
            return "" if self.receiver.token is None else self.receiver.token.reveal()
        if self._mono() < self._token_until:
            return self._token
        form = urlencode({"grant_type": "client_credentials", "scope": " ".join(client.scopes)}).encode()
        headers = {
            "Authorization": basic_credentials(client.client_id, client.client_secret.reveal()),
            "Content-Type": "application/x-www-form-urlencoded",
            "Accept": "application/json",
        }
        answer = await self._exchange(
            "POST", client.token_url, headers, data=form, most=MAX_ANSWER_BYTES, timeout_s=CALL_TIMEOUT_S
        )
        members = answer.members() if answer.status == OK else {}
        token = members.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise TransmitterFault(
                f"the token endpoint answered {answer.status} without a usable token", answer.status
            )
        self._token = token
        self._token_until = self._mono() + max(
            0.0, (number(members.get("expires_in")) or 300.0) - TOKEN_MARGIN_S
        )
        return token

    async def _exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        data: bytes | None,
        most: int,
        timeout_s: float,
    ) -> Answer:
        if self._http is None:
            raise TransmitterFault("the client is not started")
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=CONNECT_TIMEOUT_S)
        try:
            async with self._http.request(
                method, url, headers=dict(headers), data=data, allow_redirects=False, timeout=timeout
            ) as response:
                return Answer(response.status, await bounded(response, most), response.headers)
        except TimeoutError as error:
            raise TransmitterFault(f"`{_shown(url)}`: no answer in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise TransmitterFault(f"`{_shown(url)}`: {error}") from error


async def bounded(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the body of an answer. Raises `TransmitterFault` above `most` bytes, and for one that is compressed."""
    if "Content-Encoding" in response.headers:
        raise TransmitterFault("the answer is compressed although nobody asked for it", response.status)
    body = bytearray()
    async for chunk in response.content.iter_chunked(65536):
        body += chunk
        if len(body) > most:
            raise TransmitterFault(f"the answer has more than {most} bytes", response.status)
    return bytes(body)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds of a `Retry-After`, None without one in seconds."""
    text = headers.get("Retry-After", "")
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() and len(text) < 9 else None  # noqa: PLR2004 - digits


def texts(value: Any) -> tuple[str, ...]:
    """Return the texts of a list; what is no list has none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def _shown(url: str) -> str:
    return url.partition("?")[0][:200]
