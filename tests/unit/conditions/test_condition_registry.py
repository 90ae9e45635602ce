"""The tables of conditions are whole, and every kind has its file of tests."""

from pathlib import Path

from compliance import conditions
from compliance.conditions import KINDS, REQUEST_KINDS
from compliance.model import Conditions

HELPERS = {"__init__", "kind", "levels"}


def test_every_key_of_conditions_has_its_kind():
    """One that were overlooked would hold always."""
    assert {*KINDS, *REQUEST_KINDS} == set(Conditions.__struct_fields__)
    assert not KINDS.keys() & REQUEST_KINDS.keys()


def test_every_kind_has_a_file_and_a_test_of_its_own():
    files = {each.stem for each in Path(conditions.__file__).parent.glob("*.py")} - HELPERS
    tests = {each.stem.removeprefix("test_condition_") for each in Path(__file__).parent.glob("test_*.py")}
    assert tests - {"registry"} == files
    assert {key.removeprefix("not_") for key in (*KINDS, *REQUEST_KINDS)} == files
