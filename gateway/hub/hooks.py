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
import time
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from gateway.config.asked import CloudflareAccess
from gateway.config.certificates import ClientCertificate
from gateway.config.schema import Basic, Bearer, Hmac, Sensor, StandardWebhooks
from gateway.deliveries.ids import new_delivery_id
from gateway.feed.hub_side import NotEnforced
from gateway.hub.certificate_sender import CertificateVerifier
from gateway.hub.delivery_request import Content, DeliveryRequest
from gateway.hub.holding import Held, HeldFull, Holding
from gateway.hub.pace import Pace
from gateway.hub.pages import problem
from gateway.hub.shortcut import Accepted
from gateway.hub.signin_front import client_address
from gateway.tasks import spawn
from gateway.turns import let_go
from plugins.bounds import PluginFault
from plugins.catalog import Catalog, OptionsFault, SensorFacade
from plugins.contract import NO_SUBJECT, Handshake, Normalized
from plugins.payload import MAX_ITEMS, PayloadFault, parse_payloads
from plugins.streams import firehose_request_id, validation_code
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
from risk.intake import Intake
from risk.model import DeviceId, Rejection
from risk.outcome import Effect, IntakeResult
from risk.values import Strict

T = TypeVar("T")

BODY_TIMEOUT_S = 30.0
"""How long a sender may take for its body."""

AT_ONCE = 64
"""Most deliveries of one sensor that are worked on at a time: what a noisy one has beyond that waits behind its own,
and not in the way of others. While some of them become durable, the others are read.
"""

TURN_S = 0.002
"""How long reading bodies may hold up the event loop before others have their turn."""

BURST_S = 10.0
"""A sensor that was quiet may send this many seconds' worth of deliveries at once."""

RETRY_AFTER_S = 5
"""When a sender should try again after a fault of ours."""

MAX_TOKEN_CHARS = 1024
"""Longest token of a handshake that is given back."""

HANDSHAKES_PER_S = 5.0
"""Most handshakes a sensor answers; they have a rate of their own, so that strangers use up no sensor's."""

INFLATE_CHUNK = 65_536

LARGE_BYTES = 16_384
"""A longer body is read beside the event loop: it would hold up everybody else for milliseconds."""

TEST_KEY = "posturegate.test"
"""The one key of a test event."""

TEST_VERDICT = "test"

READ_HEADERS = frozenset({"webhook-id", "content-type", "user-agent"})
"""Headers that a plugin may read, beside those named `ce-…` and those that its kind asks for."""

MAX_HEADER_CHARS = 1024

MAX_SHOWN = 100
"""Most rejections that an answer lists; `…_count` says how many there are, and dead letters hold them all."""

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
    max_silence: float | None = None

    @property
    def methods(self) -> str:
        """The methods that the address takes, as `Allow` lists them."""
        asked = {Handshake.OKTA: "GET", Handshake.CLOUDEVENTS: "OPTIONS"}
        others = [method for handshake, method in asked.items() if handshake in self.facade.handshakes]
        return ", ".join(["POST", *others])


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one delivery, for metrics and the log.

    `verdict` is `accepted` or the code of the problem. `sensor` is "" when the address named none: what a
    stranger writes there must not become a label. `parked` counts those of the devices that are known by nothing but a
    name. The `_in_s` are monotonic seconds from the first byte; `lag_s` is the sensor's own lag, by its clock, of the
    newest signal. `enforcement` is what `enforce` returned. `message_id` is the sender's, `secret` the position of the
    secret that matched, `body` the inflated body of a verified delivery and `headers` those of it that can mean
    something when it is read again. `detail` says what was wrong. `again` is the id of the delivery that was run again.
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
    parked: int = 0
    enforced_in_s: float | None = None
    timings: dict[str, float] = {}
    durable_in_s: float | None = None
    lag_s: float | None = None
    received_at: datetime | None = None
    first_byte_at: datetime | None = None
    received_mono_ns: int | None = None
    device_ids: frozenset[DeviceId] = frozenset()
    enforcement: object = None
    detail: str = ""
    message_id: str = ""
    secret: int | None = None
    body: bytes = b""
    headers: Mapping[str, str] = {}
    normalized: Normalized | None = None
    rejections: tuple[Rejection, ...] = ()
    effects: tuple[Effect, ...] = ()
    again: str = ""


