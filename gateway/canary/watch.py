"""The canary of one hub: on while the configuration in force asks for it."""

import secrets
from collections.abc import Callable
from datetime import datetime

from aiohttp import web
from prometheus_client import CollectorRegistry

from gateway.canary.app import serve_canary_app
from gateway.canary.builtin import DEVICE, Builtin
from gateway.canary.runner import Canary
from gateway.canary.setup import begin_session, make_parts, make_settings
from gateway.config.schema import Config
from gateway.observe.ops import Component
from gateway.sessions.registry import SessionRegistry
from risk.model import Posture


class CanaryWatch:
    """Owns the canary's parts, app and schedule. `await configure(config)`; `await stop()` at the end."""

    def __init__(
        self,
        config: Config,
        workers: int,
        *,
        sessions: Callable[[], SessionRegistry],
        clock: Callable[[], datetime],
        registry: CollectorRegistry,
    ) -> None:
        self._parts = make_parts(config, secrets.token_urlsafe(32), secrets.token_urlsafe(16))
        self._run_dir = config.server.run_dir
        self._workers = workers
        self._sessions = sessions
        self._clock = clock
        self._registry = registry
        self._app: web.AppRunner | None = None
        self._canary: Canary | None = None

    def parts_for(self, config: Config) -> Builtin | None:
        """Return what is built in under this configuration, None without a canary."""
        return None if config.canary is None else self._parts

    @staticmethod
    def is_its_device(posture: Posture) -> bool:
        """Return whether a posture is that of the canary's device, which makes no incident."""
        return DEVICE in posture.identifiers

    def is_its_sensor(self, name: str) -> bool:
        """Return whether a sensor is the canary's, whose deliveries nobody has to look at."""
        return name == self._parts.sensor.name

    async def configure(self, config: Config) -> None:
        """Run as `config` says from now on. Raises `OSError` when the canary's app cannot listen."""
        if config.canary is None:
            await self._end()
            return
        settings = make_settings(config, config.canary, self._workers)
        if self._app is None:
            self._app = await serve_canary_app(self._run_dir, self._longest_s)
        if self._canary is None:
            self._canary = Canary(
                self._parts,
                settings,
                sign_in=lambda: begin_session(self._parts, self._sessions()),
                clock=self._clock,
                registry=self._registry,
            )
        self._canary.settings = settings
        self._canary.start()

    def components(self) -> list[Component]:
        """Return the readiness of the canary, nothing while there is none."""
        return [] if self._canary is None or not self._canary.is_running else [self._canary.component()]

    async def stop(self) -> None:
        """End everything. Safe to call twice."""
        await self._end()
        if self._app is not None:
            await self._app.cleanup()
            self._app = None

    async def _end(self) -> None:
        if self._canary is not None:
            await self._canary.stop()

    def _longest_s(self) -> float:
        return 0.0 if self._canary is None else 4 * self._canary.settings.timeout_s
