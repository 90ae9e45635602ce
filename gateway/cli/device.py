"""`posturegate device`: look at device records, settle cases, merge, split, override, import an inventory."""

import argparse
from collections.abc import Iterator
from typing import Any

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, EXIT_PARTIAL, add_config_argument
from gateway.cli.proving import admin_socket

ROWS_AT_ONCE = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `device`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = _action(actions, "list", "list devices")
    listing.add_argument("--parked", action="store_true", help="only those known by nothing but a name")
    listing.add_argument("--contested", action="store_true", help="only those that are part of a case")
    listing.add_argument(
        "--owner", default="", metavar="EMAIL", help="only those that were given to this person"
    )
    listing.add_argument("--most", type=int, default=100, help="how many (100)")
    _device(_action(actions, "show", "show one device"))
    _action(actions, "cases", "list identifiers that several devices claim")
    merge = _action(actions, "merge", "make two records one device")
    _device(merge)
    merge.add_argument("other", help="the record that becomes part of the first")
    split = _action(actions, "split", "give identifiers of a device to a new record")
    _device(split)
    split.add_argument("identifiers", nargs="+", metavar="KIND[@SENSOR]=VALUE")
    settle = _action(actions, "settle", "say which device a contested identifier belongs to")
    settle.add_argument("identifier", metavar="KIND[@SENSOR]=VALUE")
    _device(settle)
    override = _action(actions, "override", "set the risk level of a device by hand")
    _device(override)
    override.add_argument("--level", choices=("none", "low", "medium", "high"))
    override.add_argument("--for", dest="lasts", default="8h", help="how long: 30m, 8h, 7d (default 8h)")
    override.add_argument("--end", action="store_true", help="take an override back")
    for each in (merge, split, settle, override):
        each.add_argument("--reason", required=True, help="why, for the audit log")
    _action(actions, "import", "take an inventory: CSV with a header, or a JSON array").add_argument("file")


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print what the gateway answered")
    add_config_argument(parser)
    return parser


def _device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("device", help="id, serial, name, or KIND=VALUE")


def run(arguments: argparse.Namespace) -> int:
    """Do it. Returns 0, 1 when there is no such device or no gateway answers, 2 for what cannot be, 3 in part."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    socket = admin_socket(loaded)
    try:
        requests = list(_requests(arguments))
    except (ValueError, OSError) as error:
        print(f"refused: {error}")
        return EXIT_INVALID
    return asyncio.run(_ask(str(socket), requests, arguments))


def _requests(arguments: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and body of what has to be asked. Raises `ValueError`, `OSError`."""
    from urllib.parse import urlencode  # noqa: PLC0415

    match arguments.action:
        case "list":
            query = {"most": str(arguments.most)}
            query |= {name: "1" for name in ("parked", "contested") if getattr(arguments, name)}
            query |= {"owner": arguments.owner} if arguments.owner else {}
            yield "GET", f"/devices?{urlencode(query)}", None
        case "show":
            yield "GET", f"/device?{urlencode({'device': arguments.device})}", None
        case "cases":
            yield "GET", "/device/cases", None
        case "import":
            rows = _rows(arguments.file)
            for at in range(0, len(rows), ROWS_AT_ONCE):
                yield "POST", "/device/import", {"rows": rows[at : at + ROWS_AT_ONCE]}
        case _:
            yield "POST", "/device/change", _change(arguments)


def _change(arguments: argparse.Namespace) -> dict[str, Any]:
    from risk.values import parse_duration  # noqa: PLC0415

    change = {"action": arguments.action, "device": arguments.device, "reason": arguments.reason}
    match arguments.action:
        case "merge":
            return change | {"other": arguments.other}
        case "split":
            return change | {"identifiers": [_identifier(each) for each in arguments.identifiers]}
        case "settle":
            return change | {"identifiers": [_identifier(arguments.identifier)]}
        case _:
            if arguments.end:
                return change | {"action": "end-override"}
            if arguments.level is None:
                raise ValueError("`--level` or `--end` is needed")
            return change | {"level": arguments.level, "lasts_s": parse_duration(arguments.lasts)}


def _identifier(text: str) -> dict[str, str]:
    kind, separator, value = text.partition("=")
    kind, _, issuer = kind.partition("@")
    if not separator or not kind or not value:
        raise ValueError(
            f"`{text}` is no identifier: KIND=VALUE, such as `serial=C02X` or `sensor-device-id@edr=7`"
        )
    return {"kind": kind, "value": value, "issuer": issuer}