class _Taking:
    """A delivery under way, and what is known of it so far."""

    def __init__(
        self,
        delivery_id: str,
        sensor: HookSensor | None,
        *,
        received_at: datetime,
        received_ns: int,
        first_byte_at: datetime,
    ) -> None:
        self.id = delivery_id
        self.sensor = sensor
        self.received_at = received_at
        self.received_ns = received_ns
        self.first_byte_at = first_byte_at
        self.body_bytes = 0
        self.body = b""
        self.headers: Mapping[str, str] = {}
        self.verified: Verified | None = None
        self.normalized: Normalized | None = None
        self.result: IntakeResult | None = None
        self.durable_in_s: float | None = None
        self.firehose_id = ""
        """The id of a request of Amazon Data Firehose, which takes no answer without it."""

    def delivery(
        self,
        status: int,
        verdict: str,
        detail: str = "",
        *,
        enforced_in_s: float | None = None,
        enforcement: object = None,
    ) -> Delivery:
        """Return what became of it."""
        result = self.result or IntakeResult()
        normalized = self.normalized or Normalized()
        return Delivery(
            id=self.id,
            sensor="" if self.sensor is None else self.sensor.name,
            status=status,
            verdict=verdict,
            body_bytes=self.body_bytes,
            accepted=result.accepted,
            duplicates=result.duplicates,
            rejected=len(result.rejected),
            ignored=normalized.ignored,
            devices=len(result.changed_devices),
            parked=len(result.parked),
            timings=result.timings,
            enforced_in_s=enforced_in_s,
            enforcement=enforcement,
            durable_in_s=self.durable_in_s,
            lag_s=_lag_s(normalized, self.received_at, self.first_byte_at),
            received_at=self.received_at,
            first_byte_at=self.first_byte_at,
            received_mono_ns=self.received_ns,
            device_ids=result.changed_devices,
            detail=detail,
            message_id="" if self.verified is None else self.verified.message_id,
            secret=None if self.verified is None else self.verified.secret,
            body=self.body,
            headers=self.headers,
            normalized=self.normalized,
            rejections=result.rejected,
            effects=result.effects,
        )


