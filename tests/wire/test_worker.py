"""A worker by itself, with apps whose paths are all public: what its settings make of requests, without a hub."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
import structlog
import trustme

from compliance.model import Decision, Outcome, Residual
from gateway.config.schema import Certificate, ClientCertificates, HealthCheck, Limits, Tls
from gateway.feed.protocol import Ticket
from gateway.feed.settings import WorkerApp, WorkerSettings, encode_settings
from gateway.feed.worker_side import Entry, TicketKey
from gateway.proxy.exchange import Exchange
from gateway.worker import Worker
from tests.wire.harness import Recorder, closed_transports, until

NAMES = ("plain.test", "closed.test")


def app(name: str, recorder: Recorder, **options: object) -> WorkerApp:
    defaults = {
        "name": name.partition(".")[0],
        "host": name,
        "path_prefix": "/",
        "upstreams": (f"http://127.0.0.1:{recorder.port}",),
        "upstream_ca": None,
        "public_paths": ("/",),
        "preserve_host": True,
        "body_bytes": 1000,
    }
    return WorkerApp(**(defaults | options))


def settings(*apps: WorkerApp, **options: object) -> WorkerSettings:
    defaults = {
        "revision": "1",
        "listen": "127.0.0.1:0",
        "login_host": "login.test",
        "is_https": True,
        "tls": None,
        "limits": Limits(),
        "trusted_proxies": (),
        "proxy_protocol": (),
        "accepts_client_cert": False,
        "networks": (),
    }
    return WorkerSettings(apps=apps, **(defaults | options))


@contextlib.asynccontextmanager
async def running(folder: Path, given: WorkerSettings) -> AsyncIterator[tuple[Worker, int]]:
    """Run a worker that never finds its hub; yields it and its port."""
    worker = Worker("w", folder, pid=1)
    worker.configure(encode_settings(given))
    await until(lambda: worker._front is not None)
    try:
        yield worker, worker._front._servers[0].sockets[0].getsockname()[1]
    finally:
        await worker.drain_and_close(0.1)
        await closed_transports()


async def ask(
    port: int, host: str, path: str = "/", *, tls: ssl.SSLContext | None = None, name: str | None = None
) -> bytes:
    """Return the answer to one request for `host`, over TLS on a connection that was made for `name`."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", port, ssl=tls, server_hostname=(name or host) if tls else None
    )
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_prefixes_and_several_addresses(recorder: Recorder, tmp_path: Path) -> None:
    wiki = app(
        "plain.test", recorder, path_prefix="/wiki", strip_prefix=True, add_prefix="/v2", preserve_host=False
    )
    others = app("closed.test", recorder, upstreams=("http://127.0.0.1:1", *wiki.upstreams))
    async with running(tmp_path, settings(wiki, others)) as (_, port):
        assert (await ask(port, "plain.test", "/wiki/a?b=c")).endswith(b"ok")
        for _ in range(4):
            assert (await ask(port, "closed.test")).endswith(b"ok")
    first = recorder.requests[0]
    assert first.target == b"/v2/a?b=c"
    assert first.header(b"x-forwarded-prefix") == [b"/wiki"]
    assert first.header(b"host") == [b"127.0.0.1:%d" % recorder.port]


async def test_a_reload_keeps_the_pools_that_stay_the_same(recorder: Recorder, tmp_path: Path) -> None:
    same, checked = app("plain.test", recorder), app("closed.test", recorder, health=HealthCheck(path="/h"))
    async with running(tmp_path, settings(same, checked)) as (worker, port):
        before = dict(worker._pools)
        assert len(before) == 2
        worker.configure(encode_settings(settings(same)))
        assert len(worker._pools) == 1
        assert set(worker._pools.values()) < set(before.values())
        worker.configure(encode_settings(settings(same, limits=Limits(connect_timeout=1.0))))
        assert not set(worker._pools.values()) & set(before.values())
        assert (await ask(port, "plain.test")).endswith(b"ok")


