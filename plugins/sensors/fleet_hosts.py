"""Hosts as Fleet's API lists them: what a host passes and fails, and its attributes. Pure.

A host passes here what a webhook said that it fails: both speak of one condition, `policy:{policy}:host:{host}`.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from plugins.contract import Collector, Normalized, after
from plugins.payload import digest, list_at, parse_time, text_at
from plugins.reading import Facts, known, truth
from risk.model import Identifier, Severity, Signal, SignalType

MAX_POLICIES = 250
"""Most policies of one host that are looked at."""

_REPORTING = {"online": True, "missing": False, "mia": False}
"""What the status of a host says; `offline` is every laptop in the evening."""


def hosts_of(
    payload: Any,
    *,
    sensor: str,
    received_at: datetime,
    options: Any,
    ids_of: Callable[[Any, str], Sequence[Identifier]],
    level_of: Callable[[Any, Any], Severity],
) -> Normalized:
    """Return the signals of every host of `hosts`; a host without a number or name is rejected."""
    gathered = Collector()
    hosts = list_at(payload, "hosts")
    for number, host in enumerate(hosts):
        device_ids = tuple(ids_of(host, sensor))
        if not device_ids:
            gathered.reject(number, "no-device", f"`hosts[{number}]` has neither id nor hostname", host)
            continue
        seen_at = _time(host, "seen_time", "detail_updated_at", "updated_at") or received_at
        policies_at = _time(host, "policy_updated_at", "detail_updated_at") or seen_at
        common = {"sensor": sensor, "received_at": received_at, "device_ids": device_ids}
        named = {
            "device.serial": f"hosts[{number}].hardware_serial",
            "device.sensor-device-id": f"hosts[{number}].id",
            "device.hostname": f"hosts[{number}].hostname",
        }
        gathered.add(number, _attributes(host, seen_at, common), {**named, "facts": f"hosts[{number}]"})
        for at, policy in enumerate(list_at(host, "policies")[:MAX_POLICIES]):
            made = _policy(host, policy, policies_at, options=options, level_of=level_of, common=common)
            if made is not None:
                where = f"hosts[{number}].policies[{at}]"
                gathered.add(
                    number, made, {**named, "external_id": f"{where}.id", "level": f"{where}.response"}
                )
    return gathered.done(max(1, len(hosts)))


def _time(host: Any, *names: str) -> datetime | None:
    """Return the first time that was set: Fleet writes the year 1 or 2000 for *never*."""
    for name in names:
        at = parse_time(text_at(host, name))
        if at is not None and at.year > 2000:  # noqa: PLR2004 - Fleet's own *never*
            return at
    return None


def _attributes(host: Any, seen_at: datetime, common: dict[str, Any]) -> Signal:
    status = text_at(host, "status").casefold()
    enrolled = text_at(host, "mdm", "enrollment_status").casefold()
    encrypted = host.get("disk_encryption_enabled")
    facts: Facts = known(
        os_version=text_at(host, "os_version"),
        platform=text_at(host, "platform"),
        disk_encrypted=truth(encrypted) if encrypted is not None else None,
        managed=enrolled.startswith("on") if enrolled else None,
        reporting=_REPORTING.get(status),
        owner=_owner(host),
    )
    name = text_at(host, "id") or text_at(host, "hostname")
    return Signal(
        type=SignalType.POSTURE_FACT,
        observed_at=seen_at,
        external_id=f"host:{name}",
        event_id=digest("host", name, seen_at.isoformat(), facts),
        title="State of the host in Fleet",
        facts=facts,
        **common,
    )


def _owner(host: Any) -> str | None:
    """Return the e-mail address of whom the host is assigned to: as the identity provider says, else as mapped."""
    said = [text_at(each, "idp_username") for each in list_at(host, "end_users")]
    said += [text_at(each, "email") for each in list_at(host, "device_mapping")]
    return next((each for each in said if "@" in each), None)


def _policy(
    host: Any,
    policy: Any,
    observed_at: datetime,
    *,
    options: Any,
    level_of: Callable[[Any, Any], Severity],
    common: dict[str, Any],
) -> Signal | None:
    """Return what a host says of one policy, None while it has not answered."""
    response = text_at(policy, "response").casefold()
    number, name = text_at(policy, "id"), text_at(policy, "name")
    if response not in {"pass", "fail"} or not (number or name):
        return None
    is_failing = response == "fail"
    facts: Facts = {"state": response}
    fact = options.facts.get(number) or options.facts.get(name)
    if fact is not None:
        facts[fact] = not is_failing
    # The same name that webhooks give it: the number of the host, else how it calls itself.
    host_name = text_at(host, "id") or text_at(host, "hostname")
    condition = f"policy:{number or name}:host:{host_name}"
    resolution = text_at(policy, "resolution")
    received_at: datetime = common["received_at"]
    # While it fails it is stated anew twice per `ttl`, so that it lasts, and ends once the policy is there no more.
    turn = int(received_at.timestamp() // max(1.0, options.ttl / 2)) if is_failing else 0
    return Signal(
        type=SignalType.POSTURE_FACT if is_failing else SignalType.REMEDIATION,
        observed_at=observed_at,
        external_id=condition,
        event_id=digest(condition, observed_at.isoformat(), response, turn),
        level=level_of(policy.get("critical"), options) if is_failing else None,
        title=name or f"Fleet policy {number}",
        description=text_at(policy, "description"),
        recommended_actions=(resolution,) if resolution and is_failing else (),
        facts=facts,
        resolves=not is_failing,
        expires_at=after(received_at, options.ttl) if is_failing else None,
        **common,
    )