class _Answer(Exception):
    """Ends a delivery with a problem."""

    def __init__(self, status: int, code: str, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.extra = extra


Join = Callable[[str, SensorFacade, Sequence[Any]], Awaitable[list[Any]]]
"""Lays beside the payloads what came before. Raises `StoreFault`, `StoreOverloaded`."""


async def _unjoined(_sensor: str, _facade: SensorFacade, payloads: Sequence[Any]) -> list[Any]:
    return list(payloads)


class _Clock(Protocol):
    def __call__(self) -> datetime: ...


class TokenBucket:
    """Lets `rate` deliveries a second through on average, and `burst` at once. Both are more than 0."""

    def __init__(self, rate: float, burst: float, now_ns: int) -> None:
        self._rate = rate
        self._burst = max(1.0, burst)
        self._tokens = self._burst
        self._at_ns = now_ns

    def left(self, now_ns: int) -> float:
        """Return how many may pass at once now."""
        self._tokens = min(self._burst, self._tokens + (now_ns - self._at_ns) / 1e9 * self._rate)
        self._at_ns = now_ns
        return self._tokens

    def wait_s(self, now_ns: int) -> float:
        """Take one token and return 0, or return the seconds until there is one."""
        self.left(now_ns)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


def hook_sensors(sensors: tuple[Sensor, ...], catalog: Catalog) -> dict[str, HookSensor]:
    """Return the configured sensors ready to take deliveries. Raises `SensorConfigFault`.

    A product that only asks us delivers nothing.
    """
    return {
        sensor.name: hook_sensor(sensor, catalog)
        for sensor in sensors
        if not isinstance(sensor.auth, CloudflareAccess)
    }


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
    except OSError as error:
        raise SensorConfigFault("auth.ca", str(error)) from error
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
        max_silence=sensor.max_silence,
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
        case ClientCertificate() as auth:
            return CertificateVerifier.load(auth), "Certificate"
        case CloudflareAccess():
            raise ValueError("a product that asks delivers nothing")


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
        make_id: Callable[[], str] = new_delivery_id,
        join: Join = _unjoined,
        on_pulls: Callable[[str, tuple[str, ...]], bool] = lambda sensor, resources: False,  # noqa: ARG005 - nobody asks
        on_answered: Callable[[str, str, float], None] = lambda sensor, delivery, seconds: None,  # noqa: ARG005 - nobody looks
    ) -> None:
        self._on_answered = on_answered
        self._on_pulls = on_pulls
        self._join = join
        self._sensors = dict(sensors)
        self._intake = intake
        self._enforce = enforce
        self._clock = clock
        self._mono_ns = mono_ns
        self._observe = observe
        self._make_id = make_id
        self._buckets: dict[str, tuple[float, TokenBucket]] = {}
        self._greetings: dict[str, tuple[float, TokenBucket]] = {}
        self._held = Held()
        self._aside = ThreadPoolExecutor(1, "large-body")
        """Reads large bodies, one at a time, beside the event loop."""
        self._pace = Pace(TURN_S)
        self._rooms: dict[str, asyncio.Semaphore] = {}
        self._under_way = 0

    @property
    def is_taking(self) -> bool:
        """Whether a delivery is not answered yet."""
        return self._under_way > 0

    def swap(self, sensors: Mapping[str, HookSensor]) -> None:
        """Serve these sensors from now on; deliveries that are under way finish as they began."""
        self._sensors = dict(sensors)
        self._buckets = {name: bucket for name, bucket in self._buckets.items() if name in self._sensors}
        self._greetings = {name: each for name, each in self._greetings.items() if name in self._sensors}

    def sensor(self, name: str) -> HookSensor | None:
        """Return a configured sensor by its name."""
        return self._sensors.get(name)

    @property
    def names(self) -> Collection[str]:
        """Names of the sensors that may deliver."""
        return self._sensors.keys()

    def quota(self, name: str) -> tuple[float, float]:
        """Return the most deliveries a second that a sensor may send, and how many it could send at once now."""
        sensor = self._sensors.get(name)
        rate, bucket = self._buckets.get(name, (0.0, None))
        most = 0.0 if sensor is None else sensor.rate
        left = max(1.0, most * BURST_S) if bucket is None or rate != most else bucket.left(self._mono_ns())
        return most, left

    async def handle(self, request: web.Request) -> web.Response:
        """Take one delivery to the sensor that the route found."""
        answer = await self.deliver(request, request.match_info.get("sensor", ""))
        return answer.response() if isinstance(answer, Accepted) else answer

    async def deliver(self, request: DeliveryRequest, name: str) -> web.Response | Accepted:
        """Take one delivery to the sensor of this name, whether there is one or not; return what its sender is told."""
        received_ns, received_at = self._received_ns(request), self._clock()
        waited = timedelta(microseconds=(self._mono_ns() - received_ns) / 1000)
        taking = _Taking(
            self._make_id(),
            self._sensors.get(name),
            received_at=received_at,
            received_ns=received_ns,
            first_byte_at=received_at - waited,
        )
        self._under_way += 1
        try:
            return await self._take(request, taking)
        except _Answer as answer:
            self._observe(taking.delivery(answer.status, answer.code, answer.detail))
            taking.firehose_id = taking.firehose_id or _firehose_header(request)
            acknowledged = self._acknowledged(taking)
            if acknowledged:
                answer.extra |= {**acknowledged, "errorMessage": answer.detail}
            return problem(
                answer.status,
                answer.code,
                TITLES[answer.status],
                answer.detail,
                instance=f"urn:posturegate:delivery:{taking.id}",
                **answer.extra,
            )
        finally:
            self._under_way -= 1

    async def _take(self, request: DeliveryRequest, taking: _Taking) -> web.Response | Accepted:
        sensor = taking.sensor
        if sensor is not None and (handshake := _handshake(request, sensor)) is not None:
            return await self._greet(request, sensor, handshake, taking)
        if request.method != "POST":
            methods = "POST" if sensor is None else sensor.methods
            raise _Answer(405, "method-not-allowed", "send a POST", headers={"Allow": methods})
        if sensor is None:
            raise _Answer(404, "no-such-sensor", "no sensor of this name is configured")
        try:
            with self._held.delivery(sensor.name, client_address(request), sensor.body_bytes) as holding:
                return await self._taken(request, sensor, taking, holding)
        except HeldFull as full:
            status = sensor.facade.overload_status
            raise _Answer(status, "overloaded", str(full), retry_after_s=RETRY_AFTER_S) from full

    async def _taken(
        self, request: DeliveryRequest, sensor: HookSensor, taking: _Taking, holding: Holding
    ) -> web.Response | Accepted:
        received_ns = taking.received_ns
        body = await _read(request, sensor, holding.hold)
        taking.body_bytes = len(body)
        verified = taking.verified = _verify(sensor, request, body, taking.received_at)
        holding.verified()
        self._limit(sensor)
        taking.body = _plain(request, sensor, body)
        if taking.body is not body:
            holding.hold(len(taking.body))
        taking.headers = kept_headers(request.headers, sensor)
        async with self._room(sensor):
            payloads = await self._payloads(sensor, taking)
            if code := validation_code(payloads):
                return self._validated(taking, code)
            tried = tried_payloads(payloads)
            if tried is not None:
                return await self._try(sensor, taking, tried)
            payloads = await self._stored(sensor, self._join(sensor.name, sensor.facade, payloads))
            normalized = taking.normalized = await self._normalized(sensor, taking, payloads)
            result = await self._store(sensor, normalized, taking)
            enforcement = await self._wait_enforced(result, received_ns)
        enforced_in_s = (self._mono_ns() - received_ns) / 1e9
        delivery = taking.delivery(200, "accepted", enforced_in_s=enforced_in_s, enforcement=enforcement)
        # When the answer has left, which is in this turn of the event loop: the sender does not wait for our books.
        soon = asyncio.get_running_loop().call_soon
        soon(self._observe, delivery)
        if len(taking.body) > LARGE_BYTES:
            spawn(let_go(_made_of(payloads, normalized)), name="body-let-go")
        answer: dict[str, Any] = {
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "rejected": _shown(result.rejected),
            "rejected_count": len(result.rejected),
            "ignored": normalized.ignored,
            "enforced": True,
            "devices": len(result.changed_devices),
            "parked": len(result.parked),
            "users": len(result.changed_users),
            "enforced_in_ms": round(enforced_in_s * 1000, 3),
            "id": verified.message_id or taking.id,
            "delivery": taking.id,
            **self._acknowledged(taking),
        }
        if normalized.pulls:
            # A product said that something has changed: somebody has to go and look.
            is_asked = self._on_pulls(sensor.name, normalized.pulls)
            answer["pull_required"] = {"resources": list(normalized.pulls), "configured": is_asked}
        return Accepted(
            msgspec.json.encode(answer),
            lambda: soon(self._on_answered, sensor.name, taking.id, (self._mono_ns() - received_ns) / 1e9),
        )

    async def _try(self, sensor: HookSensor, taking: _Taking, payloads: Sequence[Any]) -> web.Response:
        """Answer what the payloads of a test event would become. Nothing of them is stored or enforced."""
        normalized = Normalized(items=0)
        if payloads:
            normalized = await self._normalized(sensor, taking, payloads)
        taking.normalized = normalized
        preview = self._intake.preview(sensor.name, normalized.signals, items=normalized.origins)
        result = await self._stored(sensor, preview)
        rejected = (*normalized.rejections, *result.rejected)
        taking.result = msgspec.structs.replace(
            result,
            rejected=rejected,
            changed_devices=frozenset(),
            parked=frozenset(),
            changed_users=frozenset(),
        )
        self._observe(taking.delivery(200, TEST_VERDICT))
        answer = {
            "test": True,
            "enforced": False,
            "would_accept": result.accepted,
            "would_be_duplicates": result.duplicates,
            "would_reject": _shown(rejected),
            "would_reject_count": len(rejected),
            "would_ignore": normalized.ignored,
            "would_be_parked": len(result.parked),
            "verified": {"scheme": sensor.challenge.partition(" ")[0], "secret": _place(taking.verified)},
            "delivery": taking.id,
        }
        return web.Response(
            body=msgspec.json.encode(answer),
            content_type="application/json",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )

    def _received_ns(self, request: DeliveryRequest) -> int:
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

    def _room(self, sensor: HookSensor) -> asyncio.Semaphore:
        """Return what lets `AT_ONCE` deliveries of a sensor in; only verified ones wait, in the order they came."""
        room = self._rooms.get(sensor.name)
        if room is None:
            room = self._rooms[sensor.name] = asyncio.Semaphore(AT_ONCE)
        return room

    def _wait_s(self, buckets: dict[str, tuple[float, TokenBucket]], name: str, most: float) -> float:
        now_ns = self._mono_ns()
        rate, bucket = buckets.get(name, (0.0, None))
        if bucket is None or rate != most:
            bucket = TokenBucket(most, most * BURST_S, now_ns)
            buckets[name] = (most, bucket)
        return bucket.wait_s(now_ns)

    async def _greet(
        self, request: DeliveryRequest, sensor: HookSensor, handshake: Handshake, taking: _Taking
    ) -> web.Response:
        """Answer a handshake: give the token back, inert and bounded."""
        wait_s = self._wait_s(self._greetings, sensor.name, HANDSHAKES_PER_S)
        if wait_s > 0:
            detail = f"at most {HANDSHAKES_PER_S:g} handshakes a second are answered"
            raise _Answer(429, "rate-limited", detail, retry_after_s=max(1, math.ceil(wait_s)))
        response = _greeting(request, sensor, handshake, self._clock())
        self._observe(taking.delivery(200, f"handshake-{handshake.value}"))
        return response

    def _validated(self, taking: _Taking, code: str) -> web.Response:
        """Answer Event Grid, whose sender is verified already, with the code that it wants to see again."""
        answer = {"validationResponse": _token([code])}
        self._observe(taking.delivery(200, "handshake-event-grid"))
        return _inert(msgspec.json.encode(answer), "application/json")

    def _acknowledged(self, taking: _Taking) -> dict[str, Any]:
        """Return what an answer to Amazon Data Firehose has to say beside, nothing for any other sender."""
        if not taking.firehose_id:
            return {}
        now_ms = int(self._clock().timestamp() * 1000)
        return {"requestId": taking.firehose_id[:MAX_TOKEN_CHARS], "timestamp": now_ms}

    async def _payloads(self, sensor: HookSensor, taking: _Taking) -> list[Any]:
        """Return the payloads of the body; an unreadable body is kept as a dead letter and answered 400."""
        try:
            taking.firehose_id, payloads = await self._worked(
                taking, partial(_opened, sensor.facade, taking.body)
            )
        except PayloadFault as fault:
            kept = self._intake.dead_letter(
                sensor.name, fault.code, str(fault), taking.body, delivery=taking.id
            )
            await self._stored(sensor, kept)
            raise _Answer(400, fault.code, str(fault)) from fault
        return payloads

    async def _normalized(self, sensor: HookSensor, taking: _Taking, payloads: Sequence[Any]) -> Normalized:
        work = partial(
            sensor.facade.normalize,
            payloads,
            sensor.options,
            sensor=sensor.name,
            received_at=taking.received_at,
            headers=taking.headers,
        )
        return await self._worked(taking, work)

    async def _worked(self, taking: _Taking, work: Callable[[], T]) -> T:
        """Return what work on a body gives, done beside the event loop where the body is long."""
        if len(taking.body) <= LARGE_BYTES:
            await self._pace.turn()
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    async def _store(self, sensor: HookSensor, normalized: Normalized, taking: _Taking) -> IntakeResult:
        """Return what became of the signals, durably. Answers 422 when nothing at all was usable.

        What has no subject here is no fault of its sender, and is not answered as one.
        """
        work = self._intake.submit(
            sensor.name,
            normalized.signals,
            normalized.rejections,
            taking.body,
            items=normalized.origins,
            delivery=taking.id,
        )
        result = taking.result = await self._stored(sensor, work)
        taking.durable_in_s = (self._mono_ns() - taking.received_ns) / 1e9
        is_told = result.accepted or result.duplicates or normalized.ignored
        if not is_told and any(each.code != NO_SUBJECT for each in result.rejected):
            detail = "the body is authentic, but none of its items can be used; it is kept as a dead letter"
            shown = {"rejected": _shown(result.rejected), "rejected_count": len(result.rejected)}
            raise _Answer(422, "nothing-usable", detail, **shown)
        return result

    @staticmethod
    async def _stored(sensor: HookSensor, work: Awaitable[T]) -> T:
        try:
            return await work
        except StoreOverloaded as error:
            detail = "more waits than can be taken now; send this again"
            status = sensor.facade.overload_status
            raise _Answer(status, "overloaded", detail, retry_after_s=RETRY_AFTER_S) from error
        except StoreFault as error:
            detail = "the store cannot be used; send this again"
            raise _Answer(503, "store-unavailable", detail, retry_after_s=RETRY_AFTER_S) from error

    async def _wait_enforced(self, result: IntakeResult, received_ns: int) -> object:
        if not result.changed:
            return None
        try:
            return await self._enforce(result.changed, received_ns)
        except NotEnforced as error:
            detail = "the signals are stored, but not every proxy worker enforces them yet; send this again"
            raise _Answer(503, "not-enforced", detail, retry_after_s=RETRY_AFTER_S) from error