class Authorities:
    """Certificates of the listener, and of a device."""

    def __init__(self, folder: Path, asks: ClientCertificates) -> None:
        self.web, self.devices = trustme.CA(), trustme.CA()
        self.devices.cert_pem.write_to_path(folder / "devices.pem")
        issued = self.web.issue_cert(*NAMES)
        issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        certificate = Certificate(cert=str(folder / "cert.pem"), key=str(folder / "key.pem"))
        self.tls = Tls(
            certificates=(certificate,), client_certificates=asks, client_ca=str(folder / "devices.pem")
        )

    def client(self, *, presents: bool) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.web.configure_trust(context)
        if presents:
            self.devices.issue_cert("device.test").configure_cert(context)
        return context


@pytest.mark.parametrize(
    ("presents", "name", "status"),
    [
        (True, "closed.test", 200),
        (False, "closed.test", 403),
        (False, "plain.test", 421),
        (True, "plain.test", 421),
        (True, "CLOSED.test", 200),
    ],
)
async def test_an_app_that_needs_a_certificate(
    recorder: Recorder, tmp_path: Path, presents: bool, name: str, status: int
) -> None:
    """The other app of the listener is reached on every connection; this one on its own, with a certificate."""
    authorities = Authorities(tmp_path, ClientCertificates.OPTIONAL)
    needing = app("closed.test", recorder, client_certificate=ClientCertificates.REQUIRED)
    given = settings(app("plain.test", recorder), needing, tls=authorities.tls)
    async with running(tmp_path, given) as (worker, port):
        tls = authorities.client(presents=presents)
        answer = await ask(port, "closed.test", tls=tls, name=name)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert len(recorder.requests) == (status == 200)
        if status != 200:
            code = {403: "client-certificate-required", 421: "misdirected-request"}[status]
            assert code.encode() in answer
            assert worker.counters[f"faults_{code}"] == 1
            assert b"Connection: close" in answer
        assert (await ask(port, "plain.test", tls=tls, name=name)).endswith(b"ok")


async def test_no_certificate_over_plain_http(recorder: Recorder, tmp_path: Path) -> None:
    needing = app("closed.test", recorder, client_certificate=ClientCertificates.REQUIRED)
    async with running(tmp_path, settings(needing)) as (_, port):
        assert (await ask(port, "closed.test")).startswith(b"HTTP/1.1 403 ")
    assert recorder.requests == []


@pytest.mark.parametrize(
    ("origin", "is_admitted"),
    [
        (None, True),
        ("https://plain.test", True),
        ("https://plain.test:443", True),
        ("https://portal.test", True),
        ("https://closed.test", False),
        ("https://evil.plain.test", False),
        ("http://plain.test", False),
        ("null", False),
    ],
)
async def test_which_pages_may_open_a_websocket(
    recorder: Recorder, tmp_path: Path, origin: str | None, is_admitted: bool
) -> None:
    """The request of a foreign page has the person's cookies all the same, and browsers do not ask beforehand."""
    plain = app("plain.test", recorder, websocket_origins=("https://portal.test",))
    recorder.answer = lambda _: b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
    line = "" if origin is None else f"Origin: {origin}\r\n"
    async with running(tmp_path, settings(plain)) as (worker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"GET /ws HTTP/1.1\r\nHost: plain.test\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n{line}\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 %d " % (101 if is_admitted else 403))
        assert len(recorder.requests) == is_admitted
        assert worker.counters["faults_websocket-origin-refused"] == (not is_admitted)
        if not is_admitted:
            assert b'"code":"websocket-origin-refused"' in await reader.read()
        writer.close()


async def test_a_foreign_page_may_ask_for_anything_else(recorder: Recorder, tmp_path: Path) -> None:
    """Who may read the answer is between app and browser (CORS)."""
    async with running(tmp_path, settings(app("plain.test", recorder))) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"GET / HTTP/1.1\r\nHost: plain.test\r\nOrigin: https://evil.test\r\nConnection: close\r\n\r\n"
        )
        assert (await reader.read()).endswith(b"ok")
        writer.close()


