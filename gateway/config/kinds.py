"""What configuration types accept, in words: shared by the decoder, the JSON Schema and the reference."""

import re
from collections.abc import Iterable

import msgspec
import msgspec.inspect as mi

from risk.values import Secret, tagged


def alternatives(kind: mi.Type) -> list[mi.Type]:
    """Return the members of a union, or the type alone; metadata stays on what it describes."""
    if isinstance(kind, mi.UnionType):
        return [inner for each in kind.types for inner in alternatives(each)]
    if isinstance(kind, mi.Metadata) and not unit_of(kind):
        return alternatives(kind.type)
    return [kind]


def unit_of(kind: mi.Type) -> str:
    """Return `duration` or `bytes` for a text with a unit, else the empty text."""
    if isinstance(kind, mi.Metadata):
        return next((unit for unit in ("duration", "bytes") if tagged(kind.extra, unit)), "")
    return ""


def is_localised(kind: mi.Type) -> bool:
    """Return whether a type is a text for people, which may be given by language."""
    return isinstance(kind, mi.Metadata) and tagged(kind.extra, "localised")


def is_secret(kind: mi.Type) -> bool:
    """Return whether a type is a secret."""
    return isinstance(kind, mi.CustomType) and kind.cls is Secret


def is_list(kind: mi.Type) -> bool:
    """Return whether a type is written as a list."""
    return isinstance(kind, mi.VarTupleType | mi.ListType | mi.SetType | mi.FrozenSetType)


def takes_numbers(kinds: Iterable[mi.Type]) -> bool:
    """Return whether any type is written as a number."""
    return any(isinstance(kind, mi.IntType | mi.FloatType) for kind in kinds)


def takes_scalar(kinds: Iterable[mi.Type]) -> bool:
    """Return whether any type is written as a scalar, so that a reference may stand for it."""
    return any(
        is_secret(kind)
        or bool(unit_of(kind))
        or isinstance(
            kind, mi.StrType | mi.IntType | mi.FloatType | mi.BoolType | mi.EnumType | mi.LiteralType
        )
        for kind in kinds
    )


def takes_null(kind: mi.Type) -> bool:
    """Return whether a type takes `null`."""
    return any(isinstance(each, mi.NoneType | mi.AnyType) for each in alternatives(kind))


def words_of(kind: mi.Type) -> list[str]:
    """Return the words that a closed type allows."""
    if isinstance(kind, mi.EnumType):
        return [str(each.value) for each in kind.cls]
    if isinstance(kind, mi.LiteralType):
        return [str(each) for each in kind.values]
    return []


def describe_all(kinds: Iterable[mi.Type]) -> str:
    """Return what alternatives accept, in words for people."""
    texts = list(dict.fromkeys(describe(kind) for kind in kinds if not isinstance(kind, mi.NoneType)))
    return " or ".join(texts)


def describe(kind: mi.Type) -> str:  # noqa: C901, PLR0911 - one line a type
    """Return what a type accepts, in words for people."""
    if unit_of(kind):
        return describe_unit(unit_of(kind))
    if is_localised(kind):
        return "a text, or texts by language"
    match kind:
        case mi.UnionType() | mi.Metadata():
            return describe_all(alternatives(kind))
        case mi.StrType():
            return "a text"
        case mi.IntType():
            return "a whole number"
        case mi.FloatType():
            return "a number"
        case mi.BoolType():
            return "`true` or `false`"
        case mi.EnumType() | mi.LiteralType():
            return f"one of {', '.join(words_of(kind))}"
        case mi.StructType() | mi.DictType():
            return "a mapping"
        case mi.CustomType():
            return "a secret ({env: NAME} or {file: PATH})"
        case mi.VarTupleType() | mi.ListType() | mi.SetType() | mi.FrozenSetType():
            return "a list"
        case _:
            return "a value"


def keys_of(kinds: Iterable[mi.Type], before: str = "; its keys are ") -> str:
    """Return the keys of a section, after `before`; "" for a type that has none of its own."""
    structs = [kind for kind in kinds if isinstance(kind, mi.StructType)]
    if len(structs) != 1:
        return ""
    return before + ", ".join(field.encode_name for field in structs[0].fields)


def keys_of_entries(lists: Iterable[mi.Type]) -> str:
    """Return the keys of the entries of a list, for a hint; "" where entries are no sections."""
    entries = [inner for each in lists for inner in alternatives(getattr(each, "item_type", mi.AnyType()))]
    return "" if takes_scalar(entries) else keys_of(entries)


def main_key(kinds: Iterable[mi.Type]) -> str:
    """Return the one key that a section needs, where that is a text; "" for any other."""
    structs = [kind for kind in kinds if isinstance(kind, mi.StructType)]
    needed = [field for each in structs for field in each.fields if field.required]
    is_text = len(structs) == len(needed) == 1 and any(
        isinstance(each, mi.StrType) for each in alternatives(needed[0].type)
    )
    return needed[0].encode_name if is_text else ""


def describe_unit(unit: str) -> str:
    """Return what a text with a unit looks like."""
    return "a duration such as `15m`" if unit == "duration" else "a size such as `10MiB`"


def unit_hint(text: str, unit: str) -> str:
    """Return the same amount with the unit that was probably meant."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text.strip())
    units = _DURATION_WORDS if unit == "duration" else _SIZE_WORDS
    meant = units.get(match[2].lower()) if match else None
    known = "ms, s, m, h, d, w" if unit == "duration" else "B, KiB, MiB, GiB"
    return f"did you mean `{match[1]}{meant}`?" if match and meant else f"units: {known}"


_DURATION_WORDS = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d", "week": "w", "weeks": "w",
    "msec": "ms", "millis": "ms", "milliseconds": "ms", "s": "s", "m": "m", "h": "h", "d": "d", "w": "w",
}  # fmt: skip
_SIZE_WORDS = {
    "b": "B", "bytes": "B", "k": "KiB", "kb": "KiB", "kib": "KiB", "m": "MiB", "mb": "MiB", "mib": "MiB",
    "g": "GiB", "gb": "GiB", "gib": "GiB",
}  # fmt: skip


def type_of(section: type[msgspec.Struct]) -> mi.StructType:
    """Return how a section type is read."""
    kind = mi.type_info(section)
    if not isinstance(kind, mi.StructType):
        raise TypeError(section)
    return kind
