"""Sensor kind `cloudevents`: CloudEvents 1.0 around the payloads of any other kind.

Structured (`{"specversion": "1.0", …, "data": …}`), batched (an array of those) and binary (`ce-…` headers, the
data as the body). `source` and `id` name the message; `time` counts where the payload has no time of its own.
Source: CloudEvents 1.0.2, HTTP protocol binding; "HTTP 1.1 Web Hooks for Event Delivery".
"""

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from functools import cache, lru_cache
from typing import Any, ClassVar

import msgspec

from plugins.bounds import PluginFault
from plugins.catalog import Catalog, OptionsFault, SensorFacade
from plugins.contract import Collector, Handshake, Normalized, Sample
from plugins.payload import PayloadFault, digest, parse_payloads, parse_time, text_at, text_of
from plugins.samples.cloudevents import SAMPLES
from risk.model import Signal
from risk.values import Strict

REQUIRED = ("specversion", "id", "source", "type")


class CloudeventsOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: kind: the kind of sensor that reads the data of the events.
    Field: options: the settings of that kind.
    Field: types: types of events that are read; others are ignored. Without it, all are.
    Field: origins: origins that may send here: only their abuse-protection request (`OPTIONS`) is answered.
    """

    kind: str
    options: dict[str, Any] = msgspec.field(default_factory=dict)
    types: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _inner(self.kind, msgspec.json.encode(self.options))


class CloudeventsSensor:
    """Unwraps CloudEvents and hands their data to another kind."""

    kind: ClassVar[str] = "cloudevents"
    title: ClassVar[str] = "CloudEvents around any kind"
    options_type: ClassVar[type[Strict]] = CloudeventsOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES
    handshakes: ClassVar[tuple[Handshake, ...]] = (Handshake.CLOUDEVENTS,)
    reads_events: ClassVar[bool] = True

    def normalize(
        self,
        payload: Any,
        options: CloudeventsOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return what the inner kind makes of the event's data."""
        gathered = Collector()
        attributes, prefix = _attributes(payload, headers)
        missing = [name for name in REQUIRED if not attributes.get(name)]
        if missing:
            gathered.reject(0, "not-a-cloudevent", f"`{missing[0]}` is missing", payload)
            return gathered.done()
        if not attributes["specversion"].startswith("1."):
            version = attributes["specversion"][:64]
            gathered.reject(0, "not-a-cloudevent", f"`specversion` `{version}` is not 1.x", payload)
            return gathered.done()
        if options.types and attributes["type"] not in options.types:
            gathered.ignore()
            return gathered.done()
        try:
            data = payload if not prefix else _data(payload)
        except PayloadFault as fault:
            gathered.reject(0, fault.code, str(fault), payload)
            return gathered.done()
        facade, inner = _inner(options.kind, msgspec.json.encode(options.options))
        payloads = data if isinstance(data, list) else [data]
        if not payloads:
            gathered.ignore()
            return gathered.done()
        read = facade.normalize(payloads, inner, sensor=sensor, received_at=received_at, headers=headers)
        signals = tuple(_addressed(signal, attributes, number) for number, signal in enumerate(read.signals))
        sources = tuple(
            {field: prefix + path for field, path in each.items()} | {"event_id": "source, id"}
            for each in read.sources
        )
        return msgspec.structs.replace(read, signals=signals, sources=sources)


def _attributes(payload: Any, headers: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Return the attributes of the event, and where its data stands: "" when the body is the data."""
    if headers.get("ce-specversion"):
        return {name: headers.get(f"ce-{name}", "") for name in (*REQUIRED, "time")}, ""
    return {name: text_at(payload, name) for name in (*REQUIRED, "time")}, "data."


def _data(payload: dict[str, Any]) -> Any:
    """Return the data of a structured event, which may be JSON in a text, or that in base64."""
    data = payload.get("data")
    encoded = text_of(payload.get("data_base64"))
    if data is None and encoded:
        try:
            data = base64.b64decode(encoded, validate=True).decode()
        except (binascii.Error, ValueError) as error:
            raise PayloadFault("data-unreadable", "`data_base64` is not base64 of UTF-8") from error
    if isinstance(data, str):
        return parse_payloads(data.encode("utf-8", "replace"))
    return data


def _addressed(signal: Signal, attributes: dict[str, str], number: int) -> Signal:
    """Return the signal with the event's own id, and its time where the data has none."""
    at = parse_time(attributes["time"])
    observed_at = at if at is not None and signal.observed_at == signal.received_at else signal.observed_at
    event_id = f"{digest(attributes['source'], attributes['id'])}#{number}"
    return msgspec.structs.replace(signal, event_id=event_id, observed_at=observed_at)


@cache
def _installed() -> Catalog:
    return Catalog.discover()


@lru_cache(maxsize=64)
def _inner(kind: str, options: bytes) -> tuple[SensorFacade, Strict]:
    """Return the inner kind and its settings. Raises `ValueError` with what is wrong."""
    if kind == CloudeventsSensor.kind:
        raise ValueError("`kind`: an envelope in an envelope is not read")
    try:
        facade = _installed().sensor(kind)
        return facade, facade.parse_options(msgspec.json.decode(options))
    except (PluginFault, OptionsFault) as error:
        raise ValueError(str(error)) from error
