"""HTTP on this machine's loopback: names below `.localhost` for clients, and servers on a free port.

Browsers take every `*.localhost` name to be loopback (RFC 6761 section 6.3); the C library of a bare system
does not.
"""

import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

LOOPBACK = "127.0.0.1"

PORTS = range(30_000, 32_768)
"""Ports to choose from: those from 32768 on are given to outgoing connections, between the choice and the use too."""


class LoopbackResolver(AbstractResolver):
    """Resolves `localhost` and every name below it to the loopback address, and refuses all else."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_INET,  # noqa: ARG002 - the signature is aiohttp's
    ) -> list[ResolveResult]:
        """Return the one loopback address. Raises `OSError` for a name that is not below `localhost`."""
        if host != "localhost" and not host.endswith(".localhost"):
            raise OSError(None, f"`{host}` is not on this machine")
        return [
            {
                "hostname": host,
                "host": LOOPBACK,
                "port": port,
                "family": socket.AF_INET,
                "proto": 0,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Hold nothing, release nothing."""


def loopback_client(*, jar: aiohttp.abc.AbstractCookieJar | None = None) -> aiohttp.ClientSession:
    """Return an HTTP client that reaches this machine only. Cookies are kept only when `jar` is given."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=LoopbackResolver(), limit=64),
        cookie_jar=aiohttp.DummyCookieJar() if jar is None else jar,
        timeout=aiohttp.ClientTimeout(total=30),
        trust_env=False,
    )


def free_port() -> int:
    """Return a port of the loopback address that nobody listens on now. Raises `OSError` when there is none."""
    for port in random.sample(PORTS, len(PORTS)):
        if is_free(port):
            return port
    raise OSError(f"no port from {PORTS[0]} to {PORTS[-1]} is free")


def is_free(port: int) -> bool:
    """Return whether this process could listen on the port."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except (OSError, OverflowError):  # the latter is for what is no port number at all
            return False
    return True


@asynccontextmanager
async def serving(app: web.Application, port: int) -> AsyncIterator[None]:
    """Serve the app on the loopback address while the context is open."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, LOOPBACK, port).start()
        yield
    finally:
        await runner.cleanup()
