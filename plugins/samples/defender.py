"""Samples of `defender`. Source of the field sets: Microsoft Graph and Defender for Endpoint documentation."""

import hashlib
from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_MDE = "1a2b3c4d5e6f708192a3b4c5d6e7f8090a0b0c0d"
_ENTRA = "22222222-0000-4000-8000-00000000a014"
_IDS = (
    Identifier("mde-machine-id", _MDE),
    Identifier("entra-device-id", _ENTRA),
    Identifier("hostname", "lt-14.corp.example"),
)
_SHORT = Identifier("hostname", "lt-14")
_AT = datetime(2026, 3, 2, 12, 21, 2, 326666, tzinfo=UTC)
_MACHINE: dict[str, object] = {
    "id": _MDE,
    "computerDnsName": "lt-14.corp.example",
    "lastSeen": "2026-03-02T12:21:02.3266667Z",
    "osPlatform": "Windows11",
    "osBuild": 26100,
    "healthStatus": "Active",
    "onboardingStatus": "Onboarded",
    "riskScore": "High",
    "exposureLevel": "Medium",
    "aadDeviceId": _ENTRA,
    "ipAddresses": [{"ipAddress": "127.0.0.1", "macAddress": None}],
}
_SYSTEM = {"accountName": "SYSTEM", "domainName": "NT AUTHORITY", "userSid": "S-1-5-18"}
_ROBIN = {"userSid": "S-1-5-21-1-2-3-4", "userPrincipalName": "robin@example.com", "domainName": "CORP"}
_ALERT: dict[str, object] = {
    "@odata.type": "#microsoft.graph.security.alert",
    "id": "da-1",
    "incidentId": "7",
    "status": "new",
    "severity": "medium",
    "title": "Suspicious script",
    "description": "A script ran.",
    "recommendedActions": "Collect artifacts.",
    "category": "Execution",
    "assignedTo": "analyst@example.com",
    "createdDateTime": "2026-03-02T12:19:27.7Z",
    "lastUpdateDateTime": "2026-03-02T12:21:02.3266667Z",
    "evidence": [
        {
            "@odata.type": "#microsoft.graph.security.deviceEvidence",
            "mdeDeviceId": _MDE,
            "azureAdDeviceId": _ENTRA,
            "deviceDnsName": "lt-14.corp.example",
            "hostName": "lt-14",
            "roles": ["compromised"],
        },
        {
            "@odata.type": "#microsoft.graph.security.deviceEvidence",
            "mdeDeviceId": "f" * 39 + "e",
            "deviceDnsName": "dc-1.corp.example",
            "roles": ["contextual"],
        },
        {"@odata.type": "#microsoft.graph.security.processEvidence", "userAccount": _SYSTEM},
        {"@odata.type": "#microsoft.graph.security.userEvidence", "userAccount": _ROBIN},
    ],
}


def _row(table: str, **properties: object) -> dict[str, object]:
    return {
        "time": "2026-03-02T12:30:00Z",
        "category": f"AdvancedHunting-{table}",
        "operationName": "Publish",
        "properties": {"AlertId": "sn-1", "Timestamp": "2026-03-02T12:21:02.3266667Z"} | properties,
    }


