"""The options of a sensor: from a text of their own as from a configuration, numbers as they are written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode

from gateway.config.decode import Decoder
from gateway.config.errors import Code, ConfigInvalid, Fault, KeyPath
from gateway.config.kinds import type_of
from gateway.config.text import parse_text, position
from risk.values import Strict

WHERE: KeyPath = ("options",)


def options_of_text(text: str, file: str, env: Mapping[str, str], options_type: type[Strict]) -> Strict:
    """Return the options that a YAML text gives, with or without the key `options` around them.

    `file` is what the text is called in faults. Raises `ConfigInvalid` with every fault.
    """
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        text = "{}"
    node = parse_text(text, file)
    keys = [str(key.value) for key, _ in node.value]
    if "sensors" in keys:
        hint = f"`--sensor NAME --config {file}` takes one sensor of it"
        raise ConfigInvalid([_fault(file, node, "is a whole configuration", hint)])
    if keys == ["options"]:
        node = node.value[0][1]
    if not isinstance(node, MappingNode):
        raise ConfigInvalid([_fault(file, node, "options are a mapping of keys")])
    decoder = Decoder(file=file, base=Path(file).parent, env=env)
    options = decoder.decode(node, type_of(options_type), WHERE)
    faults = sorted(
        (each for each in decoder.faults if not each.is_warning), key=lambda each: (each.line, each.column)
    )
    if faults or not isinstance(options, Strict):
        raise ConfigInvalid(faults)
    return options


def as_written(plain: Any, path: KeyPath, leaves: Mapping[KeyPath, Any]) -> Any:
    """Return plain options with numbers where the kind takes a text as that text: `2004` and `"2004"` mean the same.

    `leaves` are the values that the kind's own type made of them, by path.
    """
    if isinstance(plain, dict):
        return {key: as_written(each, (*path, key), leaves) for key, each in plain.items()}
    if isinstance(plain, list):
        return [as_written(each, (*path, at), leaves) for at, each in enumerate(plain)]
    taken = leaves.get(path)
    return taken if type(taken) is str and isinstance(plain, int | float) else plain


def _fault(file: str, node: Any, message: str, hint: str = "") -> Fault:
    line, column = position(node)
    return Fault(
        file=file, line=line, column=column, path="", code=Code.WRONG_TYPE, message=message, hint=hint
    )
