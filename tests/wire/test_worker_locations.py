"""A worker that starts while the country database cannot be read: what it refuses, and that it recovers by itself."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog

import gateway.worker
from gateway.config.locations import Network, WithoutCountries
from gateway.feed.settings import WorkerSettings, encode_settings
from tests.wire.harness import Recorder, until
from tests.wire.test_worker import app, ask, running, settings

sys.path.insert(0, str(Path(__file__).parent.parent / "unit" / "config"))
from country_samples import write_countries

EMBARGOED = Network(name="embargoed", countries=("KP",))


@asynccontextmanager
async def told_hub(folder: Path) -> AsyncIterator[list[str]]:
    """Stand in for the hub: answer everything, and keep the verdicts that the worker sends along."""
    verdicts: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            lines = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            verdicts.append({name.lower(): value for name, value in lines.items()}["x-gate-verdict"])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhub")

    server = await asyncio.start_unix_server(answer, str(folder / "hub.sock"))
    try:
        yield verdicts
    finally:
        server.close()


def located(recorder: Recorder, database: Path, **options: object) -> WorkerSettings:
    return settings(
        app("plain.test", recorder, public_paths=("/public",)),
        networks=(EMBARGOED,),
        country_database=str(database),
        **options,
    )


async def test_nobody_is_let_in_until_the_database_can_be_read(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway.worker, "LOCATE_AGAIN_S", 0.01)
    database = tmp_path / "countries.mmdb"
    with structlog.testing.capture_logs() as lines:
        async with (
            told_hub(tmp_path) as verdicts,
            running(tmp_path, located(recorder, database)) as (worker, port),
        ):
            assert (await ask(port, "plain.test", "/a")).endswith(b"hub")
            verdict = json.loads(verdicts[-1])
            assert (verdict["kind"], verdict["status"], verdict["code"]) == ("failed", 503, "cannot-check")
            assert (await ask(port, "plain.test", "/public")).endswith(b"ok")

            write_countries(database, {"KP": ["127.0.0.0/8"]})
            await until(lambda: not worker._locations.fault)
            assert (await ask(port, "plain.test", "/a")).endswith(b"hub")
            assert json.loads(verdicts[-1])["kind"] == "sign-in"
            assert worker._locations.networks.containing_text("127.0.0.1") == {"embargoed"}
    told = [line for line in lines if line["event"].startswith("country-database")]
    assert [line["event"] for line in told] == ["country-database-unreadable", "country-database-readable"]
    assert "countries.mmdb" in told[0]["error"]


async def test_who_declares_it_goes_on_without_countries(recorder: Recorder, tmp_path: Path) -> None:
    given = located(recorder, tmp_path / "none.mmdb", without_country_database=WithoutCountries.UNKNOWN)
    async with told_hub(tmp_path) as verdicts, running(tmp_path, given) as (_, port):
        assert (await ask(port, "plain.test", "/a")).endswith(b"hub")
        assert json.loads(verdicts[-1])["kind"] == "sign-in"


async def test_what_was_read_before_stays_in_force_and_what_nobody_asks_is_not_read(
    recorder: Recorder, tmp_path: Path
) -> None:
    database = tmp_path / "countries.mmdb"
    write_countries(database, {"KP": ["127.0.0.0/8"]})
    given = located(recorder, database)
    async with running(tmp_path, given) as (worker, _):
        database.write_bytes(b"not a database")
        worker.configure(encode_settings(given))
        assert worker._locations.fault
        assert not worker._is_lost
        assert worker._locations.networks.containing_text("127.0.0.1") == {"embargoed"}
        plain = settings(app("plain.test", recorder), country_database=str(database))
        worker.configure(encode_settings(plain))
        assert not worker._locations.fault
        assert not worker._is_lost