_MACHINE_ROW = _row("AlertEvidence", EntityType="Machine", DeviceId=_MDE, DeviceName="lt-14.corp.example")
_STATE = "a-state-of-our-own"

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="machine-at-risk",
        payload={"value": [_MACHINE]},
        options={"exposure_levels": {"medium": "low"}},
        expected=(
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_IDS,
                level=Severity.HIGH,
                external_id=f"machine-risk:{_MDE}",
                observed_at=_AT,
                facts={
                    "edr_running": True,
                    "edr_onboarded": True,
                    "platform": "Windows11",
                    "os_build": 26100,
                },
            ),
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=_IDS,
                level=Severity.LOW,
                external_id=f"machine-exposure:{_MDE}",
            ),
        ),
    ),
    Sample(
        name="machine-cleared",
        payload=_MACHINE | {"riskScore": "None", "exposureLevel": None, "healthStatus": "Inactive"},
        expected=(
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_IDS,
                level=Severity.NONE,
                resolves=True,
                facts={
                    "edr_running": False,
                    "edr_onboarded": True,
                    "platform": "Windows11",
                    "os_build": 26100,
                },
            ),
        ),
    ),
    Sample(
        name="machine-not-rated-yet",
        payload=_MACHINE | {"riskScore": None, "exposureLevel": "Purple"},
        expected=(
            Expected(type=SignalType.POSTURE_FACT, device_ids=_IDS),
            Expected(type=SignalType.EXPOSURE, device_ids=_IDS, level=Severity.UNKNOWN),
        ),
    ),
    Sample(
        name="alert",
        payload=_ALERT,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(*_IDS, _SHORT),
                level=Severity.MEDIUM,
                external_id="alert:da-1",
                title="Suspicious script",
                observed_at=_AT,
                actions=("Collect artifacts.",),
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="alert-resolved",
        payload=_ALERT | {"status": "resolved"},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(*_IDS, _SHORT),
                external_id="alert:da-1",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="alert-of-the-defender-api",
        payload={
            "id": "da-2",
            "severity": "High",
            "status": "InProgress",
            "title": "x",
            "machineId": _MDE,
            "alertCreationTime": "2026-03-02T12:21:02.3266667Z",
        },
        expected=(
            Expected(type=SignalType.DETECTION, device_ids=_IDS[:1], level=Severity.HIGH, observed_at=_AT),
        ),
    ),
    Sample(name="alert-without-evidence", payload=_ALERT | {"evidence": []}, rejected=("no-device",)),
    Sample(
        name="alert-about-a-resource-of-a-cloud",
        payload=_ALERT
        | {
            "evidence": [
                {"@odata.type": "#microsoft.graph.security.azureResourceEvidence", "resourceId": "/x"}
            ]
        },
        rejected=("no-subject",),
    ),
    Sample(
        name="rows-of-one-alert-in-any-order",
        payload={
            "records": [
                _row("AlertEvidence", EntityType="User", AccountUpn="robin@example.com"),
                _MACHINE_ROW,
                _row("AlertInfo", Title="Odd image load", Severity="High", Category="Evasion"),
                _MACHINE_ROW,
                _row("DeviceProcessEvents", FileName="x"),
                {"properties": {}},
            ]
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_IDS[0], _IDS[2]),
                level=Severity.HIGH,
                external_id="alert:sn-1",
                title="Odd image load",
                observed_at=_AT,
                expires_at=datetime(2026, 3, 9, 12, 21, 2, 326666, tzinfo=UTC),
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
        ignored=1,
        rejected=("not-a-row",),
    ),
    Sample(
        name="an-alert-row-alone-names-nobody",
        payload=_row("AlertInfo", Title="x", Severity="High"),
        ignored=1,
    ),
    Sample(
        name="device-row",
        payload=_row("DeviceInfo", DeviceId=_MDE, AadDeviceId=_ENTRA, SensorHealthState="Active"),
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_IDS[:2], facts={"edr_running": True}),),
    ),
    Sample(
        name="change-notifications",
        payload={
            "value": [
                {
                    "subscriptionId": "s",
                    "clientState": _STATE,
                    "resource": "users/1",
                    "changeType": "updated",
                },
                {"subscriptionId": "s", "clientState": "forged", "resource": "users/2"},
            ]
        },
        options={"client_state_sha256": [hashlib.sha256(_STATE.encode()).hexdigest()]},
        ignored=2,
        pulls=("users/1",),
    ),
    Sample(
        name="alert-about-an-account",
        payload={
            "id": "da8",
            "status": "new",
            "severity": "medium",
            "title": "Unfamiliar sign-in",
            "lastUpdateDateTime": "2026-03-02T11:00:00Z",
            "evidence": [
                {
                    "@odata.type": "#microsoft.graph.security.userEvidence",
                    "userAccount": {"userPrincipalName": "robin@example.com", "azureAdUserId": "u-1"},
                },
                {
                    "@odata.type": "#microsoft.graph.security.userEvidence",
                    "userAccount": {"userSid": "S-1-5-18", "userPrincipalName": "system@example.com"},
                },
            ],
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.MEDIUM,
                external_id="alert:da8",
                user_ids=(Identifier("upn", "robin@example.com"), Identifier("entra-user-id", "u-1")),
            ),
        ),
    ),
    Sample(name="nothing-of-defender", payload={"a": 1}, rejected=("not-a-defender-object",)),
    Sample(
        name="incident-with-its-alerts",
        payload={
            "incidentId": 924,
            "incidentName": "Credential theft",
            "severity": "Medium",
            "alerts": [
                {
                    "alertId": "da14",
                    "lastUpdatedTime": "2026-03-02T12:21:02.3266667Z",
                    "title": "Credential theft",
                    "status": "New",
                    "severity": "Medium",
                    "devices": [
                        {
                            "mdatpDeviceId": _MDE,
                            "aadDeviceId": _ENTRA,
                            "deviceDnsName": "lt-14.corp.example",
                        }
                    ],
                    "entities": [{"entityType": "User", "userPrincipalName": "robin@example.com"}],
                },
                {"alertId": "da15", "status": "New", "severity": "Low", "entities": [{"entityType": "Ip"}]},
            ],
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.MEDIUM,
                external_id="alert:da14",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="incident-split-by-a-collector",
        payload={
            "@odata.type": "#microsoft.graph.security.incident",
            "id": "2972",
            "alerts": {
                "id": "da16",
                "status": "resolved",
                "severity": "low",
                "lastUpdateDateTime": "2026-03-02T12:21:02.3266667Z",
                "evidence": [
                    {"@odata.type": "#microsoft.graph.security.deviceEvidence", "mdeDeviceId": _MDE},
                ],
            },
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION, device_ids=_IDS[:1], external_id="alert:da16", resolves=True
            ),
        ),
    ),
    Sample(
        name="incident-without-its-alerts",
        payload={"@odata.type": "#microsoft.graph.security.incident", "id": "29", "severity": "medium"},
        rejected=("no-subject",),
    ),
    Sample(
        name="rows-of-a-hunting-query",
        payload={
            "Stats": {},
            "Results": [
                {
                    "Timestamp": "2026-03-02T12:21:02.3266667Z",
                    "AlertId": "da14",
                    "Title": "Credential theft",
                    "Severity": "High",
                    "DeviceId": _MDE,
                    "DeviceName": "lt-14.corp.example",
                },
                {
                    "Timestamp": "2026-03-02T12:21:02.3266667Z",
                    "DeviceId": _MDE,
                    "DeviceName": "lt-14.corp.example",
                    "OnboardingStatus": "Onboarded",
                    "SensorHealthState": "Inactive",
                },
            ],
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_IDS[0], _IDS[2]),
                level=Severity.HIGH,
                external_id="alert:da14",
                title="Credential theft",
                observed_at=_AT,
            ),
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_IDS[0], _IDS[2]),
                facts={"edr_onboarded": True, "edr_running": False},
            ),
        ),
    ),
    Sample(
        name="row-of-an-alert-about-a-person",
        payload={
            "category": "AdvancedHunting-AlertEvidence",
            "time": "2026-03-02T12:21:05Z",
            "properties": {
                "Timestamp": "2026-03-02T12:21:02.3266667Z",
                "AlertId": "aad14",
                "EntityType": "User",
                "EvidenceRole": "Impacted",
                "ServiceSource": "AAD Identity Protection",
                "AccountUpn": "robin@example.com",
                "Title": "Atypical travel",
                "Severity": "Medium",
            },
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.MEDIUM,
                external_id="alert:aad14",
            ),
        ),
    ),
    Sample(
        name="vulnerability-of-a-machine",
        payload={
            "deviceId": _MDE,
            "deviceName": "lt-14.corp.example",
            "cveId": "CVE-2026-0014",
            "softwareName": "kernel",
            "softwareVersion": "5.14",
            "vulnerabilitySeverityLevel": "High",
            "recommendedSecurityUpdate": "the update of March",
            "lastSeenTimestamp": "2026-03-02 12:21:02",
        },
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=(_IDS[0], _IDS[2]),
                level=Severity.HIGH,
                external_id=f"vulnerability:{_MDE}:CVE-2026-0014:kernel",
                title="CVE-2026-0014 in kernel 5.14",
                actions=("Install the update of March.",),
            ),
        ),
    ),
    Sample(
        name="vulnerability-is-fixed",
        payload={
            "value": [
                {
                    "deviceId": _MDE,
                    "deviceName": "lt-14.corp.example",
                    "cveId": "CVE-2026-0014",
                    "softwareName": "kernel",
                    "status": "Fixed",
                    "eventTimestamp": "2026-03-03T01:00:00Z",
                }
            ]
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_IDS[0], _IDS[2]),
                external_id=f"vulnerability:{_MDE}:CVE-2026-0014:kernel",
                resolves=True,
            ),
        ),
    ),
)
