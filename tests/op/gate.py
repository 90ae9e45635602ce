"""A hub that has only sign-in, and a browser for it that also plays the worker with its trusted headers."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from aiohttp import ClientSession, DummyCookieJar, web
from aiohttp.test_utils import TestServer
from yarl import URL

from compliance.model import StepUp, User
from gateway.config.schema import App, Config, DeviceClaim, Provider, Sessions
from gateway.hub.signin import SignIn
from gateway.hub.signin_views import Refusal
from gateway.oidc.io import ProviderClient
from gateway.sessions.endings import Endings
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.sessions.seal import Sealer
from gateway.sessions.sqlite import SCHEMA, SqliteSessionStore
from risk.database import Database
from risk.values import Secret

MAX_LINE = 65536
START = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


class Clock:
    """A clock that only a test moves; `sleep` waits for nothing but a cancel, unless the test wakes it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at
        self.slept: list[float] = []
        self._wake = asyncio.Event()

    def now(self) -> datetime:
        return self.at

    def timestamp(self) -> float:
        return self.at.timestamp()

    def mono(self) -> float:
        return (self.at - START).total_seconds() + 1000.0

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._wake.wait()

    def wake(self) -> None:
        """Let everybody who sleeps go on."""
        self._wake.set()
        self._wake = asyncio.Event()


