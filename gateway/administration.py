"""What everything that is served on the administration socket has in common: its answers, and who asks."""

import socket
import struct

import msgspec
from aiohttp import web


def json_answer(body: object, status: int = 200) -> web.Response:
    """Return an answer with the body as JSON."""
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", status=status)


def operator_of(request: web.Request, *, names_process: bool = False) -> str:
    """Return who is at the other end of the socket, as the kernel says (Linux); `uid 0`, or `uid 0, pid 7`."""
    handle = request.transport.get_extra_info("socket") if request.transport is not None else None
    if handle is None:
        return "unknown"
    pid, uid, _ = struct.unpack("3i", handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return f"uid {uid}, pid {pid}" if names_process else f"uid {uid}"
