"""`fact_states`: fresh, stale, silent and never told are told apart, whatever the fact says."""

# ruff: noqa: FBT003 - a fact is a name and a value

import msgspec
import pytest
from condition_samples import HOUR, MAC, NOW, SILENT, UNSURE, changes_at, check, context, fact, posture

from compliance.model import FactState, FactStateCondition

EXPIRED = msgspec.structs.replace(fact("disk", True), expires_at=NOW)


def asked(state, max_age=None):
    return (FactStateCondition(fact="disk", states=(state,), max_age=max_age),)


CASES = [
    ("fact_states", asked(FactState.FRESH), context(posture(fact("disk", False))), True),
    ("fact_states", asked(FactState.STALE, 3600.0), context(posture(fact("disk", False))), True),
    ("fact_states", asked(FactState.FRESH, 3600.0), context(posture(fact("disk", False))), False),
    ("fact_states", asked(FactState.SILENT), context(SILENT, risk=UNSURE), True),
    ("fact_states", asked(FactState.STALE), context(posture(EXPIRED)), True),
    ("fact_states", asked(FactState.NEVER), context(MAC), True),
    ("fact_states", asked(FactState.NEVER), context(), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    changes_at(
        "fact_states", asked(FactState.FRESH, 7200.0), context(posture(fact("disk", True))), NOW + HOUR
    )
