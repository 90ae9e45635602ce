"""What delivery services put around payloads, opened before the plugin of any kind reads. Pure and bounded.

| service | payloads are in |
|---|---|
| Google Pub/Sub, push | `message.data` beside `subscription`, base64 |
| Amazon Data Firehose, HTTP endpoint | `records[].data` beside `requestId` and `timestamp`, base64 |
| Azure Event Hubs, Service Bus by a Logic App | `ContentData` beside properties, base64 |
| CloudEvents with `data_base64` | `data_base64`; the kind `cloudevents` reads it itself |
| Amazon SNS, HTTP | `Message` beside `TopicArn`, JSON as a text |

These are told by what stands beside them, never guessed. What cannot be read costs itself alone: it is `Unreadable`,
which the facade rejects by its place. What is inside is JSON as in any body; all of it counts against the same limits.
Source: Google, "Push subscriptions"; AWS, "HTTP endpoint delivery request and response specifications" and "HTTP/HTTPS
notification JSON format"; Microsoft, "Event schema"; CloudEvents 1.0.2, JSON format.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from plugins.payload import GZIP, MAX_ITEMS, MAX_VALUES, PayloadFault, dig, parse_payloads, text_at

MAX_LAYERS = 3
"""How many of these are opened, one inside the other."""

UNREADABLE = "data-unreadable"

VALIDATION_EVENT = "Microsoft.EventGrid.SubscriptionValidationEvent"
"""What Event Grid sends in its own schema to ask whether the address is willing."""

_SNS_SUBSCRIPTIONS = {
    "SubscriptionConfirmation": (
        "subscription-unconfirmed",
        "has to be confirmed by somebody who knows it: open the `SubscribeURL` of this item",
    ),
    "UnsubscribeConfirmation": ("subscription-ended", "has ended: nothing more comes from it"),
}

Place = tuple[str, Any, Any]
"""The path of something that is to be decoded, what stands there, and what is kept of it where it cannot be read."""


class Unreadable(msgspec.Struct, frozen=True):
    """Something in the place of a payload that cannot be read."""

    code: str
    error: str
    item: Any


def opened(payloads: Sequence[Any], *, keeps_events: bool = False) -> list[Any]:
    """Return the payloads with what services put around them taken off, in order.

    `keeps_events` leaves CloudEvents to a plugin that reads them itself. Raises `PayloadFault` when all together are
    too many: `too-many-items`, `too-many-values`.
    """
    if not any(_is_marked(each) for each in payloads):
        return list(payloads)
    found: list[Any] = []
    values_left = MAX_VALUES
    for payload in payloads:
        for each in _layers(payload, MAX_LAYERS, keeps_events=keeps_events):
            found.append(each)
            if each is not payload:
                values_left -= _values_in(each, values_left)
            if len(found) > MAX_ITEMS:
                raise PayloadFault("too-many-items", f"the records hold more than {MAX_ITEMS} payloads")
            if values_left < 0:
                raise PayloadFault("too-many-values", f"the records hold more than {MAX_VALUES} values")
    return found


def firehose_request_id(payloads: Sequence[Any]) -> str:
    """Return the id of the Firehose request that a body is, which its answer has to repeat; "" for any other body."""
    only = payloads[0] if len(payloads) == 1 else None
    return text_at(only, "requestId") if _is_firehose(only) else ""


def validation_code(payloads: Sequence[Any]) -> str:
    """Return the code that Event Grid wants to see again, "" for any other body."""
    only = payloads[0] if len(payloads) == 1 else None
    if dig(only, "eventType") != VALIDATION_EVENT:
        return ""
    return text_at(only, "data", "validationCode")


def _is_marked(payload: Any) -> bool:
    """Return whether something of a service stands in a payload: quick, for it is asked of every payload."""
    return isinstance(payload, dict) and (
        "subscription" in payload
        or "requestId" in payload
        or "ContentData" in payload
        or "data_base64" in payload
        or "TopicArn" in payload
    )


def _is_firehose(payload: Any) -> bool:
    if not isinstance(payload, dict) or not isinstance(payload.get("requestId"), str):
        return False
    records = payload.get("records")
    if "timestamp" not in payload or not isinstance(records, list):
        return False
    return not records or any(isinstance(dig(each, "data"), str) for each in records)


def _layers(payload: Any, left: int, *, keeps_events: bool) -> Iterator[Any]:
    """Yield what is inside a payload, which may be in layers itself; the payload where there is nothing around it."""
    places = _places(payload, keeps_events=keeps_events) if left and _is_marked(payload) else None
    if places is None:
        yield payload
        return
    if len(places) > MAX_ITEMS:
        raise PayloadFault("too-many-items", f"{len(places)} records exceed {MAX_ITEMS}")
    for path, value, kept in places:
        try:
            inner = _read(path, value)
        except PayloadFault as fault:
            yield Unreadable(fault.code, str(fault), kept)
            continue
        for each in inner:
            yield from _layers(each, left - 1, keeps_events=keeps_events)


def _places(payload: dict[str, Any], *, keeps_events: bool) -> list[Place] | None:
    """Return what is to be decoded, None where nothing is known to be around anything."""
    message = payload.get("message")
    if isinstance(message, dict) and text_at(payload, "subscription").startswith("projects/"):
        return [("message.data", message.get("data"), payload)]
    if _is_firehose(payload):
        return [
            (f"records[{number}].data", dig(record, "data"), {**payload, "records": [record]})
            for number, record in enumerate(payload["records"])
        ]
    if isinstance(payload.get("ContentData"), str) and (
        "SystemProperties" in payload or "Properties" in payload or "ContentType" in payload
    ):
        return [("ContentData", payload["ContentData"], payload)]
    if "specversion" in payload and payload.get("data") is None and not keeps_events:
        return [("data_base64", payload["data_base64"], payload)] if "data_base64" in payload else None
    return _of_a_topic(payload)


def _of_a_topic(payload: dict[str, Any]) -> list[Place] | None:
    """Return what is in a message of SNS; a message that is no JSON is left to the plugin as it is."""
    kind = payload.get("Type")
    if not isinstance(payload.get("TopicArn"), str) or not isinstance(kind, str):
        return None
    if kind in _SNS_SUBSCRIPTIONS:
        return [(kind, payload, payload)]
    text = payload.get("Message")
    if kind != "Notification" or not isinstance(text, str) or text.lstrip()[:1] not in {"{", "["}:
        return None
    return [("Message", text, payload)]


def _read(path: str, value: Any) -> list[Any]:
    """Return the payloads at a place. Raises `PayloadFault`, which says where."""
    if path in _SNS_SUBSCRIPTIONS:
        code, text = _SNS_SUBSCRIPTIONS[path]
        raise PayloadFault(code, f"the subscription of `{text_at(value, 'TopicArn')[:256]}` {text}")
    if not isinstance(value, str):
        raise PayloadFault(UNREADABLE, f"`{path}` is missing")
    data = value.encode("utf-8", "replace") if path == "Message" else _bytes(path, value)
    try:
        return parse_payloads(data)
    except PayloadFault as fault:
        raise PayloadFault(UNREADABLE, f"`{path}`: {fault}") from fault


def _bytes(path: str, text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PayloadFault(UNREADABLE, f"`{path}` is not base64") from error
    if data.startswith(GZIP):
        raise PayloadFault(UNREADABLE, f"`{path}` is gzip, which is not read inside of a record")
    return data


def _values_in(value: Any, most: int) -> int:
    """Return how many JSON values there are in a value, or anything above `most` where there are more."""
    count = 1
    level = [value]
    while level and count <= most:
        below: list[Any] = []
        for each in level:
            if isinstance(each, dict):
                below += each.values()
            elif isinstance(each, list):
                below += each
        count += len(below)
        level = below
    return count
