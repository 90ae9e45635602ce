"""Changes of devices, users and sessions: who is told, when, and what a fault of the workers means."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from compliance.model import User
from gateway.decision.context import device_keys, person_key, session_key
from gateway.feed.hub_side import FeedHandlers, FeedHub, NotEnforced
from gateway.hub.changes import Changes
from gateway.hub.enforcing import ENFORCED_AT_ONCE, MAX_EVALUATED, Enforcing
from gateway.sessions.model import Session
from risk.snapshot import RiskState
from risk.users import UserId
from tests.bench.gate import device_row

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
USER = UserId("usr_aaaaaaaaaaaaaaaaaaaa")
SESSION = Session(
    id="ses_1",
    user=User(provider="corp", issuer="https://op.example", subject="ana", auth_at=NOW),
    created_at=NOW,
    last_seen_at=NOW,
    ends_at=NOW + timedelta(hours=1),
)


class Unreachable:
    """A feed whose workers can neither be reached nor killed."""

    async def invalidate(self, keys, reason, meanwhile=None):
        raise NotEnforced("a worker is out of reach")


class Rig:
    """A real feed without workers. Stands for desk and transmitter, and remembers what they are given."""

    def __init__(self, folder):
        self.folder = folder
        self.rounds = 0
        self.evaluated = []
        self.told = []
        self.risk, self.changes = RiskState(), Changes()
        handlers = FeedHandlers(ticket=lambda _: None, touch=lambda _: None, stats=lambda *_: None)
        self.feed = FeedHub(handlers, lambda: b"", on_round=self.count)
        self.enforcing = Enforcing(
            self.risk, self.changes, feed=lambda: self.feed, desk=lambda: self, transmitter=lambda: self
        )

    def count(self, _cut, _fenced):
        self.rounds += 1

    def interpret(self, posture):
        self.evaluated.append(posture.device_id)

    def look(self, devices):
        self.told.append(devices)

    def know(self, count):
        rows = [device_row(number) for number in range(count)]
        self.risk.load(rows)
        return frozenset(row.device_id for row in rows)

    @contextlib.contextmanager
    def woken_by(self, *keys):
        """Check that who waits for one of `keys` alone is woken, for each of them."""
        with contextlib.ExitStack() as stack:
            events = [stack.enter_context(self.changes.subscribed((key,))) for key in keys]
            yield
            assert [key for key, event in zip(keys, events, strict=True) if not event.is_set()] == []


@pytest.fixture
async def rig(tmp_path):
    made = Rig(tmp_path)
    await made.feed.start(tmp_path / "feed.sock")
    yield made
    await made.feed.stop()


async def test_of_many_devices_some_at_a_time_are_announced_and_one_report_tells_of_all(rig):
    devices = rig.know(2 * ENFORCED_AT_ONCE + 1)
    keys = [key for each in devices for key in device_keys(rig.risk.posture(each))]
    with rig.woken_by(*keys):
        report = await rig.enforcing.enforce_devices(devices, 0)
    assert report is not None
    assert rig.rounds == 3
    assert rig.told == [devices]


async def test_what_few_changed_devices_mean_is_worked_out_for_the_tickets_that_follow(rig):
    devices = rig.know(MAX_EVALUATED)
    report = await rig.enforcing.enforce_devices(devices, 0)
    assert sorted(rig.evaluated) == sorted(devices)
    assert report.evaluated_mono_ns is not None


async def test_of_a_batch_nothing_is_worked_out_that_nobody_may_ask_for(rig):
    await rig.enforcing.enforce_devices(rig.know(MAX_EVALUATED + 1), 0)
    assert rig.evaluated == []


async def test_a_device_that_nobody_knows_is_no_change(rig):
    assert await rig.enforcing.enforce_devices(frozenset({device_row(1).device_id}), 0) is None
    assert (rig.rounds, rig.told) == (0, [])


async def test_the_record_of_a_user_is_a_change_of_that_person(rig):
    with rig.woken_by(person_key(USER)):
        assert await rig.enforcing.enforce_devices(frozenset({USER}), 0) is not None
    assert rig.told == [frozenset({USER})]


@pytest.mark.parametrize("told", ["session_ended", "session_changed"])
async def test_whoever_waits_for_a_session_hears_that_it_changed(rig, told):
    with rig.woken_by(session_key(SESSION.id)):
        await getattr(rig.enforcing, told)(SESSION)


async def test_sessions_that_somebody_ended_are_one_change_and_none_are_no_change(rig):
    with rig.woken_by(session_key(SESSION.id)):
        await rig.enforcing.sessions_ended((SESSION,))
    await rig.enforcing.sessions_ended(())
    assert rig.rounds == 1


async def test_only_where_nobody_waits_for_it_does_a_change_that_is_not_enforced_go_by(rig):
    devices = rig.know(1)
    stopped, rig.feed = rig.feed, Unreachable()
    await rig.enforcing.enforce_late(devices)
    await rig.enforcing.session_ended(SESSION)
    for told in (
        rig.enforcing.enforce_devices(devices, 0),
        rig.enforcing.sessions_ended((SESSION,)),
        rig.enforcing.session_changed(SESSION),
    ):
        with pytest.raises(NotEnforced):
            await told
    assert rig.told == []
    rig.feed = stopped
