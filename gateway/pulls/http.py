"""HTTP towards one product: its origin, its credentials, its limits. Raises `PullFault`, and nothing else.

INVARIANT: credentials go to the configured origin and to the token endpoint only; a link of the product that leads
elsewhere is refused, and redirects are not followed.
"""

import asyncio
import email.utils
import math
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import msgspec

from gateway.config.pulls import Pull
from gateway.pulls.aside import beside
from plugins.payload import PayloadFault, parse_payloads
from plugins.pulling import Grant, PullAccess, PullCode, PullFault

TOKEN_MARGIN_S = 60.0
"""A token that lasts no longer than this is renewed before it is used."""

TOKEN_DEFAULT_S = 300.0
MAX_TOKEN_BYTES = 65_536
MAX_RETRY_AFTER_S = 3600.0
"""Longest wait that a product may ask for."""

_BY_STATUS = {
    400: PullCode.FAILED,
    401: PullCode.REFUSED,
    403: PullCode.REFUSED,
    404: PullCode.NOT_FOUND,
    410: PullCode.CURSOR_LOST,
    429: PullCode.RATE_LIMITED,
    503: PullCode.RATE_LIMITED,
}


class ProductHttp:
    """`plugins.pulling.PullHttp` of one sensor. `close` ends its connections."""

    def __init__(
        self,
        pull: Pull,
        access: PullAccess,
        *,
        ssl: Any = True,
        mono: Callable[[], float] = time.monotonic,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pull = pull
        self._access = access
        self._url = (pull.url or access.url).rstrip("/")
        self._origin = origin_of(self._url)
        self._ssl = ssl
        self._mono = mono
        self._clock = clock
        self._token = ""
        self._token_until = 0.0
        self._renewing = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None

    @property
    def page_size(self) -> int:
        """Most objects to ask for at once."""
        return self._pull.page_size

    async def get(self, target: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the JSON at a path or link."""
        return await self._ask("GET", target, params, None)

    async def post(self, target: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Send JSON; return the JSON of the answer, None for an empty one."""
        return await self._ask("POST", target, params, body)

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, target: str, params: Mapping[str, str] | None, body: Any) -> Any:
        url = self._address(target)
        token = await self._bearer()
        status, headers, answer = await self._send(method, url, params, body, token)
        if status == 401 and self._access.grant is Grant.CLIENT_CREDENTIALS:  # noqa: PLR2004 - HTTP
            # The product may have revoked the token before its time: one more try with a fresh one.
            self._token = ""
            status, headers, answer = await self._send(method, url, params, body, await self._bearer())
        if status == 204 or (200 <= status < 300 and not answer.strip()):  # noqa: PLR2004 - HTTP
            return None
        if not 200 <= status < 300:  # noqa: PLR2004 - HTTP
            raise self._refusal(status, headers, f"{method} {urlsplit(url).path}")
        return await beside(partial(_parsed, answer, urlsplit(url).path))

    def _address(self, target: str) -> str:
        """Return the address of a path or link. Raises `PullFault` for one that leads to somebody else."""
        url = target if "://" in target else f"{self._url}/{target.lstrip('/')}"
        if origin_of(url) != self._origin:
            raise PullFault(
                PullCode.FOREIGN_LINK, f"a link leads to `{origin_of(url)}`, not `{self._origin}`"
            )
        return urljoin(url, url)

    async def _bearer(self) -> str:
        if self._access.grant is Grant.TOKEN:
            return self._pull.token.reveal() if self._pull.token is not None else ""
        async with self._renewing:
            if not self._token or self._mono() >= self._token_until:
                await self._renew()
            return self._token

    async def _renew(self) -> None:
        """Get an access token. Source: RFC 6749 section 4.4."""
        address = self._pull.token_url or self._access.token_url or f"{self._url}{self._access.token_path}"
        url = address.replace("{tenant}", quote(self._pull.tenant or "", safe=""))
        secret = "" if self._pull.client_secret is None else self._pull.client_secret.reveal()
        form = {
            "grant_type": "client_credentials",
            "client_id": self._pull.client_id or "",
            "client_secret": secret,
        }
        scope = (self._pull.scope or self._access.scope).replace("{origin}", self._origin)
        if scope:
            form["scope"] = scope
        status, headers, answer = await self._exchange("POST", url, data=form, most=MAX_TOKEN_BYTES)
        if not 200 <= status < 300:  # noqa: PLR2004 - HTTP
            fault = self._refusal(status, headers, "the token endpoint")
            code = PullCode.REFUSED if status == 400 else fault.code  # noqa: PLR2004 - RFC 6749 section 5.2
            raise PullFault(code, str(fault), fault.retry_after_s)
        found = _parsed(answer, "the token endpoint")
        token = found.get("access_token") if isinstance(found, dict) else None
        if not isinstance(token, str) or not token or not token.isascii() or not token.isprintable():
            raise PullFault(PullCode.UNREADABLE, "the token endpoint gave no `access_token`")
        lasts = found.get("expires_in")
        lasts_s = float(lasts) if isinstance(lasts, int | float) and lasts > 0 else TOKEN_DEFAULT_S
        self._token = token
        self._token_until = self._mono() + max(1.0, lasts_s - TOKEN_MARGIN_S)

    async def _send(
        self, method: str, url: str, params: Mapping[str, str] | None, body: Any, token: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {**self._access.headers, "Authorization": f"Bearer {token}", "Accept": "application/json"}
        data = None
        if body is not None:
            data, headers["Content-Type"] = msgspec.json.encode(body), "application/json"
        return await self._exchange(
            method, url, params=params, data=data, headers=headers, most=self._pull.max_bytes
        )

    async def _exchange(
        self, method: str, url: str, *, most: int, **rest: Any
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Return status, headers and body of an answer, of whose body at most `most` bytes are held."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=self._ssl, limit=4), trust_env=False
            )
        try:
            async with (
                asyncio.timeout(self._pull.timeout),
                self._session.request(method, url, allow_redirects=False, **rest) as response,
            ):
                held = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    held += chunk
                    if len(held) > most:
                        raise PullFault(PullCode.FAILED, f"the answer has more than {most} bytes")
                return response.status, dict(response.headers), bytes(held)
        except TimeoutError as error:
            text = f"no answer of `{origin_of(url)}` within {self._pull.timeout:g} s"
            raise PullFault(PullCode.UNREACHABLE, text) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            text = f"`{origin_of(url)}`: {type(error).__name__}: {error}"
            raise PullFault(PullCode.UNREACHABLE, text[:300]) from error

    def _refusal(self, status: int, headers: Mapping[str, str], what: str) -> PullFault:
        code = _BY_STATUS.get(status, PullCode.FAILED)
        named = {name.lower(): value for name, value in headers.items()}
        wait = retry_after_s(named.get("retry-after", ""), self._clock())
        return PullFault(code, f"{what} was answered {status}", wait)


def origin_of(url: str) -> str:
    """Return scheme, host and port of an address in one spelling.

    >>> origin_of("HTTPS://Graph.example:443/v1.0?x=1")
    'https://graph.example'
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    usual = {"https": 443, "http": 80}.get(parts.scheme.lower())
    suffix = "" if port in (None, usual) else f":{port}"
    host = (parts.hostname or "").lower()
    return f"{parts.scheme.lower()}://{f'[{host}]' if ':' in host else host}{suffix}"


def retry_after_s(text: str, now: datetime) -> float | None:
    """Return the seconds that `Retry-After` asks for, None without. Source: RFC 9110 section 10.2.3."""
    if not text:
        return None
    try:
        wait = float(text)
    except ValueError:
        try:
            at = email.utils.parsedate_to_datetime(text)
        except ValueError:
            return None
        wait = ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()
    return min(max(0.0, wait), MAX_RETRY_AFTER_S) if math.isfinite(wait) else None


def _parsed(body: bytes, what: str) -> Any:
    try:
        payloads = parse_payloads(body)
    except PayloadFault as fault:
        raise PullFault(PullCode.UNREADABLE, f"{what}: {fault}") from fault
    return payloads[0] if len(payloads) == 1 and not body.lstrip().startswith(b"[") else payloads
