"""A browser without a screen: what a person's browser sends to the demo, over HTTP and with cookies."""

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from gateway.demo.loopback import loopback_client
from gateway.tasks import spawn

MOST_REDIRECTS = 15
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NAVIGATION = {
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "none",
    "Upgrade-Insecure-Requests": "1",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) posturegate-demo-check",
}
FETCH = {
    "Accept": "application/json",
    "Sec-Fetch-Dest": "empty",
    "Sec-Fetch-Mode": "cors",
    "Sec-Fetch-Site": "same-origin",
}
WITHIN_S = 20.0
"""What comes at once on a machine with nothing else to do comes within this on any."""

CUT_CODE = 4403
"""Close code of a WebSocket that the gateway ended because access was withdrawn."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. `took_s` runs on a monotonic clock, from just before the request to the end of the body."""

    url: str
    status: int
    headers: dict[str, str]
    text: str
    took_s: float

    def header(self, name: str) -> str:
        """Return the header's value, "" when it is absent."""
        return self.headers.get(name.lower(), "")

    def json(self) -> Any:
        """Return the decoded body. Raises `ValueError` when it is not JSON."""
        return msgspec.json.decode(self.text)

    @property
    def location(self) -> str:
        """Return where a redirect leads, as an absolute URL; "" without one."""
        target = self.header("location")
        return str(URL(self.url, encoded=True).join(URL(target, encoded=True))) if target else ""

    def __str__(self) -> str:
        where = f" to {self.location}" if self.location else ""
        return f"{self.status}{where} ({self.header('content-type') or 'no content'})"


class Form(msgspec.Struct, frozen=True):
    """A form of a page: where it is sent, and its hidden fields."""

    action: str
    fields: dict[str, str]


