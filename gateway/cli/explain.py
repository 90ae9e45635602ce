"""`posturegate explain`: print the decision record of a reference code, or of a request that nobody made."""

import argparse

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `explain`."""
    parser.add_argument(
        "code",
        nargs="?",
        help="reference code from a page, or the value of X-Gate-Decision-Id; without it, say what is asked for",
    )
    parser.add_argument(
        "given", nargs="*", metavar="KEY=VALUE", help="what is supposed besides, as for `what-if`"
    )
    parser.add_argument("--app", help="name of the app")
    parser.add_argument(
        "--user", help="subject or e-mail address; of somebody who is signed in, what is known counts"
    )
    parser.add_argument(
        "--device", help="id, name or identifier of a device, with all that sensors told of it"
    )
    parser.add_argument("--path", help="path of the request; default: /")
    parser.add_argument("--method", help="HTTP method; default: GET")
    parser.add_argument("--at", help="when, such as `2026-05-04T09:30:00+02:00`; default: now")
    parser.add_argument("--json", action="store_true", help="print the record itself")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the record. Returns 1 when there is none, 2 when the configuration is invalid."""
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415
    from gateway.decision.explain import DecisionRecord, render  # noqa: PLC0415
    from gateway.decision.reference import parse_reference  # noqa: PLC0415

    if arguments.app is not None:
        return _supposed(arguments)
    if arguments.code is None:
        print(
            "name a reference code, or an app by `--app` with `--user`, `--device`, `--path`, `--method` or `--at`"
        )
        return EXIT_INVALID
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


def _supposed(arguments: argparse.Namespace) -> int:
    """Print what the policies in force decide about a request that nobody made, as its record would say it."""
    import os  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from datetime import UTC, datetime  # noqa: PLC0415

    from gateway.cli.check import report  # noqa: PLC0415
    from gateway.cli.proving import NoAnswer, load_unproven  # noqa: PLC0415
    from gateway.cli.stored import read_real  # noqa: PLC0415
    from gateway.config.errors import ConfigInvalid  # noqa: PLC0415
    from gateway.config.given import WHERE, read_given, refuse_unknown_names  # noqa: PLC0415
    from gateway.decision.answers import record_of  # noqa: PLC0415
    from gateway.decision.explain import render  # noqa: PLC0415
    from gateway.decision.hypothetical import suppose  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415

    loaded = load_unproven(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    entries = [each for each in (arguments.code, *arguments.given) if each is not None]
    asked = {"user": arguments.user, "path": arguments.path, "method": arguments.method, "at": arguments.at}
    asked["at"] = asked["at"] or datetime.now(UTC).isoformat()
    entries += [f"{key}={_quoted(value)}" for key, value in asked.items() if value is not None]
    meaning = make_runtime(loaded.config, loaded.revision, origins=loaded.origins)
    try:
        given = read_given(arguments.app, entries, os.environ)
        refuse_unknown_names(given, loaded.config)
        real = read_real(loaded, user=arguments.user, device=arguments.device, now=datetime.now(UTC))
        record = record_of(suppose(given, meaning, real=real), meaning, loaded.revision)
    except ConfigInvalid as invalid:
        print(report(invalid.faults, is_valid=False, name=WHERE))
        return EXIT_INVALID
    except (NoAnswer, ValueError) as error:
        print(str(error))
        return EXIT_FAILED
    print(_as_json(record) if arguments.json else render(record))
    return EXIT_OK


def _quoted(text: str) -> str:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    return msgspec.json.encode(text).decode()


def _as_json(record: object) -> str:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    return msgspec.json.format(msgspec.json.encode(record)).decode()


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
