"""What a change cost, as the gateway tells it itself: the incident with its timeline, and the histograms."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.faults.test_revocation import close_code, open_socket, status
from tests.faults.world import World, metric, new_http, running_world, signal_body


async def incidents(world: World, *arguments: str) -> list[dict]:
    code, output = await world.cli("incidents", "--json", *arguments, "--config", str(world.config_path))
    assert code == 0, output
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


async def test_an_incident_from_observation_to_access_restored(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False) as world, new_http() as http:
        (seat,) = await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "hb", kind="heartbeat"))
        socket = await open_socket(http, world, seat)
        observed = datetime.now(UTC) - timedelta(seconds=90)
        await world.told(http, signal_body("SER-A", "e1", observed=observed.isoformat()))
        assert await close_code(socket) == 4403
        assert await status(http, world, seat) == 403

        (cut,) = await world.logged("exchanges-cut", bool)
        assert (cut["app"], cut["count"]) == ("notes", 1)
        assert "Credential stealer found" in await explained(world, cut["decision"])

        (found,) = await settled(world, lambda each: "first_refused_at" in each)
        assert (found["sensor"], found["title"], found["level"]) == (
            "edr",
            "Credential stealer found",
            "high",
        )
        assert found["cuts"] == {"notes": 1}
        assert 0 < found["durable_in_s"] < found["enforced_in_s"]
        assert set(found["by_worker"]) == {"w1", "w2"}
        assert 85 < found["lag_s"] < 300
        assert found["first_refused_app"] == "notes"
        assert "restored_at" not in found
        assert len(await incidents(world, "--open")) == 1

        await world.told(http, signal_body("SER-A", "e2", state="closed"))
        (found,) = await settled(world, lambda each: "restored_at" in each)
        assert (
            found["opened_at"] <= found["first_refused_at"] <= found["remediated_at"] <= found["restored_at"]
        )
        assert await incidents(world, "--open") == []
        assert await status(http, world, seat) == 200

        code, text = await world.cli("incidents", "--config", str(world.config_path))
        assert code == 0
        steps = ("observed by edr", "webhook received", "durable", "enforced, answered", "open exchanges cut",
                 "first request refused", "remediated", "access restored", "exposure window: ")  # fmt: skip
        positions = [text.index(step) for step in steps]
        assert positions == sorted(positions), text

        for name in (
            'posturegate_durable_seconds_count{sensor="edr"}',
            'posturegate_enforcement_seconds_count{sensor="edr"}',
            'posturegate_evaluated_seconds_count{sensor="edr"}',
            'posturegate_answered_seconds_count{sensor="edr"}',
            'posturegate_worker_enforcement_seconds_count{worker="w1"}',
        ):
            assert await metric(world, name) >= 3
        assert await metric(world, 'posturegate_streams_cut_seconds_count{app="notes",sensor="edr"}') == 1
        assert await metric(world, 'posturegate_sensor_lag_seconds_count{sensor="edr"}') == 1
        assert await metric(world, 'posturegate_time_to_remediate_seconds_count{sensor="edr"}') == 1
        assert await metric(world, "posturegate_exchanges_cut_total") == 1


async def explained(world: World, code: str) -> str:
    """Return the record of a decision: those of tickets are written a little later."""
    for _ in range(20):
        status_, text = await world.cli("explain", code, "--config", str(world.config_path))
        if status_ == 0:
            return text
    raise AssertionError(text)


async def settled(world: World, condition) -> list[dict]:
    """Return the incidents once the condition holds of all: they are written after the answer has left."""
    for _ in range(100):
        found = await incidents(world)
        if found and all(condition(each) for each in found):
            return found
    raise AssertionError(found)


async def test_an_incident_outlives_a_kill_of_everything(tmp_path: Path) -> None:
    async with running_world(tmp_path, starts=False) as world, new_http() as http:
        await world.seat(["SER-A"])
        await world.start()
        await world.told(http, signal_body("SER-A", "e1"))
        await settled(world, lambda each: "enforced_in_s" in each)
        world.process.kill()
        await world.process.wait()
        await world.start()
        await world.told(http, signal_body("SER-A", "e2", state="closed"))
        (found,) = await settled(world, lambda each: "restored_at" in each)
        assert found["cause"] == "finding:edr:malware"