class RealClock(Clock):
    """The machine's clock, for providers that have their own."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def mono(self) -> float:
        return asyncio.get_running_loop().time()

    def timestamp(self) -> float:
        return self.now().timestamp()


class Pages:
    """Pages as plain text: what a test wants to read."""

    def error(self, request: web.Request, refusal: Refusal, *, reference: str) -> web.Response:
        link = "" if refusal.action is None else f"\nlink {refusal.action.url}"
        said = f"error {refusal.code}\n{refusal.title}\n{refusal.text}\nreference {reference}{link}"
        headers = {} if refusal.retry_after_s is None else {"Retry-After": str(refusal.retry_after_s)}
        return web.Response(status=refusal.status, text=said, headers=headers)

    def sign_in_needed(self, request: web.Request, *, sign_in_url: str, kept: object = None) -> web.Response:
        return web.Response(status=401, text=f"sign-in-needed\nlink {sign_in_url}")

    def confirm_sign_out(
        self,
        request: web.Request,
        *,
        user: User,
        back_url: str,
        form_targets: tuple[str, ...],
    ) -> web.Response:
        return web.Response(text=f"confirm {user.subject} back {back_url} targets {' '.join(form_targets)}")

    def signed_out(
        self,
        request: web.Request,
        *,
        provider: str,
        provider_url: str,
        sign_in_url: str,
    ) -> web.Response:
        return web.Response(text=f"signed-out {provider} {provider_url} {sign_in_url}")  # fmt: skip


class Answer(msgspec.Struct):
    """A response as the browser saw it."""

    url: str
    status: int
    headers: dict[str, str]
    set_cookies: list[str]
    text: str

    @property
    def location(self) -> str:
        assert self.status in (301, 302, 303, 307), (self.url, self.status, self.text)
        return self.headers["Location"]


class Browser:
    """Keeps cookies per host as browsers do, `__Host-` rules included; follows no redirect by itself."""

    def __init__(self, http: ClientSession, port: int) -> None:
        self._http = http
        self._port = port
        self.cookies: dict[str, dict[str, str]] = {}

    async def send(
        self,
        url: str,
        *,
        method: str = "GET",
        kind: str = "browser",
        headers: Mapping[str, str] | None = None,
        data: Any = None,
    ) -> Answer:
        """Send one request as a worker would pass it on."""
        parts = urlsplit(url)
        jar = self.cookies.setdefault(parts.hostname or "", {})
        sent = {
            "X-Gate-Scheme": parts.scheme,
            "X-Gate-Host": parts.netloc,
            "X-Gate-Client": "127.0.0.1",
            "X-Gate-Client-Kind": kind,
            **({"Cookie": "; ".join(f"{name}={value}" for name, value in jar.items())} if jar else {}),
            **(headers or {}),
        }
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        raw = URL(f"http://127.0.0.1:{self._port}{target}", encoded=True)
        async with self._http.request(
            method, raw, headers=sent, data=data, allow_redirects=False
        ) as response:
            text = await response.text()
            answer = Answer(
                url, response.status, dict(response.headers), response.headers.getall("Set-Cookie", []), text,
            )  # fmt: skip
        for line in answer.set_cookies:
            self._keep(line, parts.scheme, jar)
        return answer

    def _keep(self, line: str, scheme: str, jar: dict[str, str]) -> None:
        pair, *attributes = [part.strip() for part in line.split(";")]
        name, _, value = pair.partition("=")
        assert "Path=/" in attributes
        assert "HttpOnly" in attributes
        assert "SameSite=Lax" in attributes
        assert not any(each.lower().startswith("domain") for each in attributes)
        assert ("Secure" in attributes) == (scheme == "https") == name.startswith("__Host-")
        assert len(line) <= 4096
        if "Max-Age=0" in attributes:
            jar.pop(name, None)
        else:
            jar[name] = value

    async def follow(self, answer: Answer, until: Callable[[str], bool]) -> Answer | str:
        """Follow redirects until an answer is no redirect, or leads to where `until` says: then that URL."""
        for _ in range(10):
            if answer.status not in (302, 303):
                return answer
            if until(answer.location):
                return answer.location
            answer = await self.send(answer.location)
        raise AssertionError("too many redirects")


class Gate(msgspec.Struct):
    """A running sign-in with everything a test may want to look at."""

    signin: SignIn
    sessions: SessionRegistry
    database: Database
    clock: Clock
    config: Config
    clients: dict[str, ProviderClient]
    changed: list[Session]
    rested: list[float]
    browser: Callable[[], Browser]
    step_up: dict[str, StepUp]

    async def visit(
        self, browser: Browser, url: str, authorize: Callable[[str], str | Awaitable[str]]
    ) -> Answer:
        """Go to `url` as a person would, signing in by `authorize` (authorization URL to callback URL)."""
        answer = await browser.send(url)
        providers = tuple(provider.issuer for provider in self.config.providers)
        for _ in range(12):
            if answer.status not in (302, 303):
                return answer
            location = answer.location
            if location.startswith(providers):
                back = authorize(location)
                location = back if isinstance(back, str) else await back
            answer = await browser.send(location)
        raise AssertionError("too many redirects")


def seeded(seed: int = 1) -> Callable[[int], bytes]:
    """Return repeatable randomness."""
    return random.Random(seed).randbytes  # noqa: S311 - a test wants the same bytes every time


@asynccontextmanager
async def running_gate(
    issuers: Mapping[str, str],
    *,
    path: Path | str = ":memory:",
    clock: Clock | None = None,
    public_url: str = "https://login.corp.example",
    apps: tuple[App, ...] | None = None,
    sessions: Sessions = Sessions(),  # noqa: B008 - frozen
    start_clients: bool = True,
    seed: int = 1,
    **provider: Any,
) -> AsyncIterator[Gate]:
    """Run the sign-in handlers over a real store, for providers given by name and issuer."""
    clock = clock or Clock()
    options = {"client_id": "gate", "client_secret": Secret("a secret: with %+ signs"), **provider}
    config = Config(
        public_url=public_url,
        providers=tuple(Provider(name=name, issuer=issuer, **options) for name, issuer in issuers.items()),
        apps=apps
        or (
            App(name="app", host="app.corp.example", upstream="http://127.0.0.1:1"),
            App(name="wiki", host="wiki.other.example", upstream="http://127.0.0.1:1"),
            App(name="any", host="*.many.example", upstream="http://127.0.0.1:1"),
        ),
        devices=(DeviceClaim(claim="device_id", kind="serial"),),
        sessions=sessions,
    )
    async with AsyncExitStack() as stack:
        database = Database(path, SCHEMA)
        database.start()
        stack.callback(database.close)
        sealer = Sealer([b"0123456789abcdef0123456789abcdef"])
        registry = SessionRegistry(
            SqliteSessionStore(database),
            sealer,
            config.sessions,
            now=clock.now,
            random_bytes=seeded(seed),
            sleep=clock.sleep,
        )
        await registry.load()
        registry.start()
        stack.push_async_callback(registry.stop)
        clients = {
            each.name: ProviderClient(
                each, redirect_uri=f"{public_url}/.gate/callback", devices=config.devices,
                now=clock.now, mono=clock.mono, sleep=clock.sleep,
            )
            for each in config.providers
        }  # fmt: skip
        changed: list[Session] = []

        async def on_changed(session: Session) -> None:
            changed.append(session)

        rested: list[float] = []

        async def rest(seconds: float) -> None:
            rested.append(seconds)

        signin = SignIn(
            config=config, providers=clients, sessions=registry, endings=Endings(database, now=clock.now),
            sealer=sealer, pages=Pages(), now=clock.now,
            mono=clock.mono, random_bytes=seeded(seed + 1), on_session_changed=on_changed, sleep=rest,
        )  # fmt: skip
        await signin.load()
        # Last, for a client fetches in the background: a test may change what the provider says until it first waits.
        for client in clients.values():
            if start_clients:
                await client.start()
            stack.push_async_callback(client.stop)
        step_up: dict[str, StepUp] = {}

        async def app(request: web.Request) -> web.StreamResponse:
            session = signin.session_of(request)
            wanted = step_up.get(request.path)
            if session is None:
                return await signin.start(request)
            if wanted is not None and session.user.acr not in wanted.acr_values:
                return await signin.start(request, step_up=wanted)
            return web.json_response(
                {"subject": session.user.subject, "session": session.id, "path": request.path_qs}
            )

        application = web.Application(middlewares=[signin.home])
        application.add_routes([*signin.routes(), web.route("*", "/{tail:.*}", app)])
        server = TestServer(application)
        await server.start_server(max_line_size=MAX_LINE, max_field_size=MAX_LINE)
        stack.push_async_callback(server.close)
        http = await stack.enter_async_context(
            ClientSession(cookie_jar=DummyCookieJar(), max_line_size=MAX_LINE, max_field_size=MAX_LINE)
        )
        yield Gate(
            signin,
            registry,
            database,
            clock,
            config,
            clients,
            changed,
            rested,
            lambda: Browser(http, server.port or 0),
            step_up,
        )
