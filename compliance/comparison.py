"""Comparisons of a fact's value with what is asked of it, shared by compliance rules and access conditions. Pure.

Like is compared with like: a text never equals a number, a truth value is no number, a version is compared number by
number. What cannot be compared says nothing, neither for the device nor against it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Protocol

from compliance.versions import parse_version

Scalar = str | int | float | bool


class Verdict(StrEnum):
    """What one comparison found: `MET`, one of `FAILED`, or why the fact says nothing."""

    MET = "met"
    DIFFERS = "fact-differs"
    NOT_ACCEPTED = "fact-not-accepted"
    TOO_LOW = "version-too-low"
    TOO_HIGH = "version-too-high"
    OUT_OF_RANGE = "number-out-of-range"
    TOO_OLD_DATE = "date-too-old"
    TYPE_DIFFERS = "fact-type-differs"
    UNREADABLE = "version-unreadable"


FAILED = frozenset(
    {
        Verdict.DIFFERS,
        Verdict.NOT_ACCEPTED,
        Verdict.TOO_LOW,
        Verdict.TOO_HIGH,
        Verdict.OUT_OF_RANGE,
        Verdict.TOO_OLD_DATE,
    }
)


class Comparison(Protocol):
    """What may be asked of a fact; exactly one of these is given."""

    @property
    def equals(self) -> Scalar | None:
        """The value that the fact must have."""
        ...

    @property
    def not_equals(self) -> Scalar | None:
        """The value that the fact must not have."""
        ...

    @property
    def one_of(self) -> tuple[str, ...] | None:
        """Texts, one of which the fact must be."""
        ...

    @property
    def not_one_of(self) -> tuple[str, ...] | None:
        """Texts, none of which the fact may be."""
        ...

    @property
    def at_least(self) -> str | None:
        """Lowest version."""
        ...

    @property
    def below(self) -> str | None:
        """First version that is too high."""
        ...

    @property
    def min(self) -> float | None:
        """Lowest number."""
        ...

    @property
    def max(self) -> float | None:
        """Highest number."""
        ...

    @property
    def newer_than(self) -> float | None:
        """How long ago the date that the fact states may lie, in seconds."""
        ...


KEYS = ("equals", "not_equals", "one_of", "not_one_of", "at_least", "below", "min", "max", "newer_than")
"""Names of the comparisons. `min` with `max`, and `at_least` with `below`, make a range; all others stand alone."""

RANGES = (frozenset({"min", "max"}), frozenset({"at_least", "below"}))


def given(asked: Comparison) -> tuple[str, ...]:
    """Return the names of the comparisons that are asked for."""
    return tuple(key for key in KEYS if getattr(asked, key) is not None)


def is_usable(keys: tuple[str, ...]) -> bool:
    """Return whether these comparisons can stand together: exactly one, or the two ends of a range."""
    return len(keys) == 1 or frozenset(keys) in RANGES


def compare(asked: Comparison, value: Scalar, now: datetime) -> Verdict | None:
    """Return the first verdict that is not `MET`, else `MET`; None when no comparison is asked for."""
    verdicts = tuple(_verdicts(asked, value, now))
    if not verdicts:
        return None
    return next((verdict for verdict in verdicts if verdict is not Verdict.MET), Verdict.MET)


def date_moment(asked: Comparison, value: Scalar | None) -> datetime | None:
    """Return when the date that the fact states becomes too old, None when that is not asked or not to be read."""
    if asked.newer_than is None or value is None:
        return None
    stated = parse_date(value)
    return None if stated is None else stated + timedelta(seconds=asked.newer_than)


def parse_date(value: Scalar) -> datetime | None:
    """Return the instant of an ISO 8601 text, None for anything else; a date alone is its midnight in UTC."""
    if not isinstance(value, str) or len(value) > 40:  # noqa: PLR2004 - no such date is longer
        return None
    try:
        stated = datetime.fromisoformat(value.strip())
    except ValueError:
        return None
    return stated.replace(tzinfo=UTC) if stated.tzinfo is None else stated.astimezone(UTC)


def _verdicts(asked: Comparison, value: Scalar, now: datetime) -> Iterator[Verdict]:
    if asked.equals is not None:
        yield _equal(value, asked.equals, is_wanted=True)
    if asked.not_equals is not None:
        yield _equal(value, asked.not_equals, is_wanted=False)
    if asked.one_of is not None:
        yield _listed(value, asked.one_of, is_wanted=True)
    if asked.not_one_of is not None:
        yield _listed(value, asked.not_one_of, is_wanted=False)
    if asked.at_least is not None:
        yield _version(value, asked.at_least, Verdict.TOO_LOW)
    if asked.below is not None:
        yield _version(value, asked.below, Verdict.TOO_HIGH)
    if asked.min is not None or asked.max is not None:
        yield _number(value, asked.min, asked.max)
    if asked.newer_than is not None:
        moment = date_moment(asked, value)
        yield (
            Verdict.TYPE_DIFFERS if moment is None else Verdict.MET if now < moment else Verdict.TOO_OLD_DATE
        )


def _equal(value: Scalar, other: Scalar, *, is_wanted: bool) -> Verdict:
    if kind_of(value) is not kind_of(other):
        return Verdict.TYPE_DIFFERS
    return Verdict.MET if (value == other) is is_wanted else Verdict.DIFFERS


def _listed(value: Scalar, words: tuple[str, ...], *, is_wanted: bool) -> Verdict:
    if not isinstance(value, str):
        return Verdict.TYPE_DIFFERS
    return Verdict.MET if (value in words) is is_wanted else Verdict.NOT_ACCEPTED


def _version(value: Scalar, bound: str, failed: Verdict) -> Verdict:
    # A float is refused: 14.10 arrives as 14.1, which is another version.
    if isinstance(value, bool | float):
        return Verdict.TYPE_DIFFERS
    seen, wanted = parse_version(str(value)), parse_version(bound)
    if seen is None or wanted is None:
        return Verdict.UNREADABLE
    is_at_least = seen.is_at_least(wanted)
    if is_at_least is None:
        return Verdict.UNREADABLE
    return Verdict.MET if is_at_least is (failed is Verdict.TOO_LOW) else failed


def _number(value: Scalar, lowest: float | None, highest: float | None) -> Verdict:
    if isinstance(value, bool | str) or value != value:  # noqa: PLR0124 - NaN is no number to compare with
        return Verdict.TYPE_DIFFERS
    is_inside = (lowest is None or value >= lowest) and (highest is None or value <= highest)
    return Verdict.MET if is_inside else Verdict.OUT_OF_RANGE


def kind_of(value: Scalar) -> type:
    """Return the type in which a value is compared: truth values are no numbers."""
    if isinstance(value, bool):
        return bool
    return str if isinstance(value, str) else float
