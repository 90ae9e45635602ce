"""A country database that is replaced under a running gateway counts from the reload on, in every worker."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.system.stack import Person, Stack, running_stack
from tests.system.test_loop import HEALTHY, until
from tests.system.test_loop_deaths import children, command, kill

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "config"))
from country_samples import write_countries

pytestmark = pytest.mark.op

POLICY = "    - {name: embargo, decision: block, when: {networks: [embargoed]}, reason: Not from there.}"
NETWORKS = """\
networks: [{name: embargoed, countries: [KP]}]
country_database: countries.mmdb
compliance:
"""


FILED = """\
networks: [{name: embargoed, files: [embargoed.txt]}]
compliance:
"""
HERE = ["127.0.0.0/8", "::1/128"]


def write_ranges(path: Path) -> None:
    path.write_text("192.0.2.0/24\n")


def write_permitted(path: Path) -> None:
    write_countries(path, {"DE": HERE})


@asynccontextmanager
async def signed_in(
    networks: str, name: str, write: Callable[[Path], None]
) -> AsyncIterator[tuple[Stack, Path, Person]]:
    """Run a gateway whose policy reads a file that lies beside its configuration, and sign somebody in."""
    async with running_stack(starts=False) as stack:
        file = stack.config_path.parent / name
        write(file)
        stack.write_config(POLICY, **{"compliance:\n": networks})
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        alice = Person()
        try:
            assert (await alice.sign_in(stack.url("/")))[0] == 200
            yield stack, file, alice
        finally:
            await alice.close()


async def test_a_hub_that_dies_while_a_file_of_locations_is_away_comes_back_with_the_file() -> None:
    """Until then nobody is let in, and the workers stay: nobody has to start anything."""
    async with signed_in(FILED, "embargoed.txt", write_ranges) as (stack, ranges, alice):
        away = ranges.rename(ranges.with_suffix(".away"))
        kill(next(pid for pid in children(stack.process.pid) if b"hub" in command(pid)))
        await until(lambda: bool(stack.events("configuration-invalid")))
        assert "embargoed.txt" in stack.events("configuration-invalid")[0]["fault"]

        async def is_refused() -> bool:
            return (await alice.get(stack.url("/"), navigate=False))[0] == 503

        while not await is_refused():  # noqa: ASYNC110 - until the lease of the workers has run out
            await asyncio.sleep(0.2)
        away.rename(ranges)
        await until(lambda: len(stack.events("hub-started")) == 2)
        await stack.ready()
        assert (await alice.get(stack.url("/"), navigate=False))[0] == 200


async def test_a_worker_that_dies_while_the_database_is_away_refuses_and_readiness_says_so() -> None:
    async with signed_in(NETWORKS, "countries.mmdb", write_permitted) as (stack, database, alice):

        async def database_part() -> dict[str, Any]:
            async with aiohttp.ClientSession() as http:
                parts = (await stack.readiness(http))["components"]
            return next(part for part in parts if part["name"] == "country database")

        async def waited(*, is_ready: bool) -> dict[str, Any]:
            while (part := await database_part())["is_ready"] is not is_ready:  # noqa: ASYNC110 - told every 2 s
                await asyncio.sleep(0.2)
            return part

        assert (await database_part())["is_ready"]
        away = database.rename(database.with_suffix(".away"))
        for pid in children(stack.process.pid):
            if b"worker" in command(pid):
                kill(pid)
        part = await waited(is_ready=False)
        assert "cannot be read by" in part["detail"]
        assert "which refuse" in part["detail"]
        status, _, body = await alice.get(stack.url("/"), navigate=False)
        assert (status, "cannot-check" in body) == (503, True)
        away.rename(database)
        await waited(is_ready=True)
        assert (await alice.get(stack.url("/"), navigate=False))[0] == 200


async def test_a_new_database_counts_from_the_reload_on() -> None:
    async with signed_in(NETWORKS, "countries.mmdb", write_permitted) as (stack, database, alice):

        async def statuses() -> set[int]:
            """Ask often enough for both workers to answer."""
            found = set()
            for _ in range(12):
                async with alice.http.get(
                    stack.url("/"), headers={"Connection": "close"}, allow_redirects=False
                ) as response:
                    found.add(response.status)
            return found

        async def reload() -> int:
            return (await stack.cli("reload", "--config", str(stack.config_path)))[0]

        assert await statuses() == {200}

        moved = database.with_suffix(".new")
        write_countries(moved, {"KP": HERE})
        moved.replace(database)
        assert await statuses() == {200}
        assert await reload() == 0
        assert await statuses() == {403}

        database.write_bytes(b"not a database")
        assert await reload() != 0
        assert await statuses() == {403}

        write_permitted(database)
        assert await reload() == 0
        assert await statuses() == {200}
