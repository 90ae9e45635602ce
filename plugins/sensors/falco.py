"""Sensor kind `falco`: events of Falco, bare (`http_output`) or as Falcosidekick passes them on.

| event | becomes |
|---|---|
| rule | detection, one per event, that expires |
| `Falco internal: …` (dropped system calls, …) | posture fact `sensor_degraded`, that expires |
| test rule of Falcosidekick | ignored |

The device is `hostname`: that of the Falco process, which is a container id unless Falco is told otherwise, and
then names nothing. Accounts in `output_fields` are local. Falco never says that something is over. Source:
Falco documentation, "Alerts"; Falcosidekick README, webhook output.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import dig, digest, list_at
from plugins.reading import Frame, ItemFault, Made, Reader, gather
from plugins.samples.falco import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

INTERNAL = "falco internal:"

PRIORITIES: dict[str, Severity] = {
    "emergency": Severity.CRITICAL,
    "alert": Severity.CRITICAL,
    "critical": Severity.CRITICAL,
    "error": Severity.HIGH,
    "warning": Severity.MEDIUM,
    "notice": Severity.LOW,
    "informational": Severity.INFORMATIONAL,
    "info": Severity.INFORMATIONAL,
    "debug": Severity.INFORMATIONAL,
}


NODE_NAMES = ("output_fields.k8smeta.node.name", "output_fields.k8s.node.name", "output_fields.evt.hostname")
"""What names the node better than the `hostname` of a Falco that runs in a pod."""


class FalcoOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: priorities that mean another severity than usual (`Notice: medium`).
    Field: ttl: how long an event counts; Falco never says that one is over.
    Field: ignore_rules: rules whose events are no news of a device.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    ttl: Duration = 86400.0
    ignore_rules: tuple[str, ...] = ("Test rule",)


class FalcoSensor:
    """Reads Falco events."""

    kind: ClassVar[str] = "falco"
    title: ClassVar[str] = "Falco, Falcosidekick"
    identity_kinds: ClassVar[tuple[str, ...]] = ("hostname", "upn")
    options_type: ClassVar[type[Strict]] = FalcoOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: FalcoOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an event says everything itself
    ) -> Normalized:
        """Return the one signal of an event."""
        items, prefix = items_of(payload, _is_event, "events")
        return gather(Frame(sensor, received_at), items, lambda reader: _event(reader, options), prefix)


def _is_event(value: Any) -> bool:
    return isinstance(dig(value, "rule"), str) and (
        dig(value, "priority") is not None or dig(value, "output") is not None
    )


def _event(outer: Reader, options: FalcoOptions) -> list[Made]:
    reader = inside(outer, _is_event)
    rule = reader.text("title", "rule")
    if not rule:
        raise ItemFault("not-an-event", "`rule` is missing")
    if rule.casefold() in {each.casefold() for each in options.ignore_rules}:
        return []
    observed_at = reader.time("time", "output_fields.evt.time.iso8601", "output_fields.evt.time")
    reader.device("hostname", *NODE_NAMES, "hostname")
    reader.user("upn", "output_fields.ka.user.name")
    is_internal = rule.casefold().startswith(INTERNAL)
    if is_internal:
        reader.need_device("`hostname`")
    word = reader.text("level", "priority")
    level = level_of_word(word, options.levels, PRIORITIES) or Severity.UNKNOWN
    event_id = reader.text("event_id", "uuid") or digest(
        reader.get("hostname"), rule, reader.get("time"), reader.get("output"), reader.get("output_fields")
    )
    made = reader.signal(
        SignalType.POSTURE_FACT if is_internal else SignalType.DETECTION,
        external_id=rule.casefold() if is_internal else f"event:{event_id}",
        event_id=event_id,
        observed_at=observed_at,
        level=level,
        title=rule,
        description=reader.text("description", "output"),
        category=", ".join(each for each in list_at(reader.item, "tags")[:8] if isinstance(each, str)),
        facts={"sensor_degraded": True} if is_internal else {},
        expires_at=after(observed_at, options.ttl),
        sources={"external_id": "rule" if is_internal else "uuid", "category": "tags"},
    )
    return [made]
