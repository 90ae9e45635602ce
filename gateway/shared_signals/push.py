"""Push delivery: `POST /.gate/ssf/<receiver>` on the login host, where transmitters send tokens (RFC 8935).

INVARIANT: a 202 leaves only when the token's effect is durable and every worker enforces it. What a transmitter must
not send again as it is gets a 400 with a code, what it must send again a 429 or 503.
"""

import asyncio
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import aiohttp
import msgspec
import structlog
from aiohttp import web

from gateway.config.shared_signals import SignalReceiver
from gateway.feed.hub_side import NotEnforced
from gateway.hub.hooks import BODY_TIMEOUT_S, BURST_S, TokenBucket
from gateway.oidc.faults import ProviderFault, TokenReason, TokenRefused
from gateway.shared_signals.applying import Applied
from gateway.shared_signals.client import KeysBusy
from gateway.shared_signals.sets import SetError, SetRefused, set_refused
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("shared-signals")

MEDIA_TYPES = frozenset({"application/secevent+jwt", "application/jwt"})
"""`application/jwt` is what drafts of RFC 8935 asked for."""

RETRY_AFTER_S = 5


class Heard(Protocol):
    """One receiver, as the push endpoint needs it."""

    settings: SignalReceiver

    async def take(self, raw: str) -> Applied:
        """Verify a token and bring about its effect.

        Raises `TokenRefused`, `SetRefused`, `ProviderFault`, `KeysBusy`, `StoreFault`, `StoreOverloaded`,
        `NotEnforced`.
        """
        ...


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one pushed token, for metrics and the log. `receiver` is "" where the address named none."""

    receiver: str
    status: int
    verdict: str
    body_bytes: int = 0
    received_mono_ns: int = 0
    applied: Applied | None = None


class _Refused(Exception):
    def __init__(self, status: int, error: SetError, text: str, verdict: str = "", **headers: str) -> None:
        super().__init__(text)
        self.status = status
        self.error = error
        self.text = text
        self.verdict = verdict or error.value
        self.headers = headers


class PushEndpoint:
    """Takes pushed tokens. `is_login_host` tells whether a request came to the login host."""

    def __init__(
        self,
        heard: Callable[[], Mapping[str, Heard]],
        *,
        is_login_host: Callable[[web.Request], bool],
        observe: Callable[[Pushed], None],
        mono_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._heard = heard
        self._is_login_host = is_login_host
        self._observe = observe
        self._mono_ns = mono_ns
        self._buckets: dict[str, tuple[float, TokenBucket]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Take one token. What has become durable is enforced, also when the transmitter hangs up meanwhile."""
        return await asyncio.shield(spawn(self._answer(request), name="ssf-push"))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        received_ns = self._mono_ns()
        heard = self._heard().get(request.match_info.get("receiver", ""))
        name = "" if heard is None else heard.settings.name
        try:
            applied, size = await self._take(request, heard)
        except _Refused as refused:
            self._observe(Pushed(receiver=name, status=refused.status, verdict=refused.verdict))
            return _refusal(refused)
        self._observe(
            Pushed(
                receiver=name,
                status=202,
                verdict=applied.outcome,
                body_bytes=size,
                received_mono_ns=received_ns,
                applied=applied,
            )
        )
        return web.Response(status=202, headers={"Cache-Control": "no-store"})

    async def _take(self, request: web.Request, heard: Heard | None) -> tuple[Applied, int]:
        if heard is None or heard.settings.delivery != "push" or not self._is_login_host(request):
            raise _Refused(
                404, SetError.INVALID_REQUEST, "no receiver listens at this address", "no-such-receiver"
            )
        if request.method != "POST":
            raise _Refused(405, SetError.INVALID_REQUEST, "send a POST", "method-not-allowed", Allow="POST")
        _authenticate(request, heard.settings)
        self._limit(heard.settings)
        if request.content_type not in MEDIA_TYPES or "Content-Encoding" in request.headers:
            raise _Refused(
                415, SetError.INVALID_REQUEST, "send `application/secevent+jwt`", "wrong-media-type"
            )
        raw = await _read(request, heard.settings.body_bytes)
        return await taken(heard.take(raw)), len(raw)

    def _limit(self, receiver: SignalReceiver) -> None:
        now_ns = self._mono_ns()
        rate, bucket = self._buckets.get(receiver.name, (0.0, None))
        if bucket is None or rate != receiver.rate:
            bucket = TokenBucket(receiver.rate, receiver.rate * BURST_S, now_ns)
            self._buckets[receiver.name] = (receiver.rate, bucket)
        wait_s = bucket.wait_s(now_ns)
        if wait_s > 0:
            raise _busy(
                429, f"at most {receiver.rate:g} tokens a second are taken", "rate-limited", int(wait_s) + 1
            )


