"""`posturegate check`: validate a configuration without serving, with `--live` also what it points at."""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

if TYPE_CHECKING:
    from gateway.config.errors import Fault
    from gateway.config.load import LoadedConfig

INDENT = " " * 6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `check`."""
    add_config_argument(parser)
    parser.add_argument(
        "--live", action="store_true", help="also reach the store, the providers and the upstreams"
    )
    parser.add_argument("--strict", action="store_true", help="a warning is an error")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print every fault.

    Returns 0 when the configuration may be used, 2 when not, 1 when a live check failed.
    """
    from gateway.config.load import ConfigInvalid  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import load_config  # noqa: PLC0415

    loaded = None
    try:
        loaded = load_config(arguments.config)
        faults: Sequence[Fault] = loaded.warnings
    except ConfigInvalid as invalid:
        faults = (*invalid.faults, *invalid.warnings)
    is_valid = loaded is not None and not (arguments.strict and faults)
    if arguments.json:
        _print_json(faults, loaded)
    else:
        print(report(faults, is_valid=is_valid, name=arguments.config))
    if not is_valid or loaded is None:
        return EXIT_INVALID
    return _check_live(loaded) if arguments.live else EXIT_OK


def load_or_print(path: str) -> "LoadedConfig | None":
    """Return the configuration, or None after printing its faults to standard error.

    Warnings are printed too.
    """
    from gateway.config.load import ConfigInvalid  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import load_config  # noqa: PLC0415

    try:
        loaded = load_config(path)
    except ConfigInvalid as invalid:
        print(report((*invalid.faults, *invalid.warnings), is_valid=False, name=path), file=sys.stderr)
        return None
    for warning in loaded.warnings:
        print(fault_text(warning), file=sys.stderr)
    return loaded


def report(faults: Sequence["Fault"], *, is_valid: bool, name: str) -> str:
    """Return all faults in the order of the file, and one line that sums up."""
    in_order = sorted(faults, key=lambda fault: (fault.file != name, fault.file, fault.line, fault.column))
    lines = [fault_text(fault) for fault in in_order]
    errors = sum(not fault.is_warning for fault in faults)
    warnings = len(faults) - errors
    counts = [_count(errors, "error")] if errors else []
    counts += [_count(warnings, "warning")] if warnings else []
    verdict = "may be used" if is_valid else "not loadable"
    summed = f"{', '.join(counts)}: {verdict}" if counts else f"{name}: configuration is valid"
    return "\n".join([*lines, summed])


def fault_text(fault: "Fault") -> str:
    """Return a fault as text: place, code, key path and message on one line, the hint below."""
    kind = "warning" if fault.is_warning else "error"
    where = f"{fault.path}: " if fault.path else ""
    text = f"{fault.place}: {kind} {fault.code} {where}{fault.message}"
    return f"{text}\n{INDENT}{fault.hint}" if fault.hint else text


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_json(faults: Sequence["Fault"], loaded: "LoadedConfig | None") -> None:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    result = {
        "valid": loaded is not None,
        "revision": loaded.revision if loaded else None,
        "faults": [{**msgspec.to_builtins(fault), "warning": fault.is_warning} for fault in faults],
    }
    print(msgspec.json.format(msgspec.json.encode(result)).decode())


def _check_live(loaded: "LoadedConfig") -> int:
    from gateway.config.live import live_checks  # noqa: PLC0415 - lazy: `--help` must not pay for it

    failed = 0
    for name, probe in live_checks(loaded):
        fault = probe()
        failed += fault is not None
        print(f"{'failed' if fault else 'ok    '}  {name}{f': {fault}' if fault else ''}", flush=True)
    print(f"{_count(failed, 'live check')} failed" if failed else "every live check passed")
    return EXIT_FAILED if failed else EXIT_OK
