"""What the section types say of themselves: the first paragraph of a docstring, and its `Field:` lines."""

import inspect
import re

import msgspec

_FIELD = re.compile(r"Field: (?P<name>[a-z_]+): (?P<text>.*)", re.DOTALL)


def summary(section: type[msgspec.Struct]) -> str:
    """Return what a section is, without its `Field:` lines and examples."""
    doc = inspect.cleandoc(section.__doc__ or "")
    return re.split(r"^(?:Field|Example|Raises|Source): ?", doc, maxsplit=1, flags=re.MULTILINE)[0].strip()


def field_texts(section: type[msgspec.Struct]) -> dict[str, str]:
    """Return what each documented field means, own ones first, then those of the type that it extends, in their order.

    A continuation line is indented below its `Field:` line.
    """
    texts: dict[str, str] = {}
    for each in section.__mro__:
        joined = re.sub(r"\n[ ]+", " ", inspect.cleandoc(each.__dict__.get("__doc__") or ""))
        found = (_FIELD.fullmatch(line) for line in joined.splitlines())
        for match in found:
            if match is not None:
                texts.setdefault(match["name"], match["text"].strip())
    return texts