# --- test events ---------------------------------------------------------------------------------


def as_test_event(payloads: Sequence[Any]) -> dict[str, Any]:
    """Return the body of a test event: signed like any delivery, read like one, and then left alone."""
    return {TEST_KEY: list(payloads)}


def tried_payloads(payloads: Sequence[Any]) -> list[Any] | None:
    """Return the payloads that a test event is about, None for a delivery that is none."""
    if len(payloads) != 1 or not isinstance(payloads[0], dict) or payloads[0].keys() != {TEST_KEY}:
        return None
    tried = payloads[0][TEST_KEY]
    return tried[:MAX_ITEMS] if isinstance(tried, list) else [] if tried is None else [tried]


def kept_headers(headers: Mapping[str, str], sensor: HookSensor) -> dict[str, str]:
    """Return, in lower case, the headers that plugins may read. Credentials are never among them."""
    named = _named(sensor.facade.headers)
    kept: dict[str, str] = {}
    for each, value in headers.items():
        name = each.lower()
        if name in named or name.startswith("ce-"):
            kept[name] = value[:MAX_HEADER_CHARS]
    return kept


@lru_cache(maxsize=256)
def _named(further: frozenset[str]) -> frozenset[str]:
    return READ_HEADERS | further


def _place(verified: Verified | None) -> int:
    """Return which of the configured secrets matched, counted from 1."""
    return 0 if verified is None else verified.secret + 1


