"""`posturegate sensor status|deliveries|delivery|replay|dead-letters|retry|discard`: asked of the running gateway."""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, EXIT_PARTIAL, add_config_argument
from gateway.cli.proving import admin_socket

if TYPE_CHECKING:
    from gateway.config.load import LoadedConfig

DEFAULT_MOST = 20
TIMEOUT_S = 600.0
"""A thousand deliveries may be run again, each enforced."""


def add_deliveries(actions: Any) -> None:
    """Declare the actions on `posturegate sensor`'s subparsers."""
    status = _action(
        actions, "status", "print when each sensor was last heard, how often, and what was wrong last"
    )
    status.add_argument("name", metavar="NAME", nargs="?", default="", help="this sensor (default: all)")
    listed = _action(actions, "deliveries", "list what became of the newest deliveries")
    listed.add_argument("name", metavar="NAME", nargs="?", default="", help="of this sensor (default: all)")
    listed.add_argument(
        "--most", type=int, default=DEFAULT_MOST, help=f"how many, newest first ({DEFAULT_MOST})"
    )
    _span(listed)
    one = _action(
        actions, "delivery", "show one delivery: verdict, signals, effect on risk and access, timing"
    )
    one.add_argument("id", metavar="ID", help="the `delivery` of the answer, or the sender's `webhook-id`")
    one.add_argument("--body", action="store_true", help="print the body that was kept, and nothing else")
    replay = _action(actions, "replay", "run kept deliveries again with the configuration in force")
    replay.add_argument("name", metavar="NAME")
    replay.add_argument("--id", action="append", default=[], help="this delivery (several times for several)")
    _span(replay)
    _dry_run(replay)
    letters = _action(actions, "dead-letters", "list what was authentic and could not be used")
    letters.add_argument("name", metavar="NAME", nargs="?", default="", help="of this sensor (default: all)")
    letters.add_argument(
        "--most", type=int, default=DEFAULT_MOST, help=f"how many, newest first ({DEFAULT_MOST})"
    )
    retry = _action(actions, "retry", "try dead letters again; those that are taken are gone")
    _letters(retry)
    _dry_run(retry)
    _letters(_action(actions, "discard", "remove dead letters"))


def _action(actions: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="print what the gateway answered")
    add_config_argument(parser)
    return parser