@pytest.mark.parametrize(
    ("place", "status", "sent"),
    [
        ("https://plain.test/dav/b%20c", 200, b"/b%20c"),
        ("/dav/./x/../b", 200, b"/b"),
        ("https://plain.test/other/b", 403, None),
        ("https://plain.test/dav/../other/b", 403, None),
        ("/dav/a%2Fb", 403, None),
        ("https://closed.test/dav/b", 400, None),
        ("/dav/b c", 400, None),
    ],
)
async def test_a_copy_stays_within_its_app(
    recorder: Recorder, tmp_path: Path, place: str, status: int, sent: bytes | None
) -> None:
    """The app reads a path that it knows: neither a scheme nor a prefix that only the public has."""
    options = {"path_prefix": "/dav", "strip_prefix": True}
    given = settings(app("plain.test", recorder, **options), app("rest.test", recorder, host="plain.test"))
    async with running(tmp_path, given) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"COPY /dav/a HTTP/1.1\r\nHost: plain.test\r\nDestination: {place}\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert [each for seen in recorder.requests for each in seen.header(b"destination")] == (
        [sent] if sent else []
    )


@pytest.mark.parametrize(
    ("path", "is_public"),
    [
        ("/c++/a", True),
        ("/c%2B%2B/a", False),
        ("/c++/a%40b", True),
        ("/open/a%2Bb", True),
        ("/open%2Fa", False),
    ],
)
async def test_a_path_is_public_when_both_spellings_of_its_signs_are(
    recorder: Recorder, tmp_path: Path, path: str, is_public: bool
) -> None:
    """The app is sent the one that the client wrote. There is no hub to sign in at here."""
    async with running(tmp_path, settings(app("plain.test", recorder, public_paths=("/c++", "/open")))) as (
        _,
        port,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: plain.test\r\n\r\n".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ") == is_public
    assert [seen.target.decode() for seen in recorder.requests] == ([path] if is_public else [])


def entry_that_refuses(prefix: str) -> Entry[Exchange]:
    """Return a session's decisions about the app `plain.test`, by the path alone."""
    residual = Residual(entries=(), constant=None, valid_until=None)
    ticket = Ticket(
        keys=(), session="s", decision="d", residual=residual, headers=(), variants=(), valid_until=9e9
    )
    entry: Entry[Exchange] = Entry(TicketKey("s", "plain.test", "plain", b""), ticket)
    entry.decide = lambda facts: REFUSED if facts.path.startswith(prefix) else GRANTED
    return entry


GRANTED = Decision(outcome=Outcome.ALLOW, policy="p", reason="")
REFUSED = Decision(outcome=Outcome.BLOCK, policy="q", reason="")


