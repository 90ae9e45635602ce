"""Deliveries of sensors: `POST /.gate/hooks/{sensor}`.

receive (bounded) ─► verify over the raw bytes ─► rate ─► inflate ─► parse ─► plugin ─► intake (durable) ─►
enforced ─► answer

Before it sends, a product may ask whether the address is willing (a *handshake*). Only the handshakes of the
sensor's kind are answered, and an answer proves nothing: the deliveries that follow are verified all the same.

INVARIANT: a 2xx leaves only after `enforce` has returned for every device that the delivery spoke of,
duplicates included; and nothing is stored or looked at before the sender is verified.
"""

import asyncio
import hashlib
import math
import re
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from gateway.config.schema import Basic, Bearer, Hmac, Sensor, StandardWebhooks
from gateway.feed.hub_side import NotEnforced
from gateway.hub.pages import problem
from plugins.catalog import Catalog, OptionsFault, PluginFault, SensorFacade
from plugins.contract import Handshake, Normalized
from plugins.payload import PayloadFault, parse_payloads
from plugins.verify import (
    BasicVerifier,
    BearerVerifier,
    HmacVerifier,
    StandardWebhooksVerifier,
    Verified,
    Verifier,
    VerifyFault,
)
from risk.database import StoreFault, StoreOverloaded
from risk.intake import Intake, IntakeResult
from risk.model import DeviceId, Rejection
from risk.values import Strict

T = TypeVar("T")

BODY_TIMEOUT_S = 30.0
"""How long a sender may take for its body."""

BURST_S = 10.0
"""A sensor that was quiet may send this many seconds' worth of deliveries at once."""

RETRY_AFTER_S = 5
"""When a sender should try again after a fault of ours."""

MAX_TOKEN_CHARS = 1024
"""Longest token of a handshake that is given back."""

HANDSHAKES_PER_S = 5.0
"""Most handshakes a sensor answers; they have a rate of their own, so that strangers use up no sensor's."""

INFLATE_CHUNK = 65_536

MAX_RECEIVED_AGE_NS = 3_600 * 10**9
"""An `X-Gate-Received` older than this is not believed."""

Enforce = Callable[[frozenset[DeviceId], int], Awaitable[object]]
"""Return when every worker enforces what follows for these devices. Raises `NotEnforced`."""

TITLES = {
    400: "The body cannot be read",
    401: "The sender is not verified",
    403: "This origin may not send here",
    404: "No such sensor",
    405: "This method is not taken here",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is encoded",
    422: "Nothing in the body can be used",
    429: "Too many deliveries",
    503: "Not taken now",
}


class SensorConfigFault(Exception):
    """A sensor of the configuration cannot be used; `path` is the key path below the sensor."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}")
        self.path = path
        self.text = text


class HookSensor(msgspec.Struct, frozen=True, kw_only=True):
    """A sensor ready to take deliveries."""

    name: str
    facade: SensorFacade
    options: Strict
    verifier: Verifier
    challenge: str
    body_bytes: int
    rate: float
    gzip: bool = False

    @property
    def methods(self) -> str:
        """The methods that the address takes, as `Allow` lists them."""
        asked = {Handshake.OKTA: "GET", Handshake.CLOUDEVENTS: "OPTIONS"}
        others = [method for handshake, method in asked.items() if handshake in self.facade.handshakes]
        return ", ".join(["POST", *others])


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery, for metrics and the log.

    `verdict` is `accepted` or the code of the problem. `sensor` is "" when the address named none: what a
    stranger writes there must not become a label. The `_in_s` are monotonic seconds from the first byte; `lag_s` is the
    sensor's own lag, by its clock, of the newest signal. `enforcement` is what `enforce` returned.
    """

    id: str
    sensor: str
    status: int
    verdict: str
    body_bytes: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    ignored: int = 0
    devices: int = 0
    enforced_in_s: float | None = None
    timings: dict[str, float] = {}
    durable_in_s: float | None = None
    lag_s: float | None = None
    received_at: datetime | None = None
    device_ids: frozenset[DeviceId] = frozenset()
    enforcement: object = None


