"""Push senders: one per stream, oldest event first, until its receiver has taken each (RFC 8935).

An event that is refused with 400 or 413 is dropped with a log line, unless it is not the event that is refused but the
sender (`authentication_failed`, `access_denied`); anything else is tried again, ever more slowly, until the event is
older than it may become. An event is deleted only when its receiver has acknowledged it.

Addresses come from receivers: only those that the configuration lists, or else public ones over https, are called, and
every connection is checked again after its name was resolved.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractResolver, ResolveResult

from gateway.config.shared_signals import SignalSubscriber
from gateway.oidc.discovery import is_safe_url
from gateway.oidc.strict_json import parse_object
from gateway.shared_signals.client import retry_after_s
from gateway.shared_signals.outbox import Stream, TransmitStore, Waiting
from gateway.shared_signals.receiver import backoff_s
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("shared-signals")

SEND_TIMEOUT_S = 15.0
BATCH = 16
MAX_ANSWER = 4096
REFUSED = (400, 413)
SENDER_REFUSED = frozenset({"authentication_failed", "access_denied"})
"""Error codes of RFC 8935 section 2.4 that do not speak of the token: it is kept until they are settled."""

MEDIA_TYPE = "application/secevent+jwt"


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only, so that no receiver can make us call into our own network."""

    def __init__(self) -> None:
        self._inner = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the public addresses of a name. Raises `OSError` without any."""
        found = await self._inner.resolve(host, port, family)
        public = [each for each in found if is_public(each["host"])]
        if not public:
            raise OSError(errno.EHOSTUNREACH, f"`{host}` has no public address")
        return public

    async def close(self) -> None:
        """Close."""
        await self._inner.close()


def is_public(address: str) -> bool:
    """Return whether a text is an address on the public internet."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_global and not parsed.is_multicast


def endpoint_fault(url: Any, party: SignalSubscriber) -> str | None:
    """Return why events may not be pushed to an address, None when they may."""
    if not isinstance(url, str) or not is_safe_url(url, is_http_allowed=bool(party.endpoints)):
        return "`endpoint_url` is no https URL"
    if party.endpoints:
        is_listed = any(is_below(url, prefix) for prefix in party.endpoints)
        return None if is_listed else "`endpoint_url` is none of the addresses that are configured for you"
    host = (urlsplit(url).hostname or "").strip("[]")
    try:
        is_literal = bool(ip_address(host))
    except ValueError:
        is_literal = False
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
        return "`endpoint_url` is not on the public internet"
    return "`endpoint_url` is not on the public internet" if is_literal and not is_public(host) else None


def is_below(url: str, prefix: str) -> bool:
    """Return whether a URL has the origin of `prefix`, and its path whole segments long.

    >>> is_below("https://a.example/x/y", "https://a.example/x"), is_below("https://a.example/xy", "https://a.example/x")
    (True, False)
    """
    one, two = urlsplit(url), urlsplit(prefix)
    if (one.scheme, one.netloc.lower()) != (two.scheme, two.netloc.lower()) or "/.." in one.path:
        return False
    base = two.path.rstrip("/")
    return one.path == two.path or one.path.startswith(base + "/") or (not base and not one.path)


class SenderStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a sender is. `fault` says why its receiver does not take events now."""

    fault: str = ""
    sent: int = 0
    refused: int = 0
    sent_at: datetime | None = None


class Sender:
    """Pushes the events of one stream. `start`, `wake` when there are events, `await stop()`."""

    def __init__(
        self,
        stream: Stream,
        party: SignalSubscriber,
        store: TransmitStore,
        *,
        authorization: str,
        sign: Callable[[Waiting], str],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.stream = stream
        self.party = party
        self._store = store
        self._authorization = authorization
        self._sign = sign
        self._clock = clock
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._wake.set()
        self._task: asyncio.Task[None] | None = None
        self.status = SenderStatus()

    def start(self) -> None:
        """Begin. Raises `OSError` when the configured `ca` cannot be used."""
        ca = self.party.ca
        tls = ssl.create_default_context(cadata=None if ca is None else Path(ca).read_text())
        self._task = spawn(self._send_all(tls), name=f"ssf-send-{self.party.name}")

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    async def stop(self) -> None:
        """End; what was not acknowledged is sent again by the next sender."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _send_all(self, tls: ssl.SSLContext) -> None:
        resolver = None if self.party.endpoints else PublicResolver()
        connector = aiohttp.TCPConnector(ssl=tls, limit=2, resolver=resolver)
        timeout = aiohttp.ClientTimeout(total=SEND_TIMEOUT_S)
        async with aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=timeout,
            headers={"User-Agent": "posturegate", "Accept-Encoding": "identity"},
            auto_decompress=False,
        ) as http:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._drain(http)

    async def _drain(self, http: aiohttp.ClientSession) -> None:
        """Send everything that waits, in its order: an event that cannot be sent holds up those behind it (P6)."""
        failures = 0
        while True:
            try:
                batch = await self._store.waiting(self.stream, BATCH)
                if not batch:
                    return
                for waiting in batch:
                    pause_s = await self._send(http, waiting, failures)
                    failures = 0 if pause_s is None else failures + 1
                    if pause_s is not None:
                        await self._sleep(pause_s)
                        break
            except (StoreFault, StoreOverloaded) as error:
                log.warning("ssf-sender-waits", party=self.party.name, error=str(error))
                failures += 1
                await self._sleep(backoff_s(failures))

    async def _send(self, http: aiohttp.ClientSession, waiting: Waiting, failures: int) -> float | None:
        """Send one event; return None when it is settled, else how long to wait before it is sent again."""
        headers = {"Content-Type": MEDIA_TYPE, "Accept": "application/json"}
        if self._authorization:
            headers["Authorization"] = self._authorization
        try:
            async with http.post(
                self.stream.endpoint_url,
                data=self._sign(waiting).encode(),
                headers=headers,
                allow_redirects=False,
            ) as response:
                answer = await response.content.read(MAX_ANSWER)
                status, told = response.status, response.headers
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            self._note(f"{type(error).__name__}: {error}"[:200])
            return backoff_s(failures)
        if status in REFUSED and _error(answer) not in SENDER_REFUSED:
            await self._refused(waiting, status, answer)
            return None
        if not 200 <= status < 300:  # noqa: PLR2004 - success; 202 is what the standard says
            self._note(f"it answered {status} {_error(answer)}".rstrip())
            return max(backoff_s(failures), retry_after_s(told) or 0.0)
        await self._store.done(self.stream.stream_id, [waiting.jti])
        self.status = SenderStatus(
            sent=self.status.sent + 1, refused=self.status.refused, sent_at=self._clock()
        )
        return None

    async def _refused(self, waiting: Waiting, status: int, answer: bytes) -> None:
        """Drop an event that its receiver will never take; what it said goes to the log."""
        text = answer.decode("utf-8", "replace")[:300]
        log.error("ssf-event-refused", party=self.party.name, jti=waiting.jti, status=status, said=text)
        await self._store.done(self.stream.stream_id, [waiting.jti])
        self.status = msgspec.structs.replace(self.status, fault="", refused=self.status.refused + 1)

    def _note(self, fault: str) -> None:
        if self.status.fault != fault:
            log.warning("ssf-not-sent", party=self.party.name, detail=fault)
        self.status = msgspec.structs.replace(self.status, fault=fault)


def _error(answer: bytes) -> str:
    """Return the error code of an answer, "" without one. Source: RFC 8935 section 2.3."""
    try:
        code = parse_object(answer).get("err")
    except ValueError:
        return ""
    return code[:64] if isinstance(code, str) and code.isprintable() else ""
