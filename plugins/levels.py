"""Severity by a word or by a score, from tables that an administrator may change. Pure.

A word that no table lists, and a missing one, is `unknown`: never *low*.
"""

from collections.abc import Mapping, Sequence

from plugins.payload import parse_number
from risk.model import Severity
from risk.values import Strict

WORDS: dict[str, Severity] = {
    "none": Severity.NONE,
    "info": Severity.INFORMATIONAL,
    "informational": Severity.INFORMATIONAL,
    "information": Severity.INFORMATIONAL,
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
"""What products mean by the usual words, in lower case."""


class Range(Strict, frozen=True):
    """A severity for every number from `at_least` on.

    Field: at_least: the smallest number that is meant.
    """

    at_least: float
    level: Severity


def level_of_word(
    word: str, own: Mapping[str, Severity], table: Mapping[str, Severity] = WORDS
) -> Severity | None:
    """Return what the word means; the operator's `own` words come first. None: no table lists it."""
    wanted = word.strip().casefold()
    mine = {name.casefold(): severity for name, severity in own.items()}
    return mine.get(wanted, table.get(wanted))


def level_of_score(score: str, ranges: Sequence[Range]) -> Severity | None:
    """Return the severity of the highest range that the number reaches, None when it is no number."""
    number = parse_number(score)
    if number is None:
        return None
    reached = [each for each in ranges if number >= each.at_least]
    return max(reached, key=lambda each: each.at_least).level if reached else None
