"""Short texts for people about facts, wishes and durations. Pure."""

from functools import lru_cache

from compliance.model import FactRule

MAX_SHOWN_CHARACTERS = 80
"""A fact's value is cut to this length where it is shown; sensors write what they like."""


def wanted_text(rule: FactRule) -> str:
    """Return what a fact rule asks for, as a short text for people."""
    age = [f"reported within {duration_text(rule.max_age)}"] if rule.max_age is not None else []
    return ", ".join([*_values(rule), *_bounds(rule), *age])


def _values(rule: FactRule) -> list[str]:
    parts = []
    if rule.equals is not None:
        parts.append(shown_value(rule.equals))
    if rule.not_equals is not None:
        parts.append(f"not {shown_value(rule.not_equals)}")
    if rule.one_of is not None:
        parts.append(" or ".join(rule.one_of))
    if rule.not_one_of is not None:
        parts.append(f"none of {', '.join(rule.not_one_of)}")
    return parts


def _bounds(rule: FactRule) -> list[str]:
    parts = []
    if rule.at_least is not None:
        parts.append(f"{rule.at_least} or newer")
    if rule.below is not None:
        parts.append(f"older than {rule.below}")
    if rule.min is not None:
        parts.append(f"at least {rule.min:g}")
    if rule.max is not None:
        parts.append(f"at most {rule.max:g}")
    if rule.newer_than is not None:
        parts.append(f"not longer than {duration_text(rule.newer_than)} ago")
    return parts


def shown_value(value: str | float | bool | None) -> str:
    """Return a fact's value as people read it, cut to `MAX_SHOWN_CHARACTERS`."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case _:
            return cut(str(value))


def cut(text: str) -> str:
    """Return a text, cut to `MAX_SHOWN_CHARACTERS`."""
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[: MAX_SHOWN_CHARACTERS - 1] + "…"


@lru_cache(maxsize=4096)
def heading(fact: str) -> str:
    """Return a fact's name as a heading: `disk-encrypted` becomes `Disk encrypted`."""
    words = fact.replace("-", " ").replace("_", " ").replace(".", " ").strip()
    return words[:1].upper() + words[1:]


_UNITS: tuple[tuple[float, str], ...] = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def duration_text(seconds: float) -> str:
    """Return a duration in its largest fitting unit, rounded down: `3 d`, `4 h`, `7 min`, `20 s`."""
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"
