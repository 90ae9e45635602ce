"""Samples of `ocsf`. Source of the field sets: OCSF schema 1.6.0, classes 2002 to 2006, 5001, 5002 and 5019."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AT = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC)
_TIME = 1772442930250
_DEVICE = {
    "uid": "ag-14",
    "uid_alt": "1f0d2f5a-0000-4000-8000-00000000e014",
    "hostname": "lt-14",
    "hw_info": {"serial_number": "SN-14"},
    "os": {"name": "macOS", "version": "15.3"},
    "is_managed": True,
    "is_compliant": False,
}
_IDS = (
    Identifier("serial", "SN-14"),
    Identifier("sensor-device-id", "ag-14", "sample"),
    Identifier("hostname", "lt-14"),
)
_ROBIN = (Identifier("upn", "robin@example.com"),)


def _event(class_uid: int, **rest: object) -> dict[str, object]:
    return {
        "class_uid": class_uid,
        "activity_id": 1,
        "status_id": 1,
        "severity_id": 4,
        "time": _TIME,
        "metadata": {"version": "1.6.0", "uid": "m-1", "product": {"name": "Acme"}},
        "device": _DEVICE,
    } | rest


_DETECTION = _event(
    2004,
    finding_info={"uid": "f-1", "title": "Credential dumping", "desc": "A tool read credentials."},
    actor={"user": {"name": "robin", "email_addr": "robin@example.com"}},
    remediation={"desc": "Isolate the device.", "references": ["https://kb.example/1"]},
)
_COMPLIANCE = _event(
    2003,
    severity_id=3,
    finding_info={"uid": "c-1", "title": "Disk encryption is off"},
    compliance={
        "control": "4.1",
        "status_id": 3,
        "assessments": [
            {"uid": "disk_encryption", "name": "Disk encryption", "meets_criteria": False},
            {"uid": "x9", "name": "Something else", "meets_criteria": True},
        ],
    },
)

_INCIDENT = _event(
    2005,
    severity_id=5,
    priority_id=3,
    verdict_id=2,
    src_url="https://xdr.example/incidents/14",
    assignee_group={"name": "soc"},
    finding_info_list=[
        {"uid": "f-1", "title": "Credential dumping"},
        {"uid": "f-2", "title": "Lateral movement"},
    ],
)

_CLOUD = _event(
    2002,
    device=None,
    finding_info={"uid": "v-1", "title": "CVE-2025-0002 in libexample"},
    vulnerabilities=[{"cve": {"uid": "CVE-2025-0002"}}],
    resources=[
        {"type": "AwsS3Bucket", "uid": "arn:aws:s3:::example-logs"},
        {"type": "AwsEc2Instance", "uid": "i-0a1b2c3d", "owner": {"email_addr": "robin@example.com"}},
    ],
)

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="detection",
        payload=_DETECTION,
        options={"uid_alt_kind": "entra-device-id"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(
                    _IDS[0],
                    Identifier("entra-device-id", "1f0d2f5a-0000-4000-8000-00000000e014"),
                    *_IDS[1:],
                ),
                level=Severity.HIGH,
                external_id="finding:f-1",
                title="Credential dumping",
                observed_at=_AT,
                actions=("Isolate the device.", "https://kb.example/1"),
                user_ids=_ROBIN,
            ),
        ),
    ),
    Sample(
        name="detection-closed",
        payload=_DETECTION | {"activity_id": 3, "status_id": 4},
        expected=(
            Expected(type=SignalType.REMEDIATION, device_ids=_IDS, external_id="finding:f-1", resolves=True),
        ),
    ),
    Sample(
        name="detection-suppressed-is-not-fixed",
        payload=_DETECTION | {"activity_id": 3, "status_id": 3, "severity_id": 99},
        options={"ttl": "1d"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                level=Severity.UNKNOWN,
                expires_at=datetime(2026, 3, 3, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="detection-on-two-resources",
        payload=_DETECTION
        | {
            "device": None,
            "resources": [
                {"type": "device", "uid": "ag-1", "name": "lt-1"},
                {"type": "bucket", "name": "b"},
                {"type": "Host", "name": "lt-2"},
            ],
        },
        options={"levels": {"4": "critical"}},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(
                    Identifier("sensor-device-id", "ag-1", "sample"),
                    Identifier("hostname", "lt-1"),
                ),
                level=Severity.CRITICAL,
            ),
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", "lt-2"),),
                level=Severity.CRITICAL,
            ),
        ),
    ),
    Sample(
        name="compliance-fails",
        payload=_COMPLIANCE,
        options={"facts": {"x9": "screen_lock"}},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                level=Severity.MEDIUM,
                external_id="finding:c-1",
                facts={"state": "fail", "disk_encrypted": False, "screen_lock": True},
            ),
        ),
    ),
    Sample(
        name="compliance-passes",
        payload=_COMPLIANCE | {"compliance": {"status_id": 1, "assessments": []}},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS,
                external_id="finding:c-1",
                resolves=True,
                facts={"state": "pass"},
            ),
        ),
    ),
    Sample(
        name="compliance-that-fails-by-a-word-alone",
        payload=_COMPLIANCE | {"compliance": {"control": "4.1", "status": "FAILED"}},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                level=Severity.MEDIUM,
                external_id="finding:c-1",
                facts={"state": "fail"},
            ),
        ),
    ),
    Sample(
        name="vulnerability-without-a-severity",
        payload=_event(
            2002,
            severity_id=0,
            finding_info={"title": "CVE-2025-0002 in libexample"},
            vulnerabilities=[
                {
                    "cve": {"uid": "CVE-2025-0002", "cvss": [{"base_score": 9.1}]},
                    "is_fix_available": True,
                    "remediation": {"desc": "Update to 2.1."},
                }
            ],
        ),
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=_IDS,
                level=Severity.CRITICAL,
                external_id="finding:CVE-2025-0002:SN-14",
                actions=("Update to 2.1.",),
            ),
        ),
    ),
    Sample(
        name="device-at-risk",
        payload=_event(
            5019,
            security_level_id=2,
            security_states=[{"state_id": 4, "state": "Protection off"}],
            message="Firewall turned off",
        ),
        expected=(
            Expected(
                type=SignalType.RISK_LEVEL,
                device_ids=_IDS,
                level=Severity.MEDIUM,
                title="Firewall turned off",
                facts={"protection": "off", "os_version": "15.3", "managed": True, "compliant": False},
            ),
        ),
    ),
    Sample(
        name="device-secure-again",
        payload=_event(5019, security_level_id=1, security_states=[]),
        expected=(Expected(type=SignalType.RISK_LEVEL, device_ids=_IDS, level=Severity.NONE, resolves=True),),
    ),
    Sample(
        name="data-security-finding",
        payload=_DETECTION | {"class_uid": 2006, "type_uid": 200601},
        expected=(Expected(type=SignalType.DETECTION, device_ids=_IDS, level=Severity.HIGH),),
    ),
    Sample(
        name="inventory",
        payload=_event(
            5001,
            device={
                "hw_info": {"serial_number": "SN-9"},
                "is_managed": True,
                "is_compliant": False,
                "os": {"version": "15.3", "type_id": 300},
            },
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=(Identifier("serial", "SN-9"),),
                facts={"managed": True, "compliant": False, "platform": "macos", "os_version": "15.3"},
            ),
        ),
    ),
    Sample(
        name="incident",
        payload=_INCIDENT,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS,
                level=Severity.CRITICAL,
                external_id="finding:https://xdr.example/incidents/14",
                title="Credential dumping, Lateral movement",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="incident-on-hold-is-not-over",
        payload=_INCIDENT | {"activity_id": 2, "status_id": 3, "message": "Two findings"},
        expected=(
            Expected(
                type=SignalType.DETECTION, device_ids=_IDS, level=Severity.CRITICAL, title="Two findings"
            ),
        ),
    ),
    Sample(
        name="incident-closed",
        payload=_INCIDENT | {"activity_id": 3, "status_id": 5},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS,
                external_id="finding:https://xdr.example/incidents/14",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="incident-that-names-its-device-by-observables",
        payload=_INCIDENT
        | {
            "device": None,
            "src_url": None,
            "observables": [
                {"name": "device.hostname", "type_id": 1, "value": "lt-14"},
                {"name": "device.uid", "type_id": 47, "value": "ag-14"},
                {"name": "src_endpoint.hostname", "type_id": 1, "value": "c2.example.net"},
            ],
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS[1:],
                level=Severity.CRITICAL,
                external_id="finding:f-1",
            ),
        ),
    ),
    Sample(
        name="detection-with-the-devices-in-its-evidences",
        payload=_DETECTION
        | {
            "device": None,
            "evidences": [{"device": _DEVICE}, {"device": {"hostname": "lt-15"}}, {"device": _DEVICE}],
        },
        expected=tuple(
            Expected(
                type=SignalType.DETECTION, device_ids=ids, level=Severity.HIGH, external_id="finding:f-1"
            )
            for ids in (_IDS, (Identifier("hostname", "lt-15"),))
        ),
    ),
    Sample(
        name="configuration-of-a-device",
        payload=_event(
            5002,
            severity_id=1,
            assessments=[
                {"name": "Firewall", "meets_criteria": True},
                {"name": "Screen Lock", "meets_criteria": False},
                {"name": "Something else", "meets_criteria": False},
            ],
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_IDS,
                external_id="device-config",
                facts={"firewall_enabled": True, "screen_lock": False},
            ),
        ),
    ),
    Sample(name="a-class-that-says-nothing-of-devices", payload=_event(3002), ignored=1),
    Sample(name="no-event", payload={"finding_info": {"uid": "f"}}, rejected=("not-an-event",)),
    Sample(name="no-device", payload=_DETECTION | {"device": {}, "actor": None}, rejected=("no-device",)),
    Sample(
        name="detection-on-an-account",
        payload=_DETECTION | {"device": {}, "resources": [{"type": "bucket", "uid": "b-1"}]},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(),
                user_ids=_ROBIN,
                level=Severity.HIGH,
                external_id="finding:f-1",
            ),
        ),
    ),
    Sample(name="finding-on-resources-of-a-cloud", payload=_CLOUD, rejected=("no-subject",)),
    Sample(
        name="finding-on-a-cloud-account",
        payload=_CLOUD | {"resources": [], "cloud": {"account": {"uid": "111122223333"}}},
        rejected=("no-subject",),
    ),
    Sample(
        name="finding-on-resources-that-are-devices",
        payload=_CLOUD,
        options={"resources": {"awsec2instance": "cloud-instance-id"}},
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=(Identifier("cloud-instance-id", "i-0a1b2c3d"),),
                level=Severity.HIGH,
                external_id="finding:v-1",
            ),
        ),
    ),
    Sample(
        name="finding-of-an-older-schema-on-one-resource",
        payload=_CLOUD | {"resources": None, "resource": {"type": "AwsEc2Instance", "uid": "i-0a1b2c3d"}},
        options={"resources": {"AwsEc2Instance": "cloud-instance-id"}},
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=(Identifier("cloud-instance-id", "i-0a1b2c3d"),),
                level=Severity.HIGH,
            ),
        ),
    ),
    Sample(
        name="finding-for-the-owner-of-a-resource",
        payload=_CLOUD,
        options={"owners": True},
        expected=(Expected(type=SignalType.EXPOSURE, device_ids=(), user_ids=_ROBIN, level=Severity.HIGH),),
    ),
    Sample(
        name="finding-of-falcosidekick",
        payload={
            "class_uid": 2001,
            "activity_id": 1,
            "severity_id": 3,
            "time": _TIME,
            "finding": {"uid": "f-20", "title": "Kernel module loaded"},
            "observables": [
                {"name": "hostname", "type": "Other", "type_id": 0, "value": "lt-14"},
                {"name": "user.name", "type": "Other", "type_id": 0, "value": "root"},
            ],
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS[2:],
                level=Severity.MEDIUM,
                external_id="finding:f-20",
                title="Kernel module loaded",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="check-of-a-scanner-that-passes",
        payload={
            "class_uid": 2004,
            "activity_id": 1,
            "status_id": 1,
            "status": "New",
            "status_code": "PASS",
            "severity_id": 4,
            "time": _TIME,
            "finding_info": {
                "uid": "scan-ec2-imdsv2-i-14",
                "title": "The instance metadata asks for a token",
            },
            "resources": [{"type": "AwsEc2Instance", "uid": "i-0a1b2c3d4e5f60718", "name": "build-07"}],
        },
        options={"resources": {"AwsEc2Instance": "cloud-instance-id"}},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(Identifier("cloud-instance-id", "i-0a1b2c3d4e5f60718"),),
                external_id="finding:scan-ec2-imdsv2-i-14",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="security-finding-with-a-severity-in-words",
        payload={
            "class_uid": 2001,
            "activity_id": 1,
            "status_id": 1,
            "state_id": 1,
            "severity": "High",
            "time": _TIME,
            "finding": {"uid": "f-21", "title": "A tool that dumps credentials"},
            "device": {"uid": "ag-14", "hostname": "lt-14"},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_IDS[1:],
                level=Severity.HIGH,
                external_id="finding:f-21",
            ),
        ),
    ),
    Sample(
        name="security-finding-resolved-by-its-state",
        payload={
            "class_uid": 2001,
            "activity_id": 2,
            "status_id": 1,
            "state_id": 4,
            "severity_id": 4,
            "time": _TIME,
            "finding": {"uid": "f-21", "title": "A tool that dumps credentials"},
            "device": {"uid": "ag-14", "hostname": "lt-14"},
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS[1:],
                external_id="finding:f-21",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="security-finding-of-a-check-that-passes",
        payload={
            "class_uid": 2001,
            "activity_id": 1,
            "state_id": 1,
            "severity_id": 1,
            "time": _TIME,
            "compliance": {"status": "PASSED"},
            "finding": {"uid": "f-22", "title": "The disk is encrypted"},
            "device": {"uid": "ag-14", "hostname": "lt-14"},
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_IDS[1:],
                external_id="finding:f-22",
                resolves=True,
            ),
        ),
    ),
)
