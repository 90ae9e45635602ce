"""JSON from outside without the leniency of `json.loads`: no duplicate members, only finite numbers."""

import json
import math
from typing import Any


class DuplicateMember(ValueError):
    """An object has two members of one name, so that two readers could see two meanings."""


def parse_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object that `text` is.

    Raises `DuplicateMember`, or `ValueError` for anything else that is not a plain UTF-8 JSON object with
    finite numbers and strings of whole characters. Bounds are the caller's: give it no more than it may read.
    """
    try:
        value = json.loads(
            text.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_refuse_constant,
            parse_float=_finite,
        )
        if not isinstance(value, dict):
            raise ValueError("not an object")  # noqa: TRY004 - about the text, not about a type of ours
        # A lone surrogate is no character: it cannot be stored, logged or compared as UTF-8.
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return value


def number(value: Any) -> float | None:
    """Return a JSON number as finite float between 0 and the year 9999, or None; `true` is no number.

    >>> number(12), number(True), number("12"), number(1e308)
    (12.0, None, None, None)
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value <= LAST_SECOND else None


LAST_SECOND = 253_402_300_799
"""The last second of the year 9999: later instants have no `datetime`."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateMember("duplicate member")
    return members


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"`{name}` is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("number too large")
    return value