def _opened(facade: SensorFacade, body: bytes) -> tuple[str, list[Any]]:
    """Return the id of the Firehose request that a body is, and its payloads. Raises `PayloadFault`."""
    payloads = parse_payloads(body)
    return firehose_request_id(payloads), facade.opened(payloads)


def _firehose_header(request: DeliveryRequest) -> str:
    """Return the id of a Firehose request as its head tells it: of a body that was not read."""
    given = request.headers.get("X-Amz-Firehose-Request-Id", "")
    return given if given.isascii() and given.isprintable() else ""


# --- handshakes ----------------------------------------------------------------------------------


def _handshake(request: DeliveryRequest, sensor: HookSensor) -> Handshake | None:
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


def _greeting(
    request: DeliveryRequest, sensor: HookSensor, handshake: Handshake, now: datetime
) -> web.Response:
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


async def _read(request: DeliveryRequest, sensor: HookSensor, hold: Callable[[int], None]) -> bytes:
    """Return the raw body, of which at most `body_bytes` are ever held."""
    most = sensor.body_bytes
    encoding = _encoding(request)
    if encoding != "identity" and not (sensor.gzip and encoding == "gzip"):
        detail = "`Content-Encoding` is not accepted: send the plain body, or set `gzip` on this sensor"
        raise _Answer(415, "body-encoded", detail)
    if request.content_length is not None and request.content_length > most:
        raise _too_large(most)
    try:
        if request.content.is_eof():
            # All of it is here already, as it is of most: nothing has to be waited for.
            whole = request.content.read_nowait()
            hold(len(whole))
            if len(whole) > most:
                raise _too_large(most)
            return whole
        async with asyncio.timeout(BODY_TIMEOUT_S):
            return await _gathered(request.content, most, hold)
    except TimeoutError as error:
        raise _Answer(408, "body-timeout", f"the body took longer than {BODY_TIMEOUT_S:.0f} s") from error
    except (aiohttp.ClientPayloadError, web.RequestPayloadError, ConnectionError) as error:
        raise _Answer(400, "body-cut-off", "the body ended before it was complete") from error


