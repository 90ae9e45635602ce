"""A large delivery and the death of the process: after the next start all of it is there, or nothing."""

import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from risk.database import Database
from risk.intake import PROMISED_AT_ONCE, Intake
from risk.model import Identifier, Severity, Signal, SignalType
from risk.parts import MAX_PART, Part, pack_part
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore

ROOT = Path(__file__).parents[2]
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 10_000
PROMISES = -(-MANY // (MAX_PART * PROMISED_AT_ONCE))
"""Transactions that make it durable."""

CRASH = """
import asyncio, os, signal, sys
from datetime import UTC, datetime
from risk.database import Database
from risk.intake import Intake
from risk.model import Identifier, Severity, Signal, SignalType
from risk.snapshot import RiskState
from risk.sqlite import SCHEMA, SqliteRiskStore

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
moment, path = int(sys.argv[1]), sys.argv[2]

class Store(SqliteRiskStore):
    commits = 0

    async def commit(self, batch):
        if self.commits == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        await super().commit(batch)
        self.commits += 1

async def main():
    database = Database(path, SCHEMA)
    database.start()
    intake = Intake(RiskState(), Store(database), clock=lambda: T0)
    await intake.start()
    await intake.submit("edr", [
        Signal(sensor="edr", type=SignalType.DETECTION, observed_at=T0, received_at=T0, external_id="c",
               event_id=f"e{n}", device_ids=(Identifier("serial", f"SN-{n}"),), level=Severity.HIGH)
        for n in range(10_000)])
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("moment", "kept"),
    [(0, 0), (5, 0), (PROMISES - 1, 0), (PROMISES, MANY), (PROMISES + 1, MANY), (40, MANY), (10**6, MANY)],
    ids=[
        "nothing written",
        "half written",
        "all but the end written",
        "durable",
        "one part taken",
        "some parts taken",
        "answered",
    ],
)
async def test_a_large_delivery_is_there_whole_or_not_at_all(tmp_path, moment, kept):
    path = tmp_path / "state.db"
    died = subprocess.run(  # noqa: S603, ASYNC221
        [sys.executable, "-c", CRASH, str(moment), str(path)], cwd=ROOT, check=False, timeout=120
    )
    assert died.returncode == -signal.SIGKILL
    database = Database(path, SCHEMA)
    database.start()
    state = RiskState()
    store = SqliteRiskStore(database)
    intake = Intake(state, store, clock=lambda: T0)
    await intake.start()
    assert len(state) == kept
    assert all(state.posture(each).findings["edr", "c"].is_open for each in list(state.device_ids()))
    assert await store.load_parts() == []
    left = await database.read(
        lambda connection: connection.execute("SELECT * FROM risk_promises").fetchall()
    )
    assert left == []
    await intake.stop()
    database.close()


async def test_what_an_earlier_version_promised_is_taken(tmp_path):
    before = next(number for number, each in enumerate(SCHEMA) if "risk_promises" in each)
    database = Database(tmp_path / "state.db", {"risk": SCHEMA[:before]})
    database.start()
    one = Signal(
        sensor="edr", type=SignalType.DETECTION, observed_at=T0, received_at=T0, external_id="c", event_id="e",
        device_ids=(Identifier("serial", "SN-1"),), level=Severity.HIGH,
    )  # fmt: skip
    packed = pack_part(Part(sensor="edr", signals=(one,), items=(0,)))
    await database.write(
        lambda connection: connection.execute("INSERT INTO risk_parts VALUES (7, ?)", (packed,))
    )
    database.close()
    database = Database(tmp_path / "state.db", {"risk": SCHEMA})
    database.start()
    state = RiskState()
    intake = Intake(state, SqliteRiskStore(database), clock=lambda: T0)
    await intake.start()
    assert len(state) == 1
    await intake.stop()
    database.close()