def _rows(name: str) -> list[dict[str, Any]]:
    from pathlib import Path  # noqa: PLC0415

    from gateway.devices.inventory import RowFault, rows_of  # noqa: PLC0415

    text = Path(name).read_text(encoding="utf-8-sig")
    try:
        return rows_of(text, is_json=name.endswith(".json"))
    except RowFault as fault:
        raise ValueError(f"{name}: {fault}") from fault


class _Imported:
    """What became of all rows of a file, which is sent in parts."""

    def __init__(self) -> None:
        self.taken = self.unchanged = self.refused = 0

    def add(self, answer: dict[str, Any], number: int) -> None:
        """Count a part, and print what was refused of it."""
        for row, fault in sorted((int(row), fault) for row, fault in answer["faults"].items()):
            print(f"row {number * ROWS_AT_ONCE + row + 1}: {fault}")
        self.taken += answer["taken"]
        self.unchanged += answer["unchanged"]
        self.refused += len(answer["faults"])

    def told(self) -> int:
        """Print the sums; return the exit code."""
        print(f"{self.taken} taken, {self.unchanged} unchanged, {self.refused} refused")
        return EXIT_PARTIAL if self.refused else EXIT_OK


async def _ask(socket: str, requests: list[tuple[str, str, Any]], arguments: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    exit_code, imported = EXIT_OK, _Imported()
    timeout = aiohttp.ClientTimeout(total=120)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=timeout) as session:
            for number, (method, path, body) in enumerate(requests):
                async with session.request(method, f"http://gateway{path}", json=body) as response:
                    raw = await response.read()
                    answer = msgspec.json.decode(raw)
                    status = response.status
                if arguments.json:
                    print(raw.decode())
                if arguments.action == "import" and status == 200:  # noqa: PLR2004 - HTTP
                    imported.add(answer, number)
                else:
                    exit_code = _told(arguments, status, answer)
                if status != 200:  # noqa: PLR2004 - HTTP
                    break
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    return max(exit_code, imported.told()) if arguments.action == "import" else exit_code


def _told(arguments: argparse.Namespace, status: int, answer: dict[str, Any]) -> int:
    """Print an answer; return the exit code that it means."""
    if status != 200:  # noqa: PLR2004 - HTTP
        print(f"refused: {answer.get('fault', status)}")
        return {404: EXIT_FAILED, 503: EXIT_PARTIAL}.get(status, EXIT_INVALID)
    if not arguments.json:
        for line in _lines(arguments.action, answer, getattr(arguments, "most", 0)):
            print(line)
    return EXIT_OK


def _lines(action: str, answer: dict[str, Any], most: int = 0) -> Iterator[str]:
    if action == "list":
        for each in answer["devices"]:
            marks = " contested" if each["contested"] else " parked" if each["is_parked"] else ""
            name = _plain(each["name"])
            yield f"{each['id']}  {name:<30} risk {each['risk']['level']:<8} {each['compliance']}{marks}"
        shown = len(answer["devices"])
        yield f"{_counted(shown, 'device')}{'; more with a larger `--most`' if shown >= most else ''}"
    elif action == "cases":
        for case in answer["cases"]:
            yield f"{_spelled(case['identifier'])} is claimed by {', '.join(case['claimants'])}"
        yield _counted(len(answer["cases"]), "case")
    else:
        yield from _device_lines(answer)


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _device_lines(device: dict[str, Any]) -> Iterator[str]:
    risk = device["risk"]
    yield f"{device['id']}  {_plain(device['name'])}"
    yield f"  risk        {risk['level']}{'' if risk['is_known'] else ', not sure'}"
    yield f"  compliance  {device['compliance']}"
    for each in risk["contributions"]:
        yield f"  because     {each['level']}: {_plain(each['title'])} ({each['sensor']}, {each['observed_at']})"
    for sensor in risk["silent_sensors"]:
        yield f"  silent      {sensor}"
    if device["owner"]:
        yield f"  owner       {_plain(device['owner'])}"
    if device["override"]:
        yield f"  override    {device['override']} until {device['override_until']}"
    for each in device["identifiers"]:
        is_contested = any(each["value"].casefold() == other["value"] for other in device["contested"])
        yield f"  known by    {_spelled(each)}{'  CONTESTED' if is_contested else ''}"
    for sensor, at in sorted(device["heard"].items()):
        yield f"  heard       {sensor} {at}"
    for name, value in device["facts"].items():
        yield f"  fact        {_plain(name)} = {_plain(value)}"


def _spelled(identifier: dict[str, str]) -> str:
    issuer = f"@{identifier['issuer']}" if identifier["issuer"] else ""
    return _plain(f"{identifier['kind']}{issuer}={identifier['value']}")


def _plain(value: object) -> str:
    """Return a text that a sensor wrote without anything that a terminal would obey."""
    return "".join(each if each.isprintable() else " " for each in str(value))
