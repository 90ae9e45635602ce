"""`posturegate sensor list|add|send|test-event|rotate`: sensors of a configuration, and a small sender for scripts."""

import argparse
import asyncio
import base64
import hashlib
import hmac
import json
import re
import secrets
import shlex
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument
from gateway.cli.adding import GENERIC_BODY, SCHEMES, added_lines, as_of, new_secret, scheme_for
from gateway.cli.deliveries import add_deliveries, run_deliveries, unknown_name
from gateway.config.schema import Basic, Bearer, Hmac, Sensor, StandardWebhooks
from gateway.config.show import duration
from plugins.verify import parse_message, parse_signing_secret, sign
from risk.model import Severity

if TYPE_CHECKING:
    from gateway.config.load import LoadedConfig
    from plugins.contract import Expected

ASKED = frozenset({"cloudflare"})
"""Kinds that have no webhook."""

_WEIGHTY = (Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)

NOT_SENSORS = frozenset({"ssf", "caep", "risc", "shared-signals", "shared_signals", "set"})
"""What is looked for among the kinds of sensors, and stands in a section of its own."""

MAPPED = frozenset({"generic", "cloudevents"})
"""Kinds that read nothing without the operator's own mapping."""

TIMEOUT_S = 30.0
MAX_SHOWN = 4000

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


class Unusable(Exception):
    """What was asked for cannot be done; the text says why."""


def add_sending(actions: Any) -> None:
    """Declare the actions on `posturegate sensor`'s subparsers."""
    listed = actions.add_parser("list", help="print the sensors of the configuration")
    add_config_argument(listed)
    added = actions.add_parser(
        "add", help="print what a new sensor needs: a section, its secret, a first delivery"
    )
    added.add_argument("kind", metavar="KIND")
    added.add_argument("name", metavar="NAME")
    added.add_argument(
        "--scheme",
        choices=SCHEMES,
        help="how it proves itself (default: what the product of the kind can send)",
    )
    add_config_argument(added)
    sent = actions.add_parser(
        "send", help="sign a payload as a sensor of the configuration does, and deliver it"
    )
    sent.add_argument("name", metavar="NAME")
    sent.add_argument("file", metavar="FILE", help="the body; `-` reads standard input")
    sent.add_argument("--url", help="where to (default: the sensor's webhook at `public_url`)")
    sent.add_argument("--dry-run", action="store_true", help="print the request and send nothing")
    add_config_argument(sent)
    rotated = actions.add_parser(
        "rotate", help="make a new secret, and print the steps to change it without a gap"
    )
    rotated.add_argument("name", metavar="NAME")
    add_config_argument(rotated)
    tried = actions.add_parser(
        "test-event", help="prove address, signature and mapping with a delivery that changes nothing"
    )
    tried.add_argument("name", metavar="NAME")
    tried.add_argument(
        "file", metavar="FILE", nargs="?", help="a payload to try (default: a sample of the kind)"
    )
    tried.add_argument("--url", help="where to (default: the sensor's webhook at `public_url`)")
    add_config_argument(tried)
    add_deliveries(actions)


def run_sending(arguments: argparse.Namespace) -> int:
    """Run one of the actions; return the exit code."""
    from gateway.cli.proving import load_unproven  # noqa: PLC0415 - lazy: `--help` must not pay for it

    loaded = load_unproven(arguments.config)
    if loaded is None:
        return EXIT_INVALID
    actions = {"list": _list, "add": _add, "send": _send, "test-event": _test_event, "rotate": _rotate}
    try:
        return actions.get(arguments.action, run_deliveries)(loaded, arguments)
    except Unusable as error:
        print(f"posturegate sensor {arguments.action}: {error}", file=sys.stderr)
        return EXIT_FAILED


# --- list, add, rotate ---------------------------------------------------------------------------------


def _list(loaded: "LoadedConfig", _arguments: argparse.Namespace) -> int:
    rows = [("NAME", "KIND", "SCHEME", "SILENT AFTER", "ADDRESS")]
    for sensor in loaded.config.sensors:
        silence = "never" if sensor.max_silence is None else duration(sensor.max_silence)
        address = _url(loaded, sensor.name, "posture" if sensor.kind in ASKED else "hooks")
        rows.append((sensor.name, sensor.kind, _scheme(sensor), silence, address))
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return EXIT_OK


