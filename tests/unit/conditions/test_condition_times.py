"""`times`, `not_times`: windows of local time, over midnight and over daylight saving."""

from datetime import UTC, datetime, timedelta

import pytest
from condition_samples import HOUR, NOW, changes_at, check, context

from compliance.conditions import KINDS
from compliance.model import TimeWindow

OFFICE = TimeWindow(days=("mon", "fri"), start="09:00", end="17:00", zone="Europe/Berlin")
NIGHT = TimeWindow(days=("sun",), start="22:00", end="11:00", zone="UTC")

CASES = [
    ("times", (OFFICE,), context(), True),
    ("times", (OFFICE,), context(now=NOW + 6 * HOUR), False),
    ("times", (OFFICE,), context(now=NOW + timedelta(days=1)), False),
    ("times", (NIGHT,), context(), True),
    ("times", (NIGHT,), context(now=NOW + HOUR), False),
    ("times", (OFFICE, NIGHT), context(now=NOW + HOUR), True),
    ("not_times", (OFFICE,), context(), False),
    ("not_times", (OFFICE,), context(now=NOW + 6 * HOUR), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


@pytest.mark.parametrize(("window", "moment"), [(OFFICE, NOW + 6 * HOUR), (NIGHT, NOW + HOUR)])
def test_when_time_changes_it(window, moment):
    changes_at("times", (window,), context(), moment)


def test_daylight_saving_moves_windows_as_clocks_do():
    """On 29 March 2026 Berlin goes from UTC+1 to UTC+2 in the night: nine o'clock stays nine o'clock."""
    window = (TimeWindow(start="09:00", end="17:00", zone="Europe/Berlin"),)
    before, after = datetime(2026, 3, 28, 8, tzinfo=UTC), datetime(2026, 3, 29, 7, tzinfo=UTC)
    assert KINDS["times"].holds(window, context(now=before))
    assert KINDS["times"].holds(window, context(now=after))
    assert not KINDS["times"].holds(window, context(now=after - timedelta(seconds=1)))
