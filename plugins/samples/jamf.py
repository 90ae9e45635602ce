"""Samples of `jamf`. Source of the field sets: Jamf Pro documentation, "Webhooks"."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AT = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC)
_COMPUTER = {
    "deviceName": "Robin's Mac",
    "emailAddress": "robin@example.com",
    "jssID": 52,
    "osVersion": "15.3",
    "serialNumber": "SN-52",
    "udid": "0A0A0A0A-0000-4000-8000-000000000052",
    "username": "robin",
}
_IDS = (
    Identifier("serial", "SN-52"),
    Identifier("udid", "0A0A0A0A-0000-4000-8000-000000000052"),
    Identifier("sensor-device-id", "computer:52", "sample"),
)


def _webhook(kind: str, event: dict[str, object]) -> dict[str, object]:
    return {
        "webhook": {"id": 1, "name": "gate", "webhookEvent": kind, "eventTimestamp": 1772442930250},
        "event": event,
    }


_GROUP = _webhook(
    "SmartGroupComputerMembershipChange",
    {
        "name": "FileVault off",
        "smartGroup": True,
        "jssid": 9,
        "computer": True,
        "groupAddedDevicesIds": [52],
        "groupRemovedDevicesIds": [53, None],
    },
)

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="check-in",
        payload=_webhook("ComputerCheckIn", {"computer": _COMPUTER, "trigger": "CLIENT_CHECKIN"}),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                observed_at=_AT,
                facts={"platform": "macOS", "os_version": "15.3"},
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="sign-of-life",
        payload=_webhook("ComputerInventoryCompleted", {"serialNumber": "SN-52"}),
        expected=(Expected(type=SignalType.HEARTBEAT, device_ids=_IDS[:1], facts={}),),
    ),
    Sample(
        name="left-management",
        payload=_webhook("MobileDeviceUnEnrolled", {"jssID": 52, "serialNumber": "SN-60"}),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(
                    Identifier("serial", "SN-60"),
                    Identifier("sensor-device-id", "mobile:52", "sample"),
                ),
                facts={"managed": False},
            ),
        ),
    ),
    Sample(
        name="smart-group",
        payload=_GROUP,
        options={
            "groups": {
                "FileVault off": {"level": "medium", "fact": "disk_encrypted", "action": "Turn on FileVault."}
            }
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS[2:],
                level=Severity.MEDIUM,
                external_id="group:9",
                title="FileVault off",
                observed_at=_AT,
                facts={"state": "fail", "disk_encrypted": False},
                actions=("Turn on FileVault.",),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(Identifier("sensor-device-id", "computer:53", "sample"),),
                external_id="group:9",
                resolves=True,
                facts={"state": "pass", "disk_encrypted": True},
            ),
        ),
        rejected=("no-device",),
    ),
    Sample(name="a-group-that-means-nothing", payload=_GROUP, ignored=1),
    Sample(name="other-event", payload=_webhook("JSSShutdown", {"hostAddress": "x"}), ignored=1),
    Sample(name="no-webhook", payload={"event": {}}, rejected=("not-a-jamf-webhook",)),
    Sample(
        name="alert-of-jamf-protect",
        payload={
            "topicType": "alert",
            "timestamp": 1772442930250,
            "time": "2026-03-02T09:15:30.250Z",
            "uuid": "E0000000-0000-4000-8000-000000000001",
            "host": {
                "hostname": "Robins-Mac",
                "serial": "SN-52",
                "provisioningUDID": "0A0A0A0A-0000-4000-8000-000000000052",
                "ips": ["192.0.2.14"],
            },
            "match": {
                "uuid": "A0000000-0000-4000-8000-000000000001",
                "severity": 3,
                "blocked": True,
                "facts": [
                    {
                        "name": "ReverseShell",
                        "human": "Reverse shell attempted",
                        "match_reason": "A shell was given an outgoing connection.",
                        "severity": 3,
                    }
                ],
            },
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(*_IDS[:2], Identifier("hostname", "Robins-Mac")),
                level=Severity.HIGH,
                external_id="alert:A0000000-0000-4000-8000-000000000001",
                title="Reverse shell attempted",
                observed_at=_AT,
                expires_at=datetime(2026, 3, 9, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="alert-of-an-older-jamf-protect",
        payload={
            "caid": "c0ffee",
            "input": {
                "eventType": "GPFSEvent",
                "host": {"serial": "SN-52", "hostname": "Robins-Mac"},
                "match": {
                    "uuid": "A0000000-0000-4000-8000-000000000002",
                    "severity": 0,
                    "event": {"timestamp": 1772442930.25},
                    "facts": [{"name": "UrlHandler", "human": "A URL handler was created", "severity": 0}],
                },
            },
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_IDS[0], Identifier("hostname", "Robins-Mac")),
                level=Severity.INFORMATIONAL,
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="threat-on-a-phone",
        payload={
            "event": {
                "metadata": {"product": "Threat Events Stream", "schemaVersion": "1.0", "vendor": "Jamf"},
                "alertId": "0c0c0c0c-0000-4000-8000-000000000052",
                "action": "Detected",
                "severity": 8,
                "eventType": {"id": 213, "name": "SIDE_LOADED_APP", "description": "Sideloaded app"},
                "device": {
                    "deviceId": "d0d0d0d0-0000-4000-8000-000000000052",
                    "userDeviceName": "Robin's phone",
                },
                "user": {"email": "robin@example.com", "name": "Robin"},
                "timestamp": "2026-03-02T09:15:30.250Z",
            }
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(
                    Identifier("sensor-device-uuid", "d0d0d0d0-0000-4000-8000-000000000052", "sample"),
                ),
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.HIGH,
                external_id="threat:0c0c0c0c-0000-4000-8000-000000000052",
                title="Sideloaded app",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="threat-on-a-phone-is-resolved",
        payload={
            "event": {
                "alertId": "0c0c0c0c-0000-4000-8000-000000000052",
                "action": "Resolved",
                "severity": 8,
                "device": {"deviceId": "d0d0d0d0-0000-4000-8000-000000000052"},
                "timestamp": "2026-03-02T10:15:30.250Z",
            }
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(
                    Identifier("sensor-device-uuid", "d0d0d0d0-0000-4000-8000-000000000052", "sample"),
                ),
                external_id="threat:0c0c0c0c-0000-4000-8000-000000000052",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="telemetry-of-jamf-protect",
        payload={
            "header": {"event_name": "AUE_CONNECT", "time_seconds_epoch": 1772442930},
            "host_info": {"serial_number": "SN-52", "host_name": "Robins-Mac"},
        },
        ignored=1,
    ),
)
