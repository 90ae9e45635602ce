"""The demo app: an ordinary web app behind the gateway, which shows what it is told about the caller.

It serves several hosts, and is called by the first label of the host's name. It trusts no header: who
somebody is it takes from the signed assertion, verified with the gateway's published key.
"""

import asyncio
import json
import time
from collections import deque
from contextlib import suppress
from datetime import datetime
from typing import Any

import aiohttp
import jwt
import msgspec
from aiohttp import web

from gateway.demo.pages import page
from gateway.tasks import spawn

NAMESPACE = "x-gate-"
"""Prefix of the gateway's headers; those with underscores count too, since other servers would fold them."""

TITLES = {"app": "Atlas, the demo app", "wiki": "Wiki, the other app"}
TICK_S = 0.25
MOST_NOTES = 5
JWKS_LIFETIME_S = 300.0
SALARIES = "name,salary\nAna Torres,71000\nBen Okafor,68000\nDana Weiss,83000\n"


class _Note(msgspec.Struct, frozen=True):
    text: str
    name: str
    at: str


class Verified(msgspec.Struct, frozen=True):
    """The claims of a valid assertion, or why there are none."""

    claims: dict[str, Any]
    fault: str = ""


class Assertions:
    """Verifies `X-Gate-Jwt` by the gateway's key set, which is asked for again when a key is not in it."""

    def __init__(self, *, issuer: str, client: aiohttp.ClientSession) -> None:
        self.jwks_url = f"{issuer}/.well-known/gate/jwks.json"
        self._issuer = issuer
        self._client = client
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_mono_s = float("-inf")

    async def verify(self, token: str | None, audience: str) -> Verified:
        """Return the claims if the gateway signed them for this audience and they have not expired."""
        if token is None:
            return Verified({}, "there is no X-Gate-Jwt header")
        try:
            kid = str(jwt.get_unverified_header(token).get("kid"))
            key = await self._key(kid)
            if key is None:
                return Verified({}, f"the gateway publishes no key {kid}")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=["ES256"],
                issuer=self._issuer,
                audience=[audience, audience.partition(":")[0]],
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError) as error:
            return Verified({}, f"not valid: {error}")
        except aiohttp.ClientError as error:
            return Verified({}, f"the gateway's keys cannot be fetched: {error}")
        return Verified(claims)

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        now = time.monotonic()
        if kid not in self._keys or now - self._fetched_mono_s > JWKS_LIFETIME_S:
            async with self._client.get(self.jwks_url) as answer:
                answer.raise_for_status()
                found = jwt.PyJWKSet.from_dict(json.loads(await answer.read()))
            self._keys = {str(key.key_id): key for key in found.keys}
            self._fetched_mono_s = now
        return self._keys.get(kid)


class DemoApp:
    """A page with identity headers, a form, a download, a WebSocket clock and an event-stream clock."""

    def __init__(self, assertions: Assertions, links: dict[str, str]) -> None:
        self._assertions = assertions
        self._links = links
        self._notes: deque[_Note] = deque(maxlen=MOST_NOTES)

    def app(self) -> web.Application:
        """Return the web app. `links` are shown on every page: URL by host label."""
        app = web.Application()
        app.add_routes(
            [
                web.get("/", self._home),
                web.get("/api/whoami", self._whoami),
                web.post("/notes", self._write),
                web.get("/download/salaries.csv", self._download),
                web.get("/live", self._live),
                web.get("/events", self._events),
                web.get("/admin", self._admin),
                web.get("/{path:.*}", self._home),
            ]
        )
        return app

    async def _home(self, request: web.Request) -> web.Response:
        verified = await self._verify(request)
        gate = verified.claims.get("gate", {})
        name = str(verified.claims.get("name", ""))
        return page(
            "app.html",
            title=_title(request),
            links=[
                {"title": TITLES[label].partition(",")[0], "url": url}
                for label, url in self._links.items()
                if label != _label(request)
            ],
            name=name,
            initials="".join(word[:1] for word in name.split()) or "?",
            email=str(verified.claims.get("email", "")),
            groups=[str(each) for each in verified.claims.get("groups", [])],
            device=gate.get("device"),
            risk=gate.get("risk"),
            outcome=gate.get("outcome"),
            restrictions=[str(each) for each in gate.get("restrictions", [])],
            headers=_gate_headers(request),
            verified=not verified.fault,
            verdict=verified.fault or "verified",
            claims=json.dumps(verified.claims, indent=2, ensure_ascii=False),
            jwks_url=self._assertions.jwks_url,
            notes=list(self._notes),
        )

    async def _whoami(self, request: web.Request) -> web.Response:
        verified = await self._verify(request)
        body = {
            "host": request.host,
            "headers": dict(_gate_headers(request)),
            "assertion": {
                "is_verified": not verified.fault,
                "fault": verified.fault,
                "claims": verified.claims,
            },
            "cookies": sorted(request.cookies),
        }
        return web.json_response(body, headers={"Cache-Control": "no-store"})

    async def _write(self, request: web.Request) -> web.Response:
        form = await request.post()
        verified = await self._verify(request)
        note = str(form.get("note", ""))[:200]
        name = str(verified.claims.get("name", "nobody"))
        self._notes.appendleft(_Note(note, name, datetime.now().astimezone().strftime("%H:%M:%S")))
        return web.Response(status=303, headers={"Location": "/"})

    async def _download(self, _request: web.Request) -> web.Response:
        return web.Response(
            text=SALARIES,
            content_type="text/csv",
            headers={"Content-Disposition": 'attachment; filename="salaries.csv"'},
        )

    async def _admin(self, request: web.Request) -> web.Response:
        return page(
            "plain.html",
            title=_title(request),
            heading="Admin area",
            text="Only administrators who confirmed with their security key come here.",
        )

    async def _live(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=30)
        await socket.prepare(request)
        ticking = spawn(_tick(socket), name="demo-clock")
        try:
            async for _message in socket:
                pass  # whatever the page says is read, so that pongs and its close are seen
        finally:
            ticking.cancel()
        return socket

    async def _events(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(f"data: {_now()}\n\n".encode())
                await asyncio.sleep(TICK_S)
        return response

    async def _verify(self, request: web.Request) -> Verified:
        return await self._assertions.verify(request.headers.get("X-Gate-Jwt"), request.host)


async def _tick(socket: web.WebSocketResponse) -> None:
    with suppress(ConnectionError):
        while not socket.closed:
            await socket.send_str(_now())
            await asyncio.sleep(TICK_S)


def _now() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")


def _label(request: web.Request) -> str:
    return request.host.partition(".")[0]


def _title(request: web.Request) -> str:
    return TITLES.get(_label(request), TITLES["app"])


def _gate_headers(request: web.Request) -> list[tuple[str, str]]:
    return sorted(
        (name, value)
        for name, value in request.headers.items()
        if name.lower().replace("_", "-").startswith(NAMESPACE)
    )