def _span(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--since", metavar="TIME", help="from this time on: RFC 3339, or 30m, 8h, 7d ago")
    parser.add_argument("--until", metavar="TIME", help="up to this time (default: now)")


def _dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dry-run", action="store_true", help="show what it would do; change nothing")


def _letters(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("ids", metavar="ID", nargs="*", type=int)
    parser.add_argument("--all", action="store_true", help="all of this sensor")


def run_deliveries(loaded: "LoadedConfig", arguments: argparse.Namespace) -> int:
    """Ask the running gateway. Returns 0; 1: no such thing, or no gateway; 2: it cannot be; 3: done in part."""
    note = unknown_name(loaded, getattr(arguments, "name", ""))
    if note:
        # Names that were in the configuration are in the records still: they may be asked for.
        print(f"posturegate sensor {arguments.action}: {note}", file=sys.stderr)
    try:
        method, path, body = _request(arguments)
    except ValueError as error:
        print(f"posturegate sensor {arguments.action}: {error}")
        return EXIT_INVALID
    socket = str(admin_socket(loaded))
    return asyncio.run(_ask(socket, method, path, body, arguments))


def unknown_name(loaded: "LoadedConfig", name: str) -> str:
    """Return what to know of a name that no sensor of the configuration has, "" for one that does, and for none."""
    from gateway.config.errors import did_you_mean  # noqa: PLC0415 - lazy: `--help` must not pay for it

    names = [each.name for each in loaded.config.sensors]
    if not name or name in names:
        return ""
    if any(each.name == name for each in loaded.config.shared_signals.receivers):
        return f"`{name}` is a receiver of Shared Signals: `posturegate ssf status` tells how it is"
    return f"no sensor is named `{name}`; {did_you_mean(name, names)}"


def _request(arguments: argparse.Namespace) -> tuple[str, str, Any]:
    """Return method, path and body. Raises `ValueError`."""
    match arguments.action:
        case "status":
            return "GET", f"/sensors?{urlencode({'sensor': arguments.name})}", None
        case "deliveries":
            query = {"sensor": arguments.name, "most": str(max(0, arguments.most)), **_times(arguments)}
            return "GET", f"/deliveries?{urlencode(query)}", None
        case "delivery":
            query = {"id": arguments.id, **({"body": "1"} if arguments.body else {})}
            return "GET", f"/delivery?{urlencode(query)}", None
        case "replay":
            return "POST", "/deliveries/replay", _replay(arguments)
        case "dead-letters":
            query = {"sensor": arguments.name, "most": str(max(0, arguments.most))}
            return "GET", f"/dead-letters?{urlencode(query)}", None
        case _:
            if bool(arguments.ids) is arguments.all:
                raise ValueError("ids, or `--all`")
            wanted = {"sensor": arguments.name, "ids": None if arguments.all else arguments.ids}
            if arguments.action == "retry":
                wanted["dry_run"] = arguments.dry_run
            return "POST", f"/dead-letters/{arguments.action}", wanted


def _replay(arguments: argparse.Namespace) -> dict[str, Any]:
    times = _times(arguments)
    if bool(arguments.id) is ("since" in times):
        raise ValueError("`--id`, or `--since` with or without `--until`")
    return {"sensor": arguments.name, "ids": arguments.id, "dry_run": arguments.dry_run, **times}


def _times(arguments: argparse.Namespace) -> dict[str, str]:
    """Return the span that was asked for, as RFC 3339. Raises `ValueError`."""
    given = {"since": arguments.since, "until": arguments.until}
    return {name: _time(text) for name, text in given.items() if text}


def _time(text: str) -> str:
    from datetime import UTC  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from plugins.payload import parse_time  # noqa: PLC0415
    from risk.values import parse_duration  # noqa: PLC0415

    at = parse_time(text)
    if at is None:
        try:
            at = datetime.now(UTC) - timedelta(seconds=parse_duration(text))
        except (ValueError, OverflowError) as error:
            raise ValueError(
                f"`{text}` is no time: such as 2026-03-01T12:00:00Z, or 8h for that long ago"
            ) from error
    return at.isoformat()


async def _ask(socket: str, method: str, path: str, body: Any, arguments: argparse.Namespace) -> int:
    import aiohttp  # noqa: PLC0415 - lazy: `--help` must not pay for it

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket), timeout=timeout) as session,
            session.request(method, f"http://gateway{path}", json=body) as response,
        ):
            raw, status = await response.read(), response.status
            answer = json.loads(raw)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    if status != 200:  # noqa: PLR2004 - HTTP
        print(f"refused: {answer.get('fault', status)}")
        return {404: EXIT_FAILED, 503: EXIT_PARTIAL}.get(status, EXIT_INVALID)
    return _told(arguments, raw, answer)


def _told(arguments: argparse.Namespace, raw: bytes, answer: dict[str, Any]) -> int:
    """Print an answer; return the exit code that it means."""
    if getattr(arguments, "body", False):
        return _print_body(answer)
    if arguments.json:
        print(raw.decode())
    else:
        for line in _lines(arguments, answer):
            print(_plain(line))
    is_part = any(each.get("fault") or each.get("is_settled") is False for each in answer.get("outcomes", ()))
    return EXIT_PARTIAL if is_part else EXIT_OK


def _print_body(answer: Mapping[str, Any]) -> int:
    import base64  # noqa: PLC0415 - lazy

    if answer["body_base64"] is None:
        print("its body is not kept", file=sys.stderr)
        return EXIT_FAILED
    sys.stdout.buffer.write(base64.b64decode(answer["body_base64"]))
    return EXIT_OK


