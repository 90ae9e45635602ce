"""`tags`, `not_tags`: tags of the device. A device that we do not know has none that we know of: not known."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from compliance.analysis.inputs import Here, Inputs, Variable, member, place, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.device_facts import fact_moments, tag_facts, tags_of
from compliance.model import AccessContext
from compliance.reasons import AccessReason


def _tags(context: AccessContext) -> frozenset[str] | None:
    return None if context.posture is None else tags_of(context.posture, context.sensors, context.now)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    tags = _tags(context)
    return None if tags is None else not tags.isdisjoint(wanted)


def _seen(context: AccessContext) -> str:
    tags = _tags(context)
    return "device not known" if tags is None else ", ".join(sorted(tags)) or "none"


def _moments(_wanted: tuple[str, ...], context: AccessContext) -> list[datetime]:
    if context.posture is None:
        return []
    return fact_moments(context.posture, tag_facts(context.posture), context.sensors, context.now)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield tuple(inputs.members("tag", wanted, limits=limits))


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterable[Clause]:
    return inputs.no_members("tag", wanted, limits=limits)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.DEVICE_NOT_ACCEPTED,
    seen=_seen,
    moments=_moments,
)
NOT_KIND = negated(KIND, _not_clauses)


def _add(inputs: Inputs) -> None:
    for tag in unique([*inputs.asked("tags", "not_tags"), *inputs.assigned("tags")]):
        inputs.add_of_device(f"tag {tag}", [("no", {}), ("yes", {"tags": (tag,)})], ["unknown"])


def _place(here: Here, variable: Variable, tag: str) -> int | None:
    tags = _tags(here.context)
    return place(variable, "unknown" if tags is None else "yes" if tag in tags else "no")


INPUT = Input(
    word="tag",
    add=_add,
    place=_place,
    say=saying(member("the device is tagged", "the device is not tagged")),
)