class _Answer(Exception):
    """Ends a delivery with a problem."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra


class _Clock(Protocol):
    def __call__(self) -> datetime: ...


class TokenBucket:
    """Lets `rate` deliveries a second through on average, and `burst` at once. Both are more than 0."""

    def __init__(self, rate: float, burst: float, now_ns: int) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._at_ns = now_ns

    def wait_s(self, now_ns: int) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now_ns - self._at_ns) / 1e9 * self._rate)
        self._at_ns = now_ns
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


def hook_sensors(sensors: tuple[Sensor, ...], catalog: Catalog) -> dict[str, HookSensor]:
    """Return the configured sensors ready to take deliveries. Raises `SensorConfigFault`."""
    return {sensor.name: hook_sensor(sensor, catalog) for sensor in sensors}


def hook_sensor(sensor: Sensor, catalog: Catalog) -> HookSensor:
    """Return one configured sensor ready to take deliveries. Raises `SensorConfigFault`."""
    try:
        facade = catalog.sensor(sensor.kind)
    except PluginFault as error:
        raise SensorConfigFault("kind", str(error)) from error
    try:
        options = facade.parse_options(sensor.options)
    except OptionsFault as error:
        raise SensorConfigFault(f"options.{error.path}".rstrip("."), error.text) from error
    try:
        verifier, challenge = _verifier(sensor)
    except ValueError as error:
        raise SensorConfigFault("auth.secrets", str(error)) from error
    if not sensor.rate > 0 or not math.isfinite(sensor.rate):
        raise SensorConfigFault("rate", "must be more than 0")
    return HookSensor(
        name=sensor.name,
        facade=facade,
        options=options,
        verifier=verifier,
        challenge=challenge,
        body_bytes=sensor.body_bytes,
        rate=sensor.rate,
        gzip=sensor.gzip,
    )


def _verifier(sensor: Sensor) -> tuple[Verifier, str]:
    match sensor.auth:
        case StandardWebhooks() as auth:
            return StandardWebhooksVerifier(auth.secrets, auth.tolerance), "Standard-Webhooks"
        case Bearer() as auth:
            return BearerVerifier(auth.secrets, auth.header), "Bearer"
        case Basic() as auth:
            return BasicVerifier(auth.secrets, auth.username), 'Basic realm="sensor", charset="UTF-8"'
        case Hmac() as auth:
            verifier = HmacVerifier(
                auth.secrets,
                auth.signature_header,
                encoding=auth.encoding,
                prefix=auth.prefix,
                message=auth.message,
                timestamp_header=auth.timestamp_header,
                timestamp_format=auth.timestamp_format,
                tolerance_s=auth.tolerance,
                id_header=auth.id_header,
            )
            return verifier, "HMAC-SHA256"


class Hooks:
    """Takes deliveries. Every dependency is given; `handle` is the aiohttp handler for every method."""

    def __init__(
        self,
        sensors: Mapping[str, HookSensor],
        intake: Intake,
        enforce: Enforce,
        *,
        clock: _Clock = lambda: datetime.now(UTC),
        mono_ns: Callable[[], int] = time.monotonic_ns,
        observe: Callable[[Delivery], None] = lambda delivery: None,  # noqa: ARG005 - nobody looks
        make_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._sensors = dict(sensors)
        self._intake = intake
        self._enforce = enforce
        self._clock = clock
        self._mono_ns = mono_ns
        self._observe = observe
        self._make_id = make_id
        self._buckets: dict[str, tuple[float, TokenBucket]] = {}
        self._greetings: dict[str, tuple[float, TokenBucket]] = {}

    def swap(self, sensors: Mapping[str, HookSensor]) -> None:
        """Serve these sensors from now on; deliveries that are under way finish as they began."""
        self._sensors = dict(sensors)
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in self._sensors}
        self._greetings = {name: each for name, each in self._greetings.items() if name in self._sensors}

    async def handle(self, request: web.Request) -> web.Response:
        """Take one delivery."""
        delivery_id = self._make_id()
        name = request.match_info.get("sensor", "")
        sensor = self._sensors.get(name)
        try:
            return await self._take(request, sensor, delivery_id)
        except _Answer as answer:
            label = sensor.name if sensor is not None else ""
            self._observe(
                Delivery(
                    id=delivery_id,
                    sensor=label,
                    status=answer.status,
                    verdict=answer.code,
                    rejected=len(answer.extra.get("rejected", ())),
                )
            )
            return problem(
                answer.status,
                answer.code,
                TITLES[answer.status],
                answer.detail,
                instance=f"urn:posturegate:delivery:{delivery_id}",
                **answer.extra,
            )

    async def _take(self, request: web.Request, sensor: HookSensor | None, delivery_id: str) -> web.Response:
        received_ns = self._received_ns(request)
        received_at = self._clock()
        if sensor is not None and (handshake := _handshake(request, sensor)) is not None:
            return await self._greet(request, sensor, handshake, delivery_id)
        if request.method != "POST":
            methods = "POST" if sensor is None else sensor.methods
            raise _Answer(405, "method-not-allowed", "send a POST", headers={"Allow": methods})
        if sensor is None:
            raise _Answer(404, "no-such-sensor", "no sensor of this name is configured")
        body = await _read(request, sensor)
        verified = _verify(sensor, request, body, received_at)
        self._limit(sensor)
        body = _plain(request, sensor, body)
        normalized = await self._normalize(sensor, request, body, received_at)
        result = await self._store(sensor, normalized, body)
        durable_in_s = (self._mono_ns() - received_ns) / 1e9
        if not result.accepted and not result.duplicates and not normalized.ignored and result.rejected:
            detail = "the body is authentic, but none of its items can be used; it is kept as a dead letter"
            raise _Answer(422, "nothing-usable", detail, rejected=_shown(result.rejected))
        enforcement = await self._wait_enforced(result, received_ns)
        enforced_in_s = (self._mono_ns() - received_ns) / 1e9
        self._observe(
            Delivery(
                id=delivery_id,
                sensor=sensor.name,
                status=200,
                verdict="accepted",
                body_bytes=len(body),
                accepted=result.accepted,
                duplicates=result.duplicates,
                rejected=len(result.rejected),
                ignored=normalized.ignored,
                devices=len(result.changed_devices),
                enforced_in_s=enforced_in_s,
                timings=result.timings,
                durable_in_s=durable_in_s,
                lag_s=_lag_s(normalized, received_at),
                received_at=received_at,
                device_ids=result.changed_devices,
                enforcement=enforcement,
            )
        )
        answer: dict[str, Any] = {
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "rejected": _shown(result.rejected),
            "ignored": normalized.ignored,
            "enforced": True,
            "devices": len(result.changed_devices),
            "enforced_in_ms": round(enforced_in_s * 1000, 3),
            "id": verified.message_id or delivery_id,
        }
        if normalized.pulls:
            # A product said that something has changed, and nobody is set up to go and look.
            answer["pull_required"] = {"resources": list(normalized.pulls), "configured": False}
        return web.Response(
            body=msgspec.json.encode(answer),
            content_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    def _received_ns(self, request: web.Request) -> int:
        """Return when a worker read the request's first byte; now, when it did not say so credibly."""
        now_ns = self._mono_ns()
        text = request.headers.get("X-Gate-Received", "")
        if not text.isascii() or not text.isdigit() or len(text) > 20:  # noqa: PLR2004 - digits of 64 bits
            return now_ns
        received_ns = int(text)
        return received_ns if now_ns - MAX_RECEIVED_AGE_NS <= received_ns <= now_ns else now_ns

    def _limit(self, sensor: HookSensor) -> None:
        """Take one delivery from the sensor's rate, or answer what makes its sender come back."""
        wait_s = self._wait_s(self._buckets, sensor.name, sensor.rate)
        if wait_s > 0:
            detail = f"at most {sensor.rate:g} deliveries a second are taken"
            status = sensor.facade.overload_status
            raise _Answer(status, "rate-limited", detail, retry_after_s=max(1, math.ceil(wait_s)))

    def _wait_s(self, buckets: dict[str, tuple[float, TokenBucket]], name: str, most: float) -> float:
        now_ns = self._mono_ns()
        rate, bucket = buckets.get(name, (0.0, None))
        if bucket is None or rate != most:
            bucket = TokenBucket(most, most * BURST_S, now_ns)
            buckets[name] = (most, bucket)
        return bucket.wait_s(now_ns)

    async def _greet(
        self, request: web.Request, sensor: HookSensor, handshake: Handshake, delivery_id: str
    ) -> web.Response:
        """Answer a handshake: give the token back, inert and bounded."""
        wait_s = self._wait_s(self._greetings, sensor.name, HANDSHAKES_PER_S)
        if wait_s > 0:
            detail = f"at most {HANDSHAKES_PER_S:g} handshakes a second are answered"
            raise _Answer(429, "rate-limited", detail, retry_after_s=max(1, math.ceil(wait_s)))
        response = _greeting(request, sensor, handshake, self._clock())
        self._observe(
            Delivery(id=delivery_id, sensor=sensor.name, status=200, verdict=f"handshake-{handshake.value}")
        )
        return response

    async def _normalize(
        self, sensor: HookSensor, request: web.Request, body: bytes, received_at: datetime
    ) -> Normalized:
        """Return the signals of the body; an unreadable body is kept as a dead letter and answered 400."""
        try:
            payloads = parse_payloads(body)
        except PayloadFault as fault:
            await self._stored(self._intake.dead_letter(sensor.name, fault.code, str(fault), body))
            raise _Answer(400, fault.code, str(fault)) from fault
        return sensor.facade.normalize(
            payloads,
            sensor.options,
            sensor=sensor.name,
            received_at=received_at,
            headers={name.lower(): value for name, value in request.headers.items()},
        )

    async def _store(self, sensor: HookSensor, normalized: Normalized, body: bytes) -> IntakeResult:
        work = self._intake.submit(
            sensor.name, normalized.signals, normalized.rejections, body, items=normalized.origins
        )
        return await self._stored(work)

    @staticmethod
    async def _stored(work: Awaitable[T]) -> T:
        try:
            return await work
        except StoreOverloaded as error:
            detail = "the store has more work than it can take; send this again"
            raise _Answer(503, "overloaded", detail, retry_after_s=RETRY_AFTER_S) from error
        except StoreFault as error:
            detail = "the store cannot be used; nothing was taken, send this again"
            raise _Answer(503, "store-unavailable", detail, retry_after_s=RETRY_AFTER_S) from error

    async def _wait_enforced(self, result: IntakeResult, received_ns: int) -> object:
        if not result.changed_devices:
            return None
        try:
            return await self._enforce(result.changed_devices, received_ns)
        except NotEnforced as error:
            detail = "the signals are stored, but not every proxy worker enforces them yet; send this again"
            raise _Answer(503, "not-enforced", detail, retry_after_s=RETRY_AFTER_S) from error


