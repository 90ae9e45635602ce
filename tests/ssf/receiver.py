"""A receiver of Shared Signals written from the specifications alone: manages a stream, takes pushes, polls."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web
from joserfc import jwt
from joserfc.jwk import KeySet

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
EVENTS = "https://schemas.openid.net/secevent/caep/event-type/"


class ForeignReceiver:
    """What the receiver has heard. `answers` are the statuses that its push address gives next; 202 afterwards.

    Nothing is answered while `may_answer` is not set, and connections end without an answer while `is_breaking_off`.
    """

    def __init__(self, base: str, token: str) -> None:
        self.base = base
        self.token = token
        self.push_url = ""
        self.former_issuers: set[str] = set()
        self.answers: list[int] = []
        self.error = "invalid_request"
        self.taken = 0
        self.seen: list[tuple[int, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.heads: list[dict[str, Any]] = []
        self.arrived = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.is_breaking_off = False
        self.http = aiohttp.ClientSession()

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str | None = None
    ) -> tuple[int, Any]:
        """Call the transmitter's API; return status and JSON (None without)."""
        given = self.token if token is None else token
        headers = {"Authorization": f"Bearer {given}"} if given else {}
        options = {"data": body} if isinstance(body, bytes) else {"json": body}
        async with self.http.request(method, self.base + path, headers=headers, **options) as response:
            is_json = "json" in response.content_type
            return response.status, await response.json(content_type=None) if is_json else None

    async def metadata(self) -> dict[str, Any]:
        async with self.http.get(self.base + "/.well-known/ssf-configuration") as response:
            assert response.status == 200
            return await response.json()

    async def verified(self, raw: str) -> dict[str, Any]:
        """Return the claims of a SET after checking it with the transmitter's published keys."""
        metadata = await self.metadata()
        async with self.http.get(metadata["jwks_uri"]) as response:
            keys = KeySet.import_key_set(await response.json(content_type=None))
        token = jwt.decode(raw, keys, algorithms=["RS256"])
        self.heads.append(token.header)
        assert token.header["typ"] == "secevent+jwt"
        claims = token.claims
        assert claims["iss"] in {metadata["issuer"], *self.former_issuers}
        assert {"sub", "exp"} & claims.keys() == set()
        assert len(claims["events"]) == 1
        return claims

    async def subscribe(self, method: str = PUSH, **more: Any) -> dict[str, Any]:
        """Make a stream and return it."""
        delivery = {"method": method}
        if method == PUSH:
            delivery |= {"endpoint_url": self.push_url, "authorization_header": "Bearer what-we-want-to-see"}
        status, stream = await self.call("POST", "/.gate/signals/streams", {"delivery": delivery, **more})
        assert status == 201, stream
        return stream

    async def poll(self, stream: dict[str, Any], **body: Any) -> dict[str, dict[str, Any]]:
        """Poll and return the verified claims by `jti`."""
        path = stream["delivery"]["endpoint_url"].removeprefix(self.base)
        status, answer = await self.call("POST", path, {"returnImmediately": True, **body})
        assert status == 200, answer
        assert answer.get("moreAvailable") in (None, True)
        found = {jti: await self.verified(raw) for jti, raw in answer["sets"].items()}
        assert all(claims["jti"] == jti for jti, claims in found.items())
        return found

    async def next(self, stream: dict[str, Any]) -> dict[str, Any]:
        """Return the claims of the next event of a stream, pushed or polled; polled ones are acknowledged."""
        if stream["delivery"]["method"] == PUSH:
            self.taken += 1
            await self.until(self.taken)
            return [claims for status, claims in self.seen if status == 202][self.taken - 1]
        async with asyncio.timeout(60):
            while not (found := await self.poll(stream, maxEvents=1)):  # noqa: ASYNC110 - it is polling
                await asyncio.sleep(0.02)
        ((jti, claims),) = found.items()
        await self.poll(stream, maxEvents=0, ack=[jti])
        return claims

    def names(self) -> list[str]:
        """Return the events taken, in their order, by short name."""
        return [
            name.rpartition("/")[2]
            for status, claims in self.seen
            if status == 202
            for name in claims["events"]
        ]

    async def take(self, request: web.Request) -> web.Response:
        assert request.content_type == "application/secevent+jwt"
        claims = await self.verified(await request.text())
        status = self.answers.pop(0) if self.answers else 202
        self.seen.append((status, claims))
        self.headers.append(dict(request.headers))
        self.arrived.set()
        await self.may_answer.wait()
        if self.is_breaking_off and request.transport is not None:
            request.transport.abort()
        body = {"err": self.error, "description": "no"} if status == 400 else None
        return web.json_response(body, status=status) if body else web.Response(status=status)

    async def until(self, count: int) -> None:
        """Return when so many events were taken."""
        async with asyncio.timeout(60):
            while len(self.names()) < count:
                self.arrived.clear()
                await self.arrived.wait()


@asynccontextmanager
async def running_receiver(base: str, token: str) -> AsyncIterator[ForeignReceiver]:
    """Run a receiver until the block ends."""
    made = ForeignReceiver(base, token)
    app = web.Application()
    app.router.add_post("/events", made.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.push_url = f"http://127.0.0.1:{runner.addresses[0][1]}/events"
    try:
        yield made
    finally:
        await made.http.close()
        await runner.cleanup()
