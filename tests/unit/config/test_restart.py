"""What of a new configuration needs a restart is named by its key path, and nothing else is."""

import msgspec

from gateway.config.restart import restart_needed


def changed(part, **given):
    return msgspec.structs.replace(part, **given)


def test_nothing_is_named_when_only_what_can_be_swapped_was_changed(small_config):
    after = changed(
        small_config, public_url="https://other.example", server=changed(small_config.server, drain=1.0)
    )
    assert restart_needed(small_config, after) == ()


def test_each_part_that_needs_a_restart_is_named(small_config):
    after = changed(
        small_config,
        server=changed(small_config.server, listen="127.0.0.1:2", workers=7),
        risk=changed(small_config.risk, hostname_domains=("corp.example",)),
        store=changed(small_config.store, url="sqlite:other.db"),
    )
    assert restart_needed(small_config, after) == (
        "server.listen",
        "server.workers",
        "risk.hostname_domains",
        "store",
    )
