"""`posturegate revoke`: end the sessions of a user or a device, or one session, on every worker, now."""

import argparse

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, EXIT_PARTIAL, add_config_argument
from gateway.cli.proving import admin_socket

NOT_FOUND, INVALID = 404, 422


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `revoke`."""
    parser.add_argument("kind", choices=("user", "device", "session"))
    parser.add_argument(
        "id",
        help="user: subject, e-mail address or `issuer|subject`; device: id, name or identifier; session: its id",
    )
    parser.add_argument("--reason", required=True, help="why, for the audit log")
    parser.add_argument("--json", action="store_true", help="print what the gateway answered")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Revoke. Returns 0 when it is enforced, 1 when there was nothing to end or no gateway answers, 2, 3 in part."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    return asyncio.run(_revoke(admin_socket(loaded), arguments))


async def _revoke(socket: "object", arguments: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    from gateway.hub.revocation import Revoked  # noqa: PLC0415

    body = {"kind": arguments.kind, "id": arguments.id, "reason": arguments.reason}
    timeout = aiohttp.ClientTimeout(total=60)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.post("http://gateway/revoke", json=body) as response,
        ):
            answer = await response.read()
            done = msgspec.json.decode(answer, type=Revoked)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    if arguments.json:
        print(answer.decode())
    if response.status == INVALID:
        print(f"refused: {done.fault}")
        return EXIT_INVALID
    if response.status == NOT_FOUND:
        print(f"no live session belongs to {arguments.kind} `{arguments.id}`")
        return EXIT_FAILED
    if not arguments.json:
        print(_told(done.subjects, len(done.sessions), done.cut, done.seconds))
    if not done.is_enforced or not done.is_stored:
        print(f"only in part: {done.fault}; do it again")
        return EXIT_PARTIAL
    return EXIT_OK


def _told(subjects: tuple[str, ...], sessions: int, cut: int, seconds: float) -> str:
    people = ", ".join(subjects)
    return f"ended: {sessions} sessions of {people}; {cut} open exchanges cut; everywhere after {seconds * 1000:.1f} ms"
