"""What a strict new user once found broken. Each test names what went wrong."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from risk.database import Database, StoreFault

SCHEMA = ["CREATE TABLE t (x INTEGER)"]


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


def test_two_gateways_never_share_one_store(tmp_path: Path) -> None:
    """The second wrote posture that the first did not enforce: a sensor's 2xx was worth nothing."""
    first, second = (Database(tmp_path / "state.db", SCHEMA) for _ in range(2))
    first.start()
    try:
        with pytest.raises(StoreFault, match="another gateway uses it"):
            second.start()
    finally:
        first.close()
    second.start()
    second.close()


def test_the_store_is_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds people, devices and findings; it was readable by everyone on the machine."""
    mask = os.umask(0o022)
    try:
        database = Database(tmp_path / "state.db", SCHEMA)
        database.start()
        asyncio.run(database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)")))
        for name in ("state.db", "state.db-wal", "state.db-shm", "state.db.lock"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600, name
        database.close()
    finally:
        os.umask(mask)


def test_a_store_that_cannot_be_written_says_so_until_it_can(tmp_path: Path) -> None:
    """Readiness said `ready` while every sensor got 503 from a full disk."""

    def fill(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO t SELECT value FROM generate_series(1, 1)")

    async def scenario() -> None:
        with pytest.raises(StoreFault):
            await database.write(lambda connection: connection.execute("ROLLBACK"))
        assert database.write_fault
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)"))
        assert not database.write_fault
        with pytest.raises(sqlite3.OperationalError):
            await database.write(fill)
        assert not database.write_fault, "a job that fails alone is no fault of the store"

    database = Database(tmp_path / "state.db", SCHEMA)
    database.start()
    try:
        asyncio.run(scenario())
    finally:
        database.close()


def test_a_hub_that_cannot_start_says_why_without_a_traceback(tmp_path: Path) -> None:
    """A garbage database, a read-only folder or a used port printed forty lines of Python at every restart."""
    (tmp_path / "state.db").write_text("this is no database " * 100)
    config = tmp_path / "posturegate.yaml"
    config.write_text(
        "public_url: http://login.localhost:18099\n"
        "server: {listen: '127.0.0.1:18099', ops: '127.0.0.1:18098', run_dir: run}\n"
        "store: {url: 'sqlite:state.db'}\n"
        "providers: [{name: p, issuer: 'http://127.0.0.1:1', client_id: x}]\n"
        "apps: [{name: a, host: a.localhost, upstream: 'http://127.0.0.1:1'}]\n"
        "access: {policies: [{name: all, decision: allow}]}\n"
    )
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "gateway", "hub", "--config", str(config)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "hub-cannot-start" in output
    assert "file is not a database" in output
    assert "Traceback" not in output


def test_help_lists_only_what_people_run() -> None:
    """`--help` listed `hub` and `worker` as `==SUPPRESS==`."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "--help"], capture_output=True, text=True, check=True
    )
    assert "SUPPRESS" not in done.stdout
    assert "    serve " in done.stdout
    assert "    hub" not in done.stdout


def test_explain_tells_a_slip_from_a_code_that_is_not_there(tmp_path: Path) -> None:
    """Pages about a failed sign-in print a code that `explain` knew nothing of, and it did not say where to look."""
    config = tmp_path / "posturegate.yaml"
    config.write_text(
        "public_url: http://login.localhost:18099\n"
        "store: {url: 'sqlite:state.db'}\n"
        "providers: [{name: p, issuer: 'http://127.0.0.1:1', client_id: x}]\n"
        "apps: [{name: a, host: a.localhost, upstream: 'http://127.0.0.1:1'}]\n"
        "access: {policies: [{name: all, decision: allow}]}\n"
    )
    database = Database(
        tmp_path / "state.db", ["CREATE TABLE risk_decisions (code TEXT, created_at REAL, record BLOB)"]
    )
    database.start()
    database.close()

    def explain(code: str) -> str:
        done = subprocess.run(  # noqa: S603 - our own program
            [sys.executable, "-m", "gateway", "explain", code, "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1, done.stderr
        return done.stdout

    assert "is no reference code" in explain("nope")
    assert '"reference":"98CF-MR5Q"' in explain("98cf mr5q")
    assert "no decision record" in explain("d_00533793bad3eec78c5d"), "the value of X-Gate-Decision-Id"
