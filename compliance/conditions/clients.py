"""`clients`: what kind of client sent the request."""

from collections.abc import Callable, Iterator

from compliance.analysis.inputs import Inputs, place, plain
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, RequestKind, saying
from compliance.model import ClientKind, RequestFacts
from compliance.reasons import AccessReason


def _holds(wanted: tuple[ClientKind, ...], request: RequestFacts) -> bool:
    return request.client in wanted


def _compiled(wanted: tuple[ClientKind, ...]) -> Callable[[RequestFacts], bool]:
    clients = frozenset(wanted)
    return lambda request: request.client in clients


def _clauses(wanted: tuple[ClientKind, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("client", wanted),)


KIND = RequestKind(
    holds=_holds,
    compiled=_compiled,
    clauses=_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=lambda request: request.client,
)


def _add(inputs: Inputs) -> None:
    inputs.add("client", [(kind, {"client": kind}) for kind in ClientKind])


INPUT = Input(
    word="client",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.request.client),
    say=saying(plain("the client is of kind {value}")),
)
