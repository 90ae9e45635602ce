"""Samples of `sentinelone`. Source of the field sets: SentinelOne API 2.1 ("Threats", "Activities", "Agents")."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_IDS = (
    Identifier("sensor-device-uuid", "0f0f0f0f0f0f4a14", "sample"),
    Identifier("sensor-device-id", "140014", "sample"),
    Identifier("hostname", "lt-14"),
)
_AT = datetime(2026, 3, 2, 14, 15, 14, 682514, tzinfo=UTC)


def _threat(mitigation: str, incident: str, infected: object, **info: object) -> dict[str, object]:
    return {
        "id": "777",
        "agentRealtimeInfo": {
            "agentComputerName": "lt-14",
            "agentId": "140014",
            "agentUuid": "0f0f0f0f0f0f4a14",
            "agentInfected": infected,
            "activeThreats": 1 if infected else 0,
        },
        "agentDetectionInfo": {"agentLastLoggedInUpn": "robin@example.com"},
        "threatInfo": {
            "threatId": "777",
            "threatName": "invoice.exe",
            "classification": "Malware",
            "confidenceLevel": "malicious",
            "mitigationStatus": mitigation,
            "incidentStatus": incident,
            "processUser": "CORP\\robin",
            "updatedAt": "2026-03-02T14:15:14.682514Z",
        }
        | info,
    }


def _activity(number: int, **data: object) -> dict[str, object]:
    return {
        "activityType": number,
        "id": f"a{number}",
        "agentId": "140014",
        "threatId": "777",
        "createdAt": "2026-03-02T14:15:14.682514Z",
        "primaryDescription": "Something was found.",
        "data": {"computerName": "lt-14", "fileDisplayName": "invoice.exe"} | data,
    }


def _agent(**rest: object) -> dict[str, object]:
    return {
        "id": "140014",
        "uuid": "0f0f0f0f0f0f4a14",
        "computerName": "lt-14",
        "serialNumber": "SN-14",
        "agentVersion": "23.4.1.223",
        "infected": False,
        "activeThreats": 0,
        "networkStatus": "connected",
        "operationalState": "na",
        "mitigationMode": "protect",
        "isActive": True,
        "isDecommissioned": False,
        "isUninstalled": False,
        "isUpToDate": True,
        "firewallEnabled": True,
        "encryptedApplications": True,
        "osType": "windows",
        "osName": "Windows 11 Pro",
        "osRevision": "22631",
        "lastLoggedInUserName": "robin",
        "activeDirectory": {"userPrincipalName": "robin@example.com"},
        "lastActiveDate": "2026-03-02T14:15:14.682514Z",
        "updatedAt": "2026-03-02T15:00:00Z",
    } | rest


_ALL_IDS = (Identifier("serial", "SN-14"), *_IDS)
_GOOD: dict[str, str | int | float | bool | None] = {
    "infected": False,
    "active_threats": 0,
    "edr_running": True,
    "edr_onboarded": True,
    "edr_mode": "protect",
    "edr_up_to_date": True,
    "isolated": False,
    "firewall_enabled": True,
    "disk_encrypted": True,
    "platform": "windows",
    "os_build": 22631,
    "reporting": True,
}


def _unified(result: str | None, status: str, **rest: object) -> dict[str, object]:
    return {
        "id": "u-14",
        "name": "invoice.exe detected as Malware",
        "severity": "MEDIUM",
        "confidenceLevel": "MALICIOUS",
        "classification": "MALWARE",
        "analystVerdict": "UNDEFINED",
        "result": result,
        "status": status,
        "assets": [
            {"agentUuid": "0f0f0f0f0f0f4a14", "name": "lt-14", "category": "Workstation", "role": "TARGET"}
        ],
        "detectionSource": {"product": "EDR", "vendor": "SentinelOne"},
        "detectionTime": {
            "attacker": {"host": None, "ip": "203.0.113.9"},
            "targetUser": {"emailAddress": "robin@example.com", "name": "robin"},
        },
        "detectedAt": "2026-03-02T14:15:14.682Z",
        "updatedAt": "2026-03-02T14:20:00.000Z",
    } | rest


_UNIFIED_IDS = (_IDS[0], _IDS[2])

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="threat",
        payload={"data": [_threat("not_mitigated", "unresolved", infected=True)]},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                level=Severity.HIGH,
                external_id="threat:777",
                title="Threat: invoice.exe",
                observed_at=_AT,
                facts={"infected": True, "active_threats": 1},
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="threat-mitigated",
        payload=_threat("mitigated", "unresolved", infected=False),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS,
                external_id="threat:777",
                resolves=True,
                facts={"infected": False, "active_threats": 0},
            ),
        ),
    ),
    Sample(
        name="an-analyst-cleans-no-device",
        payload=_threat("not_mitigated", "resolved", infected=True, confidenceLevel="suspicious"),
        options={"levels": {"suspicious": "low"}},
        expected=(Expected(type=SignalType.DETECTION, device_ids=_IDS, level=Severity.LOW),),
    ),
    Sample(
        name="mitigated-but-still-infected",
        payload=_threat("mitigated", "resolved", infected=True),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                level=Severity.HIGH,
                expires_at=datetime(2026, 3, 3, 14, 15, 14, 682514, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="activity-new-threat",
        payload=_activity(4003, confidenceLevel="suspicious"),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS[1:],
                level=Severity.MEDIUM,
                external_id="threat:777",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="activity-quarantined",
        payload=_activity(2004),
        expected=(
            Expected(
                type=SignalType.REMEDIATION, device_ids=_IDS[1:], external_id="threat:777", resolves=True
            ),
        ),
    ),
    Sample(
        name="activity-threat-is-mitigated",
        payload=_activity(4008, originalStatus="Not mitigated", newStatus="Mitigated"),
        expected=(
            Expected(
                type=SignalType.REMEDIATION, device_ids=_IDS[1:], external_id="threat:777", resolves=True
            ),
        ),
    ),
    Sample(
        name="activity-threat-is-no-longer-mitigated",
        payload=_activity(4008, originalStatus="Mitigated", newStatus="Not mitigated"),
        ignored=1,
    ),
    Sample(
        name="activity-alert-of-a-custom-rule",
        payload=_activity(
            3608,
            alertid=1290568698312097725,
            severity="E_CRITICAL",
            rulename="PowerShell policy changed",
            origagentuuid="0f0f0f0f0f0f4a14",
            origagentname="lt-14",
            computerName=None,
        )
        | {"threatId": None},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                level=Severity.CRITICAL,
                external_id="alert:1290568698312097725",
                title="Rule: PowerShell policy changed",
                expires_at=datetime(2026, 3, 9, 14, 15, 14, 682514, tzinfo=UTC),
            ),
        ),
    ),
    *(
        Sample(
            name=f"alert-{status.lower()}",
            payload={
                "alertInfo": {
                    "alertId": "1290568698312097725",
                    "incidentStatus": status,
                    "source": "STAR",
                    "createdAt": "2026-03-02T14:00:00Z",
                    "updatedAt": "2026-03-02T14:15:14.682514Z",
                },
                "agentDetectionInfo": {"uuid": "0f0f0f0f0f0f4a14", "name": "lt-14", "osFamily": "windows"},
                "agentRealtimeInfo": {"id": "140014", "uuid": "0f0f0f0f0f0f4a14", "infected": False},
                "ruleInfo": {"id": "1", "name": "PowerShell policy changed", "severity": "Medium"},
            },
            expected=(
                Expected(
                    type=kind,
                    device_ids=_IDS,
                    level=level,
                    external_id="alert:1290568698312097725",
                    observed_at=_AT,
                    resolves=level is None,
                ),
            ),
        )
        for status, kind, level in (
            ("Unresolved", SignalType.DETECTION, Severity.MEDIUM),
            ("Resolved", SignalType.REMEDIATION, None),
        )
    ),
    Sample(name="activity-of-a-person", payload=_activity(27), ignored=1),
    Sample(
        name="agent-healthy",
        payload={"data": [_agent()], "pagination": {"totalItems": 1, "nextCursor": None}},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_ALL_IDS,
                external_id="agent",
                observed_at=_AT,
                facts=_GOOD,
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_ALL_IDS,
                level=Severity.NONE,
                external_id="agent-health",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="agent-infected-and-isolated",
        payload=_agent(
            infected=True,
            activeThreats=2,
            networkStatus="disconnected",
            firewallEnabled=False,
            encryptedApplications=False,
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_ALL_IDS,
                facts=_GOOD
                | {
                    "infected": True,
                    "active_threats": 2,
                    "isolated": True,
                    "firewall_enabled": False,
                    "disk_encrypted": False,
                },
            ),
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_ALL_IDS,
                level=Severity.HIGH,
                external_id="agent-health",
                title="SentinelOne has active threats on this device",
            ),
        ),
    ),
    Sample(
        name="agent-of-a-mac-that-is-gone",
        payload=_agent(
            infected=None,
            activeThreats=None,
            serialNumber=None,
            osType="macos",
            osRevision="14.4.1 (23E224)",
            operationalState="fully_disabled",
            isUninstalled=True,
            isActive=False,
            missingPermissions=["user_action_needed_fda"],
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                facts={
                    "edr_running": False,
                    "edr_onboarded": False,
                    "edr_mode": "protect",
                    "edr_up_to_date": True,
                    "sensor_degraded": True,
                    "isolated": False,
                    "firewall_enabled": True,
                    "disk_encrypted": True,
                    "platform": "macos",
                    "os_version": "14.4.1",
                    "reporting": False,
                },
            ),
        ),
    ),
    Sample(name="no-threat", payload={"id": "1"}, rejected=("not-a-threat",)),
    Sample(
        name="unified-alert",
        payload=_unified("UNMITIGATED", "NEW"),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_UNIFIED_IDS,
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.MEDIUM,
                external_id="alert:u-14",
                title="invoice.exe detected as Malware",
                observed_at=datetime(2026, 3, 2, 14, 20, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="unified-alert-resolved-and-still-there",
        payload=_unified("UNMITIGATED", "RESOLVED"),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_UNIFIED_IDS,
                level=Severity.MEDIUM,
                external_id="alert:u-14",
                expires_at=datetime(2026, 3, 3, 14, 20, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="unified-alert-mitigated",
        payload=_unified("MITIGATED", "RESOLVED"),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_UNIFIED_IDS,
                external_id="alert:u-14",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="unified-alerts-as-the-query-returns-them",
        payload={
            "data": {
                "alerts": {
                    "edges": [
                        {"node": _unified("UNMITIGATED", "NEW", severity="HIGH")},
                        {
                            "node": _unified(
                                None, "NEW", assets=None, asset={"category": "Identity", "name": "robin"}
                            )
                            | {"detectionTime": None}
                        },
                    ]
                }
            }
        },
        expected=(Expected(type=SignalType.DETECTION, device_ids=_UNIFIED_IDS, level=Severity.HIGH),),
        rejected=("no-subject",),
    ),
    Sample(
        name="telemetry-of-cloud-funnel",
        payload={
            "timestamp": "2026-03-02T14:15:14.682Z",
            "event.category": "process",
            "event.type": "Process Creation",
            "agent.uuid": "0f0f0f0f0f0f4a14",
            "endpoint.name": "lt-14",
        },
        ignored=1,
    ),
)
