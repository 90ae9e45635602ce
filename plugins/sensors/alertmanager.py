"""Sensor kind `alertmanager`: webhooks of Prometheus Alertmanager and of Grafana alerting.

| alert | becomes |
|---|---|
| `firing` | detection; the condition is its `fingerprint` |
| `resolved` | remediation of the same fingerprint, at `endsAt` |
| alert of the API (`/api/v2/alerts`), or as it is sent there | detection that expires at `endsAt` |
| `DatasourceNoData`, `DatasourceError` of Grafana | detection of unknown level: the rule was not evaluated |
| `Watchdog` and other dead-man switches, the test of a contact point | ignored |
| alert that names a service, a pod, a scrape target | `no-subject` |
| `truncatedAlerts` | rejected as `alerts-left-out`: `max_alerts` kept some from us |

The status of the group says nothing of its alerts: each alert has its own. Which labels name the device is the
rule author's choice, so it is an option. Alertmanager drops whatever is answered with 4xx, 429 included: too
much is therefore answered 503. Source: Alertmanager documentation, "webhook_config" (payload version 4);
Grafana documentation, "Webhook notifier", "No data and error states".
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Normalized, Sample, after
from plugins.levels import WORDS, level_of_word
from plugins.payload import dig, digest, object_at, parse_number, parse_time, text_at, text_of
from plugins.reading import Facts, Frame, ItemFault, Made, Reader, gather
from plugins.samples.alertmanager import SAMPLES
from plugins.sensors.envelopes import inside, items_of, opened
from risk.model import Rejection, Severity, SignalType
from risk.values import Duration, Strict

SEVERITIES: dict[str, Severity] = WORDS | {
    "none": Severity.INFORMATIONAL,
    "notice": Severity.LOW,
    "minor": Severity.LOW,
    "warning": Severity.MEDIUM,
    "warn": Severity.MEDIUM,
    "major": Severity.HIGH,
    "error": Severity.HIGH,
    "page": Severity.CRITICAL,
    "fatal": Severity.CRITICAL,
    "emergency": Severity.CRITICAL,
}

DEVICE_LABELS: dict[str, tuple[str, ...]] = {
    "serial": ("serial_number", "serial", "device_serial"),
    "sensor-device-id": ("device_id",),
    "hostname": ("hostname", "host", "nodename"),
}
"""Not among them: `device`, which in the metrics of a node is one of its disks or network cards (`sda1`, `eth0`)."""

OTHERS = (
    *("instance", "node", "pod", "container", "service", "namespace", "job", "cluster", "name"),
    *("grafana_folder", "region"),
)
"""Labels of what an alert may be about instead of a device."""

UNEVALUATED = frozenset({"DatasourceNoData", "DatasourceError"})
"""What Grafana sends in the place of an alert whose rule gave no data or an error."""

GRAFANA_TEST = ("TestAlert", "Grafana")
"""Name and `instance` of what Grafana sends when somebody tries a contact point."""

_PORT = re.compile(r":\d{1,5}\Z", re.ASCII)
_NO_HOST = re.compile(r"[/\s]")
"""What no name of a host has in it: a probe's target is an address of the web."""


class AlertmanagerOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: device: kinds of identifier, and the labels that hold them, best first
        (`hostname: [hostname, instance]`; a port is cut off); kinds that are not named keep their labels.
    Field: severity_label: the label that holds the severity.
    Field: levels: words of that label that mean another severity than usual (`page: high`).
    Field: facts: alert names, and the posture fact that is `false` while the alert fires and `true` after.
    Field: ignore_alerts: names of alerts that are no news of a device.
    Field: ttl: how long a firing alert counts without another word; `null` until it is resolved. Choose it longer than
        the `repeat_interval` of the route: each repetition is such a word.
    """

    device: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    severity_label: str = "severity"
    levels: dict[str, Severity] = msgspec.field(default_factory=dict)
    facts: dict[str, str] = msgspec.field(default_factory=dict)
    ignore_alerts: tuple[str, ...] = ("Watchdog", "DeadMansSwitch", "InfoInhibitor")
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
        gathered = gather(
            Frame(sensor, received_at), items, lambda reader: _alert(reader, common, options), at + prefix
        )
        return _with_left_out(gathered, text_at(group, "truncatedAlerts"))


def _is_group(value: Any) -> bool:
    return isinstance(dig(value, "alerts"), list)


def _is_alert(value: Any) -> bool:
    if not isinstance(dig(value, "labels"), dict):
        return False
    return dig(value, "status") is not None or text_at(value, "startsAt") != ""


def _with_left_out(gathered: Normalized, truncated: str) -> Normalized:
    """Return the result with word of what `max_alerts` left out of the group: nobody else will tell of it."""
    number = parse_number(truncated)
    if number is None or number <= 0:
        return gathered
    error = f"`truncatedAlerts`: {truncated[:16]} alerts of this group were left out: raise `max_alerts` of the webhook"
    left_out = Rejection(index=gathered.items, code="alerts-left-out", error=error)
    return msgspec.structs.replace(
        gathered, rejections=(*gathered.rejections, left_out), items=gathered.items + 1
    )


def _alert(outer: Reader, common: dict[str, Any], options: AlertmanagerOptions) -> list[Made]:
    reader = inside(outer, _is_alert)
    labels = object_at(reader.item, "labels")
    status, is_timed = _status(reader)
    if not labels or status not in {"firing", "resolved"}:
        raise ItemFault("not-an-alert", "`labels` are missing, or `status` is neither firing nor resolved")
    name = reader.text("title", "labels.alertname")
    if name in options.ignore_alerts or (name, text_at(labels, "instance")) == GRAFANA_TEST:
        return []
    _take_device(reader, labels, options)
    is_over = status == "resolved"
    starts_at, ends_at = reader.get("startsAt"), reader.get("endsAt")
    observed_at = reader.time("endsAt", "startsAt") if is_over else reader.time("startsAt")
    fingerprint = reader.text("external_id", "fingerprint") or digest(labels)
    annotations = common | object_at(reader.item, "annotations")
    facts: Facts = {options.facts[name]: is_over} if name in options.facts else {}
    received_at = reader.frame.received_at
    # A firing alert is stated anew twice per `ttl` of its repetitions, so that it lasts as long as they come.
    turn = int(received_at.timestamp() // max(1.0, options.ttl / 2)) if options.ttl and not is_timed else None
    made = reader.signal(
        SignalType.REMEDIATION if is_over else SignalType.DETECTION,
        external_id=f"alert:{fingerprint}",
        event_id=digest(fingerprint, status, starts_at, ends_at if is_over or is_timed else turn),
        observed_at=observed_at,
        level=None if is_over else _level(name, labels, options),
        title=text_at(annotations, "summary") or name or "Alert",
        description=text_at(annotations, "description") or text_at(annotations, "message"),
        actions=[text_at(annotations, key) for key in ("action", "runbook_url")],
        category=name,
        facts=facts,
        resolves=is_over,
        expires_at=parse_time(ends_at) if is_timed else after(received_at, options.ttl),
        sources={"level": f"labels.{options.severity_label}", "actions": "annotations"},
    )
    return [made]


def _status(reader: Reader) -> tuple[str, bool]:
    """Return whether the alert fires or is over, and whether it says itself until when it counts.

    The API lists what fires (or would, were it not silenced) until `endsAt`. What is sent to the API has no status at
    all: it is over once its `endsAt` has passed.
    """
    if isinstance(reader.get("status.state"), str):
        reader.used["resolves"] = f"{reader.prefix}status.state"
        return "firing", True
    if reader.get("status") is not None or not reader.get("startsAt"):
        return reader.text("resolves", "status").casefold(), False
    ends_at = parse_time(reader.get("endsAt"))
    if ends_at is None:
        return "firing", False
    reader.used["resolves"] = f"{reader.prefix}endsAt"
    is_over = ends_at <= reader.frame.received_at
    return ("resolved", False) if is_over else ("firing", True)


def _take_device(reader: Reader, labels: dict[str, Any], options: AlertmanagerOptions) -> None:
    """Take the identifiers of the device from its labels. Raises `ItemFault` for an alert that names none."""
    wanted = DEVICE_LABELS | options.device
    for kind, names in wanted.items():
        for label in names:
            value = text_at(labels, label)
            if kind == "hostname":
                value = _PORT.sub("", value)
                if _NO_HOST.search(value):
                    continue
            if value and reader.add_device(kind, value):
                reader.used[f"device.{kind}"] = f"{reader.prefix}labels.{label}"
                break
    named = ", ".join(f"`labels.{label}`" for names in wanted.values() for label in names)
    reader.need_subject(named, *(f"labels.{label}" for label in OTHERS))


def _level(name: str, labels: dict[str, Any], options: AlertmanagerOptions) -> Severity:
    if name in UNEVALUATED:
        return Severity.UNKNOWN
    word = text_of(labels.get(options.severity_label))
    return level_of_word(word, options.levels, SEVERITIES) or Severity.UNKNOWN
