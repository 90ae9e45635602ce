"""Which of the languages that there are a person prefers. Pure.

Source: RFC 9110 section 12.5.4; RFC 4647 section 3.4.
"""

import re
from collections.abc import Sequence

MAX_ACCEPTED = 20
MAX_HEADER = 1000

_RANGE = re.compile(r"\s*([A-Za-z]{1,8}(?:-[A-Za-z0-9]{1,8})*|\*)\s*(?:;\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*)?")


def best(accepted: str, available: Sequence[str]) -> str | None:
    """Return the language of `available` that a person prefers most, None when there is none of theirs.

    >>> best("pt-BR,de;q=0.8,*;q=0.1", ("en", "de", "pt"))
    'pt'
    >>> best("tlh, xx;q=0", ("en",)) is None
    True
    """
    wanted: list[tuple[float, int, str]] = []
    for at, part in enumerate(accepted[:MAX_HEADER].split(",")[:MAX_ACCEPTED]):
        found = _RANGE.fullmatch(part)
        if found is not None and float(found[2] or 1) > 0:
            wanted.append((-float(found[2] or 1), at, found[1].lower()))
    by_name = {code.lower(): code for code in available}
    for _, _, tag in sorted(wanted):
        parts = tag.split("-")
        for length in range(len(parts), 0, -1):
            found_code = by_name.get("-".join(parts[:length]))
            if found_code is not None:
                return found_code
    return None
