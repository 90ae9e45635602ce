"""What every store of risk must do, run against each of them."""

import asyncio
import signal as signal_module
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, pairwise
from pathlib import Path

import msgspec
import pytest

import risk.filing as filing_module
import risk.sqlite as sqlite_module
from risk.database import Database, StoreFault
from risk.filing import plan
from risk.folding import fold
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import DeviceId, Identifier, Posture, Severity, Signal, SignalType
from risk.packing import pack_posture, pack_signal, unpack_posture
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteDecisionStore, SqliteRiskStore, read_all_devices
from risk.store import Batch, DeadLetter, DeviceRow, MergedRow, Retention, SeenRow, SignalRow, UserRow
from risk.users import UserId

T0 = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
DEVICE = DeviceId("dev_1")
HOUR = timedelta(hours=1)
ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path):
    made = Database(tmp_path / "state.db", SCHEMA)
    made.start()
    yield made
    made.close()


@pytest.fixture(params=["memory", "sqlite"])
def store(request, database):
    return MemoryRiskStore() if request.param == "memory" else SqliteRiskStore(database)


def signal(number):
    at = T0 + number * HOUR
    return Signal(
        sensor="edr",
        type=SignalType.DETECTION,
        observed_at=at,
        received_at=at,
        external_id=f"c{number}",
        event_id=f"e{number}",
        device_ids=(Identifier("serial", "SN-1"),),
        level=Severity.HIGH,
        facts={"a": 1, "b": None, "c": "x"},
    )


def batch(number=0, **rest):
    at = T0 + number * HOUR
    given = {
        "devices": [DeviceRow(DEVICE, "serial\x1f\x1fsn-1", b"posture-%d" % number)],
        "signals": [SignalRow(at, "edr", DEVICE, pack_signal(signal(number)))],
        "seen": [SeenRow(b"key-%012d" % number, b"digest-0", at)],
        "dead_letters": [DeadLetter(at, "edr", "no-device", f"error {number}", b"body")],
    }
    return Batch(**(given | rest))


async def test_a_batch_is_kept_whole(store):
    await store.commit(batch())
    assert await store.load() == [DeviceRow(DEVICE, "serial\x1f\x1fsn-1", b"posture-0")]
    assert await store.signals(DEVICE, 10) == [signal(0)]
    assert await store.seen([b"key-000000000000", b"key-000000000009"]) == {b"key-000000000000": b"digest-0"}
    assert await store.dead_letters(None, 10) == [
        DeadLetter(T0, "edr", "no-device", "error 0", b"body", id=1)
    ]


async def test_records_of_users_are_kept_and_replaced(store):
    user = UserId(DeviceId("usr_1"))
    await store.commit(Batch(users=[UserRow(user, b"one")]))
    await store.commit(Batch(users=[UserRow(user, b"two")]))
    assert await store.load_users() == [UserRow(user, b"two")]


async def test_a_record_that_is_merged_is_gone_and_its_signals_are_the_others(store):
    await store.commit(batch(0))
    other = DeviceId("dev_2")
    row = DeviceRow(other, "serial\x1f\x1fsn-2", b"posture")
    await store.commit(Batch(devices=[row], merged=[MergedRow(DEVICE, other)]))
    assert await store.load() == [row]
    assert await store.load_merged() == [MergedRow(DEVICE, other)]
    assert await store.signals(other, 9) == [signal(0)]
    assert await store.signals(DEVICE, 9) == []


async def test_a_device_is_replaced(store):
    await store.commit(batch(0))
    await store.commit(batch(1))
    assert [row.posture for row in await store.load()] == [b"posture-1"]


async def test_newest_signals_and_dead_letters_come_first(store):
    for number in range(3):
        await store.commit(batch(number))
    assert [each.event_id for each in await store.signals(DEVICE, 2)] == ["e2", "e1"]
    assert [each.error for each in await store.dead_letters("edr", 2)] == ["error 2", "error 1"]
    assert await store.dead_letters("mdm", 2) == []


async def test_recent_message_ids_come_oldest_first_and_tell_whether_there_are_more(store):
    for number in range(3):
        await store.commit(batch(number))
    rows, is_all = await store.recent_seen(2)
    assert ([row.key for row in rows], is_all) == ([b"key-000000000001", b"key-000000000002"], False)
    rows, is_all = await store.recent_seen(3)
    assert (len(rows), is_all) == (3, True)


async def test_a_message_id_takes_the_newest_content(store):
    await store.commit(batch())
    await store.commit(Batch(seen=[SeenRow(b"key-000000000000", b"other-00", T0 + HOUR)]))
    assert await store.seen([b"key-000000000000"]) == {b"key-000000000000": b"other-00"}