def _lines(arguments: argparse.Namespace, answer: dict[str, Any]) -> Iterator[str]:
    match arguments.action:
        case "status":
            for each in answer["sensors"]:
                yield from _status_lines(each)
        case "deliveries":
            yield from (_delivery_line(each) for each in answer["deliveries"])
            yield _counted(len(answer["deliveries"]), "delivery", "deliveries")
        case "delivery":
            yield from delivery_lines(answer)
        case "replay":
            for each in answer["outcomes"]:
                yield from _outcome_lines(each)
            count = _counted(len(answer["outcomes"]), "delivery", "deliveries")
            yield f"{count}{' looked at, nothing changed' * arguments.dry_run}"
        case "dead-letters":
            for each in answer["dead_letters"]:
                yield from _letter_lines(each)
            yield _counted(len(answer["dead_letters"]), "dead letter", "dead letters")
        case "retry":
            yield from (f"{each['id']}  {_settled(each)}: {each['text']}" for each in answer["outcomes"])
            yield f"{len(answer['outcomes'])} tried{', nothing changed' * arguments.dry_run}"
        case _:
            yield f"{answer['discarded']} discarded"


def _parked_text(count: int) -> str:
    """Return what it means that some devices of a delivery are known by nothing but a name."""
    who = _counted(count, "device is", "devices are")
    return f"{who} known by nothing but a name: what is said waits (`posturegate device list --parked`)"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _letter_lines(each: Mapping[str, Any]) -> Iterator[str]:
    yield f"{each['id']}  {_at(each['received_at'])}  {each['sensor']}  {each['reason']}: {each['error']}"
    yield f"    delivery {each['delivery'] or '-'}, item {each['item']}: {each['content'][:160]}"


def _settled(outcome: Mapping[str, Any]) -> str:
    return "taken" if outcome["is_settled"] else "still not usable"


def _status_lines(each: Mapping[str, Any]) -> Iterator[str]:
    heard = "never heard"
    if each["last_at"] is not None:
        heard = f"last heard {_at(each['last_at'])}, {_span_text(each['age_s'])} ago"
    silent = "  SILENT" if each["is_silent"] else ""
    yield f"{each['sensor']} ({each['kind']}): {heard}{silent}"
    told = ", ".join(f"{name} {count}" for name, count in sorted(each["verdicts"].items()))
    lag = "" if each["lag_s"] is None else f", lag {_span_text(each['lag_s'])}"
    yield f"  {each['rate_per_s'] * 60:.1f} a minute{lag}, quota {each['quota_per_s']:g} a second"
    yield f"  deliveries {told or 'none since the gateway began'}"
    if each["secret"] is not None:
        yield f"  last verified with secret {each['secret']} of its `secrets`"
    if each["pull_fault"]:
        yield f"  its product cannot be asked: {each['pull_fault']}"
    elif each["asked_at"] is not None:
        yield f"  its product was last asked {_at(each['asked_at'])}"
    if each["parked"]:
        yield f"  newest delivery: {_parked_text(each['parked'])}"
    if each["last_fault"]:
        yield f"  last refused {_at(each['last_fault_at'])}: {each['last_fault']}"


def _delivery_line(each: Mapping[str, Any]) -> str:
    counts = [
        f"{each[name]} {name}"
        for name in ("accepted", "duplicates", "ignored", "rejected", "parked")
        if each.get(name)
    ]
    changed = [_effect_text(effect) for effect in each.get("effects", ()) if _is_change(effect)]
    said = "; ".join([*([", ".join(counts)] if counts else []), *changed[:2], each.get("detail", "")]).strip(
        "; "
    )
    return f"{_at(each['at'])}  {each['sensor']}  {each['id']}  {each['verdict']}  {said}".rstrip()


