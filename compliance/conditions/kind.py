"""What a kind of condition is."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from compliance.model import AccessContext

Holds = Callable[[Any, AccessContext], bool | None]
Moments = Callable[[Any, AccessContext], list[datetime]]


def no_moments(_value: Any, _context: AccessContext) -> list[datetime]:
    """Return no instants: time alone never changes the condition."""
    return []


class Kind(msgspec.Struct, frozen=True):
    """`holds(value, context)` is None when it is not known; `seen` is what the condition looked at, for people.

    `seen_of(value, context)` says it more exactly, for what was asked. `moments` are the instants ahead at which time
    alone may change the answer: too many do no harm, one too few does.
    """

    holds: Holds
    seen: Callable[[AccessContext], str]
    moments: Moments = no_moments
    seen_of: Callable[[Any, AccessContext], str] | None = None


def negated(kind: Kind) -> Kind:
    """Return the kind that holds when the other does not; what is not known stays so."""

    def holds(value: Any, context: AccessContext) -> bool | None:
        held = kind.holds(value, context)
        return None if held is None else not held

    return Kind(holds, kind.seen, kind.moments, kind.seen_of)


def any_of(answers: list[bool | None]) -> bool | None:
    """Return whether one answer is true; None when none is, but one is not known."""
    if any(answer is True for answer in answers):
        return True
    return None if any(answer is None for answer in answers) else False


def all_of(answers: list[bool | None]) -> bool | None:
    """Return whether all answers are true; None when none is false, but one is not known."""
    if any(answer is False for answer in answers):
        return False
    return None if any(answer is None for answer in answers) else True
