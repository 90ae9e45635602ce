"""`findings`, `not_findings`: that there is none is known while no sensor is silent."""

import pytest
from condition_samples import HOUR, NOW, SICK, SILENT, UNSURE, changes_at, check, context

from compliance.model import FindingCondition
from risk.model import Severity

CASES = [
    ("findings", (FindingCondition(category="C2"),), context(SICK), True),
    ("findings", (FindingCondition(category="phishing"),), context(SICK), False),
    ("findings", (FindingCondition(at_least=Severity.CRITICAL),), context(SICK), False),
    ("findings", (FindingCondition(at_least=Severity.HIGH, sensor="edr"),), context(SICK), True),
    ("findings", (FindingCondition(sensor="mdm"),), context(SICK), False),
    ("findings", (FindingCondition(category="malware"),), context(SILENT), False),
    ("findings", (FindingCondition(category="malware"),), context(SILENT, risk=UNSURE), None),
    ("findings", (FindingCondition(older_than=3600.0),), context(SICK), True),
    ("findings", (FindingCondition(older_than=3601.0),), context(SICK), False),
    ("findings", (FindingCondition(sensor="edr"),), context(risk=UNSURE), None),
    ("not_findings", (FindingCondition(category="c2"),), context(SICK), False),
    ("not_findings", (FindingCondition(category="phishing"),), context(SICK), True),
    ("not_findings", (FindingCondition(category="c2"),), context(SILENT, risk=UNSURE), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at("findings", (FindingCondition(older_than=7200.0),), context(SICK), NOW + HOUR)
