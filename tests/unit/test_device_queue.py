"""Devices that wait to be looked at: each once, oldest first, bounded, and settled only when none is left."""

import asyncio

from gateway.device_queue import DeviceQueue


def test_a_device_waits_once_with_what_is_wanted_last_and_the_oldest_is_taken_first():
    queue = DeviceQueue[str](10)
    for device_id, wanted in (("a", "x"), ("b", "y"), ("a", "z")):
        assert queue.put(device_id, wanted)
    assert queue.wanted("a") == "z"
    assert queue.take(1) == {"a": "z"}
    assert queue.wanted("a") is None
    assert queue.take(5) == {"b": "y"}


def test_there_is_room_for_so_many_and_for_what_could_not_be_looked_at():
    queue = DeviceQueue[None](2)
    assert [queue.put(device_id, None) for device_id in "abac"] == [True, True, True, False]
    taken = queue.take(2)
    assert [queue.put(device_id, None) for device_id in "cd"] == [True, True]
    queue.put_back(taken)
    assert len(queue) == 4


async def test_it_is_settled_when_all_was_looked_at():
    queue = DeviceQueue[None](2)
    await queue.settled()
    queue.put("a", None)
    queue.stir()
    waiting = asyncio.ensure_future(queue.settled())
    await queue.stirred()
    queue.take(1)
    queue.put("b", None)
    queue.rest()
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.take(1)
    queue.rest()
    await waiting
