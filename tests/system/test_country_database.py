"""A country database that is replaced under a running gateway counts from the reload on, in every worker."""

import sys
from pathlib import Path

import pytest

from tests.system.stack import Person, running_stack
from tests.system.test_loop import HEALTHY

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "config"))
from country_samples import write_countries

pytestmark = pytest.mark.op

POLICY = "    - {name: embargo, decision: block, when: {networks: [embargoed]}, reason: Not from there.}"
NETWORKS = """\
networks: [{name: embargoed, countries: [KP]}]
country_database: countries.mmdb
compliance:
"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_a_new_database_counts_from_the_reload_on() -> None:
    async with running_stack(starts=False) as stack:
        database = stack.config_path.parent / "countries.mmdb"
        write_countries(database, {"DE": ["127.0.0.0/8", "::1/128"]})
        stack.write_config(POLICY, **{"compliance:\n": NETWORKS})
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        alice = Person()

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

        try:
            status, _, _ = await alice.sign_in(stack.url("/"))
            assert status == 200
            assert await statuses() == {200}

            moved = database.with_suffix(".new")
            write_countries(moved, {"KP": ["127.0.0.0/8", "::1/128"]})
            moved.replace(database)
            assert await statuses() == {200}
            assert await reload() == 0
            assert await statuses() == {403}

            database.write_bytes(b"not a database")
            assert await reload() != 0
            assert await statuses() == {403}

            write_countries(database, {"DE": ["127.0.0.0/8", "::1/128"]})
            assert await reload() == 0
            assert await statuses() == {200}
        finally:
            await alice.close()