async def test_many_message_ids_are_asked_for_at_once(store):
    keys = [b"key-%012d" % number for number in range(2000)]
    await store.commit(Batch(seen=[SeenRow(key, b"digest-d", T0) for key in keys]))
    assert len(await store.seen([*keys, b"none"])) == 2000


OTHER = DeviceId("dev_2")


async def everything(store):
    """What is found by device and by message id."""
    signals = {each: [row.event_id for row in await store.signals(each, 9)] for each in (DEVICE, OTHER)}
    return signals, await store.seen([b"key-%012d" % number for number in range(9)])


@pytest.mark.parametrize("filed_after", [1, 2, 3, 1000])
async def test_whatever_is_filed_already_the_same_is_found(store, monkeypatch, filed_after):
    """Of what is filed in turn, some is and some is not when it is asked for."""
    monkeypatch.setattr(sqlite_module, "MAX_UNFILED", filed_after)
    monkeypatch.setattr(filing_module, "LEAST_LOT", filed_after)
    rows = [
        SignalRow(T0, "edr", each, pack_signal(signal(number))) for number, each in ((7, OTHER), (8, None))
    ]
    batches = [
        *(batch(number) for number in range(4)),
        Batch(
            signals=rows,
            seen=[
                SeenRow(b"key-000000000001", b"newer-00", T0),
                SeenRow(b"key-000000000007", b"digest-0", T0),
            ],
        ),
        Batch(merged=[MergedRow(DEVICE, OTHER)]),
        batch(5, devices=[], signals=[SignalRow(T0, "edr", OTHER, pack_signal(signal(5)))]),
    ]
    for each in batches:
        await store.commit(each)
        await store.tidy()
    digests = {b"key-%012d" % number: b"digest-0" for number in (0, 2, 3, 5, 7)} | {
        b"key-000000000001": b"newer-00"
    }
    assert await everything(store) == ({DEVICE: [], OTHER: ["e5", "e7", "e3", "e2", "e1", "e0"]}, digests)
    rows, is_all = await store.recent_seen(6)
    assert ({row.key: row.digest for row in rows}, len(rows), is_all) == (digests, 6, True)
    assert (await store.recent_seen(5))[1] is False
    assert await store.load() == []


async def test_what_was_not_filed_is_found_by_the_next_process(database):
    for number in range(3):
        await SqliteRiskStore(database).commit(batch(number))
    again = SqliteRiskStore(database)
    assert await again.signals(DEVICE, 9) == [signal(2), signal(1), signal(0)]
    assert await again.seen([b"key-000000000000", b"key-000000000002"]) == {
        b"key-000000000000": b"digest-0",
        b"key-000000000002": b"digest-0",
    }
    await again.commit(batch(3))
    assert len(await again.seen([b"key-%012d" % number for number in range(9)])) == 4


KEYS = "serial\x1f\x1fsn-1"


async def test_the_newest_posture_counts_whether_it_is_filed_or_not(database, tmp_path):
    """Keys come with a posture only where they are new; a process that dies leaves journals, and filings half done."""
    store = SqliteRiskStore(database)

    async def tell(posture, keys=None, device=DEVICE):
        await store.commit(Batch(devices=[DeviceRow(device, keys, posture)]))

    async def found():
        """What another process reads from the file beside this one, and what the next one would load."""
        with closing(sqlite3.connect(f"file:{tmp_path / 'state.db'}?mode=ro", uri=True)) as reader:
            rows = list(chain.from_iterable(read_all_devices(reader)))
        assert await SqliteRiskStore(database).load() == rows
        return {row.device_id: (row.keys, row.posture) for row in rows}

    await tell(b"1", KEYS)
    await tell(b"2")
    assert await found() == {DEVICE: (KEYS, b"2")}
    steps = await database.read(plan)
    for each in steps:
        await database.write(each.run)
        assert await found() == {DEVICE: (KEYS, b"2")}
    await tell(b"3")
    await tell(b"1", "serial\x1f\x1fsn-2", OTHER)
    expected = {DEVICE: (KEYS, b"3"), OTHER: ("serial\x1f\x1fsn-2", b"1")}
    assert await found() == expected
    steps = await database.read(plan)
    await tell(b"4")
    await tell(b"2", "serial\x1f\x1fsn-3", OTHER)
    for each in [*steps[:1], *steps]:  # the first of them twice: as after a death behind it
        await database.write(each.run)
        assert await found() == {DEVICE: (KEYS, b"4"), OTHER: ("serial\x1f\x1fsn-3", b"2")}
    for each in await database.read(plan):
        await database.write(each.run)
    assert await found() == {DEVICE: (KEYS, b"4"), OTHER: ("serial\x1f\x1fsn-3", b"2")}
    assert await database.read(plan) == []


