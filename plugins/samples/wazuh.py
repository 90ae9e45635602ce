"""Samples of `wazuh`. Source of the field sets: Wazuh documentation (alerts.json, SCA, vulnerabilities)."""

from datetime import UTC, datetime
from typing import Any

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType


def _alert(rule: dict[str, Any], data: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
    return {
        "timestamp": "2026-03-02T14:05:09.417+0530",
        "rule": rule,
        "agent": {"id": "023", "name": "LT-SALES-7", "ip": "10.8.0.23"},
        "manager": {"name": "wazuh-eu-1"},
        "id": "1772440509.88410",
        "data": data or {},
        "location": "syscheck",
    } | rest


_AT = datetime(2026, 3, 2, 8, 35, 9, 417000, tzinfo=UTC)
_DEVICE = (Identifier("sensor-device-id", "023", "sample"), Identifier("hostname", "LT-SALES-7"))


def _check(result: str, previous: str) -> dict[str, Any]:
    return {
        "sca": {
            "type": "check",
            "scan_id": "41",
            "policy": "CIS Ubuntu Linux 24.04 LTS Benchmark v1.0.0",
            "check": {
                "id": "35613",
                "title": "Ensure a host based firewall is running.",
                "description": "A firewall decides which traffic may enter and leave the host.",
                "rationale": "Without it every listening service can be reached from the network.",
                "remediation": "Run: ufw enable",
                "result": result,
                "previous_result": previous,
            },
        }
    }


def _vulnerability(**rest: Any) -> dict[str, Any]:
    return {
        "vulnerability": {
            "cve": "CVE-2025-0001",
            "package": {"name": "libexample1", "version": "1.4-2", "architecture": "amd64"},
            "type": "PACKAGE",
        }
        | rest
    }


_FIM = _alert(
    {"level": 7, "description": "Integrity checksum changed.", "id": "550", "groups": ["ossec", "syscheck"]},
    syscheck={"path": "/etc/sudoers", "event": "modified"},
    full_log="File '/etc/sudoers' modified",
)
_SCA = "sca:023:CIS Ubuntu Linux 24.04 LTS Benchmark v1.0.0:35613"
_CVE = "vulnerability:023:CVE-2025-0001:libexample1"

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="sca-failed",
        payload=_alert(
            {"level": 9, "description": "status changed", "id": "19011"}, _check("failed", "passed")
        ),
        options={"facts": {"35613": "firewall_enabled"}},
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_DEVICE,
                level=Severity.MEDIUM,
                external_id=_SCA,
                title="Ensure a host based firewall is running.",
                observed_at=_AT,
                facts={"state": "fail", "firewall_enabled": False},
                actions=("Run: ufw enable",),
            ),
        ),
    ),
    Sample(
        name="sca-passed",
        payload=_alert(
            {"level": 3, "description": "status changed", "id": "19010"}, _check("passed", "failed")
        ),
        options={"facts": {"35613": "firewall_enabled"}},
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_DEVICE,
                external_id=_SCA,
                resolves=True,
                facts={"state": "pass", "firewall_enabled": True},
            ),
        ),
    ),
    Sample(
        name="sca-not-applicable",
        payload=_alert({"level": 5, "description": "?", "id": "19012"}, _check("not applicable", "failed")),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_DEVICE,
                external_id=_SCA,
                facts={"state": "not applicable"},
            ),
        ),
    ),
    Sample(
        name="sca-summary",
        payload=_alert(
            {"level": 5, "description": "SCA summary", "id": "19004"},
            {"sca": {"type": "summary", "policy": "CIS", "passed": "120", "failed": "80", "score": "60"}},
        ),
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_DEVICE, facts={"sca_score": 60}),),
    ),
    Sample(
        name="vulnerability-active",
        payload=_alert(
            {"level": 13, "description": "CVE-2025-0001 affects libexample1", "id": "23506"},
            _vulnerability(severity="Critical", status="Active", rationale="A parser reads past its buffer."),
        ),
        expected=(
            Expected(
                type=SignalType.EXPOSURE,
                device_ids=_DEVICE,
                level=Severity.CRITICAL,
                external_id=_CVE,
                title="CVE-2025-0001 in libexample1 1.4-2",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="vulnerability-without-a-word",
        payload=_alert(
            {"level": 10, "description": "CVE-2025-0001 affects libexample1", "id": "23505"},
            _vulnerability(severity="-", status="Active"),
        ),
        expected=(Expected(type=SignalType.EXPOSURE, device_ids=_DEVICE, level=Severity.HIGH),),
    ),
    Sample(
        name="vulnerability-solved",
        payload=_alert(
            {"level": 3, "description": "CVE-2025-0001 was solved", "id": "23502"},
            _vulnerability(status="Solved"),
        ),
        expected=(
            Expected(type=SignalType.REMEDIATION, device_ids=_DEVICE, external_id=_CVE, resolves=True),
        ),
    ),
    Sample(
        name="file-integrity",
        payload=_FIM,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.MEDIUM,
                external_id="alert:1772440509.88410",
                title="Integrity checksum changed.",
                expires_at=datetime(2026, 3, 3, 8, 35, 9, 417000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="shuffle-envelope-of-the-manager",
        payload={
            "severity": 2,
            "pretext": "WAZUH Alert",
            "title": "Integrity checksum changed.",
            "id": "1772440509.88410",
            "all_fields": _FIM | {"agent": {"id": "000", "name": "wazuh-eu-1"}},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", "wazuh-eu-1"),),
                level=Severity.MEDIUM,
            ),
        ),
    ),
    Sample(
        name="agent-stopped",
        payload=_alert({"level": 3, "description": "Wazuh agent stopped.", "id": "506"}),
        expected=(Expected(type=SignalType.POSTURE_FACT, device_ids=_DEVICE, facts={"reporting": False}),),
    ),
    Sample(
        name="ignored-rule",
        payload=_alert({"level": 3, "description": "sudo", "id": "5402"}),
        options={"ignore_rules": ["5402"]},
        ignored=1,
    ),
    Sample(name="not-an-alert", payload={"hello": "world"}, rejected=("not-an-alert",)),
    Sample(name="no-agent", payload=_FIM | {"agent": None}, rejected=("no-device",)),
    Sample(name="bad-time", payload=_FIM | {"timestamp": "yesterday"}, rejected=("time-unreadable",)),
    Sample(
        name="document-of-the-indexer",
        payload={
            "_index": "wazuh-alerts-4.x-2026.03.02",
            "_id": "doc-7",
            "_source": {
                "@timestamp": "2026-03-02T08:35:09.417Z",
                "rule": {"id": "550", "level": 7, "description": "Integrity checksum changed."},
                "agent": {"id": "023", "name": "LT-SALES-7"},
            },
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.MEDIUM,
                external_id="alert:doc-7",
                title="Integrity checksum changed.",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="finding-of-wazuh-5",
        payload={
            "@timestamp": "2026-03-02T08:35:09.417Z",
            "wazuh": {
                "agent": {"id": "023", "name": "LT-SALES-7", "host": {"hostname": "lt-sales-7"}},
                "rule": {
                    "id": "7b0f6e0e-0000-4000-8000-000000000023",
                    "level": "high",
                    "title": "A service was installed",
                    "tags": ["attack.persistence"],
                },
                "event": {"id": "f-23"},
            },
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.HIGH,
                external_id="alert:f-23",
                title="A service was installed",
                observed_at=_AT,
            ),
        ),
    ),
    Sample(
        name="agent-with-a-name-that-names-nothing",
        payload=_alert({"id": "550", "level": 7}, agent={"id": "000", "name": "localhost"}),
        rejected=("no-device",),
    ),
)
