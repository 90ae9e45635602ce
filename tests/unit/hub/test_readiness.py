"""Readiness: what is required and what only degrades."""

import time
from datetime import UTC, datetime

import msgspec

from gateway.config.locations import WithoutCountries
from gateway.feed.hub_side import FeedHandlers, FeedHub
from gateway.hub.readiness import Readiness
from gateway.observe.metrics import Metrics
from gateway.observe.ops import Component
from gateway.oidc.clients import ProviderClients
from risk.database import Database


async def test_without_store_and_workers_nothing_is_ready_and_a_provider_that_is_away_degrades(
    small_config, tmp_path
):
    config = msgspec.structs.replace(
        small_config, country_database="countries.mmdb", without_country_database=WithoutCountries.REFUSE
    )
    metrics = Metrics()
    metrics.worker_stats("w1", {"without_country_database": 1.0})
    providers = ProviderClients(now=lambda: datetime.now(UTC), mono=time.monotonic)
    providers.swap(await providers.start(config, before=config))
    database = Database(tmp_path / "state.db", {})
    handlers = FeedHandlers(ticket=lambda _: None, touch=lambda _: None, stats=lambda *_: None)
    readiness = Readiness(
        database=database,
        feed=FeedHub(handlers, lambda: b""),
        workers=2,
        providers=providers,
        metrics=metrics,
        config=lambda: config,
        further=(lambda: [Component("canary", is_ready=True)],),
    )
    found = {each.name: each for each in readiness.components()}
    assert list(found) == ["store", "workers", "provider corp", "country database", "canary"]
    assert (found["store"].is_ready, found["store"].is_required) == (False, True)
    assert (found["workers"].is_ready, found["workers"].detail) == (False, "0 of 2 serving")
    assert (found["provider corp"].is_ready, found["provider corp"].is_required) == (False, False)
    assert (found["country database"].is_ready, found["country database"].is_required) == (False, True)
    database.start()
    assert readiness.components()[0] == Component("store", is_ready=True, detail="sqlite")
    database.write_fault = "no space left on device"
    assert readiness.components()[0] == Component(
        "store", is_ready=False, detail="no space left on device", is_required=False
    )
    database.close()
    await providers.stop()
