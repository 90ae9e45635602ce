"""Which parts of the gateway are ready, for operators and for whoever decides where requests go."""

from collections.abc import Callable, Iterable, Sequence

from gateway.config.locations import WithoutCountries
from gateway.config.schema import Config
from gateway.feed.hub_side import FeedHub
from gateway.observe.metrics import Metrics
from gateway.observe.ops import Component, country_database
from gateway.oidc.clients import ProviderClients
from risk.database import Database


class Readiness:
    """Tells how each part is; `further` are the parts that tell it themselves."""

    def __init__(
        self,
        *,
        database: Database,
        feed: FeedHub,
        workers: int,
        providers: ProviderClients,
        metrics: Metrics,
        config: Callable[[], Config],
        further: Sequence[Callable[[], Iterable[Component]]],
    ) -> None:
        self._database = database
        self._feed = feed
        self._workers = workers
        self._providers = providers
        self._metrics = metrics
        self._config = config
        self._further = further

    def components(self) -> list[Component]:
        """Return the readiness of each part. A provider that is away degrades sign-in, not the gateway."""
        serving = self._feed.serving
        parts = [
            self._store_component(),
            Component(
                "workers", is_ready=serving >= 1, detail=f"{serving} of {max(1, self._workers)} serving"
            ),
        ]
        for name, client in sorted(self._providers.running.items()):
            status = client.status()
            parts.append(
                Component(
                    f"provider {name}",
                    is_ready=status.is_ready and status.is_reachable,
                    detail=status.reason,
                    is_required=False,
                ),
            )
        config = self._config()
        if config.country_database is not None:
            without = self._metrics.workers_with("without_country_database")
            is_refusing = config.without_country_database is WithoutCountries.REFUSE
            parts.append(country_database(without, serving, is_refusing=is_refusing))
        return parts + [component for components in self._further for component in components()]

    def _store_component(self) -> Component:
        """A store that cannot be written degrades: what is in memory is enforced, and sensors are told to retry."""
        fault, runs = self._database.write_fault, self._database.is_running
        return Component(
            "store", is_ready=runs and not fault, detail=fault or "sqlite", is_required=not (runs and fault)
        )
