"""Sensor kind `fleet`: the webhooks of Fleet (osquery): policies, vulnerabilities, host status, activities.

| body | becomes |
|---|---|
| failing policy | for each host a posture fact with a condition |
| vulnerability | for each host an exposure |
| calendar event with `failing_policies` | for each policy a posture fact |
| host status with `host_ids` | for each host the posture fact `reporting: false` |
| activity `mdm_unenrolled`, `mdm_enrolled` | posture fact `managed` |
| host or hosts of the API, with their policies | posture facts; each policy failed or closed by passing |
| any other activity, host status without ids, calendar event that says only `error` | ignored |

Activities come from the webhook (`timestamp`), from a log destination, or as the API lists them (`created_at`).

Fleet NEVER says that a host passes again or that a CVE is gone, so those conditions expire (`ttl`). It names
hosts by its own number and hostname only; the administrator who did something (`actor_*`) is nobody's device.
Source: Fleet documentation, "Automations" and "Audit logs".
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.asking.fleet import AsksFleet
from plugins.contract import NO_SUBJECT, Collector, Normalized, Sample, after
from plugins.payload import dig, digest, list_at, object_at, parse_number, parse_time, text_at, text_of
from plugins.reading import is_junk
from plugins.samples.fleet import SAMPLES
from plugins.sensors.envelopes import items_of, opened
from plugins.sensors.fleet_hosts import hosts_of
from risk.model import Identifier, Severity, Signal, SignalType
from risk.values import Duration, Strict

MANAGED_BY_ACTIVITY: dict[str, bool] = {"mdm_unenrolled": False, "mdm_enrolled": True}

NAMES_OF_MANY = frozenset({"iphone", "ipad", "ipod", "ipod touch", "android", "apple tv"})
"""What phones are called until somebody gives them a name of their own."""

_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9-]+)*", re.ASCII)
_RAISED: dict[Severity, Severity] = {
    Severity.NONE: Severity.LOW,
    Severity.LOW: Severity.MEDIUM,
    Severity.MEDIUM: Severity.HIGH,
    Severity.HIGH: Severity.CRITICAL,
    Severity.UNKNOWN: Severity.HIGH,
}


class FleetOptions(Strict, frozen=True):
    """Settings of the kind.

    Field: ttl: how long a failing policy, a vulnerability or a missing host counts without another word.
    Fleet
        tells of a host only when it BEGINS to fail, so choose it longer than a fix should ever take.
    Field: critical: severity of a failing policy that Fleet calls critical.
    Field: noncritical: severity of any other failing policy.
    Field: exploited_is_worse: whether a CVE that is known to be exploited counts one severity higher.
    Field: facts: policy ids or names, and the posture fact that is `false` while the policy fails.
    """

    ttl: Duration = 90000.0
    critical: Severity = Severity.HIGH
    noncritical: Severity = Severity.MEDIUM
    exploited_is_worse: bool = True
    facts: dict[str, str] = msgspec.field(default_factory=dict)


class _Frame(msgspec.Struct, frozen=True):
    """What all signals of one body share."""

    sensor: str
    received_at: datetime
    observed_at: datetime
    is_timed: bool
    message_id: str
    options: FleetOptions


class FleetSensor(AsksFleet):
    """Reads Fleet webhooks."""

    kind: ClassVar[str] = "fleet"
    title: ClassVar[str] = "Fleet"
    identity_kinds: ClassVar[tuple[str, ...]] = ("serial", "sensor-device-id", "hostname")
    options_type: ClassVar[type[Strict]] = FleetOptions
    samples: ClassVar[tuple[Sample, ...]] = SAMPLES

    def normalize(
        self,
        payload: Any,
        options: FleetOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return one signal per host that the body names."""
        bodies, _ = items_of(payload, _is_webhook, "activities")
        gathered = Collector()
        items = 0
        for body in bodies:
            boxed = opened(body, _is_webhook)
            one = self._body(body if boxed is None else boxed[0], options, sensor, received_at, headers)
            gathered.extend(one.signals, [items + origin for origin in one.origins], one.sources)
            for each in one.rejections:
                gathered.reject(items + each.index, each.code, each.error, each.item)
            gathered.ignore(one.ignored)
            items += one.items
        if not bodies:
            gathered.ignore()
        return gathered.done(max(1, items))

    def _body(
        self,
        payload: Any,
        options: FleetOptions,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        host = payload if _is_host(payload) else object_at(payload, "host")
        if host:
            payload = {"hosts": [host]}
        if list_at(payload, "hosts") and not object_at(payload, "policy"):
            common: dict[str, Any] = {"sensor": sensor, "received_at": received_at, "options": options}
            return hosts_of(payload, ids_of=_host_ids, level_of=_policy_level, **common)
        return self._webhook(payload, options, sensor, received_at, headers.get("webhook-id", ""))

    @staticmethod
    def _webhook(
        payload: Any, options: FleetOptions, sensor: str, received_at: datetime, message_id: str
    ) -> Normalized:
        gathered = Collector()
        stamp = text_of(dig(payload, "timestamp")) or text_of(dig(payload, "created_at"))
        observed_at = parse_time(stamp) if stamp else received_at
        if observed_at is None:
            gathered.reject(0, "time-unreadable", f"`timestamp`: `{stamp[:64]}` is no time", payload)
            return gathered.done()
        frame = _Frame(sensor, received_at, observed_at, bool(stamp), message_id, options)
        return _gathered(gathered, payload, frame)


def _gathered(gathered: Collector, payload: Any, frame: _Frame) -> Normalized:
    """Return what a body of any of the webhooks says."""
    if object_at(payload, "policy"):
        return _hosts(gathered, payload, frame, _policy, ("hosts",))
    if object_at(payload, "vulnerability"):
        return _hosts(gathered, payload, frame, _vulnerability, ("vulnerability", "hosts_affected"))
    if _is_calendar(payload):
        return _calendar(gathered, payload, frame)
    if object_at(payload, "data"):
        return _host_status(gathered, payload, frame)
    if text_at(payload, "type"):
        return _activity(gathered, payload, frame)
    error = "none of `policy`, `vulnerability`, `host_id`, `data`, `type`"
    gathered.reject(0, "not-a-fleet-webhook", error, payload)
    return gathered.done()


def _is_webhook(value: Any) -> bool:
    """Return whether this is a body of Fleet: of a policy, of a CVE, of hosts, or of an activity."""
    if any(object_at(value, name) for name in ("policy", "vulnerability")) or list_at(value, "hosts"):
        return True
    if object_at(value, "data") and (text_at(value, "text") or "host_ids" in value["data"]):
        return True
    if _is_host(value) or _is_host(object_at(value, "host")):
        return True
    if _is_calendar(value):
        return True
    return bool(text_at(value, "type") and (object_at(value, "details") or "actor_full_name" in value))


def _is_calendar(value: Any) -> bool:
    return bool(text_at(value, "host_id")) and "host_display_name" in value


def _is_host(value: Any) -> bool:
    """Return whether this is a host as the API describes one: somebody's own phone has no serial number there."""
    if not text_at(value, "id") and not text_at(value, "hostname"):
        return False
    is_phone = bool(text_at(value, "uuid") and text_at(value, "platform"))
    return is_phone or bool(text_at(value, "hardware_serial") or text_at(value, "osquery_version"))


def _hosts(
    gathered: Collector,
    payload: Any,
    frame: _Frame,
    make: Callable[[Any, str, _Frame], tuple[Signal, dict[str, str]]],
    at: tuple[str, ...],
) -> Normalized:
    """Gather one signal per host of the list at `at`; a host without a number or name is rejected."""
    hosts = list_at(payload, *at)
    if not hosts:
        gathered.ignore()
        return gathered.done()
    path = ".".join(at)
    for number, host in enumerate(hosts):
        device_ids = _host_ids(host, frame.sensor)
        if not device_ids:
            gathered.reject(number, "no-device", f"`{path}[{number}]` has neither id nor hostname", host)
            continue
        # The same name that hosts of the API have: their number, else how they call themselves.
        signal, sources = make(payload, text_at(host, "id") or device_ids[0].value, frame)
        where = {
            "device.sensor-device-id": f"{path}[{number}].id",
            "device.hostname": f"{path}[{number}].hostname",
        }
        gathered.add(number, msgspec.structs.replace(signal, device_ids=device_ids), where | sources)
    return gathered.done(len(hosts))


def _host_ids(host: Any, sensor: str) -> tuple[Identifier, ...]:
    number, name = text_at(host, "id"), text_at(host, "hostname")
    serial = text_at(host, "hardware_serial")
    found = []
    if serial and not is_junk("serial", serial):
        found.append(Identifier("serial", serial))
    if number:
        found.append(Identifier("sensor-device-id", number, sensor))
    if _names_one_host(name):
        found.append(Identifier("hostname", name))
    return tuple(found)


def _names_one_host(name: str) -> bool:
    return bool(name) and name.casefold() not in NAMES_OF_MANY and not is_junk("hostname", name)


def _signal(frame: _Frame, kind: SignalType, condition: str, **rest: Any) -> Signal:
    """Return a signal about one condition of one host; the message id is made of both and of the time."""
    when = frame.observed_at if frame.is_timed else frame.message_id or frame.received_at
    return Signal(
        sensor=frame.sensor,
        type=kind,
        observed_at=frame.observed_at,
        received_at=frame.received_at,
        external_id=condition,
        event_id=digest(condition, str(when), rest.get("facts")),
        **rest,
    )


def _policy(payload: Any, host: str, frame: _Frame) -> tuple[Signal, dict[str, str]]:
    """Return the signal of a host that began to fail a policy; the condition is (policy, host)."""
    policy = object_at(payload, "policy")
    number, name = text_at(policy, "id"), text_at(policy, "name")
    facts: dict[str, str | int | float | bool | None] = {"state": "fail"}
    fact = frame.options.facts.get(number) or frame.options.facts.get(name)
    if fact is not None:
        facts[fact] = False
    resolution = text_at(policy, "resolution")
    signal = _signal(
        frame,
        SignalType.POSTURE_FACT,
        f"policy:{number or name}:host:{host}",
        level=_policy_level(policy.get("critical"), frame.options),
        title=name or f"Fleet policy {number}",
        description=text_at(policy, "description"),
        recommended_actions=(resolution,) if resolution else (),
        facts=facts,
        expires_at=after(frame.observed_at, frame.options.ttl),
    )
    return signal, {
        "external_id": "policy.id, hosts[].id",
        "observed_at": "timestamp",
        "title": "policy.name",
        "level": "policy.critical",
        "description": "policy.description",
        "actions": "policy.resolution",
    }


def _calendar(gathered: Collector, payload: Any, frame: _Frame) -> Normalized:
    """Gather the policies that a host still fails as the time comes that is set aside for mending it.

    Fleet says nothing of their weight here. So these are facts without a level: a finding that the webhook of the
    policy opened keeps the level that it has.
    """
    failing = list_at(payload, "failing_policies")
    if not failing:
        gathered.ignore()
        return gathered.done()
    host = {"id": payload["host_id"], "hardware_serial": payload.get("host_serial_number")}
    device_ids = _host_ids(host, frame.sensor)
    for number, policy in enumerate(failing):
        if not text_at(policy, "id") and not text_at(policy, "name"):
            gathered.reject(
                number, "not-a-policy", f"`failing_policies[{number}]` has neither id nor name", policy
            )
            continue
        signal, sources = _policy({"policy": policy}, text_of(payload["host_id"]), frame)
        where = {
            "device.serial": "host_serial_number",
            "device.sensor-device-id": "host_id",
            "external_id": f"failing_policies[{number}].id, host_id",
            "title": f"failing_policies[{number}].name",
        }
        sources.pop("level")
        told = msgspec.structs.replace(signal, device_ids=device_ids, level=None)
        gathered.add(number, told, sources | where)
    return gathered.done(len(failing))


def _policy_level(critical: Any, options: FleetOptions) -> Severity:
    if not isinstance(critical, bool):
        return Severity.UNKNOWN
    return options.critical if critical else options.noncritical


def _vulnerability(payload: Any, host: str, frame: _Frame) -> tuple[Signal, dict[str, str]]:
    """Return the signal of a CVE that was found on a host; the condition is (CVE, host)."""
    found = object_at(payload, "vulnerability")
    cve = text_at(found, "cve")
    link = text_at(found, "details_link")
    is_exploited = found.get("cisa_known_exploit") is True
    score = text_at(found, "cvss_score")
    known = f" CVSS {score}." if score else ""
    known += " It is known to be exploited." if is_exploited else ""
    signal = _signal(
        frame,
        SignalType.EXPOSURE,
        f"vulnerability:{cve}:host:{host}",
        level=_cve_level(score, frame.options, is_exploited=is_exploited),
        title=f"{cve} on this device" if cve else "Vulnerable software",
        description=f"Fleet found software that is affected by {cve}.{known}",
        recommended_actions=(f"Update the software that is affected by {cve}. {link}".strip(),),
        expires_at=after(frame.observed_at, frame.options.ttl),
    )
    return signal, {
        "external_id": "vulnerability.cve, vulnerability.hosts_affected[].id",
        "observed_at": "timestamp",
        "title": "vulnerability.cve",
        "level": "vulnerability.cvss_score, vulnerability.cisa_known_exploit",
        "actions": "vulnerability.details_link",
    }


def _cve_level(score: str, options: FleetOptions, *, is_exploited: bool) -> Severity:
    """Return the severity of a CVSS 3 base score. Source: CVSS v3.1 specification, section 5."""
    number = parse_number(score)
    ranked = ((9.0, Severity.CRITICAL), (7.0, Severity.HIGH), (4.0, Severity.MEDIUM), (0.1, Severity.LOW))
    if number is None:
        level = Severity.UNKNOWN
    else:
        level = next((severity for lowest, severity in ranked if number >= lowest), Severity.NONE)
    return _RAISED.get(level, level) if is_exploited and options.exploited_is_worse else level


def _host_status(gathered: Collector, payload: Any, frame: _Frame) -> Normalized:
    """Gather hosts that Fleet has not heard of. Older releases send only counts: those name nobody."""
    numbers = list_at(payload, "data", "host_ids")
    if not numbers:
        gathered.ignore()
        return gathered.done()
    unseen_days = parse_number(text_at(payload, "data", "days_unseen"))
    for number, value in enumerate(numbers):
        host = text_of(value).strip()
        if not host:
            gathered.reject(number, "no-device", f"`data.host_ids[{number}]` is no host number", value)
            continue
        signal = _signal(
            frame,
            SignalType.POSTURE_FACT,
            f"host-status:host:{host}",
            title="The device has stopped reporting to Fleet",
            facts={"reporting": False, "days_unseen": unseen_days},
            expires_at=after(frame.observed_at, frame.options.ttl),
            device_ids=(Identifier("sensor-device-id", host, frame.sensor),),
        )
        sources = {
            "device.sensor-device-id": f"data.host_ids[{number}]",
            "facts.reporting": "data.host_ids",
            "facts.days_unseen": "data.days_unseen",
        }
        gathered.add(number, signal, sources)
    return gathered.done(len(numbers))


def _activity(gathered: Collector, payload: Any, frame: _Frame) -> Normalized:
    """Gather an entry of the activity feed; only a change of management is news of a device."""
    is_managed = MANAGED_BY_ACTIVITY.get(text_at(payload, "type"))
    if is_managed is None:
        gathered.ignore()
        return gathered.done()
    serial, name = (
        text_at(payload, "details", "host_serial"),
        text_at(payload, "details", "host_display_name"),
    )
    found = []
    if serial and not is_junk("serial", serial):
        found.append(Identifier("serial", serial))
    if _HOSTNAME.fullmatch(name) and _names_one_host(name):
        found.append(Identifier("hostname", name))
    if not found:
        # A phone of somebody's own has no serial number here: a fact, and no fault of the sender.
        is_told = name or text_at(payload, "details", "enrollment_id")
        error = "`details` has neither a serial nor a name like a hostname"
        gathered.reject(0, NO_SUBJECT if is_told else "no-device", error, payload)
        return gathered.done()
    signal = _signal(
        frame,
        SignalType.POSTURE_FACT,
        "mdm",
        title="The device is managed" if is_managed else "The device has left device management",
        facts={"managed": is_managed},
        device_ids=tuple(found),
    )
    event_id = digest(dig(payload, "timestamp"), dig(payload, "type"), dig(payload, "details"))
    sources = {
        "device.serial": "details.host_serial",
        "device.hostname": "details.host_display_name",
        "facts.managed": "type",
        "observed_at": "timestamp",
    }
    if frame.is_timed:
        signal = msgspec.structs.replace(signal, event_id=event_id)
    gathered.add(0, signal, sources)
    return gathered.done()
