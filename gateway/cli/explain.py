"""`posturegate explain`: print the decision record of a reference code."""

import argparse

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `explain`."""
    parser.add_argument("code", help="reference code from a page, or the value of X-Gate-Decision-Id")
    parser.add_argument("--json", action="store_true", help="print the record itself")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the record. Returns 1 when there is none, 2 when the configuration is invalid."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415
    from gateway.decision.explain import DecisionRecord, render  # noqa: PLC0415
    from gateway.decision.reference import parse_reference  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    # An id of `X-Gate-Decision-Id` is longer than a code that people spell.
    code = arguments.code if arguments.code.startswith("d_") else parse_reference(arguments.code)
    if code is None:
        print(f"`{arguments.code}` is no reference code: eight letters and digits, such as `7F3K-9QXM`")
        return EXIT_FAILED
    record = _read(loaded.config.store.url, code, arguments.config)
    if record is None:
        print(
            f"no decision record has the code {code}; records are kept {loaded.config.decisions.keep / 86400:g} days\n"
            f'the code of a sign-in that failed stands in the log: "reference":"{code}"'
        )
        return EXIT_FAILED
    if arguments.json:
        print(record.decode())
    else:
        print(render(msgspec.json.decode(record, type=DecisionRecord)))
    return EXIT_OK


def _read(store_url: str, code: str, config_path: str) -> bytes | None:
    """Read one record straight from the store, so that it works whether or not the gateway runs."""
    import sqlite3  # noqa: PLC0415

    from gateway.config.paths import database_path  # noqa: PLC0415

    path = database_path(store_url, config_path)
    if not path.exists():
        return None
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as connection:
        row = connection.execute("SELECT record FROM risk_decisions WHERE code = ?", (code,)).fetchone()
    return None if row is None else bytes(row[0])