class Waiting:
    """Postures that no commit has written."""

    def __init__(self, postures):
        self.postures = dict(postures)

    def count_unwritten(self):
        return len(self.postures)

    def take_unwritten(self, most):
        return [self.postures.popitem() for _ in range(min(most, len(self.postures)))]

    def put_back(self, device_ids):
        raise AssertionError("all could be written")


def told(number, device=DEVICE):
    return SignalRow(T0, "edr", device, pack_signal(signal(number)))


async def loaded(store):
    return {
        row.device_id: (row.keys, unpack_posture(row.device_id, row.posture)) for row in await store.load()
    }


async def test_a_posture_that_no_commit_wrote_follows_from_the_signals_after_it(store):
    posture = fold(Posture(device_id=DEVICE, name="SN-1"), signal(0))
    row = DeviceRow(DEVICE, KEYS, pack_posture(posture))
    await store.commit(Batch(devices=[row], signals=[told(0)]))
    await store.commit(Batch(signals=[told(1), told(9, DeviceId("usr_1")), told(2)]))
    posture = fold(fold(posture, signal(1)), signal(2))
    assert await loaded(store) == {DEVICE: (KEYS, posture)}
    await store.commit(Batch(signals=[told(3)]))
    posture = fold(posture, signal(3))
    assert await loaded(store) == {DEVICE: (KEYS, posture)}
    # What an operator changes has no signal, and those of before do not bring it back.
    posture = msgspec.structs.replace(posture, findings={}, facts={})
    await store.commit(Batch(devices=[DeviceRow(DEVICE, None, pack_posture(posture))]))
    assert await loaded(store) == {DEVICE: (KEYS, posture)}
    await store.commit(Batch(signals=[told(4)]))
    assert await loaded(store) == {DEVICE: (KEYS, fold(posture, signal(4)))}


async def test_postures_that_no_commit_wrote_are_asked_for_when_the_rest_is_filed(database, monkeypatch):
    monkeypatch.setattr(sqlite_module, "WRITTEN_AT_ONCE", 2)
    store = SqliteRiskStore(database)
    devices = [DeviceId(f"dev_{number}") for number in range(5)]
    empty = {each: Posture(device_id=each) for each in devices}
    await store.commit(Batch(devices=[DeviceRow(each, KEYS, pack_posture(empty[each])) for each in devices]))
    await store.commit(Batch(signals=[told(0, each) for each in devices]))
    folded = {each: fold(empty[each], signal(0)) for each in devices}
    store.unwritten = Waiting((each, pack_posture(posture)) for each, posture in folded.items())
    assert await store.prune(T0, Retention(signals_most=0), 99) == 5
    assert store.unwritten.count_unwritten() == 0
    after = SqliteRiskStore(database)
    assert await loaded(after) == {each: (KEYS, posture) for each, posture in folded.items()}
    # Numbers go on although no signal is left.
    await after.commit(Batch(signals=[told(1)]))
    assert (await loaded(after))[DEVICE] == (KEYS, fold(folded[DEVICE], signal(1)))


async def test_many_postures_that_no_commit_wrote_are_written_before_the_rest_is_filed(database, monkeypatch):
    """A start has not too much to fold, however long it takes until something is filed."""
    monkeypatch.setattr(sqlite_module, "MAX_UNWRITTEN", 3)
    store = SqliteRiskStore(database)
    await store.commit(Batch(devices=[DeviceRow(DEVICE, KEYS, pack_posture(Posture(device_id=DEVICE)))]))
    posture = pack_posture(fold(Posture(device_id=DEVICE), signal(0)))
    others = [DeviceId(f"dev_{number}") for number in range(2, 5)]

    def unfolded(connection):
        return connection.execute(
            "SELECT count(*) FROM risk_signals WHERE id > (SELECT written FROM risk_filed)"
        ).fetchone()[0]

    store.unwritten = Waiting({DEVICE: posture, others[0]: posture})
    await store.commit(Batch(signals=[told(0)]))
    await store.tidy()
    assert store.unwritten.count_unwritten() == 2
    store.unwritten = Waiting({DEVICE: posture} | dict.fromkeys(others, posture))
    await store.tidy()
    while await database.read(unfolded):  # noqa: ASYNC110 - only the file tells it
        await asyncio.sleep(0.01)
    assert store.unwritten.count_unwritten() == 0
    assert (await loaded(SqliteRiskStore(database)))[DEVICE] == (KEYS, unpack_posture(DEVICE, posture))


