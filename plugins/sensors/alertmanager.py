"""Sensor kind `alertmanager`: webhooks of Prometheus Alertmanager and of Grafana alerting.

| alert | becomes |
|---|---|
| `firing` | detection; the condition is its `fingerprint` |
| `resolved` | remediation of the same fingerprint, at `endsAt` |
| alert of the API (`/api/v2/alerts`) | detection that expires at `endsAt` |
| `Watchdog` and other dead-man switches, the test of a contact point | ignored |

The status of the group says nothing of its alerts: each alert has its own. Which labels name the device is the
rule author's choice, so it is an option. Alertmanager drops whatever is answered with 4xx, 429 included: too
much is therefore answered 503. Source: Alertmanager documentation, "webhook_config" (payload version 4);
Grafana documentation, "Webhook notifier".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import WORDS, level_of_word
from plugins.payload import dig, digest, object_at, parse_time, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather
from plugins.samples.alertmanager import SAMPLES
from plugins.sensors.envelopes import inside, items_of, opened
from risk.model import Severity, SignalType
from risk.values import Duration, Strict

SEVERITIES: dict[str, Severity] = WORDS | {
    "none": Severity.INFORMATIONAL,
    "notice": Severity.LOW,
    "minor": Severity.LOW,
    "warning": Severity.MEDIUM,
    "major": Severity.HIGH,
    "error": Severity.HIGH,
    "page": Severity.CRITICAL,
}

DEVICE_LABELS: dict[str, tuple[str, ...]] = {
    "serial": ("serial_number", "serial", "device_serial"),
    "sensor-device-id": ("device_id",),
    "hostname": ("hostname", "host", "nodename", "device"),
}

GRAFANA_TEST = ("TestAlert", "Grafana")
"""Name and `instance` of what Grafana sends when somebody tries a contact point."""

_PORT = re.compile(r":\d{1,5}\Z", re.ASCII)


class AlertmanagerOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: device: kinds of identifier, and the labels that hold them, best first
        (`hostname: [hostname, instance]`; a port is cut off); kinds that are not named keep their labels.
    Field: severity_label: the label that holds the severity.
    Field: levels: words of that label that mean another severity than usual (`page: high`).
    Field: facts: alert names, and the posture fact that is `false` while the alert fires and `true` after.
    Field: ignore_alerts: names of alerts that are no news of a device.
    Field: ttl: how long a firing alert counts without another word; `null` until it is resolved.
    """

    device: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    severity_label: str = "severity"
    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    ignore_alerts: tuple[str, ...] = ("Watchdog", "InfoInhibitor")
    ttl: Duration | None = None


class AlertmanagerSensor:
    """Reads Alertmanager and Grafana webhooks."""

    kind: ClassVar[str] = "alertmanager"
    title: ClassVar[str] = "Prometheus Alertmanager, Grafana"
    options_type: ClassVar[type[Strict]] = AlertmanagerOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES
    overload_status: ClassVar[int] = 503

    def normalize(
        self,
        payload: Any,
        options: AlertmanagerOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],  # noqa: ARG002 - an alert says everything itself
    ) -> Normalized:
        """Return one signal per alert of the group."""
        boxed = opened(payload, _is_group)
        group, at = boxed if boxed is not None else (payload, "")
        items, prefix = items_of(group, _is_alert, "alerts")
        common = object_at(group, "commonAnnotations")
        return gather(
            Frame(sensor, received_at), items, lambda reader: _alert(reader, common, options), at + prefix
        )


def _is_group(value: Any) -> bool:
    return isinstance(dig(value, "alerts"), list)


def _is_alert(value: Any) -> bool:
    return isinstance(dig(value, "labels"), dict) and dig(value, "status") is not None


def _alert(outer: Reader, common: dict[str, Any], options: AlertmanagerOptions) -> list[Made]:
    reader = inside(outer, _is_alert)
    labels, status = object_at(reader.item, "labels"), reader.text("resolves", "status").casefold()
    is_polled = isinstance(reader.get("status.state"), str)
    if is_polled:
        # The API lists what fires (or would, were it not silenced) and says until when without another word.
        status, reader.used["resolves"] = "firing", f"{reader.prefix}status.state"
    if not labels or status not in {"firing", "resolved"}:
        raise ItemFault("not-an-alert", "`labels` are missing, or `status` is neither firing nor resolved")
    name = reader.text("title", "labels.alertname")
    if name in options.ignore_alerts or (name, text_at(labels, "instance")) == GRAFANA_TEST:
        return []
    wanted = DEVICE_LABELS | options.device
    for kind, names in wanted.items():
        for label in names:
            value = text_at(labels, label)
            if kind == "hostname":
                value = _PORT.sub("", value)
            if value and reader.add_device(kind, value):
                reader.used[f"device.{kind}"] = f"{reader.prefix}labels.{label}"
                break
    reader.need_device(", ".join(f"`labels.{label}`" for names in wanted.values() for label in names))
    is_over = status == "resolved"
    starts_at = reader.get("startsAt")
    observed_at = reader.time("endsAt", "startsAt") if is_over else reader.time("startsAt")
    fingerprint = reader.text("external_id", "fingerprint") or digest(labels)
    annotations = common | object_at(reader.item, "annotations")
    facts: Facts = {options.facts[name]: is_over} if name in options.facts else {}
    word = text_of(labels.get(options.severity_label))
    made = reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{fingerprint}",
        event_id=digest(fingerprint, status, starts_at, reader.get("endsAt") if is_over else None),
        observed_at=observed_at,
        level=None if is_over else level_of_word(word, options.levels, SEVERITIES) or Severity.UNKNOWN,
        title=text_at(annotations, "summary") or name or "Alert",
        description=text_at(annotations, "description") or text_at(annotations, "message"),
        actions=[text_at(annotations, key) for key in ("action", "runbook_url")],
        category=name,
        facts=facts,
        resolves=is_over,
        expires_at=parse_time(reader.get("endsAt")) if is_polled else after(observed_at, options.ttl),
        sources={"level": f"labels.{options.severity_label}", "actions": "annotations"},
    )
    return [made]
