"""From a configuration file to a typed configuration, or to all of its faults at once.

The only module that reads the environment and secret files, and only where the file asks for it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from gateway.config.decode import INVALID, Decoder
from gateway.config.errors import Code, ConfigInvalid, Fault, did_you_mean, shown
from gateway.config.kinds import type_of
from gateway.config.schema import Config, Sensor
from gateway.config.text import parse_text, read_text
from gateway.config.validate import validate

__all__ = ["ConfigInvalid", "LoadedConfig", "SensorOptions", "load", "load_text"]

REVISION_CHARACTERS = 12

SensorOptions = Callable[[str], type[msgspec.Struct] | None]
"""Returns the type of a sensor kind's `options`, None for a kind that is not installed."""


class LoadedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that may be used.

    `revision` names the text (secrets and referenced files not included). `origins` says where each value
    came from: `file:line`, `env NAME` or `file PATH`; a value that is not listed is a default.
    """

    config: Config
    revision: str
    path: Path
    warnings: tuple[Fault, ...] = ()
    origins: dict[str, str] = msgspec.field(default_factory=dict)


def load(
    path: str | os.PathLike[str],
    env: Mapping[str, str],
    *,
    sensor_options: SensorOptions | None = None,
    sensor_kinds: Iterable[str] = (),
) -> LoadedConfig:
    """Return the configuration of a file. Raises `ConfigInvalid` with every fault.

    `sensor_options` gives the type of each kind's options; without it, kinds and options are not checked.
    `sensor_kinds` are named in the hint for an unknown kind.
    """
    file = Path(path)
    text = read_text(file, str(path))
    return load_text(text, file, env, sensor_options=sensor_options, sensor_kinds=sensor_kinds)


def load_text(
    text: str,
    file: Path,
    env: Mapping[str, str],
    *,
    sensor_options: SensorOptions | None = None,
    sensor_kinds: Iterable[str] = (),
) -> LoadedConfig:
    """Return the configuration of a text that stands, or would stand, in `file`. Raises as `load` does."""
    decoder = Decoder(file=str(file), base=file.parent, env=env)
    config = decoder.decode(parse_text(text, str(file)), type_of(Config), ())
    if sensor_options is not None:
        _check_sensor_kinds(decoder, sensor_options, tuple(sensor_kinds))
    validate(decoder)
    in_order = sorted(decoder.faults, key=lambda fault: (fault.line, fault.column))
    faults = tuple(fault for fault in in_order if not fault.is_warning)
    warnings = tuple(fault for fault in in_order if fault.is_warning)
    if faults or config is INVALID:
        raise ConfigInvalid(faults, warnings)
    return LoadedConfig(
        config=config,
        revision=hashlib.sha256(text.encode()).hexdigest()[:REVISION_CHARACTERS],
        path=file,
        warnings=warnings,
        origins=decoder.origin_texts(),
    )


def _check_sensor_kinds(decoder: Decoder, sensor_options: SensorOptions, kinds: tuple[str, ...]) -> None:
    """Decode the options of each sensor by its plugin's own type, so that their faults have places too."""
    sensors: list[tuple[Any, Sensor]] = [
        (path, section) for path, section in decoder.sections if isinstance(section, Sensor)
    ]
    for path, sensor in sensors:
        options_type = sensor_options(sensor.kind)
        if options_type is None:
            hint = did_you_mean(sensor.kind, kinds)
            decoder.fault(
                Code.SENSOR_KIND, (*path, "kind"), f"sensor kind {shown(sensor.kind)} is not installed", hint
            )
            continue
        options = (*path, "options")
        if options in decoder.nodes:
            decoder.decode(decoder.nodes[options], type_of(options_type), options)
            continue
        for field in type_of(options_type).fields:
            if field.required:
                message = f"`options.{field.encode_name}` of `{sensor.name}` is missing"
                decoder.fault(Code.MISSING_KEY, options, message, f"kind `{sensor.kind}` needs it")
