"""What limited sessions do is counted over all workers of a machine, whoever asks whom and however often."""

import threading
from pathlib import Path

from gateway.controls.meter import Meters
from tests.unit.controls.limited_samples import limits

LIMITED = limits(requests_per_minute=10, bytes_per_hour=1000)
NOW = 100_000.0


def meters(folder: Path, count: int = 3) -> list[Meters]:
    made = [Meters(folder / "meters", f"w{at}") for at in range(count)]
    for each in made:
        each.workers = count
    return made


def test_requests_are_counted_together_and_come_free_again(tmp_path: Path) -> None:
    workers = meters(tmp_path)
    waits = [workers[at % 3].admit("s", LIMITED, NOW + at) for at in range(12)]
    assert waits[:10] == [0.0] * 10
    assert waits[10] == 51.0  # the first counts for a minute, and its part of a second
    assert workers[2].admit("other", LIMITED, NOW + 11) == 0.0
    assert workers[1].admit("s", LIMITED, NOW + 60.9) > 0
    assert workers[1].admit("s", LIMITED, NOW + 61) == 0.0
    assert workers[0].admit("s", LIMITED, NOW + 61) > 0


def test_bytes_are_counted_together_and_refused_ones_are_not(tmp_path: Path) -> None:
    first, second, _ = meters(tmp_path)
    assert first.count_bytes("s", 600, 1000, NOW)
    assert not second.count_bytes("s", 401, 1000, NOW)
    assert second.count_bytes("s", 400, 1000, NOW)
    assert not first.count_bytes("s", 1, 1000, NOW)
    assert first.admit("s", LIMITED, NOW) > 3000
    assert first.count_bytes("s", 1, 1000, NOW + 3661)


def test_counts_outlive_a_worker(tmp_path: Path) -> None:
    (worker,) = meters(tmp_path, 1)
    assert [worker.admit("s", LIMITED, NOW) for _ in range(10)] == [0.0] * 10
    (again,) = meters(tmp_path, 1)
    assert again.admit("s", LIMITED, NOW) > 0


def test_a_clock_that_began_anew_forgets(tmp_path: Path) -> None:
    (worker,) = meters(tmp_path, 1)
    for _ in range(10):
        worker.admit("s", LIMITED, NOW)
    (again,) = meters(tmp_path, 1)
    assert again.admit("s", LIMITED, 5.0) == 0.0


def test_workers_at_once_never_let_more_pass(tmp_path: Path) -> None:
    """Four at the same moment, many times: the sum may stay below the bound, and is never above."""
    workers = meters(tmp_path, 4)
    for turn in range(5):
        passed: list[float] = []
        barrier = threading.Barrier(4)

        def ask(worker: Meters, session: str, into: list[float], start: threading.Barrier) -> None:
            start.wait()
            into.extend(worker.admit(session, LIMITED, NOW) for _ in range(8))

        threads = [threading.Thread(target=ask, args=(each, f"s{turn}", passed, barrier)) for each in workers]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert sum(wait == 0.0 for wait in passed) <= 10


def test_where_nothing_can_be_shared_each_has_its_part(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    worker = Meters(blocked / "meters", "w1")
    worker.workers = 2
    assert [worker.admit("s", LIMITED, NOW) for _ in range(6)][:5] == [0.0] * 5
    assert worker.admit("s", LIMITED, NOW) > 0


def test_nobody_else_reads_the_counts(tmp_path: Path) -> None:
    (worker,) = meters(tmp_path, 1)
    worker.admit("s", LIMITED, NOW)
    assert (tmp_path / "meters" / "w0").stat().st_mode & 0o077 == 0
    assert (tmp_path / "meters").stat().st_mode & 0o077 == 0
