"""What a kind of condition is, and what an input of the analysis is."""

import ast
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any

import msgspec

from compliance.analysis.inputs import Change, Here, Inputs, Variable
from compliance.analysis.solver import Clause
from compliance.model import AccessContext, RequestFacts
from compliance.nodes import Builder
from compliance.reasons import AccessReason

Holds = Callable[[Any, AccessContext], bool | None]
Moments = Callable[[Any, AccessContext], list[datetime]]
Clauses = Callable[[Any, Inputs, bool], Iterable[Clause]]
Inline = Callable[[Any, Builder, bool], ast.expr]


def no_moments(_value: Any, _context: AccessContext) -> list[datetime]:
    """Return no instants: time alone never changes the condition."""
    return []


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that is known per session.

    `holds(value, context)` is the meaning: None when it is not known. `clauses(value, inputs, limits)` says the same
    for the analysis, `limits` being the side on which what is not known counts. `inline(value, builder, limits)` says
    it as a node for the compiled policies, where calling `holds` would be slower.

    `seen` is what the condition looked at, for people; `seen_of(value, context)` says it more exactly, for what was
    asked. `moments` are the instants ahead at which time alone may change the answer: too many do no harm, one too few
    does. `reason` is why somebody is not let in when only this keeps them out. `is_about_unknown`: the condition may
    well be about what is not known, so that it contradicts nothing by needing that.
    """

    holds: Holds
    clauses: Clauses
    reason: AccessReason
    seen: Callable[[AccessContext], str]
    moments: Moments = no_moments
    seen_of: Callable[[Any, AccessContext], str] | None = None
    inline: Inline | None = None
    is_about_unknown: bool = False


class RequestKind(msgspec.Struct, frozen=True, kw_only=True):
    """A condition that only the request can answer: it is never unknown.

    `holds(value, request)` is the meaning; `compiled(value)` returns the same as one fast function. The others are as
    in `Kind`.
    """

    holds: Callable[[Any, RequestFacts], bool]
    compiled: Callable[[Any], Callable[[RequestFacts], bool]]
    clauses: Clauses
    reason: AccessReason
    seen: Callable[[RequestFacts], str]


class Input(msgspec.Struct, frozen=True, kw_only=True):
    """An input of the analysis, in as many variables as it needs.

    The name of each variable is `word`, or begins with it and a space. `add` adds them; `place(here, variable, rest)`
    returns the place of the value that a real decision has (None: none is like it), `rest` being what follows the word;
    `say(change, rest, here)` yields a change in words.
    """

    word: str
    add: Callable[[Inputs], None]
    place: Callable[[Here, Variable, str], int | None]
    say: Callable[[Change, str, Here], Iterator[str]]


def saying(words: Callable[[Change, str], Iterator[str]]) -> Callable[[Change, str, Here], Iterator[str]]:
    """Return words that need nothing but the change as `Input.say` has them."""
    return lambda change, rest, _here: words(change, rest)


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


def opposite(holds: Holds) -> Holds:
    """Return the meaning that holds where the other does not; what is not known stays so."""

    def does_not_hold(value: Any, context: AccessContext) -> bool | None:
        held = holds(value, context)
        return None if held is None else not held

    return does_not_hold


def negated(kind: Kind, clauses: Clauses, inline: Inline | None = None) -> Kind:
    """Return the kind that holds when the other does not, with its own clauses; what is not known stays so."""
    return msgspec.structs.replace(kind, holds=opposite(kind.holds), clauses=clauses, inline=inline)
