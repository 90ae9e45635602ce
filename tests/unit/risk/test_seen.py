"""Which messages were seen: over a real store with more of them than memory keeps."""

from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import pytest

from risk import seen as seen_module
from risk.database import Database, StoreFault
from risk.seen import SeenMessages
from risk.sqlite import SCHEMA, SqliteRiskStore
from risk.store import Batch, SeenRow

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 500


def row(number: int, content: bytes = b"12345678") -> SeenRow:
    key = blake2b(b"%d" % number, digest_size=16).digest()
    return SeenRow(key, content, T0 + timedelta(seconds=number))


class Asked(SqliteRiskStore):
    """A store that counts what it is asked for."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.asked: list[bytes] = []
        self.faults = 0

    async def seen(self, keys):
        self.asked += keys
        return await super().seen(keys)

    async def seen_keys(self, after, most):
        if self.faults:
            self.faults -= 1
            raise StoreFault("disk full")
        return await super().seen_keys(after, most)


@pytest.fixture
def database(tmp_path, monkeypatch):
    monkeypatch.setattr(seen_module, "MAX_RECENT", 100)
    monkeypatch.setattr(seen_module, "READ_AT_ONCE", 50)
    monkeypatch.setattr(seen_module, "PAUSE_S", 0.0)
    monkeypatch.setattr(seen_module, "RETRY_S", 0.01)
    made = Database(tmp_path / "state.db", SCHEMA)
    made.start()
    yield made
    made.close()


async def accept(store: SqliteRiskStore, seen: SeenMessages, numbers: range) -> None:
    rows = [row(number) for number in numbers]
    await store.commit(Batch(seen=rows))
    seen.remember(rows)


async def filled(seen: SeenMessages) -> None:
    assert seen._filling is not None
    await seen._filling


@pytest.mark.parametrize("is_filed", [True, False])
@pytest.mark.parametrize("faults", [0, 2])
async def test_every_message_is_found_again_and_new_ones_are_hardly_asked_for(database, is_filed, faults):
    before = SqliteRiskStore(database)
    await before.commit(Batch(seen=[row(number) for number in range(MANY)]))
    if is_filed:
        await before.file_all()
    store = Asked(database)
    store.faults = faults
    seen = SeenMessages(store)
    await seen.start()
    keys = [row(number).key for number in range(MANY)]
    assert len(await seen.known(keys)) == MANY, "also while the filter is being filled"
    await filled(seen)
    assert await seen.known(keys) == dict.fromkeys(keys, b"12345678")
    store.asked.clear()
    new = [row(number).key for number in range(MANY, 3 * MANY)]
    assert await seen.known(new) == {}
    assert len(store.asked) < 0.05 * len(new)
    await seen.stop()


async def test_what_is_accepted_while_the_filter_is_filled_is_known(database):
    store = Asked(database)
    await store.commit(Batch(seen=[row(number) for number in range(MANY)]))
    await store.file_all()
    seen = SeenMessages(store)
    await seen.start()
    for start in range(MANY, 2 * MANY, 20):
        await accept(store, seen, range(start, start + 20))
        await store.file_all()
    await filled(seen)
    assert len(await seen.known([row(number).key for number in range(2 * MANY)])) == 2 * MANY
    await seen.stop()


async def test_a_message_that_is_told_again_with_other_content_has_the_newest(database):
    store = Asked(database)
    seen = SeenMessages(store)
    await seen.start()
    await accept(store, seen, range(MANY))
    newer = row(3, b"87654321")
    await store.commit(Batch(seen=[newer]))
    seen.remember([newer])
    assert await seen.known([newer.key, row(4).key]) == {newer.key: b"87654321", row(4).key: b"12345678"}
    await seen.stop()


async def test_few_messages_are_known_without_asking(database):
    store = Asked(database)
    seen = SeenMessages(store)
    await seen.start()
    await accept(store, seen, range(40))
    keys = [row(number).key for number in range(80)]
    assert len(await seen.known(keys)) == 40
    assert store.asked == []
    await seen.stop()