async def test_an_older_posture_that_a_journal_still_has_is_no_news(database):
    """A posture is put off, a commit writes a newer one first: of the two, the newer may leave the journal before."""
    store = SqliteRiskStore(database)
    older, newer = (pack_posture(fold(Posture(device_id=DEVICE), signal(each))) for each in range(2))

    def leave(connection):
        connection.execute("INSERT INTO risk_devices VALUES ('dev_1', ?, ?, 5)", (KEYS, newer))
        connection.execute("INSERT INTO risk_devices_lately VALUES (9, 'dev_1', NULL, ?, 4)", (older,))
        connection.execute("UPDATE risk_filed SET numbered = 5")

    await database.write(leave)
    assert await store.load() == [DeviceRow(DEVICE, KEYS, newer)]
    await store.commit(Batch(signals=[told(2)]))  # its number is 6
    expected = fold(unpack_posture(DEVICE, newer), signal(2))
    assert await loaded(SqliteRiskStore(database)) == {DEVICE: (KEYS, expected)}
    for each in await database.read(plan):
        await database.write(each.run)
    assert await loaded(SqliteRiskStore(database)) == {DEVICE: (KEYS, expected)}


async def test_an_orderly_end_leaves_no_posture_unwritten(store):
    state = RiskState()
    intake = Intake(state, store, clock=lambda: T0)
    await intake.start()
    for number in range(2):
        await intake.submit("edr", [signal(number)])
    assert state.count_unwritten() == 1
    await intake.stop()
    assert state.count_unwritten() == 0
    ((device_id, (_, posture)),) = (await loaded(store)).items()
    assert posture == state.posture(device_id)


async def test_postures_of_an_earlier_version_are_known_before_all_signals_to_come(tmp_path):
    """Filed and not filed ones, of which none has a number."""
    path = tmp_path / "state.db"
    before = next(number for number, each in enumerate(SCHEMA) if "risk_intake" in each)
    older = Database(path, SCHEMA[:before])
    older.start()

    def said(number):
        posture = Posture(device_id=DEVICE)
        for each in range(number):
            posture = fold(posture, signal(each))
        return posture

    def write(connection):
        connection.execute("INSERT INTO risk_devices VALUES ('dev_1', ?, ?)", (KEYS, pack_posture(said(1))))
        for number in (2, 3):
            row = (number, "dev_1", pack_posture(said(number)))
            connection.execute("INSERT INTO risk_devices_lately VALUES (?, ?, NULL, ?)", row)
        connection.execute(
            "INSERT INTO risk_signals VALUES (1, 0, 'edr', 'dev_1', ?)", (pack_signal(signal(9)),)
        )

    await older.write(write)
    older.close()
    database = Database(path, SCHEMA)
    database.start()
    store = SqliteRiskStore(database)
    assert await loaded(store) == {DEVICE: (KEYS, said(3))}
    await store.commit(Batch(signals=[told(3)]))
    assert await loaded(store) == {DEVICE: (KEYS, said(4))}
    for each in await database.read(plan):
        await database.write(each.run)
    assert await loaded(store) == {DEVICE: (KEYS, said(4))}
    database.close()


async def test_message_ids_of_another_length_are_refused_and_nothing_is_written(database):
    store = SqliteRiskStore(database)
    await store.commit(batch(0))
    for row in (SeenRow(b"short", b"digest-0", T0), SeenRow(b"key-000000000001", b"digest", T0)):
        with pytest.raises(ValueError, match="one length"):
            await store.commit(batch(1, seen=[row]))
    assert [each.event_id for each in await store.signals(DEVICE, 9)] == ["e0"]


async def test_a_record_that_is_merged_while_it_waits_to_be_filed_stays_gone(database, monkeypatch):
    monkeypatch.setattr(filing_module, "LEAST_LOT", 1)
    store = SqliteRiskStore(database)
    await store.commit(batch(0))
    other = DeviceRow(OTHER, "serial\x1f\x1fsn-2", b"posture")
    steps = await database.read(plan)
    await store.commit(Batch(devices=[other], merged=[MergedRow(DEVICE, OTHER)]))
    assert await store.load() == [other]
    for each in steps:
        await database.write(each.run)
    assert await store.load() == [other]
    assert await store.signals(OTHER, 9) == [signal(0)]
    assert await store.signals(DEVICE, 9) == []


