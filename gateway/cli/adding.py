"""What a new sensor needs, as `posturegate sensor add` prints it: a section, its secret, and a first delivery."""

import base64
import json
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from gateway.config.schema import Basic, Bearer, Hmac, StandardWebhooks
from plugins.payload import parse_time
from plugins.verify import parse_message
from risk.values import Secret

SCHEMES = ("standard-webhooks", "bearer", "basic", "hmac")

GITHUB = {"signature_header": "X-Hub-Signature-256", "prefix": "sha256="}
"""The signature that most senders mean who name no other."""

SIGNED: dict[str, dict[str, str]] = {
    "kolide": {"signature_header": "Authorization"},
    "crowdstrike": {
        "signature_header": "X-Cs-Primary-Signature",
        "encoding": "base64",
        "timestamp_header": "X-Cs-Delivery-Timestamp",
        "timestamp_format": "rfc3339",
        "message": "{body}{timestamp}",
    },
}
"""Kinds whose product signs its deliveries in a way of its own: the fields of `hmac`."""

SENT_BY = {"generic": "standard-webhooks", "jamf": "basic", "fleet": "basic"} | dict.fromkeys(SIGNED, "hmac")
"""The scheme of a kind whose product cannot send, or does better than, a bearer header."""

IN_ADDRESS = frozenset({"fleet"})
"""Kinds whose product takes name and password in the address that it is given, and nowhere else."""

OPTIONS: dict[str, tuple[str, ...]] = {
    "generic": (
        "options:                  # where the values stand in its JSON: docs/sensors.md",
        "  device: [{kind: serial, path: serial}]",
        "  level: {path: severity}",
        "  title: title",
        "  external_id: id",
        "  resolves: {path: status, equals: [resolved, closed]}",
    ),
    "cloudevents": (
        "options:",
        "  kind: falco             # the kind that reads what is in the envelope",
    ),
}
"""What a kind cannot do without, to begin with."""

GENERIC_BODY = {
    "serial": "SN-1",
    "severity": "high",
    "title": "Disk encryption is off",
    "id": "c1",
    "status": "open",
}
"""A payload that the options of `generic` above read."""

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_WRITTEN = len("2026-03-02T09:15:30")
_YEARS = range(2025, 2028)
"""When the samples were written: other times, such as the first of January of the year 1, are no moments."""
_UNIX = tuple(datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (_YEARS.start, _YEARS.stop))
_UNITS = (1, 1_000, 1_000_000, 1_000_000_000)

Auth = StandardWebhooks | Bearer | Basic | Hmac


def scheme_for(kind: str) -> str:
    """Return the scheme that the product of a kind can send."""
    return SENT_BY.get(kind, "bearer")


def new_secret(scheme: str) -> str:
    """Return a fresh secret of 256 bits, as the scheme writes it."""
    if scheme == "standard-webhooks":
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(32)


def auth_for(kind: str, name: str, scheme: str, secret: str) -> Auth:
    """Return how deliveries of a new sensor prove who sent them."""
    both = (Secret(secret),)
    match scheme:
        case "bearer":
            return Bearer(secrets=both)
        case "basic":
            return Basic(secrets=both, username=name)
        case "hmac":
            return Hmac(secrets=both, **_signed(kind))  # type: ignore[arg-type]
        case _:
            return StandardWebhooks(secrets=both)


def _signed(kind: str) -> dict[str, str]:
    return SIGNED.get(kind, GITHUB)


def as_of(payload: Any, now: datetime) -> Any:
    """Return a sample as if its newest moment were `now`, so that what it says has not expired long since."""
    moments = list(_moments(payload))
    if not moments:
        return payload
    return _later(payload, timedelta(seconds=round((now - max(moments)).total_seconds())))


def _moments(value: Any) -> Iterator[datetime]:
    """Yield the moments of a sample: texts that begin as RFC 3339 does, and unix times in whole numbers."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _moments(each)
    elif (at := _moment(value)) is not None:
        yield at


def _moment(value: Any) -> datetime | None:
    is_one = (isinstance(value, str) and _TIME.match(value)) or _unit(value)
    at = parse_time(value) if is_one else None
    return at if at is not None and at.year in _YEARS else None


def _unit(value: Any) -> int:
    """Return in which part of a second a number is a unix time of the samples' years; 0 when it is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        return 0
    return next((unit for unit in _UNITS if _UNIX[0] <= value / unit < _UNIX[1]), 0)


def _later(value: Any, by: timedelta) -> Any:
    match value:
        case Mapping():
            return {name: _later(each, by) for name, each in value.items()}
        case list():
            return [_later(each, by) for each in value]
        case str() if _moment(value) is not None:
            written = datetime.fromisoformat(value[:_WRITTEN]) + by
            return f"{written:%Y-%m-%dT%H:%M:%S}{value[_WRITTEN:]}"
        case int() if _moment(value) is not None:
            return value + int(by.total_seconds()) * _unit(value)
    return value


