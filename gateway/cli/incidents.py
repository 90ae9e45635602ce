"""`posturegate incidents`: what happened to devices, measured from the sensor's observation until access was back."""

import argparse

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

DEFAULT_MOST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `incidents`."""
    parser.add_argument("--open", action="store_true", help="only those that are not over")
    parser.add_argument("--device", metavar="TEXT", help="only those of a device, by its id or name")
    parser.add_argument(
        "--most", type=int, default=DEFAULT_MOST, help=f"how many, newest first ({DEFAULT_MOST})"
    )
    parser.add_argument("--json", action="store_true", help="print the records, one a line")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print incidents, newest first. Returns 1 when the store cannot be read, 2 when the configuration is invalid."""
    import sqlite3  # noqa: PLC0415 - lazy: `--help` must not pay for it
    import sys  # noqa: PLC0415
    from datetime import UTC, datetime  # noqa: PLC0415

    import msgspec  # noqa: PLC0415

    from gateway.cli.check import load_or_print  # noqa: PLC0415
    from gateway.config.paths import database_path  # noqa: PLC0415
    from gateway.incidents.store import read_incidents  # noqa: PLC0415
    from gateway.incidents.timeline import render  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    path = database_path(loaded.config.store.url, arguments.config)
    try:
        # A device is looked for among more than are shown: names are not indexed, and there are few incidents.
        most = arguments.most if arguments.device is None else max(arguments.most, 10_000)
        incidents = read_incidents(path, most=most, only_open=arguments.open)
    except sqlite3.Error as error:
        print(f"the store `{path}` cannot be read: {error}", file=sys.stderr)
        return EXIT_FAILED
    if arguments.device is not None:
        incidents = [each for each in incidents if arguments.device in (each.device_id, each.device)]
    incidents = incidents[: arguments.most]
    if arguments.json:
        for incident in incidents:
            print(msgspec.json.encode(incident).decode())
    else:
        print(render(incidents, datetime.now(UTC)), end="")
    return EXIT_OK