# --- handshakes ----------------------------------------------------------------------------------


def _handshake(request: web.Request, sensor: HookSensor) -> Handshake | None:
    """Return which handshake the request is, None for a delivery or a handshake the kind does not know."""
    headers = request.headers
    if request.method == "POST" and "validationToken" in request.query:
        asked = Handshake.GRAPH
    elif request.method == "GET" and "X-Okta-Verification-Challenge" in headers:
        asked = Handshake.OKTA
    elif request.method == "OPTIONS" and "WebHook-Request-Origin" in headers:
        asked = Handshake.CLOUDEVENTS
    else:
        return None
    return asked if asked in sensor.facade.handshakes else None


def _greeting(request: web.Request, sensor: HookSensor, handshake: Handshake, now: datetime) -> web.Response:
    """Return the answer to a handshake. Source: Graph and Okta documentation, CloudEvents HTTP 1.1 Web Hooks."""
    match handshake:
        case Handshake.GRAPH:
            token = _token(request.query.getall("validationToken"))
            return _inert(token.encode(), "text/plain")
        case Handshake.OKTA:
            _verify(sensor, request, b"", now)
            challenge = _token(request.headers.getall("X-Okta-Verification-Challenge"))
            return _inert(msgspec.json.encode({"verification": challenge}), "application/json")
        case Handshake.CLOUDEVENTS:
            origin = _token(request.headers.getall("WebHook-Request-Origin"))
            if origin.casefold() not in {each.casefold() for each in getattr(sensor.options, "origins", ())}:
                raise _Answer(403, "origin-not-allowed", "this origin is not in the sensor's `origins`")
            most = max(1, math.floor(sensor.rate * 60))
            wanted = request.headers.get("WebHook-Request-Rate", "")
            rate = min(most, int(wanted)) if re.fullmatch(r"[1-9]\d{0,8}", wanted, re.ASCII) else most
            answer = {"WebHook-Allowed-Origin": origin, "WebHook-Allowed-Rate": str(rate)}
            return _inert(b"", "text/plain", {**answer, "Allow": sensor.methods})


