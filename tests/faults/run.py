"""One run of the checker: start, traffic under faults, calm, judgement."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import aiohttp

from tests.faults.history import History, Violation, judge
from tests.faults.injector import Injector
from tests.faults.traffic import People, Recorder, Sensor
from tests.faults.world import SOON_S, Seat, World, new_http, running_world

CALM_S = 1.5
SERVED_IN_A_ROW = 40
"""Each is on a connection of its own, which the kernel gives to one of the workers."""


class Report(NamedTuple):
    """What a run came to."""

    history: History
    violations: list[Violation]
    faults: list[str]
    log: str


async def run(
    folder: Path,
    *,
    seed: int,
    seconds: float,
    devices: int = 4,
    workers: int = 2,
    with_faults: bool = True,
    environment: dict[str, str] | None = None,
    say: Callable[[str], None] = lambda text: None,
    until_violated: bool = False,
) -> Report:
    """Run for `seconds`, or with `until_violated` until something is wrong, and judge."""
    choice = random.Random(seed)  # noqa: S311 - a run that can be repeated
    names = [f"SER-{number}" for number in range(devices)]
    recorder, stopping, quiet = Recorder(), asyncio.Event(), asyncio.Event()
    async with running_world(folder, workers=workers, starts=False) as world:
        world.environment |= environment or {}
        seats = await world.seat(names)
        await world.start()
        sensor = Sensor(world, recorder, random.Random(choice.random()))  # noqa: S311
        await sensor.begin(names)
        people = People(world, recorder, stopping)
        injector = Injector(world, random.Random(choice.random()), say=say)  # noqa: S311
        async with asyncio.TaskGroup() as group:
            for seat in seats:
                for work in people.of(seat):
                    group.create_task(work)
            drivers = [group.create_task(sensor.keep(name, quiet)) for name in names]
            faults = group.create_task(injector.keep(quiet)) if with_faults else None
            await _pass(seconds, recorder, until_violated=until_violated)
            quiet.set()
            await asyncio.gather(*drivers, *([faults] if faults else []))
            await world.ready()
            await _served(world, seats)
            recorder.is_calm = True
            await asyncio.sleep(CALM_S)
            stopping.set()
        log = world.log()
    history = recorder.history()
    return Report(history, judge(history), injector.done, log)


async def _served(world: World, seats: list[Seat]) -> None:
    """Wait until so many requests in a row are answered that every worker has its lease again."""
    in_a_row = 0
    async with asyncio.timeout(SOON_S), new_http() as http:
        while in_a_row < SERVED_IN_A_ROW:
            for seat in seats:
                in_a_row += 1
                if not await _is_served(http, world, seat):
                    in_a_row = 0
                    await asyncio.sleep(0.05)


async def _is_served(http: aiohttp.ClientSession, world: World, seat: Seat) -> bool:
    headers = {"Cookie": seat.cookies["notes"], "Accept": "application/json"}
    try:
        async with http.get(world.url("/x", "notes"), headers=headers) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _pass(seconds: float, recorder: Recorder, *, until_violated: bool) -> None:
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds
    while loop.time() < ends:
        await asyncio.sleep(min(1.0, max(0.0, ends - loop.time())))
        if until_violated and judge(recorder.history()._replace(streams=())):
            return
