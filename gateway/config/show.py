"""The configuration as it is in force, every secret hidden: `posturegate config show`."""

import io
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
import msgspec.inspect as mi
from ruamel.yaml import YAML

from gateway.config.errors import KeyPath, path_text
from gateway.config.kinds import alternatives, type_of, unit_of
from gateway.config.load import LoadedConfig
from risk.values import Secret

HIDDEN = "(set)"

_DURATION_UNITS = ((604800.0, "w"), (86400.0, "d"), (3600.0, "h"), (60.0, "m"), (1.0, "s"))
_SIZE_UNITS = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def show(loaded: LoadedConfig) -> str:
    """Return the effective configuration as YAML, defaults included but for empty lists and sections.

    A value that came from the environment or from a file is named by its origin, whatever it is: what was
    kept out of the configuration is kept out of its output.
    """
    out = io.StringIO()
    yaml = YAML(pure=True)
    yaml.default_flow_style = False
    yaml.width = 120
    yaml.representer.add_representer(type(None), _represent_null)
    yaml.dump(_shown(loaded), out)
    return f"# {loaded.path}, revision {loaded.revision}\n{out.getvalue()}"


def _represent_null(representer: Any, _: None) -> Any:
    return representer.represent_scalar("tag:yaml.org,2002:null", "null")


def show_origins(loaded: LoadedConfig) -> str:
    """Return one line for each value: its path, the value, and where it came from."""
    lines = [
        f"{path} = {_scalar_text(value)}   # {loaded.origins.get(path, 'default')}"
        for path, value in _leaves(_shown(loaded), ())
    ]
    return "\n".join(lines) + "\n"


def _shown(loaded: LoadedConfig) -> dict[str, Any]:
    """Return the configuration as plain values, texts by language where they are given so."""
    shown: dict[str, Any] = _in_languages(plain(loaded.config, loaded.origins), loaded, ())
    return shown


def _in_languages(value: Any, loaded: LoadedConfig, path: KeyPath) -> Any:
    match value:
        case dict():
            return {key: _in_languages(inner, loaded, (*path, key)) for key, inner in value.items()}
        case list():
            return [_in_languages(inner, loaded, (*path, at)) for at, inner in enumerate(value)]
    texts = loaded.translations.get(path_text(path), {}) if isinstance(value, str) else {}
    return {
        tag: _plain(text, mi.StrType(), loaded.origins, (*path, tag)) for tag, text in texts.items()
    } or value


def plain(section: msgspec.Struct, origins: Mapping[str, str], path: KeyPath = ()) -> dict[str, Any]:
    """Return a section as plain values, written as in the file, secrets hidden."""
    kind = type_of(type(section))
    shown: dict[str, Any] = {kind.tag_field: str(kind.tag)} if kind.tag_field else {}
    for field in kind.fields:
        value = getattr(section, field.name)
        rendered = _plain(value, field.type, origins, (*path, field.encode_name))
        if rendered in ([], {}) and value == field.default:
            continue  # an empty list or section that nobody wrote; written, it would be a fault in some places
        shown[field.encode_name] = rendered
    return shown


def _plain(value: Any, kind: mi.Type, origins: Mapping[str, str], path: KeyPath) -> Any:
    origin = origins.get(path_text(path), "")
    if origin.startswith(("env ", "file ")):
        return f"{HIDDEN} by {origin}"
    match value:
        case Secret():
            return HIDDEN
        case msgspec.Struct():
            return plain(value, origins, path)
        case tuple() | list():
            # Address ranges that came out of files stand there, in any number.
            written = value[: _written(path, origins)] if path[::2] == ("networks", "cidrs") else value
            return [_plain(item, _item(kind), origins, (*path, at)) for at, item in enumerate(written)]
        case dict():
            return {key: _plain(item, mi.AnyType(), origins, (*path, key)) for key, item in value.items()}
        case _:
            return value.value if isinstance(value, Enum) else with_unit(value, kind)


def _written(path: KeyPath, origins: Mapping[str, str]) -> int:
    """Return how many entries of a list the configuration itself holds."""
    at = 0
    while path_text((*path, at)) in origins:
        at += 1
    return at


def _item(kind: mi.Type) -> mi.Type:
    for each in alternatives(kind):
        if isinstance(each, mi.VarTupleType | mi.ListType):
            return each.item_type
    return mi.AnyType()


def with_unit(value: Any, kind: mi.Type) -> Any:
    """Return a value as it is written in the file: a number whose type has a unit becomes a text with one."""
    unit = next((unit_of(each) for each in alternatives(kind) if unit_of(each)), "")
    if value is None or isinstance(value, bool) or not unit:
        return value
    return duration(value) if unit == "duration" else size(value)


def duration(seconds: float) -> str:
    """Return seconds as a duration text.

    Example:
    >>> duration(5400.0), duration(0.5), duration(0.0)
    ('90m', '500ms', '0s')

    """
    if seconds == 0:
        return "0s"
    for length, unit in _DURATION_UNITS:
        if seconds % length == 0:
            return f"{seconds / length:.0f}{unit}"
    return f"{seconds * 1000:g}ms"


def size(count: int) -> str:
    """Return bytes as a size text.

    Example:
    >>> size(65536), size(1000)
    ('64KiB', '1000B')

    """
    for length, unit in _SIZE_UNITS:
        if count and count % length == 0:
            return f"{count // length}{unit}"
    return f"{count}B"


def _leaves(value: Any, path: KeyPath) -> Iterator[tuple[str, Any]]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _leaves(inner, (*path, key))
        case list() if value:
            for at, inner in enumerate(value):
                yield from _leaves(inner, (*path, at))
        case _:
            yield path_text(path), value


def _scalar_text(value: Any) -> str:
    return "null" if value is None else msgspec.json.encode(value).decode()