async def taken(work: Awaitable[Applied]) -> Applied:
    """Return what a token did, or raise what its transmitter is to be answered."""
    try:
        return await work
    except TokenRefused as fault:
        refused = set_refused(fault)
        status = 413 if fault.reason is TokenReason.TOO_LARGE else 400
        raise _Refused(status, refused.code, refused.text, refused.reason) from fault
    except SetRefused as refused:
        raise _Refused(400, refused.code, refused.text, refused.reason) from refused
    except KeysBusy as busy:
        text = "the token names a key that is not known, as too many did lately"
        raise _busy(429, text, "unknown-keys") from busy
    except ProviderFault as fault:
        raise _busy(503, "your keys cannot be read now; send the token again", "keys-unavailable") from fault
    except (StoreFault, StoreOverloaded) as fault:
        raise _busy(503, "the store cannot take it now; send the token again", "store-unavailable") from fault
    except NotEnforced as fault:
        raise _busy(503, "not enforced everywhere yet; send the token again", "not-enforced") from fault


def _busy(status: int, text: str, verdict: str, seconds: int = RETRY_AFTER_S) -> _Refused:
    return _Refused(status, SetError.INVALID_REQUEST, text, verdict, **{"Retry-After": str(seconds)})


def _authenticate(request: web.Request, receiver: SignalReceiver) -> None:
    """Check the secret that the transmitter was given, in constant time, before anything is read. P3."""
    if receiver.unauthenticated_push and not receiver.secrets:
        return
    given = request.headers.getall("Authorization", [])
    shown = given[0].encode("utf-8", "surrogateescape") if len(given) == 1 else b""
    known = [f"Bearer {secret.reveal()}".encode() for secret in receiver.secrets]
    if not any([hmac.compare_digest(shown, each) for each in known]):  # noqa: C419 - every one is compared
        text = "send the `Authorization` that the stream was configured with"
        raise _Refused(
            401, SetError.AUTHENTICATION_FAILED, text, "not-authenticated", **{"WWW-Authenticate": "Bearer"}
        )


async def _read(request: web.Request, most: int) -> str:
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise _Refused(
                        413, SetError.INVALID_REQUEST, f"at most {most} bytes are taken", "body-too-large"
                    )
    except TimeoutError as error:
        raise _Refused(
            408, SetError.INVALID_REQUEST, "the body did not arrive in time", "body-timeout"
        ) from error
    except (aiohttp.ClientPayloadError, web.RequestPayloadError) as error:
        raise _Refused(400, SetError.INVALID_REQUEST, "the body is not complete", "body-cut-off") from error
    try:
        return body.decode("ascii").strip()
    except UnicodeDecodeError as error:
        raise _Refused(
            400, SetError.INVALID_REQUEST, "the body is no compact SET", "set-malformed"
        ) from error


def _refusal(refused: _Refused) -> web.Response:
    """Return the answer of RFC 8935 section 2.3."""
    return web.Response(
        status=refused.status,
        body=msgspec.json.encode({"err": refused.error.value, "description": refused.text}),
        content_type="application/json",
        headers={"Content-Language": "en", "Cache-Control": "no-store", **refused.headers},
    )
