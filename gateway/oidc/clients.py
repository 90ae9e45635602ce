"""The clients of all providers of the configuration in force."""

from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from datetime import datetime

from gateway.config.schema import Config, DeviceClaim
from gateway.oidc.io import ProviderClient


class ProviderClients:
    """Keeps a running client per provider. `start` makes those of a configuration, `swap` puts them into use."""

    def __init__(self, *, now: Callable[[], datetime], mono: Callable[[], float]) -> None:
        self._now = now
        self._mono = mono
        self.running: dict[str, ProviderClient] = {}

    async def start(self, config: Config, *, before: Config) -> dict[str, ProviderClient]:
        """Return a running client per provider; one whose configuration did not change is kept as it is.

        `before` is the configuration in force. Raises `OSError` or `ValueError` when the `ca` file of a provider cannot
        be used; then none of those that were started for this configuration runs on.
        """
        claims = tuple(source for source in config.devices if isinstance(source, DeviceClaim))
        is_same_front = before.public_url == config.public_url and before.devices == config.devices
        clients: dict[str, ProviderClient] = {}
        async with AsyncExitStack() as started:
            for provider in config.providers:
                running = self.running.get(provider.name)
                if running is not None and running.provider == provider and is_same_front:
                    clients[provider.name] = running
                    continue
                client = ProviderClient(
                    provider,
                    redirect_uri=config.public_url.rstrip("/") + "/.gate/callback",
                    devices=claims,
                    now=self._now,
                    mono=self._mono,
                )
                await client.start()
                started.push_async_callback(client.stop)
                clients[provider.name] = client
            started.pop_all()
        return clients

    def swap(self, fresh: Mapping[str, ProviderClient]) -> list[ProviderClient]:
        """Have these from now on, and return those that are to be stopped once nobody is given them any more."""
        retired = [client for name, client in self.running.items() if fresh.get(name) is not client]
        self.running.clear()
        self.running.update(fresh)
        return retired

    async def stop(self) -> None:
        """End all."""
        for client in self.running.values():
            await client.stop()
