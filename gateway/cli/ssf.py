"""`posturegate ssf`: how the streams of Shared Signals are; verify, stop, start or delete one; rotate the key."""

import argparse
from typing import Any

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument
from gateway.cli.proving import admin_socket

NEEDS_NAME = ("verify", "pause", "enable", "disable", "delete")
OURS = ("pause", "enable", "disable")
"""What can be done with a stream that somebody has here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `ssf`."""
    parser.add_argument(
        "action",
        choices=("status", *NEEDS_NAME, "rotate"),
        help="`status` of all streams; `verify`, `pause` (it holds), `disable` (it forgets), `enable`, `delete` the "
        "stream of a receiver of the configuration at its transmitter; `rotate` our signing key",
    )
    parser.add_argument("name", nargs="?", help="name of the receiver; not for `status` and `rotate`")
    parser.add_argument(
        "--ours",
        action="store_true",
        help="`pause`, `disable`, `enable` the stream that NAME has here: its receiver is told, and cannot undo it",
    )
    parser.add_argument("--reason", default="", help="why, for the other side and the log")
    parser.add_argument("--json", action="store_true", help="print what the gateway answered")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0 when all is well, 1 when a stream is not or no gateway answers, 2 for bad arguments."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415

    if (arguments.name is None) is (arguments.action in NEEDS_NAME):
        needs = "needs the name of a receiver" if arguments.name is None else "takes no name"
        print(f"`posturegate ssf {arguments.action}` {needs}")
        return EXIT_INVALID
    if arguments.ours and arguments.action not in OURS:
        print(f"`--ours` is for {', '.join(f'`{each}`' for each in OURS)}")
        return EXIT_INVALID
    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    return asyncio.run(_ask(admin_socket(loaded), arguments))


async def _ask(socket: object, arguments: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    body = {
        "action": arguments.action,
        "name": arguments.name or "",
        "is_ours": arguments.ours,
        "reason": arguments.reason,
    }
    timeout = aiohttp.ClientTimeout(total=90)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.post("http://gateway/ssf", json=body) as response,
        ):
            raw = await response.read()
            answer: dict[str, Any] = msgspec.json.decode(raw)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    if arguments.json:
        print(raw.decode())
    elif fault := answer.get("fault"):
        print(fault)
    else:
        print("\n".join(_lines(answer)))
    return EXIT_OK if answer.get("is_well") else EXIT_FAILED


def _lines(answer: dict[str, Any]) -> list[str]:
    """Return what to print of a status, or of what was done."""
    if done := answer.get("done"):
        return [done]
    lines = []
    for each in answer["receivers"]:
        state = "ok" if each["is_well"] else f"NOT WELL: {each['reason']}"
        lines.append(f"from {each['name']} ({each['delivery']}, {each['stream']} stream): {state}")
        lines.append(
            f"  issuer {each['issuer']}  stream {each['stream_id'] or '-'}  {each['status'] or ''}".rstrip()
        )
        lines.append(
            f"  last event {each['heard_at'] or 'none'}  last verified {each['verified_at'] or 'never'}"
        )
    for each in answer["streams"]:
        fault = each["sender"]["fault"]
        reason = f" ({each['reason']})" if each["reason"] else ""
        state = f"{each['status']}{reason}{f'  NOT TAKEN: {fault}' if fault else ''}"
        lines.append(f"to {each['party']} ({each['method'].rpartition(':')[2]}): {state}")
        sent = f"{each['sender']['sent']} sent, {each['sender']['refused']} refused since the start"
        lines.append(f"  stream {each['stream_id']}  {each['waiting']} waiting, {sent}")
    return lines or ["no Shared Signals are configured"]
