"""Listeners of the real process: Unix socket, socket activation, one gateway per address, renewed certificates."""

import asyncio
import os
import socket
import ssl
import sys
from pathlib import Path

import aiohttp
import pytest
import trustme

from gateway.listeners import ListenFault, check_free, hold_run_dir, reserved, shared_listener
from tests.ports import free_ports
from tests.system.stack import LoopbackResolver, Stack, running_stack

pytestmark = pytest.mark.op


async def fetch_unix(path: Path) -> int:
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as http,
        http.get("http://notes.localhost/public/x") as response,
    ):
        return response.status


def listen_on(stack: Stack, listen: str) -> None:
    """Rewrite the configuration's listener."""
    text = stack.config_path.read_text()
    stack.config_path.write_text(text.replace(f"listen: 127.0.0.1:{stack.port}", f"listen: {listen}"))


async def test_two_workers_share_a_unix_socket() -> None:
    async with running_stack(starts=False) as stack:
        path = stack.folder / "public.sock"
        listen_on(stack, f"unix:{path}")
        await stack.start()
        assert [await fetch_unix(path) for _ in range(4)] == [200] * 4
        await stack.stop()
        await stack.start()
        assert await fetch_unix(path) == 200


async def test_a_socket_from_the_service_manager_is_used() -> None:
    async with running_stack(starts=False) as stack:
        listen_on(stack, "systemd")
        activated = socket.socket()
        activated.bind(("127.0.0.1", stack.port))
        activated.listen()
        # As systemd does it: the socket is descriptor 3, and LISTEN_PID is the process that is started.
        launcher = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
            "os.environ['LISTEN_PID'] = str(os.getpid());"
            "os.environ['LISTEN_FDS'] = '1'; os.execv(sys.executable, [sys.executable, *sys.argv[2:]])"
        )
        command = ["-m", "gateway", "serve", "--config", str(stack.config_path)]
        with stack.log_path.open("ab") as log:
            stack.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                launcher,
                str(activated.fileno()),
                *command,
                env=stack.environment,
                pass_fds=(activated.fileno(),),
                stdout=log,
                stderr=log,
            )
        activated.close()
        await stack.ready()
        connector = aiohttp.TCPConnector(resolver=LoopbackResolver())
        async with (
            aiohttp.ClientSession(connector=connector) as http,
            http.get(stack.url("/public/x")) as response,
        ):
            assert response.status == 200


async def test_a_second_gateway_is_refused_and_says_why() -> None:
    async with running_stack() as stack:
        exit_code, output = await stack.cli("serve", "--config", str(stack.config_path))
        assert exit_code == 1
        assert "another gateway runs" in output
        other = stack.folder / "other.yaml"
        other.write_text(stack.config_path.read_text().replace("/run\n", "/run2\n"))
        exit_code, output = await stack.cli("serve", "--config", str(other))
        assert exit_code == 1
        assert f"cannot listen on `127.0.0.1:{stack.port}`" in output


async def test_certificates_are_renewed_without_dropping_connections() -> None:
    async with running_stack(scheme="https", starts=False) as stack:
        first, second = trustme.CA(), trustme.CA()
        write_certificate(stack, first)
        tls = "  tls: {certificates: [{cert: cert.pem, key: key.pem}]}"
        stack.write_config(server=tls)
        trust = ssl.create_default_context()
        for authority in (first, second):
            authority.configure_trust(trust)
        stack.tls = trust
        await stack.start()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", stack.port, ssl=trust, server_hostname="localhost"
        )
        before = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert await status_line(reader, writer) == b"HTTP/1.1 200 OK\r\n"
        write_certificate(stack, second)
        assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
        assert await status_line(reader, writer) == b"HTTP/1.1 200 OK\r\n"
        writer.close()
        _, fresh = await asyncio.open_connection(
            "127.0.0.1", stack.port, ssl=trust, server_hostname="localhost"
        )
        assert fresh.get_extra_info("ssl_object").getpeercert(binary_form=True) != before
        fresh.close()


BROWSER = "Accept: text/html\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
PROGRAM = "Accept: application/json\r\n"
NEEDS_CERTIFICATE = "public_paths: [/public]\n    client_certificate: required"


