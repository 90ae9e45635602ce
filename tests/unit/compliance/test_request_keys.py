"""Which conditions only the request can answer."""

import pytest

from compliance.conditions import REQUEST_KINDS
from compliance.evaluate import depends_on_request
from compliance.model import Conditions


@pytest.mark.parametrize("key", Conditions.__struct_fields__)
def test_conditions_depend_on_the_request_by_its_keys_alone(key: str) -> None:
    when = Conditions(**{key: ("x",)})
    assert depends_on_request(when) is (key in REQUEST_KINDS)


def test_no_conditions_depend_on_nothing() -> None:
    assert not depends_on_request(Conditions())
