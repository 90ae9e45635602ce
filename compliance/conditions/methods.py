"""`methods`, `not_methods`: the HTTP method. `GET` does not include `HEAD`."""

from collections.abc import Callable, Iterator

from compliance.analysis.inputs import Here, Inputs, Variable, plain, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, RequestKind, saying
from compliance.model import RequestFacts
from compliance.reasons import AccessReason


def _holds(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return request.method in wanted


def _does_not_hold(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return request.method not in wanted


def _compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    methods = frozenset(wanted)
    return lambda request: request.method in methods


def _not_compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    methods = frozenset(wanted)
    return lambda request: request.method not in methods


def _clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("method", wanted),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("method", lambda method: method not in wanted),)


def _seen(request: RequestFacts) -> str:
    return request.method


KIND = RequestKind(
    holds=_holds,
    compiled=_compiled,
    clauses=_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=_seen,
)
NOT_KIND = RequestKind(
    holds=_does_not_hold,
    compiled=_not_compiled,
    clauses=_not_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=_seen,
)


def _add(inputs: Inputs) -> None:
    methods = unique(["GET", *inputs.asked("methods", "not_methods")])
    unlike = next(each for each in ("PATCH", "DELETE", "PUT", "X-OTHER") if each not in methods)
    inputs.add("method", [(name, {"method": name}) for name in (*methods, unlike)])


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    known = [value.key for value in variable.values]
    return known.index(here.request.method) if here.request.method in known else len(known) - 1


INPUT = Input(word="method", add=_add, place=_place, say=saying(plain("the method is {value}")))
