"""`posturegate service-token`: make, list, rotate and revoke the tokens of programs that use apps."""

import argparse
from typing import Any

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument
from gateway.cli.proving import admin_socket

INVALID = 422


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `service-token`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser(
        "create", help="make a token for a service identity; its secret is shown once"
    )
    create.add_argument(
        "service", help="name of the service identity, as access policies name it in `services`"
    )
    create.add_argument(
        "--app", dest="apps", action="append", required=True, metavar="APP", help="may be given several times"
    )
    create.add_argument("--expires-in", default="90d", metavar="DURATION", help="how long it lives (90d)")
    actions.add_parser("list", help="list tokens, newest first")
    rotate = actions.add_parser(
        "rotate", help="make a token in place of another one; its secret is shown once"
    )
    rotate.add_argument("id", help="id of the old token")
    rotate.add_argument(
        "--overlap", default="1h", metavar="DURATION", help="how long the old one goes on (1h)"
    )
    rotate.add_argument(
        "--expires-in", default=None, metavar="DURATION", help="default: as the old was made for"
    )
    revoke = actions.add_parser("revoke", help="end a token, or all of a service, now and everywhere")
    revoke.add_argument("id", help="id of a token, or name of a service")
    for action in (create, rotate, revoke):
        action.add_argument("--reason", required=True, help="why, for the audit log")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print what the gateway answered")
        add_config_argument(action)


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0, 1 when no gateway answers or the store fails, 2 for what cannot be."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    try:
        path, body = _request(arguments)
    except ValueError as error:
        print(f"refused: {error}")
        return EXIT_INVALID
    return asyncio.run(_ask(str(admin_socket(loaded)), path, body, arguments))


def _request(arguments: argparse.Namespace) -> tuple[str, dict[str, Any] | None]:
    """Return path and body of what is asked; no body is a `GET`. Raises `ValueError` for a bad duration."""
    from risk.values import parse_duration  # noqa: PLC0415

    match arguments.action:
        case "list":
            return "/service-tokens", None
        case "create":
            body = {
                "service": arguments.service,
                "apps": arguments.apps,
                "life_s": parse_duration(arguments.expires_in),
            }
            path = "/service-tokens"
        case "rotate":
            life = None if arguments.expires_in is None else parse_duration(arguments.expires_in)
            body = {"id": arguments.id, "life_s": life, "overlap_s": parse_duration(arguments.overlap)}
            path = "/service-tokens/rotate"
        case _:
            body, path = {"id": arguments.id}, "/service-tokens/revoke"
    return path, {**body, "reason": arguments.reason}


async def _ask(socket: str, path: str, body: dict[str, Any] | None, arguments: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    method = "GET" if body is None else "POST"
    timeout = aiohttp.ClientTimeout(total=60)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=timeout) as session,
            session.request(method, f"http://gateway{path}", json=body) as response,
        ):
            raw = await response.read()
            answer: dict[str, Any] = msgspec.json.decode(raw)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    if "fault" in answer:
        is_refused = response.status == INVALID
        print(f"{'refused' if is_refused else 'not done, or only in part: do it again'}: {answer['fault']}")
        return EXIT_INVALID if is_refused else EXIT_FAILED
    print(raw.decode() if arguments.json else "\n".join(_lines(answer)))
    return EXIT_OK


def _lines(answer: dict[str, Any]) -> list[str]:
    """Return what to print of an answer."""
    if "secret" in answer:
        return _made(answer["token"], answer["secret"])
    lines = [_line(token) for token in answer["tokens"]]
    if "cut" in answer:
        return [*lines, f"revoked everywhere; {answer['cut']} open exchanges cut"]
    return lines or ["no service token"]


def _made(token: dict[str, Any], secret: str) -> list[str]:
    return [
        _line(token),
        "",
        f"  id      {token['id']}",
        f"  secret  {secret}",
        "",
        "The secret is not shown again. To use it:",
        f"  curl -H 'Authorization: Bearer {token['id']}.{secret}' https://APP/",
        f"  curl -u {token['id']}:{secret} https://APP/            (git: the same name and password)",
    ]


def _line(token: dict[str, Any]) -> str:
    from compliance.texts import duration_text  # noqa: PLC0415

    state = token["state"]
    when = token["revoked_at"] if state == "revoked" else token["expires_at"]
    word = {"live": "until", "expired": "since", "revoked": "since"}[state]
    used = f"used {_minute(token['used_at'])}" if token["used_at"] else "never used"
    why = f"  ({token['revoked_reason'] or token['reason']})"
    apps = ",".join(token["apps"])
    left = f" ({duration_text(token['left_s'])} left)" if state == "live" else ""
    return (
        f"{token['id']}  {state:<7} {word} {_minute(when)}{left}  {token['service']} at {apps}  {used}{why}"
    )


def _minute(moment: str) -> str:
    """Return an instant of an answer, in UTC to the minute.

    >>> _minute("2026-12-01T10:20:30.123456Z")
    '2026-12-01 10:20'
    """
    return moment[:16].replace("T", " ")
