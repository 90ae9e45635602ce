"""`python -m tests.faults.mixed --seconds N --seed S`: every kind of sensor at once, well and badly behaved.

Senders deliver the kinds' own samples about many devices: signed well and badly, twice, shuffled, slowly, damaged. A
product is pulled, and a person with an open WebSocket loses and regains access. Afterwards it is checked that

* every answer was one that the sender deserved, and none of them 5xx; the log has no traceback and no error;
* everything that was answered 200 is in the store, and the posture there is what a replay of the kept bodies makes;
* after each raising 2xx the WebSocket was cut, after each lowering one access was back;
* memory has not grown beyond a bound from the first to the last part of the run.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from gateway.app import SCHEMAS
from gateway.config.schema import Config
from gateway.config.sensors import load_config
from gateway.deliveries.fragments import SCHEMA as FRAGMENTS
from gateway.deliveries.fragments import Fragments
from gateway.deliveries.store import Body, DeliveryStore
from gateway.hub.hooks import hook_sensors
from plugins.catalog import Catalog
from plugins.payload import PayloadFault, parse_payloads
from risk.database import Database
from risk.devices import normalise_identifier
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import DeviceId, Posture
from risk.seen import MAX_RECENT
from risk.snapshot import RiskState
from risk.sqlite import SqliteRiskStore
from tests.faults.mixed_traffic import (
    PERSON,
    PULLED,
    PULLED_HOSTS,
    SENDERS,
    Memory,
    MixedWorld,
    Person,
    Senders,
)
from tests.faults.world import SOON_S, World, metric, running_world

GROWTH_MIB = 48.0
"""Most that hub and workers together may have grown, from the first part after the warm-up to the last."""

_QUIET = frozenset({"warning", "info", "debug"})

Say = Callable[[str], None]


def _silent(_text: str) -> None:
    return None


Shown = dict[frozenset[str], dict[str, Any]]
"""What is known, by the identifiers of each device."""


def shown(state: RiskState) -> Shown:
    """Return the posture of all devices and users without texts and what only pulling told."""
    devices = [posture for each in state.device_ids() if (posture := state.posture(each)) is not None]
    users = [record for each in state.user_ids() if (record := state.user_record(each)) is not None]
    found: Shown = {}
    for posture in devices:
        if any(sensor.startswith("all-") or sensor in {"edr", "mdm"} for sensor in posture.heard):
            # Identifiers keep the spelling of who came first.
            named = (normalise_identifier(each) or each for each in posture.identifiers)
            key = {f"{each.kind}:{each.value}:{each.issuer}" for each in named}
            found.setdefault(frozenset(key), {}).update(_facts(posture))
    for record in users:
        # Each identifier of a person has a record of its own that names all of them; its id follows from it.
        found[frozenset({record.name, record.device_id})] = _facts(record)
    return found


def _facts(posture: Posture) -> dict[str, Any]:
    said: dict[str, Any] = {
        f"finding {sensor} {condition}": (
            each.type.value,
            each.level.value,
            each.is_open,
            each.observed_at.isoformat(),
            each.expires_at and each.expires_at.isoformat(),
        )
        for (sensor, condition), each in posture.findings.items()
    }
    said |= {f"fact {sensor} {name}": each.value for (sensor, name), each in posture.facts.items()}
    said["contested"] = sorted(f"{each.kind}:{each.value}" for each in posture.contested)
    return said


def differences(stored: Shown, replayed: Shown) -> list[str]:
    """Return where two pictures differ, a line each."""
    lines = [f"only stored: {sorted(key)}" for key in stored.keys() - replayed.keys()]
    lines += [f"only replayed: {sorted(key)}" for key in replayed.keys() - stored.keys()]
    for key in stored.keys() & replayed.keys():
        mine, theirs = stored[key], replayed[key]
        lines += [
            f"{min(key)}: {name}: stored {mine.get(name)}, replayed {theirs.get(name)}"
            for name in sorted(mine.keys() | theirs.keys())
            if mine.get(name) != theirs.get(name)
        ]
    return sorted(lines)


async def kept(folder: Path, config: Config) -> tuple[list[Body], set[str], Shown, int]:
    """Return kept bodies in their order, ids of records, the posture in the store, and how many hosts were pulled."""
    database = Database(folder / "state.db", SCHEMAS)
    database.start()
    try:
        records = await database.read(partial(_column, query="SELECT id FROM delivery_verified"))
        # In the order in which they were finished: of two copies the one that was taken first counts.
        ids = await database.read(partial(_column, query="SELECT id FROM delivery_body ORDER BY row"))
        store, now = DeliveryStore(database), datetime.now(UTC)
        bodies = [body for each in ids if (body := await store.body(each)) is not None]
        state = RiskState()
        state.join_by(config.risk.joining)
        intake = Intake(state, SqliteRiskStore(database), clock=lambda: now)
        await intake.start()
        await intake.stop()
        pulled = sum(PULLED in _heard(state, each) for each in state.device_ids())
        return bodies, set(records), shown(state), pulled
    finally:
        database.close()


def _column(connection: sqlite3.Connection, query: str) -> list[str]:
    return [row[0] for row in connection.execute(query)]


def _heard(state: RiskState, device: DeviceId) -> frozenset[str]:
    posture = state.posture(device)
    return frozenset() if posture is None else frozenset(posture.heard)


async def replayed(bodies: Sequence[Body], config: Config) -> Shown:
    """Return the posture that these deliveries make, one after the other, in this process."""
    sensors, clock = hook_sensors(config.sensors, Catalog.discover()), [datetime.now(UTC)]
    database = Database(":memory:", FRAGMENTS)
    database.start()
    state = RiskState()
    state.join_by(config.risk.joining)
    intake = Intake(state, MemoryRiskStore(), clock=lambda: clock[0])
    fragments = Fragments(database, lambda: clock[0])
    await intake.start()
    try:
        for body in bodies:
            clock[0] = body.at
            sensor = sensors[body.sensor]
            try:
                payloads = parse_payloads(body.body)
            except PayloadFault:
                continue
            payloads = await fragments.joined(body.sensor, sensor.facade, payloads)
            normalized = sensor.facade.normalize(
                payloads, sensor.options, sensor=body.sensor, received_at=body.at, headers=body.headers
            )
            await intake.submit(
                body.sensor, normalized.signals, normalized.rejections, body.body, items=normalized.origins
            )
        return shown(state)
    finally:
        await intake.stop()
        database.close()


class Report(NamedTuple):
    """What a run came to."""

    faults: list[str]
    text: str
    cuts: int
    devices: int


async def _pulled_once(world: World) -> None:
    """Wait until the product's hosts were taken in once: a short run may end while they still are."""
    async with asyncio.timeout(SOON_S):
        while not await metric(world, f'posturegate_pulls_total{{outcome="ok",sensor="{PULLED}"}}'):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def run(
    folder: Path, *, seconds: float, seed: int, hosts: int = PULLED_HOSTS, say: Say = _silent
) -> Report:
    """Run the load, then judge."""
    stopping = asyncio.Event()
    async with running_world(folder, workers=2, starts=False, make=MixedWorld, hosts=str(hosts)) as world:
        (seat,) = await world.seat([PERSON])
        await world.start()
        senders, person, memory = Senders(world, seed), Person(world, seat), Memory(world)
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(senders.keep(stopping))
            group.create_task(person.keep(stopping))
            group.create_task(memory.keep(stopping))
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await asyncio.sleep(min(30.0, max(0.1, ends - time.monotonic())))
                say(f"{sum(senders.statuses.values())} deliveries, {memory.latest}")
            stopping.set()
            await _pulled_once(world)
        log = world.log()
        await world.stop()
        last_words = world.log()[len(log) :]
        os.environ |= {name: value for name, value in world.environment.items() if name.startswith("GATE_")}
        loaded = load_config(str(world.config_path)).config
        rounds = world.product.rounds
    bodies, records, stored, pulled = await kept(folder, loaded)
    again = await replayed(bodies, loaded)
    faults = [*senders.wrong, *person.wrong, *faults_of(log), *differences(stored, again)]
    faults += [line for line in last_words.splitlines() if "Traceback" in line]
    lost = senders.accepted - records
    faults += [f"answered 200 and not in the store: {each}" for each in sorted(lost)]
    faults += [] if pulled >= hosts else [f"{pulled} of {hosts} hosts were pulled"]
    first, last = memory.parts()
    if last - first > GROWTH_MIB:
        faults.append(f"memory grew from {first:.0f} to {last:.0f} MiB")
    by_status = Counter[int]()
    for (_, status), count in senders.statuses.items():
        by_status[status] += count
    text = (
        f"{sum(by_status.values())} deliveries {dict(sorted(by_status.items()))}, {len(bodies)} bodies kept, "
        f"{len(stored)} devices compared, {rounds} rounds of {hosts} pulled hosts, {len(person.cuts)} cuts, "
        f"slowest seen {max(person.cuts, default=0) * 1000:.0f} ms after the answer, "
        f"memory {first:.0f} MiB first, {last:.0f} MiB last"
    )
    return Report(faults, text, len(person.cuts), len(stored))


