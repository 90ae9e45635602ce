"""Ids of deliveries are in the order of time and never the same; their log lines are what the logger would write."""

import asyncio
import json
from datetime import UTC, datetime

import msgspec
import pytest
import structlog

from gateway.deliveries.ids import DeliveryIds, new_delivery_id
from gateway.observe.logs import FLUSH_S, MAX_LINES, EventLines, configure_logs


def test_ids_of_a_millisecond_differ_and_those_of_a_later_one_sort_behind() -> None:
    now = [1_796_103_600_000_999_999]
    make = DeliveryIds(now_ns=lambda: now[0], first=lambda: 2**24 - 2)
    first = [make() for _ in range(3)]
    assert len({*first}) == 3
    assert {len(each) for each in first} == {16}
    now[0] += 1_000_000
    assert make() > max(first)


def test_ids_of_two_processes_in_one_millisecond_differ() -> None:
    made = {DeliveryIds(now_ns=lambda: 0)() for _ in range(50)}
    assert len(made) > 45
    assert new_delivery_id() != new_delivery_id()


class Told(msgspec.Struct):
    id: str
    count: int | None = None
    timings: dict[str, float] = {}
    secret: str = "not asked for"


@pytest.fixture
def as_json():
    configure_logs(as_json=True)
    yield
    EventLines.is_direct = False
    structlog.reset_defaults()


async def test_lines_wait_for_each_other_and_hold_the_fields_that_were_asked_for(as_json, capsys) -> None:
    lines = EventLines("delivery", {"id": "id", "count": "count", "timings": "timings"})
    before = datetime.now(UTC)
    lines.log(Told("d1", 3, {"durable": 0.5}))
    lines.log(Told("d\n2"))
    assert capsys.readouterr().err == ""
    await asyncio.sleep(FLUSH_S * 2)
    first, second = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert before <= datetime.fromisoformat(first.pop("timestamp")) <= datetime.now(UTC)
    assert first == {
        "id": "d1",
        "count": 3,
        "timings": {"durable": 0.5},
        "event": "delivery",
        "level": "info",
    }
    assert (second["id"], second["count"]) == ("d\n2", None)


async def test_a_line_of_given_fields_stands_among_the_others(as_json, capsys) -> None:
    lines = EventLines("access-changed", level="warning")
    lines.info({"reason": "sensor", "cut": 2})
    lines.flush()
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp")
    assert line == {"reason": "sensor", "cut": 2, "event": "access-changed", "level": "warning"}


async def test_many_lines_do_not_wait(as_json, capsys) -> None:
    lines = EventLines("delivery", {"id": "id", "number": "count"})
    for number in range(MAX_LINES):
        lines.log(Told(str(number)))
    assert len(capsys.readouterr().err.splitlines()) == MAX_LINES


async def test_without_json_every_line_goes_to_the_logger() -> None:
    with structlog.testing.capture_logs() as logs:
        EventLines("delivery", {"id": "id", "number": "count"}).log(Told("d1", 1))
    assert [(each["event"], each["id"], each["number"]) for each in logs] == [("delivery", "d1", 1)]
