"""A transmitter of Shared Signals written from SSF 1.0, RFC 8935 and RFC 8936 alone: a real server on loopback.

It shares no code with the gateway: tokens are made with `joserfc`, answers are what the specifications say. A test
changes what it wants broken.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

CAEP = "https://schemas.openid.net/secevent/caep/event-type/"
RISC = "https://schemas.openid.net/secevent/risc/event-type/"
SSF = "https://schemas.openid.net/secevent/ssf/event-type/"
PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
TOKEN = "management-token-of-the-tests"

_serial = itertools.count(1)


def rsa_key(kid: str, bits: int = 2048) -> RSAKey:
    return RSAKey.generate_key(bits, {"kid": kid, "use": "sig", "alg": "RS256"}, private=True)


class Transmitter:
    """What the transmitter knows; `issuer` is set once it listens."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.issuer = ""
        self.keys: list[Any] = [rsa_key("k1")]
        self.signing: Any = self.keys[0]
        self.streams: dict[str, dict[str, Any]] = {}
        self.statuses: dict[str, dict[str, str]] = {}
        self.subjects: list[dict[str, Any]] = []
        self.outbox: dict[str, str] = {}
        self.acked: list[str] = []
        self.errors: dict[str, dict[str, str]] = {}
        self.calls: list[str] = []
        self.pushed: list[tuple[int, str]] = []
        self.metadata_changes: dict[str, Any] = {}
        self.audience = "https://gate.example/ssf"
        self.stream_changes: dict[str, Any] = {}
        self.is_verifying = True
        self.is_synchronous = False
        """Verification events are pushed before the request that caused them is answered, creation included."""
        self.wants_audience = False
        """Streams are made only with the `aud` of the receiver, and with no member that is not needed."""
        self.wants_id_in_address = False
        """What is said of a stream has to name it in the address too, as what is asked of it does."""
        self.refusal = ""
        """Why everything that is said of a stream is refused."""
        self.are_keys_down = False
        self.one_stream_only = False
        self.is_poll_broken = False
        self.new_stream = asyncio.Event()
        self._background: set[asyncio.Task[Any]] = set()

    # --- tokens ------------------------------------------------------------------------------------------

    def claims(self, events: dict[str, Any], subject: Any = None, **changes: Any) -> dict[str, Any]:
        made = {
            "iss": self.issuer,
            "aud": self.audience,
            "iat": int(self.now()),
            "jti": f"jti-{next(_serial)}",
            "events": events,
            **({} if subject is None else {"sub_id": subject}),
            **changes,
        }
        return {name: value for name, value in made.items() if value is not ...}

    def token(
        self,
        events: dict[str, Any],
        subject: Any = None,
        *,
        header: dict[str, Any] | None = None,
        key: Any = None,
        **changes: Any,
    ) -> str:
        signing = key or self.signing
        algorithm = "ES256" if isinstance(signing, ECKey) else "RS256"
        head = {"typ": "secevent+jwt", "alg": algorithm, "kid": signing.kid, **(header or {})}
        head = {name: value for name, value in head.items() if value is not ...}
        return jwt.encode(
            head, self.claims(events, subject, **changes), signing, algorithms=["RS256", "ES256", "HS256"]
        )

    def caep(self, name: str, subject: Any, payload: dict[str, Any] | None = None, **changes: Any) -> str:
        return self.token({CAEP + name: payload or {}}, subject, **changes)

    def risc(self, name: str, subject: Any, payload: dict[str, Any] | None = None, **changes: Any) -> str:
        return self.token({RISC + name: payload or {}}, subject, **changes)

    # --- server ------------------------------------------------------------------------------------------

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._wants_id])
        app.router.add_get("/.well-known/ssf-configuration", self.metadata)
        app.router.add_get("/realms/x/.well-known/ssf-configuration", self.metadata)
        app.router.add_get("/.well-known/ssf-configuration/realms/y", self.metadata)
        app.router.add_get("/.well-known/risc-configuration/realms/z", self.metadata)
        app.router.add_get("/jwks", self.jwks)
        app.router.add_post("/streams", self.create)
        app.router.add_get("/streams", self.read)
        app.router.add_patch("/streams", self.update)
        app.router.add_delete("/streams", self.delete)
        app.router.add_get("/status", self.status)
        app.router.add_post("/status", self.set_status)
        app.router.add_post("/subjects/add", self.add)
        app.router.add_post("/subjects/remove", self.remove)
        app.router.add_post("/verify", self.verify)
        app.router.add_post("/poll", self.poll)
        return app

    async def metadata(self, _request: web.Request) -> web.Response:
        self.calls.append("metadata")
        base = self.issuer.partition("/realms/")[0]
        made = {
            "spec_version": "1_0",
            "issuer": self.issuer,
            "jwks_uri": f"{base}/jwks",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": f"{base}/streams",
            "status_endpoint": f"{base}/status",
            "add_subject_endpoint": f"{base}/subjects/add",
            "remove_subject_endpoint": f"{base}/subjects/remove",
            "verification_endpoint": f"{base}/verify",
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
            **self.metadata_changes,
        }
        return web.json_response({name: value for name, value in made.items() if value is not ...})

    async def jwks(self, _request: web.Request) -> web.Response:
        self.calls.append("jwks")
        if self.are_keys_down:
            return web.Response(status=500)
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys]})

    @web.middleware
    async def _wants_id(self, request: web.Request, handler: Any) -> web.StreamResponse:
        is_new = request.method == "POST" and request.path == "/streams"
        is_said = request.method in {"POST", "PATCH"} and request.path != "/poll" and not is_new
        if self.wants_id_in_address and is_said and "stream_id" not in request.query:
            return web.json_response({"detail": "stream_id query parameter is required"}, status=400)
        if self.refusal and is_said:
            return web.json_response({"title": "Forbidden", "detail": self.refusal}, status=403)
        return await handler(request)

    def _is_allowed(self, request: web.Request) -> bool:
        self.calls.append(f"{request.method} {request.path}")
        return request.headers.get("Authorization") == f"Bearer {TOKEN}"

    async def create(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        if self.one_stream_only and self.streams:
            return web.Response(status=409)
        wanted = await request.json()
        if self.wants_audience and wanted.keys() != {"aud", "delivery", "events_requested"}:
            return web.Response(status=422)
        stream_id = f"stream-{len(self.streams) + 1}"
        stream = {
            "stream_id": stream_id,
            "iss": self.issuer,
            "aud": self.audience,
            "events_supported": wanted["events_requested"],
            "events_delivered": wanted["events_requested"],
            **wanted,
        }
        if stream["delivery"]["method"] == POLL:
            stream["delivery"]["endpoint_url"] = f"{self.issuer}/poll"
        self.streams[stream_id] = stream
        self.statuses[stream_id] = {"stream_id": stream_id, "status": "enabled"}
        if self.is_synchronous and not await self._is_taken({"stream_id": stream_id}):
            del self.streams[stream_id]
            return web.Response(status=502)
        self.new_stream.set()
        return web.json_response(self._shown(stream), status=201)

    def _shown(self, stream: dict[str, Any]) -> dict[str, Any]:
        """Show a stream without its secret, as careful transmitters do."""
        delivery = {
            name: value for name, value in stream["delivery"].items() if name != "authorization_header"
        }
        return {**stream, "delivery": delivery, **self.stream_changes}

    async def read(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        stream_id = request.query.get("stream_id")
        if stream_id is None:
            return web.json_response([self._shown(each) for each in self.streams.values()])
        if stream_id not in self.streams:
            return web.Response(status=404)
        return web.json_response(self._shown(self.streams[stream_id]))

    async def update(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        changes = await request.json()
        stream = self.streams.get(changes["stream_id"])
        if stream is None:
            return web.Response(status=404)
        stream.update(changes)
        return web.json_response(self._shown(stream))

    async def delete(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        known = self.streams.pop(request.query.get("stream_id", ""), None)
        return web.Response(status=404 if known is None else 204)

    async def status(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        return web.json_response(self.statuses[request.query["stream_id"]])

    async def set_status(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        wanted = await request.json()
        self.statuses[wanted["stream_id"]] = wanted
        return web.json_response(wanted)

    async def add(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        self.subjects.append((await request.json())["subject"])
        return web.Response(status=200)

    async def remove(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        self.subjects.remove((await request.json())["subject"])
        return web.Response(status=204)

    async def verify(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        wanted = await request.json()
        if self.is_synchronous:
            return web.Response(status=202 if await self._is_taken(wanted) else 502)
        if self.is_verifying:
            task = asyncio.create_task(self._verify(wanted))
            self._background.add(task)
            task.add_done_callback(self._background.discard)
        return web.Response(status=204)

    async def _verify(self, wanted: dict[str, Any]) -> tuple[int, str]:
        subject = {"format": "opaque", "id": wanted["stream_id"]}
        state = {"state": wanted["state"]} if "state" in wanted else {}
        return await self.deliver(
            wanted["stream_id"], self.token({SSF + "verification": state}, subject, aud=[self.audience])
        )

    async def _is_taken(self, wanted: dict[str, Any]) -> bool:
        return (await self._verify(wanted))[0] == 202

    async def poll(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return web.Response(status=401)
        if self.is_poll_broken:
            return web.json_response({"sets": "none"})
        wanted = await request.json()
        assert "setErrs" not in wanted or request.headers["Content-Language"] == "en"
        for jti in wanted.get("ack", []):
            self.acked.append(jti)
            self.outbox.pop(jti, None)
        for jti, error in wanted.get("setErrs", {}).items():
            self.errors[jti] = error
            self.outbox.pop(jti, None)
        until = time.monotonic() + (0 if wanted.get("returnImmediately") else 2)
        while not self.outbox and time.monotonic() < until:  # noqa: ASYNC110 - a server in a test
            await asyncio.sleep(0.02)
        most = wanted.get("maxEvents", 16)
        sets = dict(list(self.outbox.items())[:most])
        return web.json_response({"sets": sets, "moreAvailable": len(self.outbox) > most})

    # --- delivery ----------------------------------------------------------------------------------------

    async def deliver(self, stream_id: str, token: str) -> tuple[int, str]:
        """Push a token to where the stream says, or keep it for the next poll."""
        delivery = self.streams[stream_id]["delivery"]
        if delivery["method"] == POLL:
            self.outbox[f"out-{next(_serial)}"] = token
            return 0, ""
        answer = await push(delivery["endpoint_url"], token, delivery.get("authorization_header", ""))
        self.pushed.append(answer)
        return answer


async def push(
    url: str,
    token: str | bytes,
    authorization: str,
    *,
    kind: str = "application/secevent+jwt",
    **options: Any,
) -> tuple[int, str]:
    """Push as RFC 8935 section 2.1 says; return status and body."""
    headers = {"Content-Type": kind, "Accept": "application/json", **options.pop("headers", {})}
    if authorization:
        headers["Authorization"] = authorization
    async with (
        aiohttp.ClientSession(**options) as http,
        http.post(url, data=token, headers=headers) as response,
    ):
        return response.status, await response.text()


@asynccontextmanager
async def running_transmitter(now: Callable[[], float] = time.time) -> AsyncIterator[Transmitter]:
    """Run a transmitter until the block ends."""
    made = Transmitter(now)
    runner = web.AppRunner(made.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
