"""Version texts and their order: `14.10` is above `14.9`, `1.2.0-rc1` is below `1.2.0`. Pure."""

import re
from functools import lru_cache

import msgspec

MAX_VERSION_CHARACTERS = 128

_RELEASE = 9
_MAX_STAGE_NUMBER = 10**6
_PRE_RELEASES: dict[str, int] = {
    "canary": 0, "dev": 0, "eap": 0, "insider": 0, "nightly": 0, "pre": 0, "preview": 0, "snapshot": 0,
    "alpha": 1, "beta": 2, "rc": 3,
}  # fmt: skip
_VERSION = re.compile(
    r"(?P<product>[A-Za-z][A-Za-z ]*? +)?[vV]?"
    r"(?P<first>[0-9]+(?:\.[0-9]+)*)(?P<more>(?:[-_~][0-9]+(?:\.[0-9]+)*)*)(?P<tail>.*)",
    re.ASCII,
)
_PRE_WORD = re.compile(r"(?<![a-z0-9])([a-z]+)[ .-]?([0-9]*)(?![a-z])", re.ASCII)
_SHORT_PRE = re.compile(r"[-.]?([ab])([0-9]+)", re.ASCII)
_SHORT_PRE_RANK = {"a": 1, "b": 2}
_SEPARATED_TAIL = re.compile(r"[ (+\-_~,;]", re.ASCII)


class Version(msgspec.Struct, frozen=True):
    """A version ready to be compared.

    `product` is a leading name such as `macos`; `groups` are the numbers between hyphens, trailing zeros
    removed; `stage` is (9, 0) for a release and lower for a pre-release.
    """

    product: str
    groups: tuple[tuple[int, ...], ...]
    stage: tuple[int, int]

    def is_at_least(self, other: "Version") -> bool | None:
        """Return whether this version is not below `other`; None when the product names differ."""
        if self.product != other.product:
            return None
        return (self.groups, self.stage) >= (other.groups, other.stage)


@lru_cache(maxsize=4096)
def parse_version(text: str) -> Version | None:
    """Return the version that a text states, or None when it states none that can be ordered safely.

    Numbers between dots are compared as numbers and a missing one is zero; what follows a hyphen is a
    revision (`5.15.0-91` is above `5.15.0` and below `5.15.1`); a word such as `beta` or `rc1` makes it a
    pre-release; build texts after a space, a bracket or `+` are ignored (`14.2 (23C64)`). A letter glued to
    a number (`1.1.1w`, `22H2`) has no order that every vendor shares: None.

    Example:
    >>> parse_version("14.10").is_at_least(parse_version("14.9"))
    True
    >>> parse_version("23C64") is None
    True

    """
    text = text.strip()
    match = _VERSION.fullmatch(text) if len(text) <= MAX_VERSION_CHARACTERS else None
    if match is None:
        return None
    tail = match["tail"].lower()
    stage = _stage(tail)
    short = _SHORT_PRE.fullmatch(tail)
    if short is not None and "." in match["first"]:
        stage = (_SHORT_PRE_RANK[short[1]], min(int(short[2]), _MAX_STAGE_NUMBER))
    if stage is None:
        return None
    numbers = [match["first"], *re.split(r"[-_~]", match["more"])[1:]]
    groups = [_trimmed(group) for group in numbers]
    while groups and not groups[-1]:
        groups.pop()
    return Version((match["product"] or "").strip().lower(), tuple(groups), stage)


def _trimmed(group: str) -> tuple[int, ...]:
    """Return the numbers of one group without trailing zeros, so that `14` equals `14.0`."""
    numbers = [int(number) for number in group.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _stage(tail: str) -> tuple[int, int] | None:
    """Return the release stage that the text after the numbers states, None when it is glued and unknown."""
    for word, number in _PRE_WORD.findall(tail):
        if word in _PRE_RELEASES:
            return (_PRE_RELEASES[word], min(int(number or 0), _MAX_STAGE_NUMBER))
    if tail and not _SEPARATED_TAIL.match(tail):
        return None
    return (_RELEASE, 0)
