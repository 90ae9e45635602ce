"""The analysis knows every condition that there is: one that it overlooked would make its proofs false."""

from compliance.analysis.clauses import HANDLED
from compliance.model import Conditions


def test_every_key_of_conditions_is_looked_at():
    assert set(Conditions.__struct_fields__) == HANDLED
