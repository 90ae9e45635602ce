"""Samples of `kolide`. Source of the field sets: Kolide "Webhooks", "REST API"."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_IDS = (Identifier("serial", "SN-14"), Identifier("sensor-device-id", "14", "sample"))
_DEVICE = {"id": 14, "name": "Robin's Mac", "serial": "SN-14"}


def _event(kind: str, **data: object) -> dict[str, object]:
    return {"event": kind, "id": f"e-{kind}", "timestamp": "2026-03-02T09:15:30Z", "data": data}


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="issue",
        payload=_event("issues.new", id=7, title="FileVault is off", check_id="c3", device=_DEVICE),
        options={"levels": {"c3": "high"}, "facts": {"c3": "disk_encrypted"}, "ttl": "7d"},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                level=Severity.HIGH,
                external_id="issue:7",
                title="FileVault is off",
                observed_at=datetime(2026, 3, 2, 9, 15, 30, tzinfo=UTC),
                expires_at=datetime(2026, 3, 9, 9, 15, 30, tzinfo=UTC),
                facts={"state": "fail", "disk_encrypted": False},
            ),
        ),
    ),
    Sample(
        name="issue-resolved",
        payload=_event("issues.resolved", id=7, device_information={"identifier": "14"}),
        expected=(
            Expected(type=SignalType.REMEDIATION, device_ids=_IDS[1:], external_id="issue:7", resolves=True),
        ),
    ),
    Sample(
        name="device-will-be-blocked",
        payload=_event("device_trust.status_changed", device=_DEVICE, status="Will Block"),
        expected=(
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_IDS,
                level=Severity.MEDIUM,
                facts={"device_trust": "will_block"},
            ),
        ),
    ),
    Sample(
        name="device-is-good-again",
        payload=_event("device_trust.status_changed", id=14, serial="SN-14", auth_state="Good"),
        expected=(Expected(type=SignalType.RISK_LEVEL, device_ids=_IDS, level=Severity.NONE, resolves=True),),
    ),
    Sample(
        name="device-removed",
        payload=_event("devices.destroyed", id=14, serial="SN-14"),
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_IDS, facts={"managed": False}),),
    ),
    Sample(name="test", payload=_event("webhook.test", message="hello"), ignored=1),
    Sample(name="no-device", payload=_event("issues.new", id=7), rejected=("no-device",)),
    Sample(name="no-webhook", payload={"id": 1}, rejected=("not-a-kolide-webhook",)),
    Sample(
        name="failure-of-the-old-interface",
        payload=_event("failures.new", failure_id=7, title="FileVault is off", check_id=3, device_id=14),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS[1:],
                level=Severity.MEDIUM,
                external_id="issue:7",
            ),
        ),
    ),
    Sample(
        name="issues-of-the-api",
        payload={
            "data": [
                {
                    "id": 7,
                    "check_id": 3,
                    "title": "FileVault is off",
                    "resolved_at": None,
                    "detected_at": "2026-03-02T09:15:30Z",
                    "device": _DEVICE | {"assigned_owner": {"email": "robin@example.com"}},
                },
                {
                    "id": 8,
                    "check_id": 4,
                    "title": "The firewall is off",
                    "resolved_at": "2026-03-02T10:00:00Z",
                    "device": _DEVICE,
                },
            ],
            "pagination": {"next_cursor": ""},
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.MEDIUM,
                external_id="issue:7",
                observed_at=datetime(2026, 3, 2, 9, 15, 30, tzinfo=UTC),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS,
                external_id="issue:8",
                observed_at=datetime(2026, 3, 2, 10, tzinfo=UTC),
                resolves=True,
            ),
        ),
    ),
)
