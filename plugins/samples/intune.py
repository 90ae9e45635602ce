"""Samples of `intune`. Source of the field sets: Microsoft Graph "managedDevice", Intune diagnostic settings."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AT = datetime(2026, 3, 2, 6, 51, 40, tzinfo=UTC)
_ID = "11111111-0000-4000-8000-00000000a014"
_ENTRA = "22222222-0000-4000-8000-00000000a014"
_USER = "33333333-0000-4000-8000-0000000000aa"
_DEVICE: dict[str, object] = {
    "@odata.type": "#microsoft.graph.managedDevice",
    "id": _ID,
    "userId": _USER,
    "deviceName": "lt-14",
    "lastSyncDateTime": "2026-03-02T06:51:40Z",
    "operatingSystem": "Windows",
    "managedDeviceOwnerType": "company",
    "osVersion": "10.0.26100.1",
    "complianceState": "compliant",
    "jailBroken": "Unknown",
    "azureADDeviceId": _ENTRA,
    "serialNumber": "SN-14",
    "isEncrypted": True,
    "userPrincipalName": "robin@example.com",
    "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
    "partnerReportedThreatState": "secured",
    "udid": None,
    "imei": "",
}
_IDS = (
    Identifier("intune-device-id", _ID),
    Identifier("entra-device-id", _ENTRA),
    Identifier("serial", "SN-14"),
    Identifier("hostname", "lt-14"),
)
_WINDOWS: dict[str, str | int | float | bool | None] = {
    "platform": "Windows",
    "os_version": "10.0.26100.1",
    "ownership": "corporate",
}
_ROBIN = (Identifier("upn", "robin@example.com"), Identifier("entra-user-id", _USER))
_OPERATIONAL: dict[str, object] = {
    "AlertType": "Managed Device Not Compliant",
    "Description": "Corp.RequireEncryption||Corp||Corp||Encryption is required.",
    "DeviceHostName": "LT-14",
    "DeviceName": "lt-14_3/2/2026",
    "IntuneDeviceId": _ID,
    "IntuneUserId": _USER,
    "OperationalLogCategory": "DeviceCompliance",
    "StartTimeUtc": "2026-03-02T06:51:40Z",
    "UPNSuffix": "example.com",
    "UserName": "robin",
}


def _row(category: str, properties: dict[str, object]) -> dict[str, object]:
    return {"category": category, "time": "2026-03-02T06:51:40.0000000Z", "properties": properties}


def _compliance(facts: dict[str, str | int | float | bool | None], level: Severity) -> Expected:
    return Expected(
        type=SignalType.POSTURE_FACT,
        device_ids=_IDS,
        level=level,
        external_id=f"compliance:{_ID}",
        observed_at=_AT,
        facts={**facts, "owner": "robin@example.com"},
        user_ids=_ROBIN,
    )


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="compliant",
        payload=_DEVICE,
        expected=(
            _compliance(
                {"compliant": True, "managed": True, "disk_encrypted": True, **_WINDOWS},
                Severity.NONE,
            ),
            Expected(type=SignalType.RISK_LEVEL, device_ids=_IDS, level=Severity.NONE, resolves=True),
        ),
    ),
    Sample(
        name="noncompliant-with-a-threat",
        payload={
            "value": [
                _DEVICE
                | {
                    "complianceState": "noncompliant",
                    "isEncrypted": False,
                    "partnerReportedThreatState": "highSeverity",
                }
            ]
        },
        options={"levels": {"noncompliant": "medium"}},
        expected=(
            _compliance(
                {"compliant": False, "managed": True, "disk_encrypted": False, **_WINDOWS},
                Severity.MEDIUM,
            ),
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_IDS,
                level=Severity.HIGH,
                external_id=f"partner-threat:{_ID}",
            ),
        ),
    ),
    Sample(
        name="jailbroken-in-its-grace-period",
        payload=_DEVICE
        | {
            "deviceName": "Robin's phone",
            "complianceState": "inGracePeriod",
            "jailBroken": "True",
            "complianceGracePeriodExpirationDateTime": "2026-03-05T06:00:00Z",
            "partnerReportedThreatState": "unknown",
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS[:3],
                level=Severity.CRITICAL,
                facts={
                    "compliant": False,
                    "managed": True,
                    "disk_encrypted": True,
                    "jailbroken": True,
                    "owner": "robin@example.com",
                    **_WINDOWS,
                    "grace_until": "2026-03-05T06:00:00Z",
                },
            ),
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS[:3],
                level=Severity.CRITICAL,
                external_id=f"jailbroken:{_ID}",
                facts={"jailbroken": True},
            ),
        ),
    ),
    Sample(
        name="mixed-rows",
        payload={
            "records": [
                _row("OperationalLogs", _OPERATIONAL),
                _row("AuditLogs", {"x": 1}),
                _row("OperationalLogs", {"OperationalLogCategory": "DeviceEnrollment"}),
                _row(
                    "DeviceComplianceOrg",
                    {"DeviceId": _ID, "DeviceName": "LT-14", "ComplianceState": "Compliant", "UPN": "x"},
                ),
                _row("Devices", {"DeviceId": "", "CompliantState": "Compliant"}),
            ]
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_IDS[0], Identifier("hostname", "LT-14")),
                level=Severity.HIGH,
                title="Not compliant: RequireEncryption",
                external_id=f"compliance:{_ID}",
                observed_at=_AT,
                expires_at=datetime(2026, 3, 5, 6, 51, 40, tzinfo=UTC),
                facts={"compliant": False},
                user_ids=_ROBIN,
            ),
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_IDS[0], Identifier("hostname", "LT-14")),
                level=Severity.NONE,
                external_id=f"compliance:{_ID}",
                facts={"compliant": True},
            ),
        ),
        ignored=2,
        rejected=("no-device",),
    ),
    Sample(
        name="row-of-numbers",
        payload=_row(
            "DeviceComplianceOrg",
            {
                "DeviceId": _ID,
                "SerialNumber": "SN-14",
                "DeviceName": "LT-14",
                "ComplianceState": "254",
                "ComplianceState_loc": "In grace period",
                "InGracePeriodUntil": "2026-03-05 06:00:00.0000000",
                "OS": "Windows",
                "OS_loc": "Windows",
                "OSVersion": "10.0.26100.1",
                "OwnerType": 1,
                "OwnerType_loc": "Company",
                "LastContact": "2026-03-02 06:51:40.0000000",
                "UserEmail": "robin@example.com",
            },
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_IDS[0], _IDS[2], Identifier("hostname", "LT-14")),
                level=Severity.MEDIUM,
                external_id=f"compliance:{_ID}",
                observed_at=_AT,
                facts={
                    "compliant": False,
                    **_WINDOWS,
                    "grace_until": "2026-03-05 06:00:00.0000000",
                },
            ),
        ),
    ),
    Sample(
        name="row-of-a-number-that-nobody-knows",
        payload=_row("DeviceComplianceOrg", {"DeviceId": _ID, "ComplianceState": "77"}),
        expected=(
            Expected(type=SignalType.POSTURE_FACT, device_ids=_IDS[:1], level=Severity.UNKNOWN, facts={}),
        ),
    ),
    Sample(name="no-device", payload={"hello": 1}, rejected=("not-a-device",)),
    Sample(
        name="row-of-a-workspace",
        payload={
            "TimeGenerated": "2026-03-02T06:51:40Z",
            "Type": "IntuneDeviceComplianceOrg",
            "DeviceId": _ID,
            "DeviceName": "lt-14",
            "SerialNumber": "SN-14",
            "ComplianceState": "Not compliant",
            "OS": "Windows",
            "UPN": "robin@example.com",
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(
                    Identifier("intune-device-id", _ID),
                    Identifier("serial", "SN-14"),
                    Identifier("hostname", "lt-14"),
                ),
                level=Severity.HIGH,
                external_id=f"compliance:{_ID}",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="row-whose-properties-are-a-text",
        payload={
            "time": "2026-03-02T06:51:40Z",
            "category": "OperationalLogs",
            "properties": (
                '{"OperationalLogCategory": "DeviceCompliance", "AlertType": "Managed Device Not Compliant",'
                f' "IntuneDeviceId": "{_ID}", "DeviceHostName": "lt-14", "Description": "p.Encryption||off"}}'
            ),
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(Identifier("intune-device-id", _ID), Identifier("hostname", "lt-14")),
                level=Severity.HIGH,
                title="Not compliant: Encryption",
                observed_at=_AT,
            ),
        ),
    ),
)