class Stream:
    """An open WebSocket or event stream: how much came over it, and how and when it ended."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.close_code: int | None = None
        self.close_reason = ""
        self.ended_mono_s: float | None = None
        self._changed = asyncio.Event()

    def add(self, message: str) -> None:
        """Note a message that came."""
        self.messages.append(message)
        self._changed.set()

    def end(self, code: int | None = None, reason: str = "") -> None:
        """Note that the stream ended now."""
        if self.ended_mono_s is None:
            self.ended_mono_s = time.monotonic()
            self.close_code, self.close_reason = code, reason
        self._changed.set()

    async def until_messages(self, count: int, within_s: float = WITHIN_S) -> bool:
        """Wait until that many messages came; return whether they did."""
        return await self._until(lambda: len(self.messages) >= count, within_s)

    async def until_ended(self, within_s: float = WITHIN_S) -> bool:
        """Wait until the stream ended; return whether it did."""
        return await self._until(lambda: self.ended_mono_s is not None, within_s)

    async def until(self, text: str, within_s: float = WITHIN_S) -> bool:
        """Wait until a message contains the text; return whether one does."""
        return await self._until(lambda: any(text in message for message in self.messages), within_s)

    async def _until(self, happened: Any, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not happened():
                    self._changed.clear()
                    await self._changed.wait()
        return bool(happened())


class Browser:
    """One person's browser, with cookies of its own."""

    def __init__(self) -> None:
        self.jar = aiohttp.CookieJar(unsafe=True)  # `unsafe` lets it keep cookies of the provider's address
        self._client = loopback_client(jar=self.jar)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.close()

    # --- single requests --------------------------------------------------------------------------------

    async def request(
        self, method: str, url: str, headers: dict[str, str], form: dict[str, str] | None = None
    ) -> Answer:
        """Send one request, follow nothing."""
        began = time.monotonic()
        async with self._client.request(
            method, URL(url, encoded=True), headers=headers, data=form, allow_redirects=False
        ) as response:
            text = await response.text(errors="replace")
            return Answer(
                url=url,
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                text=text,
                took_s=time.monotonic() - began,
            )

    async def navigate(self, url: str, headers: dict[str, str] | None = None) -> Answer:
        """Ask for a page as the address bar does, without following redirects."""
        return await self.request("GET", url, NAVIGATION | (headers or {}))

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
    ) -> Answer:
        """Ask as a script of the page does."""
        origin = {} if method == "GET" else {"Origin": origin_of(url)}
        return await self.request(method, url, FETCH | origin | (headers or {}), form)

    # --- what a person does -----------------------------------------------------------------------------

    async def open(self, url: str) -> Answer:
        """Ask for a page and follow redirects until one stays."""
        return await self._follow(await self.navigate(url))

    async def submit(self, page: Answer, form: Form, chosen: dict[str, str]) -> Answer:
        """Send a form of a page with what the person chose, and follow redirects until a page stays."""
        target = str(URL(page.url, encoded=True).join(URL(form.action, encoded=True)))
        headers = NAVIGATION | {"Origin": origin_of(page.url), "Sec-Fetch-Site": "same-origin"}
        return await self._follow(await self.request("POST", target, headers, form.fields | chosen))

    async def sign_in(self, url: str, subject: str, *, with_key: bool = False) -> Answer:
        """Open a page, click a person at the demo provider if it asks, and return where that ends."""
        page = await self.open(url)
        form = form_of(page, "/interaction/")
        if form is None:
            return page
        page = await self.submit(page, form, {"person": subject})
        form = form_of(page, "/interaction/") if with_key else None
        return page if form is None else await self.submit(page, form, {"key": "touched"})

    async def _follow(self, answer: Answer) -> Answer:
        for _ in range(MOST_REDIRECTS):
            if answer.status not in REDIRECTS:
                return answer
            answer = await self.navigate(answer.location)
        raise aiohttp.ClientError(f"more than {MOST_REDIRECTS} redirects, the last to {answer.url}")

    # --- streams ----------------------------------------------------------------------------------------

    def socket(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """Open a WebSocket, and read it while the context is open."""
        return self._reading(self._read_socket, url)

    def events(self, url: str) -> AbstractAsyncContextManager[Stream]:
        """Open a stream of server-sent events, and read it while the context is open."""
        return self._reading(self._read_events, url)

    @asynccontextmanager
    async def _reading(self, read: Any, url: str) -> AsyncIterator[Stream]:
        stream = Stream()
        task = spawn(read(url, stream), name="demo-stream")
        try:
            yield stream
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read_socket(self, url: str, stream: Stream) -> None:
        headers = {"Origin": origin_of(url), "Sec-Fetch-Mode": "websocket", "Sec-Fetch-Dest": "websocket"}
        try:
            async with self._client.ws_connect(url, headers=headers) as socket:
                while True:
                    message = await socket.receive()
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        reason = message.extra if isinstance(message.extra, str) else ""
                        stream.end(socket.close_code, reason)
                        return
                    stream.add(message.data)
        except aiohttp.WSServerHandshakeError as error:
            stream.end(error.status, "the WebSocket was refused")
        except aiohttp.ClientError as error:
            stream.end(None, str(error))

    async def _read_events(self, url: str, stream: Stream) -> None:
        headers = FETCH | {"Accept": "text/event-stream"}
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        try:
            async with self._client.get(url, headers=headers, timeout=timeout) as response:
                if response.status != HTTPStatus.OK:
                    stream.end(response.status, "the stream was refused")
                    return
                async for line in response.content:
                    if line.startswith(b"data:"):
                        stream.add(line[5:].decode(errors="replace").strip())
                stream.end(None, "ended")
        except aiohttp.ClientError as error:
            stream.end(None, str(error) or type(error).__name__)


def origin_of(url: str) -> str:
    """Return the origin of the page that asks for a URL of its own host; that of a WebSocket is its page's, too."""
    origin = URL(url, encoded=True).origin()
    return str(origin.with_scheme({"ws": "http", "wss": "https"}.get(origin.scheme, origin.scheme)))


def form_of(page: Answer, action: str) -> Form | None:
    """Return the first form of the page whose target contains `action`, None without one."""
    for match in re.finditer(r"<form\b([^>]*)>(.*?)</form>", page.text, re.DOTALL):
        attributes = _attributes(match[1])
        target = attributes.get("action", page.url)
        if action in target:
            inputs = (_attributes(each) for each in re.findall(r"<input\b([^>]*)>", match[2]))
            fields = {each["name"]: each.get("value", "") for each in inputs if each.get("type") == "hidden"}
            return Form(target, fields)
    return None


def link_of(page: Answer, target: str) -> str | None:
    """Return the absolute URL of the page's first link that contains `target`, None without one."""
    for found in re.findall(r'href="([^"]*)"', page.text):
        url = html.unescape(found)
        if target in url:
            return str(URL(page.url, encoded=True).join(URL(url, encoded=True)))
    return None


def attribute_of(page: Answer, name: str) -> str:
    """Return the value of the first attribute of that name in the page, "" without one."""
    match = re.search(rf'\b{re.escape(name)}="([^"]*)"', page.text)
    return html.unescape(match[1]) if match else ""


def _attributes(text: str) -> dict[str, str]:
    return {name: html.unescape(value) for name, value in re.findall(r'([\w-]+)="([^"]*)"', text)}
