"""The app behind the canary: it answers, and streams the monotonic clock, on a Unix socket of the hub."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

TICK_S = 0.005
"""Time between two marks of a stream: how finely the end of a stream can be seen."""

SOCKET = "canary.sock"


def canary_application(longest_s: Callable[[], float]) -> web.Application:
    """Return the app: `/` answers, `/stream` sends `data: <monotonic ns>` until it is cut, or for `longest_s`."""

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        until = time.monotonic() + longest_s()
        while time.monotonic() < until:
            await response.write(b"data: %d\n\n" % time.monotonic_ns())
            await asyncio.sleep(TICK_S)
        return response

    application = web.Application(client_max_size=1024)
    application.router.add_get("/", page)
    application.router.add_get("/stream", stream)
    return application


async def serve_canary_app(run_dir: str, longest_s: Callable[[], float]) -> web.AppRunner:
    """Serve the app on `run_dir/canary.sock`; the caller cleans the runner up. Raises `OSError`."""
    path = Path(run_dir) / SOCKET
    path.unlink(missing_ok=True)
    runner = web.AppRunner(
        canary_application(longest_s), access_log=None, handler_cancellation=True, shutdown_timeout=1.0
    )
    await runner.setup()
    await web.UnixSite(runner, str(path)).start()
    path.chmod(0o600)
    return runner
