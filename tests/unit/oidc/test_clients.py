"""Clients of providers over a reload: one that may stay stays, and the others are stopped by whoever swapped them."""

import time
from datetime import UTC, datetime

import msgspec
import pytest

from gateway.oidc.clients import ProviderClients


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