async def test_a_large_filing_is_done_in_steps(database, monkeypatch):
    """So that nobody waits for more than one of them; more rows than one step files or removes."""
    monkeypatch.setattr(filing_module, "REMOVED_AT_ONCE", 700)
    store = SqliteRiskStore(database)
    for some in (range(1500), range(1000, 2500)):
        await store.commit(
            Batch(
                devices=[DeviceRow(DeviceId(f"dev_{n}"), f"serial\x1f\x1f{n}", b"%d" % n) for n in some],
                signals=[SignalRow(T0, "edr", DeviceId(f"dev_{n}"), pack_signal(signal(n))) for n in some],
                seen=[SeenRow(b"key-%012d" % n, b"digest-0", T0) for n in some],
            )
        )
    steps = await database.read(plan)
    assert len(steps) == 3 + (5 + 5) + (5 + 0 + 5)
    for each in steps:
        await database.write(each.run)
    assert len(await store.load()) == 2500
    assert len(await store.signals(DeviceId("dev_1200"), 9)) == 2
    assert len(await store.seen([b"key-%012d" % n for n in range(2500)])) == 2500
    assert await database.read(plan) == []


async def test_no_more_waits_to_be_filed_than_may(database, monkeypatch):
    """Deliveries that come faster than they are filed wait for the filing."""
    monkeypatch.setattr(sqlite_module, "MAX_UNFILED", 2)
    monkeypatch.setattr(sqlite_module, "MAX_WAITING", 4)
    store, most = SqliteRiskStore(database), 0

    def waiting(connection):
        return connection.execute("SELECT count(*) FROM risk_seen_lately").fetchone()[0]

    for number in range(60):
        await store.commit(batch(number))
        await store.tidy()
        most = max(most, await database.read(waiting))
    assert 2 <= most <= 2 * 4
    assert len(await store.seen([b"key-%012d" % number for number in range(60)])) == 60


async def test_message_ids_are_found_while_they_are_filed_and_after_a_filing_that_failed(
    database, monkeypatch
):
    store = SqliteRiskStore(database)
    put_off, found = database.put_off, []

    async def look(*arguments, **rest):
        found.append(await store.seen([b"key-000000000000", b"key-000000000001"]))
        if len(found) == 1:
            await store.commit(
                Batch(
                    seen=[
                        SeenRow(b"key-000000000000", b"newer-00", T0),
                        SeenRow(b"key-000000000001", b"digest-0", T0),
                    ]
                )
            )
        if len(found) == 2:
            raise StoreFault("the disk is full")
        return await put_off(*arguments, **rest)

    await store.commit(batch())
    monkeypatch.setattr(database, "put_off", look)
    with pytest.raises(StoreFault):
        await store.file_all()
    newer = {b"key-000000000000": b"newer-00", b"key-000000000001": b"digest-0"}
    assert found == [{b"key-000000000000": b"digest-0"}, newer]
    assert await store.seen([b"key-000000000000", b"key-000000000001"]) == newer
    await store.file_all()
    assert await store.seen([b"key-000000000000", b"key-000000000001"]) == newer
    assert not store._lately


async def test_no_delivery_waits_for_a_filing_before_something_is_pruned(database, monkeypatch):
    """What is not filed yet is removed the next time."""
    store = SqliteRiskStore(database)
    await store.commit(Batch(seen=[SeenRow(b"key-%012d" % n, b"digest-0", T0) for n in range(700)]))
    monkeypatch.setattr(database, "put_off", None)
    assert await store.prune(T0 + 999 * HOUR, Retention(), 1000) == 0
    monkeypatch.undo()
    await store.file_all()
    assert await store.prune(T0 + 999 * HOUR, Retention(), 1000) == 700


async def test_a_commit_that_nobody_waited_for_is_found_all_the_same(database):
    store = SqliteRiskStore(database)
    await store.recent_seen(1)
    committing = asyncio.ensure_future(store.commit(batch()))
    await asyncio.sleep(0)
    committing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await committing
    assert await store.seen([b"key-000000000000"]) == {b"key-000000000000": b"digest-0"}


async def test_signals_filed_by_an_earlier_version_are_found(tmp_path):
    """In the index of then: some of them filed, one more filed by a filing that did not come to its end."""
    path = tmp_path / "state.db"
    database = Database(path, SCHEMA[:7])
    database.start()

    def file(connection):
        for number, device in enumerate((OTHER, DEVICE) * 3):
            row = (number + 1, device, pack_signal(signal(number)))
            connection.execute("INSERT INTO risk_signals VALUES (?, 0, 'edr', ?, ?)", row)
        connection.execute("INSERT INTO risk_signals_of SELECT device_id, id FROM risk_signals WHERE id <= 5")
        connection.execute("UPDATE risk_filed SET through = 4")

    await database.write(file)
    database.close()
    database = Database(path, SCHEMA)
    database.start()
    store = SqliteRiskStore(database)
    for _ in range(2):
        assert [each.event_id for each in await store.signals(DEVICE, 2)] == ["e5", "e3"]
        assert [each.event_id for each in await store.signals(OTHER, 9)] == ["e4", "e2", "e0"]
        await database.write(lots(1))
    database.close()


