"""Clients of providers over a reload: one that may stay stays, and the others are stopped by whoever swapped them."""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.oidc.clients import ProviderClients
from gateway.oidc.io import ProviderClient


@pytest.fixture
async def clients(small_config):
    made = ProviderClients(now=lambda: datetime.now(UTC), mono=time.monotonic)
    assert made.swap(await made.start(small_config, before=small_config)) == []
    yield made
    await made.stop()


async def test_the_client_of_a_provider_that_did_not_change_is_kept(clients, small_config):
    before = dict(clients.running)
    assert clients.swap(await clients.start(small_config, before=small_config)) == []
    assert clients.running == before
    assert list(before) == ["corp"]


async def test_under_another_address_a_provider_gets_a_new_client_and_the_old_one_is_given_back(
    clients, small_config
):
    (old,) = clients.running.values()
    elsewhere = msgspec.structs.replace(small_config, public_url="https://other.example")
    fresh = await clients.start(elsewhere, before=small_config)
    assert clients.running["corp"] is old  # in force until they are swapped
    assert clients.swap(fresh) == [old]
    assert clients.running["corp"] is not old
    await old.stop()


async def test_a_provider_that_is_gone_is_given_back(clients, small_config):
    (old,) = clients.running.values()
    without = msgspec.structs.replace(small_config, providers=())
    assert clients.swap(await clients.start(without, before=small_config)) == [old]
    assert clients.running == {}
    await old.stop()


async def test_when_the_ca_of_a_later_provider_cannot_be_used_nothing_runs_on_of_those_before_it(
    clients, small_config, monkeypatch, tmp_path
):
    started, stopped = [], []

    class Watched(ProviderClient):
        async def start(self):
            await super().start()
            started.append(self)

        async def stop(self):
            await super().stop()
            stopped.append(self)

    monkeypatch.setattr("gateway.oidc.clients.ProviderClient", Watched)
    (kept,) = clients.running.values()
    (corp,) = small_config.providers
    broken = tmp_path / "no-certificate.pem"
    broken.write_text("no certificate")
    added = [
        msgspec.structs.replace(corp, name="second"),
        msgspec.structs.replace(corp, name="third"),
        msgspec.structs.replace(corp, name="broken", ca=str(broken)),
    ]
    refused = msgspec.structs.replace(small_config, providers=(corp, *added))
    with pytest.raises((OSError, ValueError)):
        await clients.start(refused, before=small_config)
    assert [each.provider.name for each in started] == ["second", "third"]
    assert set(stopped) == set(started)
    tasks = {task.get_name() for task in asyncio.all_tasks()}
    assert "provider-corp" in tasks
    assert not tasks & {"provider-second", "provider-third"}
    assert clients.running == {"corp": kept}