async def test_a_missing_device_certificate_and_a_renewed_device_authority() -> None:
    """People see a page, programs a problem; a reload makes the new authority count, whatever name clients ask for."""
    async with running_stack(scheme="https", starts=False) as stack:
        web, old, new = trustme.CA(), trustme.CA(), trustme.CA()
        write_certificate(stack, web)
        old.cert_pem.write_to_path(stack.folder / "devices.pem")
        stack.write_config(
            server="  tls: {certificates: [{cert: cert.pem, key: key.pem}],"
            " client_certificates: optional, client_ca: devices.pem}",
            **{"public_paths: [/public]": NEEDS_CERTIFICATE},
        )
        stack.tls = certified(web, None)
        await stack.start()
        page = await asked(stack, certified(web, None), BROWSER)
        assert page.startswith(b"HTTP/1.1 403 ")
        assert b"Content-Type: text/html" in page
        assert b"This app opens on company devices only" in page
        page = await asked(stack, certified(web, old), BROWSER, name="wiki.localhost")
        assert page.startswith(b"HTTP/1.1 421 ")
        assert b"This connection was made for another address" in page
        problem = await asked(stack, certified(web, None), PROGRAM)
        assert problem.startswith(b"HTTP/1.1 403 ")
        assert b'"code":"client-certificate-required"' in problem
        assert (await asked(stack, certified(web, old), BROWSER)).startswith(b"HTTP/1.1 200 ")
        assert stack.upstream.requests[-1]["path"] == "/public/x"
        new.cert_pem.write_to_path(stack.folder / "devices.pem")
        assert (await stack.cli("reload", "--config", str(stack.config_path)))[0] == 0
        for name in ("notes.localhost", "127.0.0.1"):
            assert (await asked(stack, certified(web, new), PROGRAM, name=name)).startswith(b"HTTP/1.1 200 ")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await asked(stack, certified(web, old), PROGRAM, name=name)


def certified(web: trustme.CA, devices: trustme.CA | None) -> ssl.SSLContext:
    """A client that trusts the listener, and has a device certificate of `devices`."""
    context = ssl.create_default_context()
    context.check_hostname = False
    web.configure_trust(context)
    if devices is not None:
        devices.issue_cert("device.example").configure_cert(context)
    return context


async def asked(stack: Stack, tls: ssl.SSLContext, headers: str, *, name: str = "notes.localhost") -> bytes:
    """Return the answer to a request for `notes`, on a connection that was made for `name` (no SNI for an address)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stack.port, ssl=tls, server_hostname=name)
    try:
        host = f"notes.localhost:{stack.port}"
        writer.write(f"GET /public/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n".encode())
        received = await reader.read()
    finally:
        writer.close()
    if not received:
        raise ConnectionError("closed without an answer")
    return received


def write_certificate(stack: Stack, authority: trustme.CA) -> None:
    issued = authority.issue_cert("*.localhost", "localhost")
    issued.private_key_pem.write_to_path(stack.folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(stack.folder / "cert.pem")


async def status_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Send one request on a kept connection and return the first line of its whole answer."""
    writer.write(b"HEAD /public/x HTTP/1.1\r\nHost: notes.localhost\r\n\r\n")
    line = await reader.readline()
    while await reader.readline() != b"\r\n":
        pass
    return line


def test_a_run_dir_belongs_to_one_gateway(tmp_path: Path) -> None:
    held = hold_run_dir(tmp_path / "run")
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    with pytest.raises(ListenFault, match="another gateway"):
        hold_run_dir(tmp_path / "run")
    os.close(held)
    os.close(hold_run_dir(tmp_path / "run"))


def test_an_address_in_use_is_found_and_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(ListenFault, match="Address already in use"),
    ):
        check_free(f"127.0.0.1:{taken.getsockname()[1]}")
    first = shared_listener(f"unix:{tmp_path / 's'}")
    with pytest.raises(ListenFault, match="already listens"):
        shared_listener(f"unix:{tmp_path / 's'}")
    first.close()
    shared_listener(f"unix:{tmp_path / 's'}").close()
    with pytest.raises(ListenFault, match="LISTEN_FDS"):
        shared_listener("systemd")


def test_a_port_stays_the_gateways_while_no_worker_listens() -> None:
    """Between two workers nobody else gets the port: not a second gateway, and not an outgoing connection."""
    (port,) = free_ports(1)
    listen = f"127.0.0.1:{port}"
    with reserved(listen):
        with pytest.raises(ListenFault, match="Address already in use"):
            check_free(listen)
        with socket.socket() as worker:
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            worker.bind(("127.0.0.1", port))
            worker.listen()
            with socket.create_connection(("127.0.0.1", port), 5):
                worker.accept()[0].close()
    check_free(listen)
    with reserved("systemd"), reserved("unix:/nowhere/at/all"):
        pass
