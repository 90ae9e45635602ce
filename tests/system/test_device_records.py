"""Device records by the command line of a running gateway: what it changes is enforced when it returns."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.system.stack import Person, Stack, running_stack
from tests.system.test_loop import HEALTHY, drained

pytestmark = pytest.mark.op


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


async def test_an_operator_changes_records_and_access_follows_before_the_command_returns() -> None:
    async with running_stack() as stack:
        config = ("--config", str(stack.config_path))
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        alice = Person()
        try:
            assert (await alice.sign_in(stack.url("/")))[0] == 200
            await stack.signal_risk("open", event="e1")
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 403
            override = (
                "device",
                "override",
                "SER-ALICE-1",
                "--level",
                "none",
                "--for",
                "1h",
                "--reason",
                "drill",
            )
            code, text = await stack.cli(*override, *config)
            assert (code, "override    none until" in text) == (0, True)
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 200
            code, _ = await stack.cli(
                "device", "override", "SER-ALICE-1", "--end", "--reason", "over", *config
            )
            assert code == 0
            assert (await alice.get(stack.url("/api"), navigate=False))[0] == 403

            file = stack.folder / "inventory.csv"
            file.write_text("serial,owner,tags\nSER-ALICE-1,alice@corp.example,hr\n,nobody@corp.example,\n")
            code, text = await stack.cli("device", "import", str(file), *config)
            assert (code, "row 2: nothing names the device" in text) == (3, True)
            assert "1 taken, 0 unchanged, 1 refused" in text
            code, text = await stack.cli("device", "show", "SER-ALICE-1", *config)
            assert "owner       alice@corp.example" in text
            assert "serial=SER-ALICE-1" in text
            code, text = await stack.cli("device", "list", *config)
            assert "alice-mbp" in text
            assert "0 cases" in (await stack.cli("device", "cases", *config))[1]
            code, text = await stack.cli("device", "show", "nobody", *config)
            assert (code, text) == (1, "refused: no device is known by `nobody`\n")
        finally:
            await alice.close()


JOINING = "risk: {join_hostnames: true, hostname_domains: [corp.example]}\n"
AGENTS = "{kind: hostname, path: host}, {kind: sensor-device-id, path: agent}]"


async def test_merges_cases_and_parked_names_cut_streams_before_whoever_caused_them_is_answered() -> None:
    """What an operator or a statement joins is enforced like risk: the open WebSocket goes, and access returns."""
    async with running_stack(starts=False) as stack:
        stack.write_config(JOINING, **{"{kind: hostname, path: host}]": AGENTS})
        await stack.start()
        await stack.signal_risk("open", event="e-start", **HEALTHY)
        alice = Person()

        async def status() -> int:
            return (await alice.get(stack.url("/api"), navigate=False))[0]

        async def device(*arguments: str) -> str:
            code, text = await stack.cli("device", *arguments, "--config", str(stack.config_path))
            assert code == 0, text
            return text

        try:
            assert (await alice.sign_in(stack.url("/")))[0] == 200
            await stack.signal_risk("open", event="e1", serial="SER-2", host="other", agent="7")
            async with cut(alice, stack):
                await device("merge", "SER-ALICE-1", "SER-2", "--reason", "a new main board")
                assert await status() == 403
            names = ("serial=SER-2", "hostname=other", "sensor-device-id@edr=7")
            assert "because     high" in await device("split", "SER-ALICE-1", *names, "--reason", "wrong")
            assert await status() == 200

            await stack.signal_risk("open", event="e2", condition="low", severity="low", agent="9")
            async with cut(alice, stack):
                await stack.signal_risk(
                    "open",
                    event="e3",
                    condition="low",
                    severity="low",
                    serial="SER-3",
                    host="third",
                    agent="9",
                )
                assert await status() == 403, "nobody knows whose news it was"
            assert "1 case\n" in await device("cases")
            await device("settle", "sensor-device-id@edr=9", "SER-ALICE-1", "--reason", "it is hers")
            assert await status() == 200

            told = await stack.signal_risk(
                "open", event="e4", condition="p", serial="", host="ghost.corp.example"
            )
            assert (told["devices"], told["parked"]) == (1, 1)
            assert await status() == 200
            for command in (("delivery", told["delivery"]), ("status", "edr")):
                code, text = await stack.cli("sensor", *command, "--config", str(stack.config_path))
                assert (code, "1 device is known by nothing but a name" in text) == (0, True), text
            assert "ghost.corp.example" in await device("list", "--parked")
            async with cut(alice, stack):
                told = await stack.signal_risk(
                    "open", event="e5", host="GHOST", **{**HEALTHY, "condition": "hb2"}
                )
                assert told["parked"] == 0
                assert await status() == 403
            assert "0 devices" in await device("list", "--parked")
            assert [each["rule"] for each in stack.events("device-joined")] == ["operator", "parked"]
            assert "Traceback" not in stack.log()
        finally:
            await alice.close()


@asynccontextmanager
async def cut(person: Person, stack: Stack) -> AsyncIterator[None]:
    """Open a WebSocket, which must be closed once the block has ended."""
    socket = await person.http.ws_connect(stack.url("/ws").replace("http", "ws"))
    assert (await socket.receive()).data == "tick"
    yield
    await drained(socket)
    assert socket.closed
