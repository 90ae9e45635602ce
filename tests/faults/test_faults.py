"""A short run of the checker, and the proof that it would notice.

A longer one, with another seed: `python -m tests.faults --seed N --seconds S`.
"""

import os
from pathlib import Path

import pytest

from gateway import app
from tests.faults.history import summary
from tests.faults.run import run

SEED = int(os.environ.get("FAULTS_SEED", "20261"))


def told(text: str) -> None:
    print(text)  # noqa: T201 - what was done is shown when a run fails


@pytest.mark.parametrize("workers", [2, 0])
async def test_under_kills_stops_stalls_and_reloads_no_rule_is_broken(tmp_path: Path, workers: int) -> None:
    """With `workers: 0` there is nobody to kill but everybody: the same rules without faults."""
    report = await run(
        tmp_path, seed=SEED, seconds=18 if workers else 4, workers=workers, with_faults=workers > 0, say=told
    )
    told(f"seed {SEED}\n{summary(report.history)}")
    assert report.violations == []
    assert [change.is_raise for change in report.history.changes].count(True) >= 4
    assert {stream.kind for stream in report.history.streams} == {
        "websocket",
        "events",
        "slow",
        "slow websocket",
    }


async def test_a_gateway_that_acknowledges_before_it_enforces_is_caught(tmp_path: Path) -> None:
    broken = {"POSTUREGATE_TESTING": "1", app.ACK_EARLY: "1"}
    report = await run(
        tmp_path, seed=SEED, seconds=20, with_faults=False, environment=broken, until_violated=True
    )
    assert {"FRESH", "STREAM"} <= {violation.rule for violation in report.violations}


def test_nothing_but_a_test_may_break_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not app._acknowledges_early()
    monkeypatch.setenv(app.ACK_EARLY, "1")
    with pytest.raises(RuntimeError, match="on purpose"):
        app._acknowledges_early()
    monkeypatch.setenv("POSTUREGATE_TESTING", "1")
    assert app._acknowledges_early()
