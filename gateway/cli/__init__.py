"""The command line. Commands are imported only when they run, so that `--help` stays quick."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from gateway import __version__

EXIT_OK, EXIT_FAILED, EXIT_INVALID, EXIT_PARTIAL = 0, 1, 2, 3

COMMANDS: dict[str, str] = {
    "serve": "run the gateway from a configuration file",
    "check": "validate a configuration without serving",
    "reload": "apply the changed configuration of a running gateway",
    "init": "write a first configuration and its secret files",
    "config": "print the JSON Schema, the reference or the effective configuration",
    "test": "run the tests of the policies that stand in a configuration",
    "what-if": "decide about a request that nobody made, and say why",
    "impact": "show whom a draft of the configuration would block or let in",
    "analyze": "find unreachable policies, holes and contradictions; prove assertions",
    "explain": "print the decision record of a reference code, or decide about a request as it would be now",
    "incidents": "list what happened to devices, with the measured exposure window",
    "tasks": "list what has to be fixed on devices, assign it, note it, link tickets",
    "revoke": "end the sessions of a user or a device, or one session, now",
    "service-token": "make, list, rotate and revoke the tokens of programs that use apps",
    "sensor": "list, add, try and rotate sensors, and send what one would send",
    "device": "look at device records; settle, merge, split, override, import",
    "ssf": "show, verify and manage the streams of Shared Signals",
    "demo": "run the whole loop on this machine: gateway, provider, app, sensor",
    "hub": "",
    "worker": "",
}
"""Each command is the module `gateway.cli.<name>` (`_` for `-`) with `add_arguments(parser)` and
`run(arguments) -> exit code`.

Those without a text are started by `serve`, not by people, and are not listed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 failed, 2 invalid, 3 applied only in part."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser = argparse.ArgumentParser(
        prog="posturegate", description="OIDC-aware reverse-proxy access gateway."
    )
    parser.add_argument("--version", action="version", version=f"posturegate {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    chosen = next((argument for argument in arguments if argument in COMMANDS), None)
    for name, text in COMMANDS.items():
        # A parser that is given no `help` at all is not listed.
        sub = commands.add_parser(name, help=text, description=text) if text else commands.add_parser(name)
        if name == chosen:
            _module(name).add_arguments(sub)
    parsed = parser.parse_args(arguments)
    try:
        return int(_module(parsed.command).run(parsed))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): nothing is wrong.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK


def _module(command: str) -> ModuleType:
    return importlib.import_module(f"gateway.cli.{command.replace('-', '_')}")


def add_config_argument(parser: argparse.ArgumentParser) -> None:
    """Add `--config`, the same everywhere: by default `$POSTUREGATE_CONFIG`, else `posturegate.yaml`."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        default=os.environ.get("POSTUREGATE_CONFIG", "posturegate.yaml"),
        help="configuration file (default: $POSTUREGATE_CONFIG, else posturegate.yaml)",
    )
