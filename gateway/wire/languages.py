"""Which of the languages that there are a person prefers. Pure.

Source: RFC 9110 section 12.5.4; RFC 4647 section 3.4 (lookup).
"""

import re
from collections.abc import Iterable, Sequence

MAX_ACCEPTED = 20
MAX_HEADER = 1000

_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


_TAG = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
_SCRIPT = 4
_REGION = 2


def best(accepted: str, available: Sequence[str]) -> str | None:
    """Return the language of `available` that a person prefers most, None when there is none of theirs.

    >>> best("pt-BR,de;q=0.8,*;q=0.1", ("en", "de", "pt"))
    'pt'
    >>> best("tlh, xx;q=0", ("en",)) is None
    True
    """
    return lookup(ranges(accepted), available)


def ranges(accepted: str) -> tuple[str, ...]:
    """Return the language ranges of an `Accept-Language` value, in lower case, the most preferred first.

    >>> ranges("de;q=0.8, pt-BR, fr;q=0")
    ('pt-br', 'de')
    """
    wanted: list[tuple[float, int, str]] = []
    for at, part in enumerate(accepted[:MAX_HEADER].split(",")[:MAX_ACCEPTED]):
        found = _RANGE.fullmatch(part)
        if found is not None and float(found[2] or 1) > 0:
            wanted.append((-float(found[2] or 1), at, found[1].lower()))
    return tuple(tag for _, _, tag in sorted(wanted))


def lookup(wanted: Iterable[str], available: Iterable[str]) -> str | None:
    """Return the first of `available` that a range leads to, cut at its end step by step; None when none does.

    >>> lookup(["de-CH", "en"], ["en", "de"]), lookup(["pt"], ["pt-BR"])
    ('de', None)
    """
    by_name = {code.lower(): code for code in available}
    for tag in wanted:
        parts = tag.lower().split("-")
        for length in range(len(parts), 0, -1):
            found = by_name.get("-".join(parts[:length]))
            if found is not None:
                return found
    return None


def canonical(tag: str) -> str | None:
    """Return a language tag in the usual case of letters, None for what is none. Source: RFC 5646 section 2.1.1.

    >>> canonical("PT-br"), canonical("zh-hant-tw"), canonical("pt_BR"), canonical("e")
    ('pt-BR', 'zh-Hant-TW', None, None)
    """
    if _TAG.fullmatch(tag) is None:
        return None
    language, *rest = tag.lower().split("-")
    cased = [
        each.title()
        if len(each) == _SCRIPT and each.isalpha()
        else each.upper()
        if len(each) == _REGION
        else each
        for each in rest
    ]
    return "-".join([language, *cased])
