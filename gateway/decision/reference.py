"""Reference codes: the short code on a page that opens the exact decision record, made to be read aloud.

Pure: randomness comes in as an argument.
"""

from collections.abc import Callable

ALPHABET = "23456789CFHJKMNPQRTVWXY"
"""One sign of each class that looks alike, and no vowels, so that no code spells a word (36 bits)."""

GROUP = 4
GROUPS = 2
LENGTH = GROUP * GROUPS

UNTRUSTED_MAX = 64
"""Longest text that is tried as a code; whatever is longer was not read from one of our pages."""

# What people write for a sign of ours that looks the same: each class has exactly one member in `ALPHABET`.
_LOOK_ALIKES = {
    "O": "Q", "0": "Q", "D": "Q",
    "I": "7", "L": "7", "1": "7",
    "Z": "2",
    "S": "5",
    "G": "6",
    "B": "8",
    "U": "V",
}  # fmt: skip

_READ = {sign: sign for sign in ALPHABET} | _LOOK_ALIKES

# Bytes from this value on would favour the first signs of the alphabet; they are drawn again.
_UNBIASED = 256 - 256 % len(ALPHABET)


def new_reference(random_bytes: Callable[[int], bytes]) -> str:
    """Return a fresh code such as ``7F3K-9QXM``, uniform over all codes.

    `random_bytes` returns that many random bytes (``secrets.token_bytes``). Codes are short: who stores
    one must ask for another when it is taken.
    """
    signs: list[str] = []
    while len(signs) < LENGTH:
        signs += [ALPHABET[byte % len(ALPHABET)] for byte in random_bytes(LENGTH) if byte < _UNBIASED]
    return _grouped("".join(signs[:LENGTH]))


def parse_reference(untrusted: str) -> str | None:
    """Return the code that a person meant, or None when it cannot be one.

    Forgives case, spaces, dashes of any kind, dots and underscores, and signs that look like one of ours (`O`
    for `Q`, `Z` for `2`). Never raises.

    Example:
    >>> parse_reference(" 7f3k 9oxm ")
    '7F3K-9QXM'
    >>> parse_reference("7F3K") is None
    True
    """
    if len(untrusted) > UNTRUSTED_MAX:
        return None
    signs = [_READ.get(sign, "") for sign in untrusted.upper() if sign not in _IGNORED and not sign.isspace()]
    if len(signs) != LENGTH or "" in signs:
        return None
    return _grouped("".join(signs))


_IGNORED = frozenset("-_.\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u00ad\u200b\ufeff")


def _grouped(signs: str) -> str:
    return "-".join(signs[start : start + GROUP] for start in range(0, LENGTH, GROUP))