def delivery_lines(each: Mapping[str, Any]) -> Iterator[str]:
    """Yield what people read about one delivery."""
    yield f"{each['id']}  {each['sensor']}  {_at(each['at'])}"
    yield f"  verdict     {each['verdict']} ({each['status']} {each['code']})"
    if each.get("detail"):
        yield f"  because     {each['detail']}"
    if each.get("again"):
        yield f"  runs again  {each['again']}, {_span_text(each['age_s'])} old; the age of its signature is waived"
    if each.get("message_id"):
        yield f"  message     {each['message_id']}"
    if each.get("secret"):
        yield f"  proof       secret {each['secret']} of its `secrets`"
    if each.get("body_bytes"):
        kept = "kept" if each.get("has_body") else "not kept"
        yield f"  body        {each['body_bytes']} bytes, {kept}, sha256 {each.get('body_sha256') or '-'}"
    counts = ", ".join(
        f"{each.get(name, 0)} {name}" for name in ("accepted", "duplicates", "ignored", "rejected")
    )
    yield f"  signals     {counts}"
    if each.get("parked"):
        yield f"  parked      {_parked_text(each['parked'])}"
    yield from _items_lines(each)
    yield from _effects_lines(each)
    times = [
        f"{word} after {each[f'{word}_in_ms']:g} ms"
        for word in ("durable", "enforced", "answered")
        if each.get(f"{word}_in_ms") is not None
    ]
    if times:
        yield f"  timing      {', '.join(times)}"
    if each.get("left_out"):
        yield f"  left out    {each['left_out']} deliveries before this one were not recorded"


def _items_lines(each: Mapping[str, Any]) -> Iterator[str]:
    """Yield the first signals and rejections, and how many there are beyond them."""
    for signal in each.get("signals", ()):
        yield f"    item {signal['item']}: {_signal_text(signal)}"
    if each.get("signals_left_out"):
        yield f"    and {each['signals_left_out']} further signals"
    rejections = each.get("rejections", ())
    for rejection in rejections:
        yield f"    item {rejection['item']}: {rejection['code']}: {rejection['error']}"
    if each.get("rejected", 0) > len(rejections):
        yield f"    and {each['rejected'] - len(rejections)} further rejected items (`posturegate sensor dead-letters`)"


def _effects_lines(each: Mapping[str, Any]) -> Iterator[str]:
    effects = each.get("effects", ())
    for effect in effects:
        yield f"  effect      {_effect_text(effect)}"
        for access in effect["access"]:
            changed = f"{access['before']} -> {access['after']}"
            yield f"    {access['app']}: {changed}  {access['user']}, session {access['session']}"
    if effects and each.get("devices", 0) > len(effects):
        yield f"  effect      and {each['devices'] - len(effects)} further devices"
    if not each.get("has_effects", True):
        yield "  effect      not worked out: too much came at once"
    if each.get("streams_cut"):
        cut = ", ".join(f"{app} {count}" for app, count in sorted(each["streams_cut"].items()))
        yield f"  cut         {cut} open exchanges"


def _outcome_lines(each: Mapping[str, Any]) -> Iterator[str]:
    if each["fault"]:
        yield f"{each['id']}  {each['fault']}"
        return
    counts = f"{each['accepted']} accepted, {each['duplicates']} duplicates, {each['ignored']} ignored"
    yield f"{each['id']}  {_at(each['at'])}  {counts}"
    if each["parked"]:
        yield f"    {_parked_text(each['parked'])}"
    yield from _items_lines(each)
    for effect in each["effects"]:
        yield f"    effect: {_effect_text(effect)}"


def _signal_text(signal: Mapping[str, Any]) -> str:
    about = signal.get("device") or signal.get("user") or "nobody"
    what = "closes" if signal.get("closes") else signal.get("level", "")
    return f"{signal['type']} {what} {signal.get('title') or signal['condition']} ({about})".replace(
        "  ", " "
    ) + _now_text(signal)


def _effect_text(effect: Mapping[str, Any]) -> str:
    risk = _arrow(effect["risk_before"], effect["risk_after"])
    state = _arrow(effect["compliance_before"], effect["compliance_after"])
    return f"{effect['device'] or effect['device_id']}{_now_text(effect)}: risk {risk}, {state}"


def _now_text(line: Mapping[str, Any]) -> str:
    """Return whose it is now where that has changed since."""
    now = line.get("now")
    return f" (now {now['device'] or now['device_id']}, {now['device_id']})" if now else ""


def _arrow(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"


def _is_change(effect: Mapping[str, Any]) -> bool:
    pairs = (("risk_before", "risk_after"), ("compliance_before", "compliance_after"))
    return any(effect[before] != effect[after] for before, after in pairs)


def _at(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%d %H:%M:%SZ")


def _span_text(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def _plain(text: str) -> str:
    """Return a line that no terminal takes for anything but text."""
    return "".join(each if each.isprintable() else "?" for each in text)
