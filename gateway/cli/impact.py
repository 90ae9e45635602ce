"""`posturegate impact`: whom a draft of the configuration would block or let in, of everybody who is known now."""

import argparse
import gc
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

if TYPE_CHECKING:
    from gateway.decision.impact import AccessChange, Impact, Replay

SHOWN = 20
EXIT_TOO_MANY = 4
MAX_RECORDS = 200_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `impact`."""
    parser.add_argument("draft", metavar="DRAFT", help="the configuration that may come into force")
    parser.add_argument(
        "--replay",
        metavar="AGE",
        help="also decide again what was decided since then, such as `7d`, from its records",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_argument(
        "--markdown", action="store_true", help="print the result as Markdown, for a pull request"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"list every change, not only {SHOWN} of each kind"
    )
    parser.add_argument(
        "--fail-on",
        metavar="N",
        type=int,
        help=f"return {EXIT_TOO_MANY} when more than N people would lose an app",
    )
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the impact. Returns 0, 1 without a store, 2 for a bad configuration, 4 above the bound of `--fail-on`."""
    from datetime import UTC, datetime, timedelta  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.proving import NoAnswer, load_unproven  # noqa: PLC0415
    from gateway.cli.stored import read_known, read_records  # noqa: PLC0415
    from gateway.decision.impact import impact_of, replayed  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415
    from risk.values import parse_duration  # noqa: PLC0415

    now = datetime.now(UTC)
    since = None
    if arguments.replay is not None:
        try:
            since = now - timedelta(seconds=parse_duration(arguments.replay))
        except (ValueError, OverflowError) as error:
            print(f"--replay: {error}", file=sys.stderr)
            return EXIT_INVALID
    loaded, draft = load_unproven(arguments.config), load_unproven(arguments.draft)
    if loaded is None or draft is None:
        return EXIT_INVALID
    before, after = make_runtime(loaded.config, loaded.revision), make_runtime(draft.config, draft.revision)
    try:
        known = read_known(loaded, now)
        gc.freeze()  # what is known stays as it is: no collection needs to go through it again and again
        found = impact_of(before, after, known, now, progress=_bar)
        past = None
        if since is not None:
            past = replayed(before, after, read_records(loaded, since, MAX_RECORDS), known.source)
    except NoAnswer as error:
        print(str(error), file=sys.stderr)
        return EXIT_FAILED
    if arguments.json:
        print(_json(found, past))
    else:
        most = sys.maxsize if arguments.all else SHOWN
        print("\n".join(_lines(found, past, most=most, is_markdown=arguments.markdown)))
    is_too_many = arguments.fail_on is not None and len(found.users_lost) > arguments.fail_on
    return EXIT_TOO_MANY if is_too_many else EXIT_OK


def _bar(done: int, total: int) -> None:
    """Draw how far it is, on a terminal only."""
    if sys.stderr.isatty() and total:
        width = max(10, min(40, os.get_terminal_size(sys.stderr.fileno()).columns - 24))
        filled = width * done // total
        end = "\n" if done >= total else ""
        sys.stderr.write(f"\r[{'#' * filled}{'.' * (width - filled)}] {done:,} of {total:,}{end}")
        sys.stderr.flush()


def _lines(found: "Impact", past: "Replay | None", *, most: int, is_markdown: bool) -> Iterator[str]:
    head, item = ("## ", "* ") if is_markdown else ("", "  ")
    yield f"{head}{_summary(found)}"
    yield from _table(
        f"{head}devices with another compliance state",
        [f"{each.name or each.device}: {each.before} -> {each.after}" for each in found.device_changes],
        found.devices_changed, most, item,
    )  # fmt: skip
    for title, chosen in (
        ("no longer let in", [each for each in found.access_changes if each.is_lost]),
        ("let in anew", [each for each in found.access_changes if each.is_gained]),
        (
            "decided otherwise",
            [each for each in found.access_changes if not each.is_lost and not each.is_gained],
        ),
    ):
        yield from _table(f"{head}{title}", [_access(each) for each in chosen], len(chosen), most, item)
    if past is not None:
        ranked = sorted(past.changes.items(), key=lambda each: -each[1])
        title = f"{head}of {past.records:,} recorded decisions {past.changed:,} would have been others"
        yield from _table(title, [f"{count} times {what}" for what, count in ranked], len(ranked), most, item)
        if not ranked:
            yield title


def _summary(found: "Impact") -> str:
    lost, gained = len(found.users_lost), len(found.users_gained)
    return (
        f"{found.devices_changed:,} of {found.devices:,} devices would have another compliance state;"
        f" {lost:,} {'person' if lost == 1 else 'people'} would lose an app and {gained:,} gain one,"
        f" of {found.sessions:,} sessions"
    )


def _table(title: str, lines: list[str], count: int, most: int, item: str) -> Iterator[str]:
    if not lines:
        return
    yield ""
    yield title
    if item.startswith("*"):
        yield ""
    yield from (f"{item}{line}" for line in lines[:most])
    if count > most:
        yield f"{item}and {count - most:,} more: `--all` lists them"


def _access(change: "AccessChange") -> str:
    return (
        f"{change.user} at {change.app}, device {change.device}: {change.before} -> {change.after}"
        f" (policy {change.policy})"
    )


def _json(found: "Impact", past: "Replay | None") -> str:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    return msgspec.json.format(
        msgspec.json.encode({"impact": found, "replay": past}, order="sorted")
    ).decode()