def section_lines(kind: str, name: str, scheme: str, file: Path) -> Iterator[str]:
    """Yield the section of a new sensor, as an item of `sensors`, whose secret is in `file`."""
    yield f"  - name: {name}"
    yield f"    kind: {kind}"
    yield "    max_silence: null      # or how long it may say nothing before that counts, such as 26h"
    yield "    auth:"
    yield f"      scheme: {scheme}"
    yield f"      secrets: [{{file: {file}}}]"
    if scheme == "basic":
        yield f"      username: {name}"
    if scheme == "hmac":
        yield from (f"      {field}: {json.dumps(value)}" for field, value in _signed(kind).items())
    yield from (f"    {line}" for line in OPTIONS.get(kind, ()))


def added_lines(
    kind: str, name: str, scheme: str, *, url: str, config: str, sample: Any, has_sensors: bool
) -> Iterator[str]:
    """Yield what `sensor add` prints. `sample` is a payload of the kind; `has_sensors`: there is a list already."""
    file, secret = Path("secrets") / f"sensor-{name}", new_secret(scheme)
    yield f"# 1. Keep the secret beside {config}, for the gateway alone:"
    yield f"mkdir -p secrets && (umask 077; printf %s {shlex.quote(secret)} > {file})"
    yield ""
    where = f"to the list `sensors:` of {config}" if has_sensors else f"to {config}"
    yield f"# 2. Add {where}, then `posturegate check` and `posturegate reload`:"
    if not has_sensors:
        yield "sensors:"
    yield from section_lines(kind, name, scheme, file)
    if kind in IN_ADDRESS and scheme == "basic":
        address = url.replace("://", f"://{name}:{secret}@", 1)
        yield f"# The address to give to its product, with name and secret: {address}"
    yield ""
    yield f"# 3. Prove address, secret and mapping, beside {config}; this changes nothing:"
    yield f"printf %s {shlex.quote(json.dumps(sample, separators=(',', ':')))} > body.json"
    yield f"posturegate sensor test-event {name} body.json"
    yield ""
    yield f"# 4. Deliver it (`posturegate sensor send {name} body.json` does the same); what came of it:"
    yield f"# `posturegate sensor deliveries {name}`"
    yield from curl_lines(auth_for(kind, name, scheme, secret), url, str(file))


def curl_lines(auth: Auth, url: str, file: str) -> Iterator[str]:
    """Yield a shell command that delivers `body.json` with the secret in `file`."""
    head = f"curl -sS {url} -H 'Content-Type: application/json' --data-binary @body.json"
    match auth:
        case Bearer():
            yield f'{head} -H "Authorization: Bearer $(cat {file})"'
        case Basic(username=username):
            yield f'{head} -u "{username}:$(cat {file})"'
        case Hmac():
            yield from _signed_lines(auth, head, file)
        case StandardWebhooks():
            yield "id=msg_$(openssl rand -hex 12); now=$(date +%s)"
            yield f"key=$(sed 's/^whsec_//' {file} | base64 -d | od -An -v -tx1 | tr -d ' \\n')"
            yield 'mac=$( (printf "%s.%s." "$id" "$now"; cat body.json) |'
            yield '  openssl dgst -sha256 -mac HMAC -macopt hexkey:"$key" -binary | base64)'
            yield f'{head} -H "webhook-id: $id" -H "webhook-timestamp: $now" -H "webhook-signature: v1,$mac"'


_SHELL: Mapping[str, str] = {
    "body": "cat body.json",
    "timestamp": 'printf %s "$now"',
    "id": 'printf %s "$id"',
}


def _signed_lines(auth: Hmac, head: str, file: str) -> Iterator[str]:
    sent = ""
    if auth.timestamp_header:
        yield f"now=$(date -u +{'%s' if auth.timestamp_format == 'epoch' else '%Y-%m-%dT%H:%M:%SZ'})"
        sent += f' -H "{auth.timestamp_header}: $now"'
    if auth.id_header:
        yield "id=msg_$(openssl rand -hex 12)"
        sent += f' -H "{auth.id_header}: $id"'
    parts = parse_message(auth.message, auth.timestamp_header, auth.id_header)
    said = [
        _SHELL[part] if is_value else f"printf %s {shlex.quote(part)}" for part, is_value in parts if part
    ]
    written = "base64" if auth.encoding == "base64" else "od -An -v -tx1 | tr -d ' \\n'"
    yield f"mac=$( ({'; '.join(said)}) |"
    yield f'  openssl dgst -sha256 -hmac "$(cat {file})" -binary | {written})'
    yield f'{head}{sent} -H "{auth.signature_header}: {auth.prefix}$mac"'
