"""Where the hub serves: Unix sockets in the run folder for workers and commands, and an address for operators."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from gateway.hub.shortcut import Deliveries, DeliverySite
from gateway.hub.web import MAX_FIELD_BYTES


class Sites:
    """Serves applications until `await stop()`."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._runners: list[web.AppRunner] = []

    async def listen_unix(
        self,
        application: web.Application,
        name: str,
        deliveries: Callable[[Callable[[], asyncio.Protocol]], Deliveries] | None = None,
    ) -> None:
        """Serve an application; with `deliveries`, what they make takes those of sensors before it."""
        path = self._run_dir / name
        path.unlink(missing_ok=True)
        runner = web.AppRunner(
            application,
            access_log=None,
            max_line_size=MAX_FIELD_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            handler_cancellation=True,
            auto_decompress=False,  # signatures are over the bytes that were sent
            shutdown_timeout=1.0,
        )
        await runner.setup()
        if deliveries is None or runner.server is None:
            await web.UnixSite(runner, str(path)).start()
        else:
            await DeliverySite(runner, path, deliveries(runner.server)).start()
        path.chmod(0o600)
        self._runners.append(runner)

    async def listen_tcp(self, application: web.Application, address: str) -> None:
        """Serve an application at `host:port`."""
        host, _, port = address.rpartition(":")
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        self._runners.append(runner)

    async def stop(self) -> None:
        """Serve nothing any more, what was begun last first."""
        for runner in reversed(self._runners):
            await runner.cleanup()
