"""The canary's client: HTTP/1.1 by hand, because it must enter where everybody enters, PROXY header and TLS included.

It reads its own answers only: a status line and, of a stream, the last mark that arrived and the moment of its end.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping

import msgspec

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_MARK = re.compile(rb"data: (\d+)\n\n")
READ_BYTES = 65_536


class CanaryFault(Exception):
    """A step of the round did not happen; the text says which, for the operator."""


class Door(msgspec.Struct, frozen=True, kw_only=True):
    """How to enter by the public listener: `host` and `port`, or the Unix socket `path`."""

    host: str = ""
    port: int = 0
    path: str = ""
    tls: ssl.SSLContext | None = None
    says_proxy: bool = False


class Seen(msgspec.Struct, kw_only=True):
    """What a stream showed: when its app wrote the newest mark that arrived, and when it ended (monotonic ns)."""

    last_mark_ns: int = 0
    ended_ns: int | None = None


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Answer = tuple[int, Connection]
"""A status, and the connection from which the body may be read."""


async def connect(door: Door) -> Connection:
    """Return a connection to the public listener. Raises `CanaryFault`."""
    try:
        if door.path:
            reader, writer = await asyncio.open_unix_connection(door.path)
        else:
            reader, writer = await asyncio.open_connection(door.host, door.port)
        if door.says_proxy:
            writer.write(b"PROXY UNKNOWN\r\n")
        if door.tls is not None:
            await writer.start_tls(door.tls)
    except OSError as error:
        raise CanaryFault(f"the listener cannot be reached: {error.strerror or error}") from error
    return reader, writer


async def ask(door: Door, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    """Send one request on a connection of its own; return the status once the head has come. Raises `CanaryFault`."""
    reader, writer = await connect(door)
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    try:
        writer.write("\r\n".join([*lines, "Accept: */*", "\r\n"]).encode() + body)
        head = await reader.readuntil(b"\r\n\r\n")
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        writer.close()
        raise CanaryFault(f"{method} {path} was not answered") from error
    found = _STATUS.match(head)
    if found is None:
        writer.close()
        raise CanaryFault(f"{method} {path} was answered by something that is not HTTP")
    return int(found[1]), (reader, writer)


async def watch(reader: asyncio.StreamReader, seen: Seen) -> None:
    """Follow a stream to its end."""
    rest = b""
    try:
        while chunk := await reader.read(READ_BYTES):
            rest += chunk
            for mark in _MARK.finditer(rest):
                seen.last_mark_ns = int(mark[1])
            rest = rest[-64:]
    except OSError:
        # A reset is how a stream ends that was cut.
        pass
    seen.ended_ns = time.monotonic_ns()