def lots(least):
    """Return a job that files all signals."""

    def run(connection):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(filing_module, "LEAST_LOT", least)
            for step in plan(connection):
                step.run(connection)

    return run


def kept_lots(connection):
    """The lots, and how many entries they have."""
    entries = connection.execute("SELECT count(*) FROM risk_lot_signals").fetchone()[0]
    return connection.execute("SELECT newest FROM risk_lots").fetchall(), entries


async def test_lots_go_with_the_last_of_their_signals(database):
    store = SqliteRiskStore(database)
    for number in range(6):
        await store.commit(batch(number))
        if number % 2:
            await database.write(lots(1))
    assert await database.read(kept_lots) == ([(2,), (4,), (6,)], 6)
    retention = Retention(signals_most=3)
    await store.prune(T0 + 5 * HOUR, retention, 100)
    assert await database.read(kept_lots) == ([(4,), (6,)], 4)
    assert [each.event_id for each in await store.signals(DEVICE, 9)] == ["e5", "e4", "e3"]
    await store.prune(T0 + 5 * HOUR, Retention(signals_most=0), 1)
    await store.prune(T0 + 5 * HOUR, Retention(signals_most=0), 100)
    assert await database.read(kept_lots) == ([], 0)


async def test_a_signal_with_the_id_of_another_that_is_gone_is_its_own_devices(database):
    store = SqliteRiskStore(database)
    await store.commit(batch(0))
    await store.commit(batch(9, signals=[SignalRow(T0 - 9 * HOUR, "edr", DEVICE, pack_signal(signal(9)))]))
    await database.write(lots(1))
    await store.prune(T0, Retention(signals_s=3600), 9)  # the newest is the oldest by its time
    await store.commit(Batch(signals=[SignalRow(T0, "edr", OTHER, pack_signal(signal(2)))]))
    for _ in range(2):
        assert [each.event_id for each in await store.signals(DEVICE, 9)] == ["e0"]
        assert [each.event_id for each in await store.signals(OTHER, 9)] == ["e2"]
        await database.write(lots(1))


async def test_a_record_has_the_signals_of_all_that_became_part_of_it(store):
    names = [DeviceId(f"dev_{number}") for number in range(4)]
    for number, name in enumerate(names):
        await store.commit(Batch(signals=[SignalRow(T0, "edr", name, pack_signal(signal(number)))]))
    await store.commit(Batch(merged=[MergedRow(names[0], names[1])]))
    await store.commit(Batch(merged=[MergedRow(names[1], names[2]), MergedRow(names[3], names[2])]))
    assert [len(await store.signals(each, 9)) for each in names] == [0, 0, 4, 0]
    assert [each.event_id for each in await store.signals(names[2], 3)] == ["e3", "e2", "e1"]


async def test_signals_after_all_others_are_gone_are_filed_too(store):
    """Their ids are those of former ones."""
    await store.commit(batch(0))
    await store.prune(T0 + 999 * HOUR, Retention(signals_s=1), 9)
    assert await store.signals(DEVICE, 9) == []
    await store.commit(batch(1))
    assert await store.signals(DEVICE, 9) == [signal(1)]
    await store.commit(batch(2, merged=[MergedRow(DEVICE, OTHER)], devices=[], signals=[]))
    assert await store.signals(OTHER, 9) == [signal(1)]


async def read_some_at_a_time(store, most):
    """Return every device as a start reads them."""
    found, after = [], ""
    while some := await store.load(after, most):
        assert len(some) <= most
        found += some
        after = some[-1].device_id
    assert all(one.device_id < other.device_id for one, other in pairwise(found))
    return found


async def test_devices_are_read_some_at_a_time(store):
    rows = [DeviceRow(DeviceId(f"dev_{number}"), "", b"%d" % number) for number in (3, 1, 4, 0, 2)]
    await store.commit(Batch(devices=rows))
    assert await read_some_at_a_time(store, 2) == sorted(rows, key=lambda row: row.device_id)


@pytest.mark.parametrize("most", [1, 2, 3, 7])
async def test_devices_that_are_filed_and_others_are_read_together(database, most):
    """Those that wait to be filed lie before, between and behind those that are, or are newer than they."""
    store = SqliteRiskStore(database)
    for numbers, said in (((3, 1, 5), b"first"), ((0, 2, 3, 7, 8, 9), b"second")):
        await store.commit(Batch(devices=[DeviceRow(DeviceId(f"dev_{n}"), "", said) for n in numbers]))
        if said == b"first":
            for each in await database.read(plan):
                await database.write(each.run)
    found = {row.device_id: row.posture for row in await read_some_at_a_time(store, most)}
    assert found == {f"dev_{n}": b"first" if n in (1, 5) else b"second" for n in (0, 1, 2, 3, 5, 7, 8, 9)}


