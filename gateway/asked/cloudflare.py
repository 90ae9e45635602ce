"""`POST /.gate/posture/{sensor}`: Cloudflare One asks for the scores of its devices, and gets what access rests on.

The asker is verified before its body is looked at: the application token of Cloudflare Access, against the keys of the
team. What is answered is the present, never older than the last change that a sensor was told is enforced.
Source: Cloudflare One, "Custom device posture integration", "Validate JWTs".
"""

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import structlog
from aiohttp import web

from gateway.config.asked import CloudflareAccess
from gateway.config.schema import Sensor
from gateway.decision.context import PostureSource
from gateway.decision.judge import Interpretation, judge
from gateway.hub.hooks import BURST_S, TokenBucket
from gateway.hub.pages import problem
from gateway.oidc.faults import ProviderFault, ProviderReason, TokenReason, TokenRefused
from gateway.oidc.jwks import MAX_KEY_SET_BYTES, FetchedKeys, KeyCache, parse_key_set
from gateway.oidc.tokens import Expectation, TokenHeader, parse_header, untrusted_claims, verified_claims
from plugins.payload import PayloadFault, parse_payloads
from plugins.sensors.cloudflare import CloudflareOptions, asked_devices, score

log = structlog.get_logger("asked")

HEADER = "Cf-Access-Jwt-Assertion"
ALGORITHMS = ("RS256",)
KEYS_PATH = "/cdn-cgi/access/certs"
SKEW = timedelta(seconds=30)
TIMEOUT_S = 10.0
BODY_TIMEOUT_S = 30.0