def _token(values: list[str]) -> str:
    """Return the one token of a handshake, or answer 400."""
    token = values[0]
    if len(values) != 1 or not 0 < len(token) <= MAX_TOKEN_CHARS or not token.isprintable():
        detail = f"the token is given once, is printable, and has at most {MAX_TOKEN_CHARS} characters"
        raise _Answer(400, "token-unreadable", detail)
    return token


def _inert(body: bytes, content_type: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """Return an answer that no browser takes for a page."""
    kept = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    charset = "utf-8" if content_type == "text/plain" else None
    return web.Response(
        body=body, content_type=content_type, charset=charset, headers={**kept, **(headers or {})}
    )


# --- the body ------------------------------------------------------------------------------------


async def _read(request: web.Request, sensor: HookSensor) -> bytes:
    """Return the raw body, of which at most `body_bytes` are ever held."""
    most = sensor.body_bytes
    encoding = _encoding(request)
    if encoding != "identity" and not (sensor.gzip and encoding == "gzip"):
        detail = "`Content-Encoding` is not accepted: send the plain body, or set `gzip` on this sensor"
        raise _Answer(415, "body-encoded", detail)
    if request.content_length is not None and request.content_length > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while chunk := await request.content.readany():
                body += chunk
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError as error:
        raise _Answer(408, "body-timeout", f"the body took longer than {BODY_TIMEOUT_S:.0f} s") from error
    except (aiohttp.ClientPayloadError, web.RequestPayloadError) as error:
        raise _Answer(400, "body-cut-off", "the body ended before it was complete") from error
    return bytes(body)


def _encoding(request: web.Request) -> str:
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    return "gzip" if encoding == "x-gzip" else encoding


def _plain(request: web.Request, sensor: HookSensor, body: bytes) -> bytes:
    """Return the inflated body, of which at most `body_bytes` are ever made.

    Behind a server that has inflated it already the body is plain, which its first bytes tell: no JSON begins like
    gzip does.
    """
    if _encoding(request) != "gzip" or not body.startswith(b"\x1f\x8b"):
        return body
    most = sensor.body_bytes
    inflated = bytearray()
    rest = body
    try:
        while rest:
            stream = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
            while not stream.eof:
                chunk = stream.decompress(rest, INFLATE_CHUNK)
                inflated += chunk
                if len(inflated) > most:
                    raise _too_large(most)
                rest = stream.unconsumed_tail
                if not rest and not stream.eof and not chunk:
                    raise _Answer(400, "body-cut-off", "the compressed body ended before it was complete")
            rest = stream.unused_data
    except zlib.error as error:
        raise _Answer(400, "body-not-gzip", "the body is not what `Content-Encoding: gzip` says") from error
    return bytes(inflated)


def _lag_s(normalized: Normalized, received_at: datetime) -> float | None:
    """Return how long the sensor took to tell of its newest signal, by its own clock; None when it told no time."""
    newest = max((signal.observed_at for signal in normalized.signals), default=received_at)
    return None if newest == received_at else max(0.0, (received_at - newest).total_seconds())


def _too_large(most: int) -> _Answer:
    return _Answer(413, "body-too-large", f"at most {most} bytes are taken in one delivery")


def _verify(sensor: HookSensor, request: web.Request, body: bytes, now: datetime) -> Verified:
    """Return proof of the sender, or answer 401 with what we received, never with what would be right."""
    try:
        return sensor.verifier.verify(list(request.headers.items()), body, now.timestamp())
    except VerifyFault as fault:
        received = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        headers = {"WWW-Authenticate": sensor.challenge}
        raise _Answer(401, fault.code.value, str(fault), received=received, headers=headers) from fault


def _shown(rejections: tuple[Rejection, ...]) -> list[dict[str, Any]]:
    return [{"index": each.index, "code": each.code, "error": each.error} for each in rejections]