async def test_an_empty_batch_changes_nothing(store):
    await store.commit(Batch())
    assert await store.load() == []


async def test_pruning_removes_by_age_and_by_count_and_keeps_devices(store):
    for number in range(6):
        await store.commit(batch(number))
    retention = Retention(
        seen_s=7200, signals_s=86400, signals_most=2, dead_letters_s=7200, dead_letters_most=1
    )
    gone = await store.prune(T0 + 5 * HOUR, retention, 100)
    rows, _ = await store.recent_seen(10)
    assert [row.key for row in rows] == [b"key-000000000003", b"key-000000000004", b"key-000000000005"]
    assert [each.event_id for each in await store.signals(DEVICE, 10)] == ["e5", "e4"]
    assert [each.error for each in await store.dead_letters(None, 10)] == ["error 5"]
    assert gone == 3 + 4 + 5
    assert len(await store.load()) == 1


async def test_pruning_is_done_in_bounded_steps(store):
    for number in range(6):
        await store.commit(batch(number))
    assert await store.prune(T0 + 999 * HOUR, Retention(signals_s=1, dead_letters_s=1), 2) == 6
    rows, _ = await store.recent_seen(10)
    assert len(rows) == 4


def letters_of(sensor, numbers):
    return batch(
        0, dead_letters=[DeadLetter(T0, sensor, "no-device", f"error {each}", b"") for each in numbers]
    )


async def test_a_noisy_sensor_pushes_out_no_dead_letters_of_others(store):
    await store.commit(letters_of("quiet", range(2)))
    await store.commit(letters_of("noisy", range(9)))
    retention = Retention(dead_letters_most=3)
    assert [await store.prune(T0, retention, 4) for _ in range(3)] == [4, 2, 0]
    assert [each.error for each in await store.dead_letters("noisy", 10)] == ["error 8", "error 7", "error 6"]
    assert len(await store.dead_letters("quiet", 10)) == 2


async def test_dead_letters_that_were_removed_do_not_count(store):
    await store.commit(letters_of("edr", range(5)))
    assert await store.discard([each.id for each in await store.dead_letters("edr", 3)]) == 3
    await store.commit(letters_of("edr", range(5, 7)))
    assert await store.prune(T0, Retention(dead_letters_most=3), 10) == 1
    assert [each.error for each in await store.dead_letters("edr", 10)] == ["error 6", "error 5", "error 1"]


async def test_what_goes_by_age_and_by_count_shares_one_bound(store):
    old = [DeadLetter(T0 - 9 * HOUR, "edr", "no-device", f"old {each}", b"") for each in range(3)]
    await store.commit(batch(0, dead_letters=old))
    await store.commit(letters_of("edr", range(5)))
    retention = Retention(dead_letters_s=3600, dead_letters_most=1)
    assert [await store.prune(T0, retention, 5) for _ in range(3)] == [5, 2, 0]
    assert [each.error for each in await store.dead_letters("edr", 10)] == ["error 4"]


async def test_dead_letters_of_a_file_from_before_are_counted(tmp_path):
    before = next(number for number, each in enumerate(SCHEMA) if "risk_dead_letters_of" in each)
    older = Database(tmp_path / "state.db", SCHEMA[:before])
    older.start()
    insert = "INSERT INTO risk_dead_letters VALUES (?, 4102444800000000, 'edr', 'no-device', ?, x'', '', 0)"
    for number in range(5):
        row = (number + 1, f"error {number}")
        await older.write(lambda connection, row=row: connection.execute(insert, row).rowcount)
    older.close()
    database = Database(tmp_path / "state.db", SCHEMA)
    database.start()
    store = SqliteRiskStore(database)
    await store.commit(letters_of("edr", range(5, 6)))
    assert await store.prune(T0, Retention(dead_letters_most=2), 10) == 4
    assert [each.error for each in await store.dead_letters("edr", 10)] == ["error 5", "error 4"]
    database.close()


async def steps_of_pruning(database, store):
    """Return how many steps of SQLite's machine a pruning takes that finds nothing to remove."""
    steps = []
    await database.write(lambda connection: connection.set_progress_handler(lambda: steps.append(1), 1))
    assert await store.prune(T0, Retention(dead_letters_most=20_000), 10) == 0
    await database.write(lambda connection: connection.set_progress_handler(None, 0))
    return len(steps)


