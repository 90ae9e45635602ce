"""From a configuration file to a typed configuration, or to all of its faults at once.

The only module that reads the environment and secret files, and only where the file asks for it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from ruamel.yaml.nodes import MappingNode, Node

from gateway.config.decode import INVALID, Decoder
from gateway.config.errors import Code, ConfigInvalid, Fault, KeyPath, did_you_mean, shown
from gateway.config.include import Included
from gateway.config.kinds import type_of
from gateway.config.languages import ENGLISH, Languages, languages_of
from gateway.config.locations import all_ranges
from gateway.config.options import as_written
from gateway.config.proofs import prove
from gateway.config.remediation import PageSettings
from gateway.config.schema import Config, Sensor
from gateway.config.text import parse_text, read_text
from gateway.config.validate import validate

__all__ = ["ConfigInvalid", "LoadedConfig", "SensorOptions", "load", "load_text"]

REVISION_CHARACTERS = 12

MISSING_HINT = "`--config FILE` or $POSTUREGATE_CONFIG names it; `posturegate init` writes a first one"

SensorOptions = Callable[[str], type[msgspec.Struct] | None]
"""Returns the type of a sensor kind's `options`, None for a kind that is not installed."""


class LoadedConfig(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration that may be used.

    `revision` names the text (secrets and referenced files not included). `origins` says where each value
    came from: `file:line`, `env NAME` or `file PATH`; a value that is not listed is a default. `translations` are the
    texts by language tag of the values that are given so, by path; the first is the one in the default `language`, and
    the value itself.
    """

    config: Config
    revision: str
    path: Path
    warnings: tuple[Fault, ...] = ()
    origins: dict[str, str] = msgspec.field(default_factory=dict)
    translations: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)
    language: str = ENGLISH


def load(
    path: str | os.PathLike[str],
    env: Mapping[str, str],
    *,
    sensor_options: SensorOptions | None = None,
    sensor_kinds: Iterable[str] = (),
    is_proving: bool = True,
    now: datetime | None = None,
) -> LoadedConfig:
    """Return the configuration of a file. Raises `ConfigInvalid` with every fault.

    `sensor_options` gives the type of each kind's options; without it, kinds and options are not checked.
    `sensor_kinds` are named in the hint for an unknown kind. Without `is_proving` the tests and assertions
    of the configuration are not run: for the commands that run them one by one. `now` is when dates are held to have
    passed; default: the clock.
    """
    file = Path(path)
    text = read_text(file, str(path), missing_hint=MISSING_HINT)
    return load_text(
        text,
        file,
        env,
        sensor_options=sensor_options,
        sensor_kinds=sensor_kinds,
        is_proving=is_proving,
        now=now,
    )


def load_text(
    text: str,
    file: Path,
    env: Mapping[str, str],
    *,
    sensor_options: SensorOptions | None = None,
    sensor_kinds: Iterable[str] = (),
    is_proving: bool = True,
    now: datetime | None = None,
) -> LoadedConfig:
    """Return the configuration of a text that stands, or would stand, in `file`. Raises as `load` does."""
    decoder = Decoder(file=str(file), base=file.parent, env=env)
    root = parse_text(text, str(file))
    included = Included(file, text)
    included.into(root)
    decoder.languages = _languages(root, file, env)
    config = decoder.decode(root, type_of(Config), ())
    if sensor_options is not None:
        _check_sensor_kinds(decoder, sensor_options, tuple(sensor_kinds))
    validate(decoder, now or datetime.now(UTC))
    if config is not INVALID and all(fault.is_warning for fault in decoder.faults):
        config = _resolved(config, decoder.base)
        if is_proving:
            prove(decoder, config)
    in_order = sorted(
        decoder.faults, key=lambda fault: (fault.file != str(file), fault.file, fault.line, fault.column)
    )
    faults = tuple(fault for fault in in_order if not fault.is_warning)
    warnings = tuple(fault for fault in in_order if fault.is_warning)
    if faults or config is INVALID:
        raise ConfigInvalid(faults, warnings)
    return LoadedConfig(
        config=config,
        revision=hashlib.sha256("\0".join(included.texts).encode()).hexdigest()[:REVISION_CHARACTERS],
        path=file,
        warnings=warnings,
        origins=decoder.origin_texts(),
        translations=decoder.translation_texts(),
        language=ENGLISH if decoder.languages is None else decoder.languages.default,
    )


def _languages(root: Node, file: Path, env: Mapping[str, str]) -> Languages | None:
    """Return the languages of the pages, read before all else since texts need them; None when they are at fault."""
    entries = root.value if isinstance(root, MappingNode) else []
    node = next((value for key, value in entries if key.value == "pages"), None)
    if not isinstance(node, MappingNode):
        return languages_of(PageSettings(), file.parent)
    first = Decoder(file=str(file), base=file.parent, env=env)
    pages = first.decode(node, type_of(PageSettings), ("pages",))
    is_sound = isinstance(pages, PageSettings) and not first.invalid
    return languages_of(pages, file.parent) if is_sound else None


def _check_no_options(
    decoder: Decoder, path: KeyPath, options_type: type[msgspec.Struct], sensor: Sensor
) -> None:
    """Report a kind that cannot do without options although it needs no particular one."""
    try:
        options_type()
    except ValueError as error:
        message = f"`options` of `{sensor.name}`: {error}"
        decoder.fault(Code.MISSING_KEY, path, message, f"kind `{sensor.kind}` needs it")


def _resolved(config: Config, base: Path) -> Config:
    """Return the configuration with what its files of locations say; they were checked."""
    networks = tuple(
        msgspec.structs.replace(each, cidrs=all_ranges(each, base)) if each.files else each
        for each in config.networks
    )
    database = None if config.country_database is None else str((base / config.country_database).resolve())
    return msgspec.structs.replace(config, networks=networks, country_database=database)


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
            sensor.options.update(as_written(sensor.options, options, decoder.leaves))
            continue
        needed = [field.encode_name for field in type_of(options_type).fields if field.required]
        for name in needed:
            message = f"`options.{name}` of `{sensor.name}` is missing"
            decoder.fault(Code.MISSING_KEY, options, message, f"kind `{sensor.kind}` needs it")
        if not needed:
            _check_no_options(decoder, options, options_type, sensor)
