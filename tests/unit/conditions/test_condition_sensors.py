"""`sensors`: heard, silent or never heard about the device."""

import pytest
from condition_samples import HOUR, MAC, NOW, SILENT, changes_at, check, context

from compliance.model import SensorCondition, SensorState


def asked(sensor, *states):
    return (SensorCondition(sensor=sensor, states=states),)


CASES = [
    ("sensors", asked("edr", SensorState.HEARD), context(MAC), True),
    ("sensors", asked("edr", SensorState.SILENT), context(SILENT), True),
    ("sensors", asked("mdm", SensorState.NEVER), context(MAC), True),
    ("sensors", asked("edr", SensorState.HEARD), context(SILENT), False),
    ("sensors", asked("edr", SensorState.HEARD), context(), None),
    ("sensors", (*asked("mdm", SensorState.HEARD), *asked("edr", SensorState.HEARD)), context(MAC), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at("sensors", asked("edr", SensorState.HEARD), context(MAC), NOW + HOUR)
