"""A short run of the mixed load, and the proof that it would notice.

A longer one, with another seed: `python -m tests.faults.mixed --seconds N --seed S`.
"""

import os
from pathlib import Path

from tests.faults.mixed import differences, faults_of, run


async def test_after_a_mixed_load_the_store_holds_what_was_accepted(tmp_path: Path) -> None:
    report = await run(tmp_path, seconds=5, seed=int(os.environ.get("MIXED_SEED", "77")))
    assert report.faults == []
    assert report.cuts > 0
    assert report.devices > 0


def test_a_lost_or_another_statement_is_noticed() -> None:
    key = frozenset({"serial:SN-1:"})
    stored = {key: {"finding s c": ("detection", "high"), "contested": []}}
    assert differences(stored, stored) == []
    assert differences(stored, {}) == ["only stored: ['serial:SN-1:']"]
    assert differences({}, stored) == ["only replayed: ['serial:SN-1:']"]
    (line,) = differences(stored, {key: {"finding s c": ("detection", "low"), "contested": []}})
    assert "stored ('detection', 'high'), replayed ('detection', 'low')" in line


def test_what_a_healthy_log_does_not_hold_is_noticed() -> None:
    good = (
        '{"event": "delivery", "level": "info"}\n{"event": "pull-failed", "level": "warning"}\nplain text\n'
    )
    assert faults_of(good) == []
    assert len(faults_of(good + '{"event": "task-failed", "level": "error"}\n')) == 1
    assert len(faults_of(good + "Traceback (most recent call last):\n")) == 1
    assert len(faults_of('{"event": "x", "level": "info", "exception": "ValueError"}')) == 1