async def _gathered(content: Content, most: int, hold: Callable[[int], None]) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        hold(len(chunk))
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _encoding(request: DeliveryRequest) -> str:
    encoding = request.headers.get("Content-Encoding", "").strip().lower() or "identity"
    return "gzip" if encoding == "x-gzip" else encoding


def _plain(request: DeliveryRequest, sensor: HookSensor, body: bytes) -> bytes:
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


def _made_of(payloads: Sequence[Any], normalized: Normalized) -> list[Any]:
    """Return what a body was made into, by its items."""
    members = (each.values() if isinstance(each, dict) else () for each in payloads)
    lists = (value for values in members for value in values if isinstance(value, list))
    return [*payloads, *chain.from_iterable(lists), *normalized.sources, *normalized.signals]


def _lag_s(normalized: Normalized, received_at: datetime, first_byte_at: datetime) -> float | None:
    """Return how long the sensor took to tell of its newest signal, by its own clock; None when it told no time.

    A signal that told none counts as observed at `received_at`.
    """
    newest = max((signal.observed_at for signal in normalized.signals), default=received_at)
    return None if newest == received_at else max(0.0, (first_byte_at - newest).total_seconds())


def _too_large(most: int) -> _Answer:
    return _Answer(413, "body-too-large", f"at most {most} bytes are taken in one delivery")


def _verify(sensor: HookSensor, request: DeliveryRequest, body: bytes, now: datetime) -> Verified:
    """Return proof of the sender, or answer 401 with what we received, never with what would be right."""
    try:
        return sensor.verifier.verify(list(request.headers.items()), body, now.timestamp())
    except VerifyFault as fault:
        received = {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
        headers = {"WWW-Authenticate": sensor.challenge}
        raise _Answer(401, fault.code.value, str(fault), received=received, headers=headers) from fault


def _shown(rejections: tuple[Rejection, ...]) -> list[dict[str, Any]]:
    first = rejections[:MAX_SHOWN]
    return [{"index": each.index, "code": each.code, "error": each.error} for each in first]
