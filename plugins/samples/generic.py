"""Samples of `generic`: three products that have no kind of their own, mapped."""

from datetime import UTC, datetime
from typing import Any

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_DEVICE = (Identifier("serial", "SN-4471"), Identifier("hostname", "lt-4471"))

_ALERTS: dict[str, Any] = {
    "items": "alerts",
    "device": [{"kind": "serial", "path": "labels.serial"}, {"kind": "hostname", "path": "labels.host"}],
    "level": {"path": "labels.severity", "table": {"page": "critical", "ticket": "medium"}},
    "title": "annotations.summary",
    "actions": ["annotations.fix"],
    "external_id": "fingerprint",
    "observed_at": {"path": ["endsAt", "startsAt"]},
    "resolves": {"path": "status", "equals": ["resolved"]},
}
_ALERT: dict[str, Any] = {
    "status": "firing",
    "labels": {"serial": "SN-4471", "host": "lt-4471", "severity": "page"},
    "annotations": {"summary": "Ransomware canary touched", "fix": "Call the security desk"},
    "startsAt": "2026-03-02T09:00:00Z",
    "endsAt": "0001-01-01T00:00:00Z",
    "fingerprint": "9f1c",
}

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="alert-opens-and-another-ends",
        payload={
            "status": "firing",
            "alerts": [
                _ALERT,
                _ALERT | {"status": "resolved", "endsAt": "2026-03-02T09:30:00Z"},
            ],
        },
        options=_ALERTS,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.CRITICAL,
                external_id="9f1c",
                title="Ransomware canary touched",
                observed_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
                actions=("Call the security desk",),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_DEVICE,
                external_id="9f1c",
                observed_at=datetime(2026, 3, 2, 9, 30, tzinfo=UTC),
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="unreadable-time-and-missing-device",
        payload={"alerts": [_ALERT | {"startsAt": "yesterday"}, _ALERT | {"labels": {"severity": "page"}}]},
        options=_ALERTS,
        rejected=("time-unreadable", "no-device"),
    ),
    Sample(
        name="facts-of-an-agent",
        payload={
            "host": {"serial": "SN-4471", "name": "lt-4471"},
            "checks": {"disk": {"encrypted": True}, "fw": "off", "os.version": "15.4", "unknown": None},
            "sent": 1772442000,
        },
        options={
            "device": [{"kind": "serial", "path": "host.serial"}, {"kind": "hostname", "path": "host.name"}],
            "observed_at": "sent",
            "facts": {
                "disk_encrypted": "checks.disk.encrypted",
                "firewall": "checks.fw",
                "os_version": 'checks["os.version"]',
                "screen_lock": "checks.unknown",
                "absent": "checks.none",
            },
            "expires_after": "1d",
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_DEVICE,
                observed_at=datetime(2026, 3, 2, 9, tzinfo=UTC),
                expires_at=datetime(2026, 3, 3, 9, tzinfo=UTC),
                facts={"disk_encrypted": True, "firewall": "off", "os_version": "15.4", "screen_lock": None},
            ),
        ),
    ),
    Sample(
        name="a-score-where-more-is-worse",
        payload={"asset": {"sn": "SN-4471", "hostname": "lt-4471"}, "risk": "72.5"},
        options={
            "device": [
                {"kind": "serial", "path": "asset.sn"},
                {"kind": "hostname", "path": "asset.hostname"},
            ],
            "type": "risk-level",
            "level": {
                "path": "risk",
                "ranges": [
                    {"at_least": 0, "level": "none"},
                    {"at_least": 40, "level": "medium"},
                    {"at_least": 70, "level": "high"},
                ],
            },
        },
        expected=(Expected(type=SignalType.RISK_LEVEL, device_ids=_DEVICE, level=Severity.HIGH),),
    ),
    Sample(
        name="words-that-nobody-listed",
        payload={"sn": "SN-4471", "host": "lt-4471", "severity": "zebra", "kind": "weakness"},
        options={
            "device": [{"kind": "serial", "path": "sn"}, {"kind": "hostname", "path": "host"}],
            "level": {"path": "severity"},
            "type": {"path": "kind", "table": {"weakness": "exposure"}},
        },
        expected=(Expected(type=SignalType.EXPOSURE, device_ids=_DEVICE, level=Severity.UNKNOWN),),
    ),
    Sample(
        name="test-message",
        payload={"event": "test"},
        options={
            "device": [{"kind": "serial", "path": "sn"}],
            "ignore": {"path": "event", "equals": ["test"]},
        },
        ignored=1,
    ),
    Sample(
        name="no-items",
        payload={"alert": []},
        options={"items": "alerts", "device": [{"kind": "serial", "path": "sn"}]},
        rejected=("no-items",),
    ),
    Sample(
        name="nothing-to-report",
        payload={"alerts": []},
        options={"items": "alerts", "device": [{"kind": "serial", "path": "sn"}]},
        ignored=1,
    ),
    Sample(
        name="items-within-items",
        payload={
            "tenant": "corp",
            "hosts": [
                {"serial": "SN-1", "findings": [{"id": "q1", "severity": 5}, {"id": "q2", "severity": 2}]},
                {"serial": "localhost", "findings": [{"id": "q1", "severity": 5}]},
                {"serial": "SN-3", "findings": [{"id": "q3", "severity": 5, "type": "info"}]},
            ],
        },
        options={
            "items": "hosts[*].findings",
            "device": [{"kind": "serial", "path": "^.serial"}],
            "user": [{"kind": "email", "path": ["^.owner", "^.mail"]}],
            "level": {"path": "severity", "table": {"2": "low", "5": "critical"}},
            "external_id": "id",
            "category": "^^.tenant",
            "only": {"path": {"path": "type", "value": "vulnerability"}, "equals": ["vulnerability"]},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("serial", "SN-1"),),
                level=Severity.CRITICAL,
                external_id="q1",
            ),
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("serial", "SN-1"),),
                level=Severity.LOW,
                external_id="q2",
            ),
        ),
        rejected=("no-device",),
        ignored=1,
    ),
    Sample(
        name="about-a-person",
        payload={"user": "robin@example.com", "admin": "NT AUTHORITY\\SYSTEM", "risk": "high"},
        options={
            "device": [],
            "user": [{"kind": "email", "path": "user"}, {"kind": "upn", "path": "admin"}],
            "level": {"path": "risk"},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.HIGH,
                user_ids=(Identifier("email", "robin@example.com"),),
            ),
        ),
    ),
)