def _add(loaded: "LoadedConfig", arguments: argparse.Namespace) -> int:
    from gateway.config.errors import did_you_mean  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.sensors import installed  # noqa: PLC0415

    kinds = installed().kinds
    if arguments.kind in NOT_SENSORS:
        raise Unusable(
            "Shared Signals have a section of their own, `shared_signals.receivers`: see docs/shared-signals.md"
        )
    if arguments.kind not in kinds:
        raise Unusable(
            f"kind `{arguments.kind}` is not installed; {did_you_mean(arguments.kind, list(kinds))}"
        )
    if _NAME.fullmatch(arguments.name) is None:
        raise Unusable("a name has lower-case letters, digits and hyphens, and begins and ends with none")
    if any(sensor.name == arguments.name for sensor in loaded.config.sensors):
        raise Unusable(f"there is a sensor `{arguments.name}` already; `rotate` changes its secret")
    if arguments.kind in ASKED:
        raise Unusable(f"kind `{arguments.kind}` delivers nothing, its product asks: see docs/sensors.md")
    lines = added_lines(
        arguments.kind,
        arguments.name,
        arguments.scheme or scheme_for(arguments.kind),
        url=_url(loaded, arguments.name),
        config=loaded.path.name,
        sample=next(iter(sample_payloads(arguments.kind)), {}),
        has_sensors=bool(loaded.config.sensors),
    )
    print("\n".join(lines))
    return EXIT_OK


def sample_payloads(kind: str) -> list[Any]:
    """Return payloads of a kind that are read whole, as of now; those first that need no options, then those that show.

    Of `generic` it is one that the mapping of `sensor add` reads.
    """
    from gateway.config.sensors import installed  # noqa: PLC0415 - lazy: `--help` must not pay for it

    if kind == "generic":
        return [GENERIC_BODY]
    samples = [
        each
        for each in installed().sensor(kind).samples
        if each.expected and not each.rejected and not each.headers
    ]
    samples.sort(key=lambda each: (bool(each.options), not any(map(_shows, each.expected))))
    return [as_of(each.payload, datetime.now(UTC)) for each in samples]


def _shows(expected: "Expected") -> bool:
    """Return whether a signal changes what is seen of a device or a person: it opens something that weighs."""
    return not expected.resolves and expected.level in _WEIGHTY


def _rotate(loaded: "LoadedConfig", arguments: argparse.Namespace) -> int:
    sensor = sensor_named(loaded, arguments.name)
    scheme = _scheme(sensor)
    if scheme not in SCHEMES:
        raise Unusable(f"the scheme `{scheme}` has no secret of ours")
    file = Path("secrets") / f"sensor-{sensor.name}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    line = loaded.origins.get(f"sensors[{loaded.config.sensors.index(sensor)}].name", str(loaded.path))
    secret = new_secret(scheme)
    print(f"# Beside {loaded.path.name}, the new secret:")
    print(f"mkdir -p secrets && (umask 077; printf %s {shlex.quote(secret)} > {file})")
    print(f"1. {line}: add {{file: {file}}} to `secrets`, beside the old one, and `posturegate reload`")
    print("2. give the sender the new secret")
    print(
        "3. `posturegate sensor status` tells when it delivers; then take the old one away and reload again"
    )
    return EXIT_OK


# --- send ----------------------------------------------------------------------------------------------


def _send(loaded: "LoadedConfig", arguments: argparse.Namespace) -> int:
    sensor = sensor_named(loaded, arguments.name)
    body = _read(arguments.file)
    url = arguments.url or _url(loaded, sensor.name)
    headers = {"Content-Type": "application/json", **signed_headers(sensor, body, time.time())}
    if arguments.dry_run:
        print(f"POST {url}")
        for name, value in headers.items():
            is_secret = isinstance(sensor.auth, Bearer | Basic) and name != "Content-Type"
            print(f"{name}: {'(secret)' if is_secret else value}")
        print(f"\n{len(body)} bytes, sha256 {hashlib.sha256(body).hexdigest()}")
        return EXIT_OK
    status, answer = asyncio.run(_post(url, body, headers))
    print(f"{status}")
    print(_pretty(answer)[:MAX_SHOWN])
    return EXIT_OK if 200 <= status < 300 else EXIT_FAILED  # noqa: PLR2004 - success


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise Unusable(f"`{file}`: {error.strerror}") from error


