"""Makes texts harmless that come from machines which somebody else may control. Pure."""

import re
import unicodedata
from collections.abc import Mapping

NAME_MAX = 80
TITLE_MAX = 160
SENTENCE_MAX = 500
VALUE_MAX = 120
STEP_MAX = 240
MARKDOWN_MAX = 4000
NO_BREAK = "\u00a0\u202f"
"""Spaces at which no line breaks, as French has before a question mark."""


def clean(untrusted: str, limit: int, *, keep_lines: bool = False, keep: str = "") -> str:
    """Return `untrusted` as one harmless line of at most `limit` characters, cut with an ellipsis.

    Control, format and unassigned characters go (among them those that turn the direction of writing),
    white space becomes single spaces, and at most two marks stay on one letter. `keep_lines` keeps line
    breaks and indentation, `keep` the characters in it.
    """
    if len(untrusted) <= limit and untrusted.isascii() and untrusted.isprintable():
        return untrusted.strip() if keep_lines else " ".join(untrusted.split())
    kept: list[str] = []
    marks = 0
    for sign in untrusted[: 4 * limit]:
        category = unicodedata.category(sign)
        if category in {"Mn", "Me"}:
            marks += 1
            if marks > 2:  # noqa: PLR2004 - two marks are what real writing needs
                continue
        else:
            marks = 0
        if sign in keep or (keep_lines and sign == "\n"):
            kept.append(sign)
        elif category[0] == "Z" or sign in "\t\n\r\v\f":
            kept.append(" ")
        elif category[0] != "C" or sign in _JOINERS:
            kept.append(sign)
    result = "".join(kept)
    result = result.strip() if keep_lines else re.sub(" +", " ", result).strip(" ")
    if len(result) > limit or len(untrusted) > 4 * limit:
        result = result[: limit - 1].rstrip() + "…"
    return result


_JOINERS = "\u200c\u200d"  # needed by several scripts and by emoji; they cannot turn the direction


def name_in_sentence(untrusted: str) -> str:
    """Return a cleaned name for the middle of a sentence, isolated when it is written from right to left."""
    name = clean(untrusted, NAME_MAX)
    if any(unicodedata.bidirectional(sign) in {"R", "AL", "AN"} for sign in name):
        return f"\u2068{name}\u2069"
    return name


def sensor_label(name: str, labels: Mapping[str, str] | None = None) -> str:
    """Return what people call the sensor: its configured label, else its name with a capital letter."""
    label = (labels or {}).get(name) or name.replace("-", " ").replace("_", " ")
    return clean(label[:1].upper() + label[1:], NAME_MAX)
