"""Sensor kind `falco`: events of Falco, bare (`http_output`) or as Falcosidekick passes them on.

| event | becomes |
|---|---|
| rule on system calls | detection on the host, one per event, that expires |
| rule on a plugin's events (`k8s_audit`, `aws_cloudtrail`, `okta`, …) | detection about the person whom it names |
| `Falco internal: metrics snapshot` | heartbeat |
| any other `Falco internal: …` (dropped system calls, …) | posture fact `sensor_degraded`, that expires |
| test rule of Falcosidekick | ignored |

The device is `hostname`: that of the Falco process, which is a container id unless Falco is told otherwise, and
then names nothing. The events of a plugin happened elsewhere: who reads them from a stream is not their subject.
Accounts in `output_fields` of system calls are local. Falco never says that something is over. Source:
Falco documentation, "Alerts", "Event sources", "Metrics"; Falcosidekick README, webhook output.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import level_of_word
from plugins.payload import dig, digest, list_at, object_at, text_at
from plugins.reading import Frame, ItemFault, Made, Reader, gather
from plugins.samples.falco import SAMPLES
from plugins.sensors.envelopes import inside, items_of
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

INTERNAL = "falco internal:"
SNAPSHOT = "falco internal: metrics snapshot"
"""What Falco says of itself at an interval, be it well or not."""

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

PERSONS = ("ka.user.name", "okta.actor.alternateid", "gcp.user", "ct.user")
"""Fields of plugins that name who did something, which is a person where it is an address."""

SERVICE_ACCOUNTS = ".gserviceaccount.com"
"""How the addresses end that Google gives to programs."""

OTHERS = tuple(
    f"output_fields.{name}"
    for name in ("k8s.pod.name", "container.id", *PERSONS, "ct.user.arn", "ka.target.name", "ct.name")
)
"""What an event may be about instead of a host or a person."""


class FalcoOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: levels: priorities that mean another severity than usual (`Notice: medium`).
    Field: ttl: how long an event counts; Falco never says that one is over.
    Field: ignore_rules: rules whose events are no news of a device.
    Field: host_sources: sources of events that happen on the host that reports them; what any other source tells of
        happened elsewhere.
    """

    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    ttl: Duration = 86400.0
    ignore_rules: tuple[str, ...] = ("Test rule",)
    host_sources: tuple[str, ...] = ("syscall", "syscalls", "internal")


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
    is_internal = rule.casefold().startswith(INTERNAL)
    # Which source it was is said since Falco 0.32; before, it was system calls or the audit of Kubernetes.
    source = text_at(reader.item, "source").casefold()
    is_here = is_internal or source in {"", *(each.casefold() for each in options.host_sources)}
    if is_here:
        reader.device("hostname", *NODE_NAMES, "hostname")
    _take_person(reader)
    if is_internal:
        reader.need_device("`hostname`")
    if not is_here or any(reader.get(each) for each in OTHERS):
        # Else it happened on a host whose name nobody knows: the intake keeps it as a dead letter.
        reader.need_subject("`hostname`", *OTHERS, *(() if is_here else ("source",)))
    word = reader.text("level", "priority")
    level = level_of_word(word, options.levels, PRIORITIES) or Severity.UNKNOWN
    event_id = reader.text("event_id", "uuid") or digest(
        reader.get("hostname"), rule, reader.get("time"), reader.get("output"), reader.get("output_fields")
    )
    if rule.casefold() == SNAPSHOT:
        return [
            reader.signal(
                SignalType.HEARTBEAT,
                external_id=SNAPSHOT,
                event_id=event_id,
                observed_at=observed_at,
                title=rule,
            )
        ]
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


def _take_person(reader: Reader) -> None:
    """Take who did what a plugin tells of, unless that is a program or an account without an address."""
    for field in PERSONS:
        value = text_at(object_at(reader.item, "output_fields"), field)
        if value.casefold().endswith(SERVICE_ACCOUNTS):
            continue
        if value and reader.add_user("upn", value):
            reader.used["user.upn"] = f"{reader.prefix}output_fields.{field}"
            return