def faults_of(log: str) -> list[str]:
    """Return what a log of a healthy gateway does not hold."""
    faults = [line for line in log.splitlines() if "Traceback" in line]
    for line in log.splitlines():
        if not line.startswith("{"):
            continue
        entry = json.loads(line)
        if entry.get("level", "info") not in _QUIET or "exception" in entry:
            faults.append(line[:600])
    return faults


def main() -> int:
    """Run once; return 1 when something was not as it has to be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.mixed", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument(
        "--hosts",
        type=int,
        default=PULLED_HOSTS,
        help="how many hosts are asked for every ten seconds, two new messages each: with 1500, all of the"
        f" {MAX_RECENT:,} message ids that are remembered are there after 11 minutes (default: %(default)s)",
    )
    parser.add_argument("--keep", metavar="FOLDER", help="keep store, configuration and log there")
    arguments = parser.parse_args()
    say = partial(print, flush=True)
    say(f"seed {arguments.seed}")
    with tempfile.TemporaryDirectory(prefix="gate-mixed-") as folder:
        report = asyncio.run(
            run(
                Path(folder),
                seconds=arguments.seconds,
                seed=arguments.seed,
                hosts=arguments.hosts,
                say=say,
            )
        )
        if arguments.keep:
            shutil.copytree(folder, arguments.keep, ignore=shutil.ignore_patterns("run"), dirs_exist_ok=True)
    say(report.text)
    for fault in report.faults[:40]:
        say(f"WRONG {fault}")
    say(f"{len(report.faults)} faults, seed {arguments.seed}")
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
