"""`binding`: how strongly this request is bound to its device."""

from compliance.conditions.kind import Kind
from compliance.model import AccessContext, Binding


def _holds(wanted: tuple[Binding, ...], context: AccessContext) -> bool:
    return context.binding in wanted


KIND = Kind(_holds, lambda context: context.binding)
