"""Samples of `crowdstrike`. Source of the field sets: gofalcon API models, Falcon documentation."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AID = "a1a2a3a4a5a6a7a8a9a0b1b2b3b4b5b6"
_COMPOSITE = f"c0ffee:ind:{_AID}:1-2-3"
_SERIAL = Identifier("serial", "SN-14")
_AGENT = Identifier("sensor-device-id", _AID, "sample")
_HOST = Identifier("hostname", "LT-14")
_FUSION: dict[str, object] = {
    "source": "crowdstrike-fusion",
    "workflow_execution_id": "w1",
    "composite_id": _COMPOSITE,
    "title": "Credential dumping",
    "description": "A process read the memory of LSASS.",
    "severity": "High",
    "status": "new",
    "tactic": "Credential Access",
    "device_id": _AID,
    "host": "LT-14",
    "serial_number": "SN-14",
    "user": "robin",
    "timestamp": "2026-03-02T07:12:09Z",
}
_ALERT: dict[str, object] = {
    "composite_id": _COMPOSITE,
    "agent_id": _AID,
    "device": {"device_id": _AID, "hostname": "LT-14", "local_ip": "172.17.0.1"},
    "display_name": "Adware",
    "severity": 30,
    "status": "in_progress",
    "pattern_disposition_description": "The process was blocked.",
    "timestamp": "2026-03-02T06:00:00Z",
    "updated_timestamp": "2026-03-02T07:12:09.985007341Z",
    "user_name": "robin",
    "user_principal": "robin@example.com",
}


def _event(kind: str, **event: object) -> dict[str, object]:
    return {
        "metadata": {"eventType": kind, "eventCreationTime": 1772442930250, "offset": 7},
        "event": {"AgentId": _AID, "Hostname": "LT-14", "Name": "Known malware", "UserName": "root"} | event,
    }


_OTHER = "b1b2b3b4b5b6b7b8b9b0a1a2a3a4a5a6"
_INCIDENT_ID = f"inc:{_AID}:0123456789abcdef0123456789abcdef"
_LINK = f"https://falcon.example.com/crowdscore/incidents/details/{_INCIDENT_ID}?_cid=c1"
_STREAMED_AT = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC)


def _streamed(kind: str, **event: object) -> dict[str, object]:
    return {
        "metadata": {"eventType": kind, "eventCreationTime": 1772442930250, "offset": 8, "version": "1.0"},
        "event": event,
    }


def _incident(state: str, **more: object) -> dict[str, object]:
    start = {"IncidentStartTime": 1772442000, "IncidentEndTime": 1772442900, "IncidentType": 1}
    event = {**start, "State": state, "FineScore": 6.5, "LateralMovement": 0, "FalconHostLink": _LINK, **more}
    return _streamed("IncidentSummaryEvent", **event)


def _changed(
    state: str, detection: str = _COMPOSITE, operation: str = "detection_update"
) -> dict[str, object]:
    told = {"detection_id": detection, "new_state": state, "assigned_to": "Sam"}
    return _streamed(
        "UserActivityAuditEvent",
        UserId="sam@example.com",
        OperationName=operation,
        ServiceName="detections",
        AuditKeyValues=[{"Key": key, "ValueString": value} for key, value in told.items()],
        UTCTimestamp=1772442930,
    )


_ASSESSMENT = {
    "aid": _AID,
    "system_serial_number": "SN-14",
    "modified_time": "2026-03-02T06:10:05Z",
    "assessment": {"overall": 52, "os": 45, "sensor_config": 60},
    "assessment_items": {
        "os_signals": [
            {
                "signal_id": "os_1",
                "signal_name": "Disk encryption (BitLocker)",
                "criteria": "Enabled",
                "meets_criteria": "no",
            },
            {"signal_id": "os_2", "signal_name": "Firewall", "criteria": "Enabled", "meets_criteria": "yes"},
            {"signal_id": "os_9", "signal_name": "Of our own", "criteria": "x", "meets_criteria": "yes"},
            {"signal_id": "os_8", "signal_name": "Secure boot", "meets_criteria": "unknown"},
        ],
        "sensor_signals": [],
    },
}

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="fusion-new",
        payload=_FUSION,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_SERIAL, _AGENT, _HOST),
                level=Severity.HIGH,
                external_id=f"alert:{_COMPOSITE}",
                title="Credential dumping",
                observed_at=datetime(2026, 3, 2, 7, 12, 9, tzinfo=UTC),
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="fusion-closed",
        payload=_FUSION
        | {"status": "closed", "timestamp": "2026-03-02T11:40:51Z", "workflow_execution_id": "w2"},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_SERIAL, _AGENT, _HOST),
                external_id=f"alert:{_COMPOSITE}",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="alerts-of-the-api",
        payload={"resources": [_ALERT, {"composite_id": "x", "device": {}}], "errors": []},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT, _HOST),
                level=Severity.LOW,
                title="Adware",
                observed_at=datetime(2026, 3, 2, 7, 12, 9, 985007, tzinfo=UTC),
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
        rejected=("no-device",),
    ),
    Sample(
        name="event-stream",
        payload=_event("EppDetectionSummaryEvent", CompositeId=_COMPOSITE, Severity=70, SeverityName="High"),
        options={"levels": {"high": "critical"}, "ttl": "1d"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT, _HOST),
                level=Severity.CRITICAL,
                external_id=f"alert:{_COMPOSITE}",
                title="Known malware",
                observed_at=datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC),
                expires_at=datetime(2026, 3, 3, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="event-stream-with-a-severity-of-1-to-5",
        payload=_event("DetectionSummaryEvent", DetectId="ldt:1", Severity=4),
        expected=(Expected(type=SignalType.DETECTION, device_ids=(_AGENT, _HOST), level=Severity.HIGH),),
    ),
    Sample(
        name="detection-closed-by-a-person",
        payload=_changed("closed"),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_AGENT,),
                external_id=f"alert:{_COMPOSITE}",
                observed_at=_STREAMED_AT,
                resolves=True,
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="detection-of-the-older-form-that-was-a-false-positive",
        payload=_changed("false_positive", f"ldt:{_AID}:4297183213"),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_AGENT,),
                external_id=f"alert:ldt:{_AID}:4297183213",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="detection-opened-again",
        payload=_changed("reopened"),
        options={"ttl": "1d"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT,),
                level=Severity.UNKNOWN,
                external_id=f"alert:{_COMPOSITE}",
                title="Falcon detection, reopened",
                expires_at=datetime(2026, 3, 3, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(name="detection-that-somebody-works-on", payload=_changed("in_progress"), ignored=1),
    Sample(
        name="activity-that-changes-no-detection",
        payload=_changed("closed", operation="quarantined_file_update"),
        ignored=1,
    ),
    Sample(
        name="detection-closed-that-names-no-host",
        payload=_changed("closed", "somewhere"),
        rejected=("condition-missing",),
    ),
    Sample(
        name="incident-with-lateral-movement",
        payload=_incident(
            "open", IncidentID=_INCIDENT_ID, HostID=_AID, LMHostIDs=[_OTHER], LateralMovement=1
        ),
        expected=tuple(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("sensor-device-id", host, "sample"),),
                level=Severity.HIGH,
                external_id=f"incident:{_INCIDENT_ID}",
                title="Falcon incident",
                observed_at=_STREAMED_AT,
            )
            for host in (_AID, _OTHER)
        ),
    ),
    Sample(
        name="incident-whose-host-is-in-its-id",
        payload=_incident("open", FineScore=0.5),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT,),
                level=Severity.INFORMATIONAL,
                external_id=f"incident:{_INCIDENT_ID}",
            ),
        ),
    ),
    Sample(
        name="incident-closed",
        payload=_incident("closed", HostID=_AID),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_AGENT,),
                external_id=f"incident:{_INCIDENT_ID}",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="automated-lead",
        payload=_streamed(
            "AutomatedLeadSummaryEvent",
            LeadId="lead1",
            Name="lt-14 at 2026-03-02T09:15:00Z",
            Score=64,
            CompositeId=f"c0ffee:automated-lead:c0ffee:{'d' * 8}",
            ThreatgraphIndicators=[
                {
                    "IndicatorId": f"ind:{_AID}:1-2-3",
                    "HostId": _AID,
                    "Hostname": "LT-14",
                    "DisplayName": "Recon",
                },
                {
                    "IndicatorId": f"ind:{_AID}:1-2-4",
                    "HostId": _AID,
                    "Hostname": "LT-14",
                    "DisplayName": "Dump",
                },
            ],
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT, _HOST),
                level=Severity.HIGH,
                external_id="alert:c0ffee:automated-lead:c0ffee:dddddddd",
                title="lt-14 at 2026-03-02T09:15:00Z",
            ),
        ),
    ),
    Sample(
        name="incident-of-an-identity",
        payload=_streamed(
            "IdentityProtectionEvent",
            IncidentType="UNUSUAL_ENDPOINT_USE",
            IncidentDescription="Somebody came from an unusual place.",
            Severity=1,
            SeverityName="INFO",
            IdentityProtectionIncidentId="INC-14",
            UserName="robin",
            EndpointName="LT-14",
            State="NEW",
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_HOST,),
                level=Severity.INFORMATIONAL,
                external_id="identity:INC-14",
                title="UNUSUAL_ENDPOINT_USE",
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="detection-over-several-products",
        payload=_streamed(
            "XdrDetectionSummaryEvent",
            DetectId="c0ffee:ind:c0ffee:xdr|1",
            Name="Brute force",
            Severity=90,
            HostNames="LT-14, LT-15",
            Tactics="Initial Access,Execution",
        ),
        expected=tuple(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", name),),
                level=Severity.CRITICAL,
                title="Brute force",
            )
            for name in ("LT-14", "LT-15")
        ),
    ),
    Sample(
        name="detection-of-an-identity",
        payload=_streamed(
            "IdpDetectionSummaryEvent",
            DetectId="c0ffee:ind:c0ffee:idp1",
            DetectName="Unusual sign-in",
            Severity=45,
            SourceAccountUpn="robin@example.com",
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.MEDIUM,
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="detection-over-several-products-on-one-host",
        payload=_streamed(
            "XdrDetectionSummaryEvent",
            CompositeId="c0ffee:xdr|2",
            Severity=16,
            SensorIds=_AID,
            HostNames="LT-14",
        ),
        expected=(
            Expected(type=SignalType.DETECTION, device_ids=(_AGENT, _HOST), level=Severity.INFORMATIONAL),
        ),
    ),
    Sample(
        name="detection-without-an-id",
        payload=_streamed(
            "DetectionSummaryEvent",
            ComputerName="LT-14",
            UserName="Administrator",
            DetectName="Overwatch Detection",
            Severity=5,
            SeverityName="Critical",
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_HOST,),
                level=Severity.CRITICAL,
                external_id="alert:offset-8",
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="incident-of-an-account-of-a-domain",
        payload=_streamed(
            "IdentityProtectionEvent",
            IncidentType="Use of stale user account",
            SeverityName="MEDIUM",
            IdentityProtectionIncidentId="i-2",
            UserName="EXAMPLE.COM\\ROBIN",
            EndpointName="",
            State="RESOLVED",
        ),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                external_id="identity:i-2",
                resolves=True,
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="detection-that-names-nobody",
        payload=_streamed("OverwatchGenericDetectionSummaryEvent", CompositeId="c0ffee:lead:1", Severity=70),
        rejected=("no-device",),
    ),
    Sample(name="other-event", payload=_event("AuthActivityAuditEvent"), ignored=1),
    Sample(
        name="zero-trust-assessment",
        payload={"resources": [_ASSESSMENT]},
        options={"facts": {"os_9": "screen_lock"}},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_SERIAL, _AGENT),
                facts={
                    "score": 52,
                    "score_higher_is_better": True,
                    "disk_encrypted": False,
                    "firewall_enabled": True,
                    "screen_lock": True,
                },
            ),
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=(_SERIAL, _AGENT),
                level=Severity.MEDIUM,
                external_id=f"zta-score:{_AID}",
                actions=("Disk encryption (BitLocker): Enabled",),
            ),
        ),
    ),
    Sample(
        name="the-best-assessment",
        payload=_ASSESSMENT | {"assessment": {"overall": 100}, "assessment_items": {}},
        expected=(
            Expected(type=SignalType.POSTURE_FACT, device_ids=(_SERIAL, _AGENT)),
            Expected(
                type=SignalType.RISK_LEVEL, device_ids=(_SERIAL, _AGENT), level=Severity.NONE, resolves=True
            ),
        ),
    ),
    Sample(
        name="identity-alert",
        payload={
            "composite_id": "cid:idp:1",
            "product": "idp",
            "severity": 50,
            "status": "new",
            "display_name": "Unusual sign-in",
            "source_account_upn": "robin@example.com",
            "timestamp": "2026-03-02T10:00:00Z",
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.MEDIUM,
                external_id="alert:cid:idp:1",
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(name="no-alert", payload={"title": "x"}, rejected=("not-an-alert",)),
    Sample(
        name="lead-of-the-api-on-two-hosts",
        payload={
            "resources": [
                {
                    "composite_id": "c0ffee:automated-lead:c0ffee:5",
                    "type": "automated-lead",
                    "product": "automated-lead",
                    "display_name": "LT-14 at 09:15",
                    "score": 64,
                    "status": "new",
                    "is_closed": False,
                    "device": {"device_id": _AID},
                    "threatgraph_indicators": [
                        {"host_id": _AID, "hostname": "LT-14"},
                        {"host_id": "b1" * 16, "hostname": "LT-15"},
                    ],
                    "updated_timestamp": "2026-03-02T09:15:30.250000000Z",
                },
                {
                    "composite_id": f"c0ffee:ind:{_AID}:9",
                    "product": "automated-lead-context",
                    "status": "new",
                },
            ]
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT, _HOST),
                level=Severity.HIGH,
                external_id="alert:c0ffee:automated-lead:c0ffee:5",
            ),
            Expected(
                type=SignalType.DETECTION,
                device_ids=(
                    Identifier("sensor-device-id", "b1" * 16, "sample"),
                    Identifier("hostname", "LT-15"),
                ),
                level=Severity.HIGH,
                external_id="alert:c0ffee:automated-lead:c0ffee:5",
            ),
        ),
        ignored=1,
    ),
    Sample(
        name="lead-of-the-api-closed",
        payload={
            "composite_id": "c0ffee:automated-lead:c0ffee:5",
            "type": "automated-lead",
            "score": 64,
            "status": "new",
            "is_closed": True,
            "device": {"device_id": _AID},
            "updated_timestamp": "2026-03-02T09:45:30Z",
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(_AGENT,),
                external_id="alert:c0ffee:automated-lead:c0ffee:5",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="rule-over-logs-of-another-product",
        payload={
            "composite_id": "c0ffee:ngsiem:c0ffee:6",
            "product": "ngsiem",
            "severity": 50,
            "severity_name": "Medium",
            "status": "new",
            "host_names": ["lt-14.corp.example"],
            "source_hosts": ["far.example"],
            "timestamp": "2026-03-02T09:15:30Z",
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", "lt-14.corp.example"),),
                level=Severity.MEDIUM,
            ),
        ),
    ),
    Sample(
        name="rule-over-logs-that-name-only-the-far-end",
        payload={
            "composite_id": "c0ffee:ngsiem:c0ffee:7",
            "product": "ngsiem",
            "severity": 30,
            "status": "new",
            "source_hosts": ["far.example"],
            "source_ips": ["198.51.100.10"],
        },
        rejected=("no-subject",),
    ),
    Sample(
        name="record-of-the-data-replicator",
        payload={
            "EventType": "Event_ExternalApiEvent",
            "ExternalApiType": "Event_EppDetectionSummaryEvent",
            "AgentIdString": _AID,
            "SensorId": _AID,
            "Hostname": "LT-14",
            "CompositeId": _COMPOSITE,
            "Name": "NGAV",
            "Severity": 2,
            "SeverityName": "Low",
            "UTCTimestamp": "2026-03-02 09:15:30Z",
            "ProcessStartTime": "2026-03-02 09:15:29Z",
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(_AGENT, _HOST),
                level=Severity.LOW,
                external_id=f"alert:{_COMPOSITE}",
                observed_at=datetime(2026, 3, 2, 9, 15, 30, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="alert-of-a-cloud-account",
        payload={
            "composite_id": "c0ffee:fcs:ioa-211:8",
            "product": "fcs",
            "severity_name": "Low",
            "status": "new",
            "cloud_account_id": "111122223333",
        },
        rejected=("no-subject",),
    ),
    Sample(
        name="hosts-of-the-api",
        payload={
            "resources": [
                {
                    "device_id": _AID,
                    "serial_number": "SN-14",
                    "hostname": "LT-14",
                    "platform_name": "Windows",
                    "os_version": "Windows 11",
                    "os_build": "26100",
                    "provision_status": "Provisioned",
                    "reduced_functionality_mode": "yes",
                    "status": "contained",
                    "last_seen": "2026-03-02T09:15:30Z",
                },
                {
                    "device_id": "b1" * 16,
                    "hostname": "Mac-15",
                    "platform_name": "Mac",
                    "os_version": "Sequoia (15.3)",
                    "os_build": "24D60",
                    "reduced_functionality_mode": "no",
                    "status": "normal",
                    "last_seen": "2026-03-02T09:15:30Z",
                },
            ]
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_SERIAL, _AGENT, _HOST),
                facts={
                    "edr_running": False,
                    "edr_onboarded": True,
                    "isolated": True,
                    "platform": "windows",
                    "os_build": 26100,
                },
                observed_at=datetime(2026, 3, 2, 9, 15, 30, tzinfo=UTC),
            ),
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(
                    Identifier("sensor-device-id", "b1" * 16, "sample"),
                    Identifier("hostname", "Mac-15"),
                ),
                facts={"edr_running": True, "isolated": False, "platform": "macos", "os_version": "15.3"},
            ),
        ),
    ),
    Sample(
        name="telemetry-of-the-data-replicator",
        payload={
            "event_simpleName": "ProcessRollup2",
            "aid": _AID,
            "cid": "c0ffee",
            "timestamp": "1772442930250",
        },
        ignored=1,
    ),
    Sample(
        name="assessment-of-the-data-replicator",
        payload={
            "aid": _AID,
            "cid": "c0ffee",
            "event_platform": "Win",
            "event_type": "ZeroTrustHostAssessment",
            "scores": {
                "os": 34,
                "sensor": 47,
                "overall": 41,
                "modified_time": "2026-03-02T09:15:30.489579379Z",
            },
            "assessments": {
                "secure_boot_enabled": "no",
                "in_full_functionality": "yes",
                "credential_guard_running": "no",
            },
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(_AGENT,),
                facts={
                    "score": 41,
                    "score_higher_is_better": True,
                    "secure_boot": False,
                    "edr_running": True,
                },
                observed_at=datetime(2026, 3, 2, 9, 15, 30, 489579, tzinfo=UTC),
            ),
            Expected(type=SignalType.RISK_LEVEL, device_ids=(_AGENT,), level=Severity.MEDIUM),
        ),
    ),
)
