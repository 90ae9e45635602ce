"""`posturegate sensor test KIND FILE [--options YAML | --sensor NAME]`: what a payload becomes; `check KIND`.

The other actions are those of `sending` and `deliveries`. Nothing is stored or sent here. Exit code 0: every item is
understood; 1: something is rejected, or nothing comes of it; 2: the kind, the file or the options cannot be used.
"""

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from gateway.cli import add_config_argument
from gateway.cli.sending import Unusable, add_sending, run_sending, sensor_named
from gateway.config.errors import ConfigInvalid
from plugins.bounds import PluginFault
from plugins.catalog import Catalog, OptionsFault, SensorFacade
from plugins.contract import Normalized
from plugins.mapped import spelled
from plugins.mapping import GenericOptions, Source, TypeSource
from plugins.payload import PayloadFault, parse_payloads
from risk.devices import normalise_identifier
from risk.model import Rejection, Signal
from risk.values import Strict

MAX_FILE_BYTES = 16 * 1024 * 1024
SENSOR_NAME = "test"


class _Usage(Exception):
    """What was asked for cannot be done; the text says why."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `posturegate sensor`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    test = actions.add_parser("test", help="print what a payload becomes, and from which field")
    test.add_argument("kind", metavar="KIND", help="kind of sensor: generic, wazuh, fleet, ...")
    test.add_argument(
        "file", metavar="FILE", help="file with the body of one delivery; `-` reads standard input"
    )
    given = test.add_mutually_exclusive_group()
    given.add_argument(
        "--options", metavar="YAML", help="the sensor's options, as YAML text or as a YAML file"
    )
    given.add_argument(
        "--sensor", metavar="NAME", help="with the options of this sensor of the configuration"
    )
    add_config_argument(test)
    check = actions.add_parser(
        "check", help="hold an installed plugin to the contract: its samples, and damage to them"
    )
    check.add_argument("kind", metavar="KIND")
    add_sending(actions)


def run(arguments: argparse.Namespace, out: TextIO | None = None, catalog: Catalog | None = None) -> int:
    """Print what the payload in `arguments.file` becomes for `arguments.kind`; return the exit code.

    `arguments.file` may be `-` for standard input. `arguments.options` is YAML text, or the name of a YAML
    file, with the sensor's `options`; None without.
    """
    stream = sys.stdout if out is None else out
    if getattr(arguments, "action", "test") == "check":
        return _check(arguments.kind, stream, catalog)
    if getattr(arguments, "action", "test") != "test":
        return run_sending(arguments)
    try:
        normalized, options = _normalized(arguments, catalog or Catalog.discover())
    except (_Usage, PluginFault, ConfigInvalid, OptionsFault) as error:
        for line in _said(error):
            print(f"posturegate sensor test: {line}", file=sys.stderr)
        return 2
    except PayloadFault as error:
        print(f"the body is refused with 400 {error.code}: {error}", file=stream)
        return 1
    _print(normalized, stream)
    if isinstance(options, GenericOptions) and normalized.signals:
        _print_missing(options, normalized, stream)
    return 0 if not normalized.rejections and (normalized.signals or normalized.ignored) else 1


def _said(error: Exception) -> list[str]:
    """Return what is wrong with what was asked for, a line each."""
    if isinstance(error, ConfigInvalid):
        return [str(fault) for fault in error.faults]
    if isinstance(error, OptionsFault):
        return [f"{f'options.{error.path}'.removesuffix('.')}: {error.text}"]
    return [str(error)]


def _check(kind: str, out: TextIO, catalog: Catalog | None) -> int:
    from plugins.conformance import faults  # noqa: PLC0415 - lazy: `--help` must not pay for it

    try:
        facade = (catalog or Catalog.discover()).sensor(kind)
    except PluginFault as error:
        print(f"posturegate sensor check: {error}", file=sys.stderr)
        return 2
    found = faults(facade)
    for fault in found:
        print(fault, file=out)
    known_by = ", ".join(facade.identity_kinds) or "what its options say"
    print(f"{kind} ({facade.title}): known by {known_by}", file=out)
    print(f"{len(facade.samples)} samples, {len(found)} faults", file=out)
    return 1 if found else 0


def _normalized(arguments: argparse.Namespace, catalog: Catalog) -> tuple[Normalized, Any]:
    """Return what the payload becomes, and the options by which it does."""
    facade = catalog.sensor(arguments.kind)
    name = getattr(arguments, "sensor", None)
    if name is None:
        options = _options(getattr(arguments, "options", None), facade)
    else:
        options = facade.parse_options(_configured(arguments, name))
    payloads = parse_payloads(_body(arguments.file))
    now = datetime.now(UTC)
    return facade.normalize(payloads, options, sensor=SENSOR_NAME, received_at=now, headers={}), options


def _body(name: str) -> bytes:
    try:
        if name == "-":
            body = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                body = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise _Usage(f"`{name}`: {error.strerror}") from error
    if len(body) > MAX_FILE_BYTES:
        raise _Usage(f"`{name}`: larger than {MAX_FILE_BYTES} bytes")
    return body


def _configured(arguments: argparse.Namespace, name: str) -> dict[str, Any]:
    """Return the options of a sensor of the configuration."""
    from gateway.cli.proving import load_unproven  # noqa: PLC0415 - lazy: rarely needed

    loaded = load_unproven(arguments.config)
    if loaded is None:
        raise _Usage(f"`{arguments.config}` cannot be loaded")
    try:
        sensor = sensor_named(loaded, name)
    except Unusable as error:
        raise _Usage(str(error)) from error
    if sensor.kind != arguments.kind:
        raise _Usage(f"`{name}` is of kind `{sensor.kind}`")
    return dict(sensor.options)


def _options(given: str | None, facade: SensorFacade) -> Strict:
    """Return the options from YAML text or from the file of that name. Raises `ConfigInvalid`."""
    from gateway.config.options import options_of_text  # noqa: PLC0415 - slow to import, rarely needed

    text, where = given or "", "--options"
    if given and "\n" not in given and ":" not in given:
        try:
            text, where = Path(given).read_text(encoding="utf-8"), given
        except (OSError, UnicodeDecodeError) as error:
            raise _Usage(f"--options: `{given}` is neither YAML nor a readable file") from error
    return options_of_text(text, where, os.environ, facade.options_type)


def _print(normalized: Normalized, out: TextIO) -> None:
    counts = (
        (len(normalized.signals), "signal"),
        (len(normalized.rejections), "rejected item"),
        (normalized.ignored, "ignored item"),
    )
    print(", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in counts), file=out)
    parts = zip(normalized.signals, normalized.origins, normalized.sources, strict=True)
    for signal, item, sources in parts:
        print(f"\nitem {item}", file=out)
        for field, value in _rows(signal):
            print(f"  {field:<26} {value:<50} {_source(field, sources)}".rstrip(), file=out)
    for rejection in normalized.rejections:
        print(_rejected(rejection), file=out)


def _print_missing(options: GenericOptions, normalized: Normalized, out: TextIO) -> None:
    """Print which fields of a mapping nothing in the payload led to: one may be misspelt."""
    found = {name.partition("[")[0] for sources in normalized.sources for name in sources}
    missing = [
        f"{name} ({', '.join(f'`{each}`' for each in spelled(source))})"
        for name, source in _mapped(options)
        if name not in found and spelled(source)
    ]
    if missing:
        print(f"\nnothing is there in this payload for {', '.join(missing)}", file=out)
        print("  that is right where only other messages have it; else look how it is spelt", file=out)


def _mapped(options: GenericOptions) -> list[tuple[str, Source]]:
    """Return the fields of a mapping under the names that their sources have."""
    kind = options.type if isinstance(options.type, TypeSource) else None
    named = [(f"device.{each.kind}", each.path) for each in options.device]
    named += [(f"user.{each.kind}", each.path) for each in options.user]
    named += [("type", kind.path)] if kind else []
    named += [("level", options.level.path)] if options.level else []
    named += [(name, getattr(options, name)) for name in _SOURCES]
    named += [("actions", each) for each in options.actions]
    return named + [(f"facts.{name}", each) for name, each in options.facts.items()]


_SOURCES = ("title", "description", "why", "category", "external_id", "event_id", "observed_at")


def _rejected(rejection: Rejection) -> str:
    return f"\nitem {rejection.index} is rejected with {rejection.code}: {rejection.error}"


def _rows(signal: Signal) -> list[tuple[str, str]]:
    """Return what the signal says, field by field; empty fields are left out."""
    rows = [("type", signal.type.value), ("effect", _effect(signal))]
    for each in signal.device_ids:
        note = "" if normalise_identifier(each) else " (junk: names no device)"
        rows.append((f"device.{each.kind}", each.value + note))
    rows += [(f"user.{each.kind}", each.value) for each in signal.user_ids]
    rows += [
        ("level", signal.level.value if signal.level else ""),
        ("title", signal.title),
        ("description", signal.description),
        ("rationale", signal.rationale),
        ("category", signal.category),
    ]
    rows += [(f"actions[{number}]", text) for number, text in enumerate(signal.recommended_actions)]
    rows += [(f"facts.{name}", repr(value)) for name, value in signal.facts.items()]
    rows += [
        ("observed_at", signal.observed_at.isoformat()),
        ("expires_at", signal.expires_at.isoformat() if signal.expires_at else ""),
        ("external_id", signal.external_id),
        ("event_id", signal.event_id),
    ]
    return [(field, _one_line(value)) for field, value in rows if value]


def _effect(signal: Signal) -> str:
    if signal.resolves:
        return "closes the condition"
    return "states facts" if signal.level is None else "opens or updates the condition"


def _source(field: str, sources: Any) -> str:
    """Return the payload path that the field came from."""
    path = sources.get(field) or sources.get(field.partition("[")[0]) or sources.get(_ALIASES.get(field, ""))
    return f"<- {path}" if path else ""


_ALIASES = {"rationale": "why", "effect": "resolves"}


def _one_line(text: str) -> str:
    shown = " ".join(text.split())
    shown = "".join(each if each.isprintable() else "?" for each in shown)
    return shown if len(shown) <= 100 else f"{shown[:99]}…"  # noqa: PLR2004 - what a terminal line holds