async def test_a_block_holds_however_the_signs_of_a_path_are_spelt(
    recorder: Recorder, tmp_path: Path
) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"
    entry = entry_that_refuses("/c++/")
    async with running(tmp_path, settings(app("plain.test", recorder))) as (worker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for path, expected in (("/c", GRANTED), ("/c++/x", REFUSED), ("/c%2b+/x", REFUSED)):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: plain.test\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\nok")
            [exchange] = worker._public
            assert worker._decide(exchange, entry) == expected
            recorder.connections[-1].transport.write(b"1234567")
            await reader.readexactly(7)
        writer.close()


async def test_a_copy_gets_no_more_than_both_of_its_paths(recorder: Recorder, tmp_path: Path) -> None:
    recorder.answer = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"
    entry = entry_that_refuses("/finance/")
    async with running(tmp_path, settings(app("plain.test", recorder))) as (worker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for place, expected in (("/b", GRANTED), ("/finance/b", REFUSED)):
            writer.write(f"COPY /a HTTP/1.1\r\nHost: plain.test\r\nDestination: {place}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\nok")
            [exchange] = worker._public
            assert worker._decide(exchange, entry) == expected
            recorder.connections[-1].transport.write(b"1234567")
            await reader.readexactly(7)
        writer.close()


PREFLIGHT = "Origin: https://portal.test\r\nAccess-Control-Request-Method: PUT\r\n"


@pytest.mark.parametrize(
    ("is_asked_for", "line", "more", "is_passed"),
    [
        (True, "OPTIONS /api?a=b", PREFLIGHT, True),
        (False, "OPTIONS /api?a=b", PREFLIGHT, False),
        (True, "GET /api", PREFLIGHT, False),
        (True, "OPTIONS /api", "Origin: https://portal.test\r\n", False),
        (True, "OPTIONS /api", "Access-Control-Request-Method: PUT\r\n", False),
        # Nobody gets more by it than the answer whether a page may ask.
        (True, "OPTIONS /api", PREFLIGHT + "X-HTTP-Method-Override: GET\r\n", False),
        (True, "OPTIONS /api?_method=GET", PREFLIGHT, False),
        (True, "OPTIONS /api", PREFLIGHT + "Content-Length: 1\r\n", False),
        (True, "OPTIONS /a%2Fapi", PREFLIGHT, False),
    ],
)
async def test_preflights_reach_an_app_that_asks_for_them(
    recorder: Recorder, tmp_path: Path, is_asked_for: bool, line: str, more: str, is_passed: bool
) -> None:
    """Browsers send them without a session. Here nobody has one, and there is no hub to sign in at."""
    plain = app("plain.test", recorder, public_paths=(), cors_preflights=is_asked_for)
    async with running(tmp_path, settings(plain)) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{line} HTTP/1.1\r\nHost: plain.test\r\nCookie: a=b\r\n{more}\r\n.".encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ") == is_passed
    assert len(recorder.requests) == is_passed
    assert not is_passed or not [seen for seen in recorder.requests if seen.header(b"x-gate-jwt")]


BROKEN = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


@pytest.mark.parametrize(
    ("begin", "end", "detail"),
    [
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", b"zz\r\n", "a chunk-size line is malformed"),
        (b"Content-Length: 9\r\n\r\nok", b"", "the connection ended before the answer did"),
    ],
)
async def test_an_answer_that_an_app_does_not_finish_is_logged(
    recorder: Recorder, tmp_path: Path, begin: bytes, end: bytes, detail: str
) -> None:
    recorder.answer = lambda _: BROKEN + begin
    async with running(tmp_path, settings(app("plain.test", recorder))) as (worker, port):
        with structlog.testing.capture_logs() as logs:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /a?secret HTTP/1.1\r\nHost: plain.test\r\n\r\n")
            await reader.readuntil(b"ok")
            recorder.connections[-1].transport.write(end)
            recorder.connections[-1].transport.close()
            await until(lambda: worker.counters["answers_broken_by_apps"] == 1)
            writer.close()
    [line] = [each for each in logs if each["event"] == "answer-not-whole"]
    assert (line["app"], line["path"], line["status"], line["detail"]) == ("plain", "/a", 200, detail)


async def test_an_answer_that_ends_with_its_connection_is_whole(recorder: Recorder, tmp_path: Path) -> None:
    recorder.answer = lambda _: BROKEN + b"\r\nok"
    async with running(tmp_path, settings(app("plain.test", recorder))) as (worker, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /a HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"ok")
        recorder.connections[-1].transport.close()
        assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()
        assert not worker.counters["answers_broken_by_apps"]


async def test_what_was_cut_is_freed_a_moment_later(recorder: Recorder, tmp_path: Path) -> None:
    """Nothing of a cut exchange is kept, though whoever waits for the cut does not wait for that."""
    recorder.answer = lambda _: BROKEN + b"Content-Length: 9\r\n\r\nok"
    public = app("plain.test", recorder)
    async with running(tmp_path, settings(public)) as (worker, port):
        readers = []
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /a HTTP/1.1\r\nHost: plain.test\r\n\r\n")
            await reader.readuntil(b"ok")
            readers.append((reader, writer))
        private = msgspec.structs.replace(public, public_paths=())
        assert worker.configure(encode_settings(settings(private))) == {"plain": 3}
        assert len(worker._cut_ones) == 3
        for reader, writer in readers:
            with pytest.raises(ConnectionResetError):
                await reader.read()
            writer.close()
        await until(lambda: not worker._cut_ones)