class Refusal(Exception):
    """A question that is not answered."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code


class Asker(msgspec.Struct, frozen=True):
    """One configured asker, ready."""

    sensor: Sensor
    auth: CloudflareAccess
    options: CloudflareOptions
    keys: KeyCache


class PostureAsked:
    """Answers Cloudflare. `configure` with each configuration; `close` at the end."""

    def __init__(
        self,
        source: PostureSource,
        interpretation: Callable[[], Interpretation],
        *,
        clock: Callable[[], datetime],
        mono: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._interpretation = interpretation
        self._clock = clock
        self._mono = mono
        self._askers: dict[str, Asker] = {}
        self._buckets: dict[str, TokenBucket] = {}
        self._session: aiohttp.ClientSession | None = None

    def configure(self, sensors: Sequence[Sensor]) -> None:
        """Answer these sensors from now on; the keys of a team that stays are kept."""
        askers: dict[str, Asker] = {}
        for sensor in sensors:
            if not isinstance(sensor.auth, CloudflareAccess):
                continue
            before = self._askers.get(sensor.name)
            is_same = before is not None and before.auth.team == sensor.auth.team
            keys = before.keys if before is not None and is_same else self._key_cache(sensor.auth.team)
            options = msgspec.convert(sensor.options, CloudflareOptions)
            askers[sensor.name] = Asker(sensor, sensor.auth, options, keys)
        self._askers = askers
        self._buckets = {}

    async def close(self) -> None:
        """End all connections."""
        if self._session is not None:
            await self._session.close()

    def routes(self) -> list[web.RouteDef]:
        """Return the address of questions."""
        return [web.post("/.gate/posture/{sensor}", self.handle)]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one question."""
        asker = self._askers.get(request.match_info.get("sensor", ""))
        if asker is None:
            return problem(404, "no-such-sensor", "Not answered", "no sensor of this name is asked")
        try:
            await self._verify(asker, request)
            self._limit(asker)
            devices = await self._question(asker, request)
        except Refusal as refusal:
            return problem(refusal.status, refusal.code, "Not answered", str(refusal))
        return web.json_response({"result": devices}, headers={"Cache-Control": "no-store"})

    async def _verify(self, asker: Asker, request: web.Request) -> None:
        """Raise `Refusal` unless the question comes from the team, through the application that is named."""
        tokens = request.headers.getall(HEADER, [])
        if len(tokens) != 1:
            raise Refusal(401, "sender-unauthenticated", f"`{HEADER}` is expected once")
        try:
            header = parse_header(tokens[0], ALGORITHMS)
            claims = await self._claims(asker, tokens[0], header)
            self._check_times(claims)
        except TokenRefused as refused:
            code = "token-" + refused.reason.value.removeprefix("id-token-")
            raise Refusal(401, code, "the token of Cloudflare Access is refused") from refused
        except ProviderFault as fault:
            log.warning("asker-keys-unavailable", sensor=asker.sensor.name, detail=str(fault))
            detail = "the keys of the team cannot be read now"
            raise Refusal(503, "keys-unavailable", detail) from fault

    @staticmethod
    async def _claims(asker: Asker, token: str, header: TokenHeader) -> Mapping[str, Any]:
        said = untrusted_claims(token).get("aud")
        listed = [said] if isinstance(said, str) else said if isinstance(said, list) else []
        audience = next((each for each in asker.auth.audiences if each in listed), asker.auth.audiences[0])
        expected = Expectation(issuer=asker.auth.team.rstrip("/"), client_id=audience, algorithms=ALGORITHMS)
        keys = await asker.keys.current()
        while True:
            found = keys.candidates(header.algorithm, header.key_id)
            try:
                return verified_claims(token, header, found, expected, ("iss", "aud", "exp"))
            except TokenRefused as refused:
                is_of_keys = refused.reason in (TokenReason.UNKNOWN_KEY, TokenReason.SIGNATURE)
                newer = await asker.keys.refresh(keys) if is_of_keys else None
                if newer is None:
                    raise
                keys = newer

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock().timestamp()
        if _seconds(claims, "exp") <= now - SKEW.total_seconds():
            raise TokenRefused(TokenReason.EXPIRED)
        if "nbf" in claims and _seconds(claims, "nbf") > now + SKEW.total_seconds():
            raise TokenRefused(TokenReason.NOT_YET_VALID)

    def _limit(self, asker: Asker) -> None:
        name, rate = asker.sensor.name, asker.sensor.rate
        now_ns = time.monotonic_ns()
        bucket = self._buckets.setdefault(name, TokenBucket(rate, rate * BURST_S, now_ns))
        if bucket.wait_s(now_ns) > 0:
            raise Refusal(429, "rate-limited", f"at most {rate:g} questions a second are answered")

    async def _question(self, asker: Asker, request: web.Request) -> dict[str, dict[str, Any]]:
        """Return the answer to the devices of the body. Raises `Refusal`."""
        most = asker.sensor.body_bytes
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                while chunk := await request.content.readany():
                    body += chunk
                    if len(body) > most:
                        raise Refusal(413, "body-too-large", f"at most {most} bytes are read")
        except TimeoutError as error:
            raise Refusal(408, "body-timeout", "the body took too long") from error
        try:
            payloads = parse_payloads(bytes(body))
            devices = asked_devices(payloads[0] if len(payloads) == 1 else None, asker.options)
        except PayloadFault as fault:
            raise Refusal(400, fault.code, str(fault)) from fault
        except ValueError as error:
            raise Refusal(400, "not-a-question", str(error)) from error
        interpretation, now = self._interpretation(), self._clock()
        answers: dict[str, dict[str, Any]] = {}
        for each in devices:
            device_id = self._source.resolve(each.identifiers) if each.identifiers else None
            posture = None if device_id is None else self._source.posture(device_id)
            risk, compliance = judge(posture, interpretation, now)
            points = score(compliance.state.value, risk.level, asker.options)
            answers[each.key] = {"s2s_id": device_id or "", "score": points}
        return answers

    def _key_cache(self, team: str) -> KeyCache:
        return KeyCache(lambda: self._fetch_keys(team.rstrip("/") + KEYS_PATH), self._mono)

    async def _fetch_keys(self, url: str) -> FetchedKeys:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        try:
            async with asyncio.timeout(TIMEOUT_S), self._session.get(url, allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(65_536):
                    body += chunk
                    if len(body) > MAX_KEY_SET_BYTES:
                        break
                status, cache_control = response.status, response.headers.get("Cache-Control", "")
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ProviderFault(ProviderReason.KEYS_UNAVAILABLE, type(error).__name__) from error
        if status != 200 or len(body) > MAX_KEY_SET_BYTES:  # noqa: PLR2004 - HTTP
            raise ProviderFault(ProviderReason.KEYS_UNAVAILABLE, f"the keys were answered {status}")
        return FetchedKeys(parse_key_set(bytes(body)), cache_control)


def _seconds(claims: Mapping[str, Any], name: str) -> float:
    """Return a NumericDate. Raises `TokenRefused` for what is none."""
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TokenRefused(TokenReason.MALFORMED, name)
    return float(value)
