"""Push senders: one per stream, oldest event first, until its receiver has taken each (RFC 8935).

An event that is refused with 400 or 413 is dropped with a log line, unless it is not the event that is refused but the
sender (`authentication_failed`, `access_denied`); anything else is tried again, ever more slowly, until the event is
older than it may become. An event is deleted only when its receiver has acknowledged it.

INVARIANT: an event is pushed again only when the answer to it was not received. A push that was begun is ended, and
settled, before anything of its stream is pushed again, by whichever sender, or given to a poll; so is what the store
could not note.

Addresses come from receivers: only those that the configuration lists, or else public ones over https, are called, and
every connection is checked again after its name was resolved.
"""

import asyncio
import contextlib
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

STOP_S = 2.0
"""How long the end of the process waits for the answer to what was pushed last."""

BATCH = 16
MAX_ANSWER = 4096
REFUSED = (400, 413)
FAULTS = (aiohttp.ClientError, TimeoutError, OSError, ValueError)
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


class Pushing:
    """What the senders of one stream share, one after the other: `turn` is held by the one that pushes.

    `answered` is the event whose answer was received, until the store has noted it; "" without one. `on_over` is called
    whenever a turn has ended.
    """

    def __init__(self, on_over: Callable[[], object] = lambda: None) -> None:
        self.turn = asyncio.Lock()
        self.answered = ""
        self.on_over = on_over

    async def settle(self, store: TransmitStore, stream_id: str) -> None:
        """Forget the event whose answer was received; `turn` is held. Raises `StoreFault`, `StoreOverloaded`."""
        if self.answered:
            await store.done(stream_id, [self.answered])
            self.answered = ""

    async def is_over(self, store: TransmitStore, stream_id: str) -> bool:
        """Return whether nothing is being pushed; what was, is settled then. Raises `StoreFault`, `StoreOverloaded`."""
        if self.turn.locked():
            return False
        if self.answered:
            try:
                async with self.turn:
                    await self.settle(store, stream_id)
            finally:
                self.on_over()
        return True


class Sender:
    """Pushes the events of one stream. `start`, `wake` when there are events; `end`, `await stop()`."""

    def __init__(
        self,
        stream: Stream,
        party: SignalSubscriber,
        store: TransmitStore,
        *,
        pushing: Pushing,
        authorization: str,
        sign: Callable[[Waiting], str],
        clock: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.stream = stream
        self.party = party
        self._store = store
        self._pushing = pushing
        self._authorization = authorization
        self._sign = sign
        self._clock = clock
        self._sleep = sleep
        self._wake = asyncio.Event()
        self._wake.set()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._is_in_push = False
        self._is_ending = False
        self.status = SenderStatus()

    def start(self) -> None:
        """Begin. Raises `OSError` when the configured `ca` cannot be used."""
        ca = self.party.ca
        tls = ssl.create_default_context(cadata=None if ca is None else Path(ca).read_text())
        self._task = spawn(self._send_all(tls), name=f"ssf-send-{self.party.name}")

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def end(self) -> None:
        """Push nothing more, and come to an end once what was begun is settled. The next sender waits for that."""
        self._is_ending = True
        if self._task is not None and not self._is_in_push:
            self._task.cancel()

    @property
    def has_ended(self) -> bool:
        """Whether nothing goes on any more."""
        return self._task is None or self._task.done()

    async def stop(self, within_s: float) -> None:
        """End within this time. What has had no answer by then is sent again by the next sender."""
        self.end()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=within_s)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

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
            while not self._is_ending:
                await self._wake.wait()
                self._wake.clear()
                await self._drain(http)

    async def _drain(self, http: aiohttp.ClientSession) -> None:
        """Send everything that waits, in its order: an event that cannot be sent holds up those behind it (P6)."""
        self._failures, is_more = 0, True
        while is_more and not self._is_ending:
            pause_s = None
            try:
                async with self._pushing.turn:
                    is_more, pause_s = await self._send_some(http)
            except (StoreFault, StoreOverloaded) as error:
                log.warning("ssf-sender-waits", party=self.party.name, error=str(error))
                self._failures += 1
                pause_s = backoff_s(self._failures)
            finally:
                self._pushing.on_over()
            if pause_s is not None and not self._is_ending:
                await self._sleep(pause_s)

    async def _send_some(self, http: aiohttp.ClientSession) -> tuple[bool, float | None]:
        """Send the oldest events; return whether more may wait, and how long to wait before it is sent."""
        await self._settle()
        batch = await self._store.waiting(self.stream, BATCH)
        for waiting in batch:
            if self._is_ending:
                break
            self._is_in_push = True
            try:
                pause_s = await self._send(http, waiting)
                await self._settle()
            finally:
                self._is_in_push = False
            if pause_s is not None:
                self._failures += 1
                return True, pause_s
            self._failures = 0
        return bool(batch), None

    async def _send(self, http: aiohttp.ClientSession, waiting: Waiting) -> float | None:
        """Send one event; return None when it is answered for good, else how long to wait before it is sent again."""
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
                status, told, answer = response.status, response.headers, b""
                # The status of one that was taken says everything: nothing after it can take that back.
                with contextlib.suppress(*(FAULTS if _is_taken(status) else ())):
                    answer = await response.content.read(MAX_ANSWER)
        except FAULTS as error:
            self._note(f"{type(error).__name__}: {error}"[:200])
            return backoff_s(self._failures)
        if status in REFUSED and _error(answer) not in SENDER_REFUSED:
            self._refused(waiting, status, answer)
            return None
        if not _is_taken(status):
            self._note(f"it answered {status} {_error(answer)}".rstrip())
            return max(backoff_s(self._failures), retry_after_s(told) or 0.0)
        self._pushing.answered = waiting.jti
        self.status = SenderStatus(
            sent=self.status.sent + 1, refused=self.status.refused, sent_at=self._clock()
        )
        return None

    def _refused(self, waiting: Waiting, status: int, answer: bytes) -> None:
        """Give up an event that its receiver will never take; what it said goes to the log."""
        text = answer.decode("utf-8", "replace")[:300]
        log.error("ssf-event-refused", party=self.party.name, jti=waiting.jti, status=status, said=text)
        self._pushing.answered = waiting.jti
        self.status = msgspec.structs.replace(self.status, fault="", refused=self.status.refused + 1)

    async def _settle(self) -> None:
        """Forget the event whose answer was received. Raises `StoreFault`, `StoreOverloaded`: to be tried again."""
        await self._pushing.settle(self._store, self.stream.stream_id)

    def _note(self, fault: str) -> None:
        if self.status.fault != fault:
            log.warning("ssf-not-sent", party=self.party.name, detail=fault)
        self.status = msgspec.structs.replace(self.status, fault=fault)


def _is_taken(status: int) -> bool:
    """Return whether a receiver has an event now; 202 is what the standard says."""
    return 200 <= status < 300  # noqa: PLR2004 - success


def _error(answer: bytes) -> str:
    """Return the error code of an answer, "" without one. Source: RFC 8935 section 2.3."""
    try:
        code = parse_object(answer).get("err")
    except ValueError:
        return ""
    return code[:64] if isinstance(code, str) and code.isprintable() else ""