@pytest.mark.parametrize("kind", ["dead letters", "signals"])
async def test_pruning_reads_little_of_what_stays(database, kind):
    """Its work does not grow with what is kept: the writer is held for it. It is counted, not timed."""
    store = SqliteRiskStore(database)

    async def commit(numbers):
        if kind == "dead letters":
            await store.commit(letters_of("edr", numbers))
        else:
            rows = [SignalRow(T0, "edr", DEVICE, b"%d" % each) for each in numbers]
            await store.commit(Batch(signals=rows))
            await store.file_all()

    await commit(range(100))
    few = await steps_of_pruning(database, store)
    await commit(range(100, 10_000))
    assert await steps_of_pruning(database, store) <= 2 * few


async def test_message_ids_are_kept_as_long_as_senders_retry(store):
    assert Retention().seen_s >= 72 * 3600


async def test_everything_survives_closing_the_file(tmp_path):
    for number in range(2):
        database = Database(tmp_path / "again.db", SCHEMA)
        database.start()
        store = SqliteRiskStore(database)
        assert len(await store.load()) == min(number, 1)
        await store.commit(batch(number))
        database.close()


async def test_a_batch_that_fails_changes_nothing(database):
    store = SqliteRiskStore(database)
    bad = batch(0, dead_letters=[DeadLetter(T0, "edr", None, "error", b"")])
    with pytest.raises(Exception, match="NOT NULL"):
        await store.commit(bad)
    assert await store.load() == []
    assert await store.seen([b"key-000000000000"]) == {}


CRASH = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from risk.database import Database
from risk.intake import Intake
from risk.model import Identifier, Severity, Signal, SignalType
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore

async def main():
    database = Database(sys.argv[1], SCHEMA)
    database.start()
    intake = Intake(RiskState(), SqliteRiskStore(database), clock=lambda: datetime.now(UTC))
    await intake.start()
    at = datetime.now(UTC)
    await intake.submit("edr", [
        Signal(sensor="edr", type=SignalType.DETECTION, observed_at=at, received_at=at, external_id=f"c{n}",
               event_id=f"e{n}", device_ids=(Identifier("serial", "SN-1"),), level=Severity.HIGH)
        for n in range(20)
    ])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_what_was_accepted_survives_kill_9(tmp_path):
    """The process dies at the very moment at which it would have answered the sensor."""
    path = tmp_path / "state.db"
    died = subprocess.run([sys.executable, "-c", CRASH, str(path)], cwd=ROOT, check=False, timeout=60)  # noqa: S603, ASYNC221
    assert died.returncode == -signal_module.SIGKILL
    database = Database(path, SCHEMA)
    database.start()
    state = RiskState()
    intake = Intake(state, SqliteRiskStore(database), clock=lambda: T0)
    await intake.start()
    posture = state.posture(state.resolve([Identifier("serial", "SN-1")]))
    assert len(posture.findings) == 20
    await intake.stop()
    database.close()


def test_a_file_of_a_newer_program_is_refused(tmp_path):
    newer = Database(tmp_path / "state.db", (*SCHEMA, "CREATE TABLE later (id INTEGER)"))
    newer.start()
    newer.close()
    with pytest.raises(StoreFault, match="newer"):
        Database(tmp_path / "state.db", SCHEMA).start()


async def test_decision_records_are_kept_by_code(database):
    store = SqliteDecisionStore(database)
    await store.put("K7F-2QX", T0, b"record")
    await store.put("K7F-2QX", T0, b"newer-00")
    assert await store.get("K7F-2QX") == b"newer-00"
    assert await store.get("other") is None


async def test_decision_records_go_by_age_and_by_count(database):
    store = SqliteDecisionStore(database)
    await store.put_many([(f"c{n}", T0 + n * HOUR, b"r") for n in range(6)])
    assert await store.prune(T0 + 2 * HOUR, 3) == 3
    assert [await store.get(f"c{n}") for n in range(6)] == [None, None, None, b"r", b"r", b"r"]


def inserting(database, code, *, fails=False):
    def run(connection):
        connection.execute("INSERT INTO risk_decisions VALUES (?, 1, X'00')", (code,))
        if fails:
            raise ValueError(code)
        return code

    return database.write(run)


@pytest.mark.parametrize("others", [0, 3])
async def test_a_job_that_fails_is_undone_alone(database, others):
    """Whether it has its transaction to itself or not."""
    jobs = [inserting(database, f"ok{number}") for number in range(others)]
    results = await asyncio.gather(inserting(database, "bad", fails=True), *jobs, return_exceptions=True)
    assert isinstance(results[0], ValueError)
    assert results[1:] == [f"ok{number}" for number in range(others)]
    kept = await database.read(
        lambda connection: connection.execute("SELECT code FROM risk_decisions").fetchall()
    )
    assert sorted(kept) == [(f"ok{number}",) for number in range(others)]
    assert await inserting(database, "later") == "later"
    assert not database.write_fault
