"""Samples of `fleet`. Source of the field sets: Fleet documentation ("Automations", "Audit logs")."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AT = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC)
_EXPIRES = datetime(2026, 3, 3, 10, 15, 30, 250000, tzinfo=UTC)
_TIMESTAMP = "2026-03-02T09:15:30.25Z"
_POLICY = {
    "timestamp": _TIMESTAMP,
    "policy": {
        "id": 7,
        "name": "Disk encryption is on",
        "query": "SELECT 1 FROM disk_encryption WHERE encrypted = 1;",
        "description": "Checks that the system disk is encrypted.",
        "resolution": "Turn on FileVault in System Settings.",
        "author_name": "IT",
        "platform": "darwin",
        "critical": True,
    },
    "hosts": [
        {
            "id": 88,
            "hostname": "mac-088.local",
            "display_name": "Front desk",
            "url": "https://fleet.example/88",
        },
        {"id": 89, "hostname": "mac-089.local", "display_name": "mac-089", "url": "https://fleet.example/89"},
    ],
}


def _host(number: int) -> tuple[Identifier, ...]:
    return (
        Identifier("sensor-device-id", str(number), "sample"),
        Identifier("hostname", f"mac-0{number}.local"),
    )


def _vulnerability(**rest: object) -> dict[str, object]:
    host = {"id": 88, "hostname": "mac-088.local", "display_name": "Front desk"}
    found = {
        "cve": "CVE-2025-0002",
        "details_link": "https://nvd.example/CVE-2025-0002",
        "hosts_affected": [host],
    }
    return {"timestamp": _TIMESTAMP, "vulnerability": found | rest}


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="failing-policy-of-two-hosts",
        payload=_POLICY,
        options={"facts": {"7": "disk_encrypted"}},
        expected=tuple(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_host(number),
                level=Severity.HIGH,
                external_id=f"policy:7:host:{number}",
                title="Disk encryption is on",
                observed_at=_AT,
                expires_at=_EXPIRES,
                facts={"state": "fail", "disk_encrypted": False},
                actions=("Turn on FileVault in System Settings.",),
            )
            for number in (88, 89)
        ),
    ),
    Sample(
        name="noncritical-policy",
        payload={
            "timestamp": _TIMESTAMP,
            "policy": {"id": 8, "name": "x", "critical": False},
            "hosts": [{"id": 88}],
        },
        options={"ttl": "7d"},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_host(88)[:1],
                level=Severity.MEDIUM,
                expires_at=datetime(2026, 3, 9, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="policy-of-unknown-weight",
        payload={"timestamp": _TIMESTAMP, "policy": {"id": 8, "name": "x"}, "hosts": [{"id": 88}]},
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_host(88)[:1], level=Severity.UNKNOWN),),
    ),
    Sample(
        name="one-host-that-cannot-be-named",
        payload=_POLICY | {"hosts": [{"display_name": "?"}, None, {"id": 88, "hostname": "mac-088.local"}]},
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_host(88), level=Severity.HIGH),),
        rejected=("no-device", "no-device"),
    ),
    Sample(
        name="vulnerability-known-to-be-exploited",
        payload=_vulnerability(cvss_score=7.5, cisa_known_exploit=True, epss_probability=0.9),
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=_host(88),
                level=Severity.CRITICAL,
                external_id="vulnerability:CVE-2025-0002:host:88",
                observed_at=_AT,
                expires_at=_EXPIRES,
            ),
        ),
    ),
    Sample(
        name="vulnerability-without-a-score",
        payload=_vulnerability(),
        expected=(Expected(type=SignalType.EXPOSURE, device_ids=_host(88), level=Severity.UNKNOWN),),
    ),
    Sample(
        name="hosts-that-do-not-report",
        payload={
            "text": "…",
            "data": {"unseen_hosts": 2, "total_hosts": 9, "days_unseen": 3, "host_ids": [88, 89]},
        },
        expected=tuple(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_host(number)[:1],
                facts={"reporting": False, "days_unseen": 3},
            )
            for number in (88, 89)
        ),
    ),
    Sample(
        name="host-status-without-ids",
        payload={"text": "…", "data": {"unseen_hosts": 2, "total_hosts": 9, "days_unseen": 3}},
        ignored=1,
    ),
    Sample(
        name="left-management",
        payload={
            "timestamp": _TIMESTAMP,
            "actor_full_name": "Admin",
            "actor_email": "admin@example.com",
            "type": "mdm_unenrolled",
            "details": {
                "host_serial": "C02EXAMPLE1",
                "host_display_name": "Front desk",
                "installed_from_dep": True,
            },
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(Identifier("serial", "C02EXAMPLE1"),),
                observed_at=_AT,
                facts={"managed": False},
            ),
        ),
    ),
    Sample(
        name="other-activity",
        payload={"timestamp": _TIMESTAMP, "type": "edited_saved_query", "details": {"query_name": "x"}},
        ignored=1,
    ),
    Sample(name="something-else", payload={"hello": "world"}, rejected=("not-a-fleet-webhook",)),
    Sample(
        name="policies-that-still-fail-when-the-calendar-says-so",
        payload={
            "timestamp": _TIMESTAMP,
            "host_id": 88,
            "host_display_name": "Front desk",
            "host_serial_number": "C02EXAMPLE1",
            "failing_policies": [{"id": 7, "name": "Disk encryption is on"}, {"id": 8, "name": "x"}, {}],
        },
        options={"facts": {"7": "disk_encrypted"}},
        expected=tuple(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(Identifier("serial", "C02EXAMPLE1"), *_host(88)[:1]),
                external_id=f"policy:{number}:host:88",
                observed_at=_AT,
                expires_at=_EXPIRES,
                facts={"state": "fail", **facts},
            )
            for number, facts in ((7, {"disk_encrypted": False}), (8, {}))
        ),
        rejected=("not-a-policy",),
    ),
    Sample(
        name="calendar-without-a-time-for-it",
        payload={
            "timestamp": _TIMESTAMP,
            "host_id": 88,
            "host_display_name": "Front desk",
            "host_serial_number": "C02EXAMPLE1",
            "error": "no time is free",
        },
        ignored=1,
    ),
    Sample(
        name="activities-of-the-api",
        payload={
            "activities": [
                {
                    "created_at": _TIMESTAMP,
                    "type": kind,
                    "actor_full_name": "Admin",
                    "fleet_initiated": False,
                    "details": details,
                }
                for kind, details in (
                    ("mdm_enrolled", {"host_serial": "", "host_display_name": "DESKTOP-1"}),
                    ("mdm_enrolled", {"enrollment_id": "e1", "host_display_name": "iPhone"}),
                    ("user_added_by_sso", None),
                )
            ]
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(Identifier("hostname", "DESKTOP-1"),),
                observed_at=_AT,
                facts={"managed": True},
            ),
        ),
        rejected=("no-subject",),
        ignored=1,
    ),
    Sample(
        name="one-host-of-the-api",
        payload={
            "host": {
                "id": 90,
                "hostname": "iPad",
                "hardware_serial": "DLXEXAMPLE90",
                "platform": "ipados",
                "status": "online",
                "seen_time": _TIMESTAMP,
                "policies": [],
            }
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(
                    Identifier("serial", "DLXEXAMPLE90"),
                    Identifier("sensor-device-id", "90", "sample"),
                ),
                external_id="host:90",
                observed_at=_AT,
                facts={"platform": "ipados", "reporting": True},
            ),
        ),
    ),
)
