"""`binding`: how strongly this request is bound to its device. Never unknown."""

from collections.abc import Iterator

from compliance.analysis.inputs import Inputs, place, plain
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, saying
from compliance.model import AccessContext, Binding
from compliance.reasons import AccessReason


def _holds(wanted: tuple[Binding, ...], context: AccessContext) -> bool:
    return context.binding in wanted


def _clauses(wanted: tuple[Binding, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.is_in("binding", wanted),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=lambda context: context.binding,
)


def _add(inputs: Inputs) -> None:
    bound = [(Binding.CLAIM, {"binding": "claim"}), (Binding.CERTIFICATE, {"binding": "certificate"})]
    inputs.add_of_device("binding", bound, [Binding.NONE])


INPUT = Input(
    word="binding",
    add=_add,
    place=lambda here, variable, _rest: place(variable, here.context.binding),
    say=saying(plain("the request is bound to the device by {value}")),
)
