"""`tags`, `not_tags`: by facts `tag.NAME` and by the list `tags`."""

import pytest
from condition_samples import MAC, check, context, posture

CASES = [
    ("tags", ("kiosk",), context(MAC), True),
    ("tags", ("lab", "y"), context(MAC), True),
    ("tags", ("office",), context(MAC), False),
    ("tags", ("office",), context(posture()), False),
    ("tags", ("kiosk",), context(), None),
    ("not_tags", ("kiosk",), context(MAC), False),
    ("not_tags", ("office",), context(MAC), True),
    ("not_tags", ("office",), context(), None),
]


@pytest.mark.parametrize(("key", "value", "given", "expected"), CASES)
def test_when_it_holds(key, value, given, expected):
    check(key, value, given, expected)
