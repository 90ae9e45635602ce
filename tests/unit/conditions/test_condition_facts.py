"""`facts`: all comparisons must hold; another type, too old or never told is not known."""

# ruff: noqa: FBT003 - a fact is a name and a value

import pytest
from condition_samples import HOUR, NOW, SILENT, changes_at, check, context, fact, posture

from compliance.model import FactCondition

DISK = (FactCondition(fact="disk", equals=True),)

CASES = [
    ("facts", DISK, context(posture(fact("disk", True))), True),
    ("facts", DISK, context(posture(fact("disk", False))), False),
    ("facts", DISK, context(posture(fact("disk", "true"))), None),
    ("facts", DISK, context(SILENT), None),
    ("facts", DISK, context(), None),
    (
        "facts",
        (FactCondition(fact="disk", equals=True, max_age=3600.0),),
        context(posture(fact("disk", True))),
        None,
    ),
    (
        "facts",
        (FactCondition(fact="disk", equals=True, max_age=3601.0),),
        context(posture(fact("disk", True))),
        True,
    ),
    ("facts", (FactCondition(fact="ch", not_equals="beta"),), context(posture(fact("ch", "stable"))), True),
    (
        "facts",
        (FactCondition(fact="ch", one_of=("stable", "lts")),),
        context(posture(fact("ch", "lts"))),
        True,
    ),
    ("facts", (FactCondition(fact="ch", not_one_of=("beta",)),), context(posture(fact("ch", "beta"))), False),
    (
        "facts",
        (FactCondition(fact="os", at_least="14.2", below="15"),),
        context(posture(fact("os", "14.10"))),
        True,
    ),
    (
        "facts",
        (FactCondition(fact="os", at_least="14.2", below="15"),),
        context(posture(fact("os", "15.0"))),
        False,
    ),
    ("facts", (FactCondition(fact="os", at_least="14.2"),), context(posture(fact("os", "22H2"))), None),
    ("facts", (FactCondition(fact="n", min=2, max=3),), context(posture(fact("n", 2.5))), True),
    ("facts", (FactCondition(fact="n", max=2),), context(posture(fact("n", 3))), False),
    ("facts", (FactCondition(fact="n", max=2),), context(posture(fact("n", "3"))), None),
    (
        "facts",
        (FactCondition(fact="at", newer_than=86400.0),),
        context(posture(fact("at", "2026-11-22T12:00Z"))),
        True,
    ),
    (
        "facts",
        (FactCondition(fact="at", newer_than=86400.0),),
        context(posture(fact("at", "2026-11-01"))),
        False,
    ),
    ("facts", (*DISK, FactCondition(fact="none", equals=True)), context(posture(fact("disk", True))), None),
    ("facts", (*DISK, FactCondition(fact="none", equals=True)), context(posture(fact("disk", False))), False),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)


def test_when_time_changes_it():
    asked = (FactCondition(fact="disk", equals=True, max_age=5400.0),)
    changes_at("facts", asked, context(posture(fact("disk", True))), NOW + HOUR / 2)
