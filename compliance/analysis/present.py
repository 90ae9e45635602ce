"""Where the inputs of a real decision stand in the finite domains of the analysis. Pure."""

from compliance.analysis.domains import Space
from compliance.analysis.inputs import OTHER, Here, Variable, place, place_of_member, place_where
from compliance.conditions import INPUTS
from compliance.evaluate import folded
from compliance.model import AccessContext, RequestFacts

_INPUTS = {each.word: each for each in INPUTS}


def present_values(space: Space, context: AccessContext, request: RequestFacts) -> list[int | None]:
    """Return for every variable the place of the value that it has now; None where none of its values is like it."""
    here = Here(space, context, request)
    return [_place(here, variable) for variable in space.variables]


def _place(here: Here, variable: Variable) -> int | None:
    word, _, rest = variable.name.partition(" ")
    known = _INPUTS.get(word)
    return _of_person(here, variable, word, rest) if known is None else known.place(here, variable, rest)


def _of_person(here: Here, variable: Variable, word: str, rest: str) -> int | None:
    user = here.context.user
    match word:
        case "user":
            is_person = not user.is_service
            return place_where(variable, lambda key: is_person and key == folded(user.subject), if_none=OTHER)
        case "email":
            address = folded(user.email)
            is_verified = address in {folded(each) for each in user.names}
            return place_where(variable, lambda key: key == (address, is_verified), if_none=OTHER)
        case "service":
            return place(variable, user.subject if user.is_service else "")
        case "groups":
            return place_of_member(variable, rest, user.groups if user.are_groups_known else None)
        case "roles":
            return place_of_member(variable, rest, user.roles if user.are_roles_known else None)
        case _:
            return None
