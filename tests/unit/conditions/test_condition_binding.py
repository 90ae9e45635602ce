"""`binding`: `none` is a strength like any other."""

import pytest
from condition_samples import MAC, check, context

from compliance.model import Binding

CASES = [
    ("binding", (Binding.CLAIM,), context(MAC), True),
    ("binding", (Binding.CERTIFICATE,), context(MAC), False),
    ("binding", (Binding.NONE,), context(), True),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