def _test_event(loaded: "LoadedConfig", arguments: argparse.Namespace) -> int:
    """Deliver a test event; return whether the sender was believed and every payload understood."""
    from gateway.hub.hooks import as_test_event  # noqa: PLC0415
    from plugins.payload import PayloadFault, parse_payloads  # noqa: PLC0415

    sensor = sensor_named(loaded, arguments.name)
    if arguments.file is not None:
        try:
            payloads = parse_payloads(_read(arguments.file))
        except PayloadFault as fault:
            raise Unusable(f"`{arguments.file}`: {fault.code}: {fault}") from fault
    else:
        # The samples of a mapping are of other people's products.
        payloads = [] if sensor.kind in MAPPED else sample_payloads(sensor.kind)[:1]
    body = json.dumps(as_test_event(payloads)).encode()
    url = arguments.url or _url(loaded, sensor.name)
    headers = {"Content-Type": "application/json", **signed_headers(sensor, body, time.time())}
    status, answer = asyncio.run(_post(url, body, headers))
    print(f"{status}")
    print(_pretty(answer)[:MAX_SHOWN])
    if status != 200:  # noqa: PLR2004 - HTTP
        return EXIT_FAILED
    if not payloads:
        print("address and signature are right; give FILE to try the mapping")
    return EXIT_FAILED if json.loads(answer)["would_reject"] else EXIT_OK


async def _post(url: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
    import aiohttp  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.demo.loopback import LoopbackResolver  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    is_loopback = (urlsplit(url).hostname or "").endswith(".localhost")
    try:
        async with (
            aiohttp.ClientSession(
                timeout=timeout,
                connector=aiohttp.TCPConnector(resolver=LoopbackResolver() if is_loopback else None),
            ) as http,
            http.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            return response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise Unusable(f"{url}: {error or type(error).__name__}") from error


def _pretty(answer: bytes) -> str:
    try:
        return json.dumps(json.loads(answer), indent=2, ensure_ascii=False)
    except ValueError:
        return answer.decode("utf-8", "replace")


def signed_headers(sensor: Sensor, body: bytes, now_s: float) -> dict[str, str]:
    """Return the headers that prove a delivery of this sensor. Raises `Unusable` for a scheme that cannot be sent."""
    message_id = "msg_" + secrets.token_hex(12)
    match sensor.auth:
        case StandardWebhooks(secrets=known):
            usable = [each for each in known if each.reveal().startswith("whsec_")]
            if not usable:
                raise Unusable("only the sender has the private key of a `whpk_…`")
            return dict(sign(parse_signing_secret(usable[-1]), message_id, int(now_s), body))
        case Bearer(secrets=known, header=header):
            secret = known[-1].reveal()
            return {header: f"Bearer {secret}" if header.lower() == "authorization" else secret}
        case Basic(secrets=known, username=username):
            both = base64.b64encode(f"{username}:{known[-1].reveal()}".encode()).decode()
            return {"Authorization": f"Basic {both}"}
        case Hmac():
            return _hmac_headers(sensor.auth, body, message_id, now_s)
        case _:
            raise Unusable(f"the scheme `{_scheme(sensor)}` is proven by the sender's own means")


def _hmac_headers(auth: Hmac, body: bytes, message_id: str, now_s: float) -> dict[str, str]:
    at = datetime.fromtimestamp(int(now_s), UTC)
    sent = str(int(now_s)) if auth.timestamp_format == "epoch" else at.isoformat().replace("+00:00", "Z")
    values = {"body": body, "timestamp": sent.encode(), "id": message_id.encode()}
    parts = parse_message(auth.message, auth.timestamp_header, auth.id_header)
    signed = b"".join(values[part] if is_value else part.encode() for part, is_value in parts)
    mac = hmac.digest(auth.secrets[-1].reveal().encode(), signed, hashlib.sha256)
    text = mac.hex() if auth.encoding == "hex" else base64.b64encode(mac).decode()
    headers = {auth.signature_header: auth.prefix + text}
    if auth.timestamp_header:
        headers[auth.timestamp_header] = sent
    if auth.id_header:
        headers[auth.id_header] = message_id
    return headers


# --- of a configuration --------------------------------------------------------------------------------


def sensor_named(loaded: "LoadedConfig", name: str) -> Sensor:
    """Return a sensor of the configuration. Raises `Unusable` without one of this name."""
    found = next((sensor for sensor in loaded.config.sensors if sensor.name == name), None)
    if found is None:
        raise Unusable(unknown_name(loaded, name) or "a sensor has a name")
    return found


def _scheme(sensor: Sensor) -> str:
    return str(type(sensor.auth).__struct_config__.tag)


def _url(loaded: "LoadedConfig", name: str, page: str = "hooks") -> str:
    parts = urlsplit(loaded.config.public_url)
    return f"{parts.scheme}://{parts.netloc}/.gate/{page}/{name}"
