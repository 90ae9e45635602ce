"""`posturegate what-if`: decide about a request that nobody made, and say why."""

import argparse
import os
import sys

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `what-if`."""
    parser.add_argument("app", metavar="APP", help="name of the app")
    parser.add_argument(
        "given",
        nargs="*",
        metavar="KEY=VALUE",
        help="what is so, such as `groups=staff`, `compliance=noncompliant`, `path=/admin`, `facts.disk=true`",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the decision. Returns 1 for an app that there is not, 2 for a bad configuration or bad values."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import report  # noqa: PLC0415
    from gateway.cli.proving import load_unproven  # noqa: PLC0415
    from gateway.config.errors import ConfigInvalid, did_you_mean, shown  # noqa: PLC0415
    from gateway.config.given import WHERE, read_given, refuse_unknown_names  # noqa: PLC0415
    from gateway.decision.answers import answer_lines, answer_of, changes_of  # noqa: PLC0415
    from gateway.decision.hypothetical import suppose  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415

    loaded = load_unproven(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    try:
        given = read_given(arguments.app, arguments.given, os.environ)
        refuse_unknown_names(given, loaded.config)
    except ConfigInvalid as invalid:
        print(report(invalid.faults, is_valid=False, name=WHERE), file=sys.stderr)
        return EXIT_INVALID
    meaning = make_runtime(loaded.config, loaded.revision, origins=loaded.origins)
    if meaning.app(given.app) is None:
        hint = did_you_mean(given.app, list(meaning.apps))
        print(f"no app is named {shown(given.app)}" + (f"; {hint}" if hint else ""), file=sys.stderr)
        return EXIT_FAILED
    try:
        supposed = suppose(given, meaning)
    except ValueError as error:
        print(str(error), file=sys.stderr)
        return EXIT_INVALID
    changes = changes_of(supposed, meaning)
    if arguments.json:
        print(msgspec.json.format(msgspec.json.encode(answer_of(supposed, changes, meaning.places))).decode())
    else:
        print("\n".join(answer_lines(supposed, changes, meaning.places)))
    return EXIT_OK
