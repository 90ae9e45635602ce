"""Changes of a decision's inputs, in words. Pure."""

from collections.abc import Iterator

from compliance.analysis.inputs import Change, Here, member
from compliance.conditions import INPUTS

_INPUTS = {each.word: each for each in INPUTS}
_OF_PERSON = {
    "groups": member("the user is in group", "the user is not in group"),
    "roles": member("the user has role", "the user has not role"),
}


def change_texts(change: Change, here: Here) -> Iterator[str]:
    """Yield what would be otherwise, as short texts for people."""
    word, _, rest = change.name.partition(" ")
    if word in _INPUTS:
        yield from _INPUTS[word].say(change, rest, here)
    elif word in _OF_PERSON:
        yield from _OF_PERSON[word](change, rest)
    else:
        yield f"{change.name} is {change.then}"
