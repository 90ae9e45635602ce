"""Samples of `alertmanager`. Source of the field sets: Alertmanager "webhook_config", Grafana "Webhook notifier"."""

from datetime import UTC, datetime, timedelta

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_ZERO = "0001-01-01T00:00:00Z"
_STARTED = datetime(2026, 3, 2, 8, 0, 0, 500000, tzinfo=UTC)
_ENDED = datetime(2026, 3, 2, 8, 45, tzinfo=UTC)
_RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
"""When every sample is received."""


def _alert(number: int, status: str = "firing", **labels: object) -> dict[str, object]:
    return {
        "status": status,
        "labels": {"alertname": "FirewallOff", "severity": "warning", "hostname": f"lt-{number}"} | labels,
        "annotations": {"summary": f"The firewall of lt-{number} is off", "description": "For 10 minutes."},
        "startsAt": "2026-03-02T08:00:00.5Z",
        "endsAt": _ZERO if status == "firing" else "2026-03-02T08:45:00Z",
        "generatorURL": "https://prometheus.example/graph",
        "fingerprint": f"00000000000000{number}",
    }


def _group(*alerts: dict[str, object], **rest: object) -> dict[str, object]:
    return {
        "version": "4",
        "groupKey": '{}:{alertname="FirewallOff"}',
        "status": "firing",
        "receiver": "gate",
        "truncatedAlerts": 0,
        "commonAnnotations": {"runbook_url": "https://runbooks.example/firewall"},
        "alerts": list(alerts),
    } | rest


def _host(number: int) -> tuple[Identifier, ...]:
    return (Identifier("hostname", f"lt-{number}"),)


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="one-fires-and-one-is-over",
        payload=_group(_alert(11), _alert(12, "resolved", serial_number="SN-12")),
        options={"facts": {"FirewallOff": "firewall_enabled"}},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_host(11),
                level=Severity.MEDIUM,
                external_id="alert:0000000000000011",
                title="The firewall of lt-11 is off",
                observed_at=_STARTED,
                facts={"firewall_enabled": False},
                actions=("https://runbooks.example/firewall",),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(Identifier("serial", "SN-12"), *_host(12)),
                external_id="alert:0000000000000012",
                observed_at=_ENDED,
                resolves=True,
                facts={"firewall_enabled": True},
            ),
        ),
    ),
    Sample(
        name="labels-and-words-of-ones-own",
        payload=_group(_alert(11, severity="page", hostname="", instance="lt-11:9100")),
        options={"device": {"hostname": ["instance"]}, "levels": {"Page": "high"}, "ttl": "1d"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_host(11),
                level=Severity.HIGH,
                expires_at=_RECEIVED + timedelta(days=1),
            ),
        ),
    ),
    Sample(
        name="a-device-that-nobody-names-beside-one-that-is-named",
        payload=_group(_alert(11, hostname="localhost"), _alert(12, severity="purple")),
        expected=(Expected(type=SignalType.DETECTION, device_ids=_host(12), level=Severity.UNKNOWN),),
        rejected=("no-device",),
    ),
    Sample(
        name="dead-man-switch",
        payload=_group(_alert(11, alertname="Watchdog", severity="none"), status="firing"),
        ignored=1,
    ),
    Sample(
        name="grafana",
        payload=_group(
            _alert(11, severity="critical")
            | {"values": {"B": 22}, "valueString": "[ var='B' ]", "dashboardURL": "", "silenceURL": "x"},
            title="[FIRING:1]",
            state="alerting",
            orgId=1,
        ),
        expected=(Expected(type=SignalType.DETECTION, device_ids=_host(11), level=Severity.CRITICAL),),
    ),
    Sample(
        name="no-alert",
        payload=_group({"status": "pending", "labels": {"a": "b"}}),
        rejected=("not-an-alert",),
    ),
    Sample(
        name="unreadable-time",
        payload=_group(_alert(11) | {"startsAt": "yesterday"}),
        rejected=("time-unreadable",),
    ),
    Sample(
        name="alerts-of-the-api",
        payload={
            "fingerprint": "f14",
            "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
            "labels": {"alertname": "FirewallOff", "severity": "warning", "hostname": "lt-14"},
            "annotations": {"summary": "The firewall of lt-14 is off"},
            "startsAt": "2026-03-02T08:00:00.5Z",
            "endsAt": "2026-03-02T08:45:00Z",
            "updatedAt": "2026-03-02T08:41:00Z",
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", "lt-14"),),
                level=Severity.MEDIUM,
                external_id="alert:f14",
                observed_at=_STARTED,
                expires_at=_ENDED,
            ),
        ),
    ),
    Sample(
        name="test-of-a-contact-point",
        payload={
            "status": "firing",
            "state": "alerting",
            "orgId": 1,
            "alerts": [
                {
                    "status": "firing",
                    "labels": {"alertname": "TestAlert", "instance": "Grafana", "grafana_folder": "Test"},
                    "annotations": {"summary": "Notification test"},
                    "startsAt": "2026-03-02T08:00:00.5Z",
                    "endsAt": _ZERO,
                    "fingerprint": "57c6d9296de2ad39",
                }
            ],
        },
        options={"device": {"hostname": ["instance"]}},
        ignored=1,
    ),
    Sample(
        name="alerts-about-a-service-and-a-network-card",
        payload=_group(
            _alert(11, hostname="", service="payments", namespace="shop"),
            _alert(12, hostname="", device="eth0", instance="10.0.0.12:9100"),
        ),
        rejected=("no-subject", "no-subject"),
    ),
    Sample(
        name="probe-of-an-address-of-the-web",
        payload=_group(_alert(11, hostname="", instance="https://shop.example/health")),
        options={"device": {"hostname": ["instance"]}},
        rejected=("no-subject",),
    ),
    Sample(
        name="as-sent-to-the-api",
        payload={
            "alerts": [
                {
                    "labels": {"alertname": "FirewallOff", "severity": "warn", "hostname": "lt-14"},
                    "annotations": {"summary": "The firewall of lt-14 is off"},
                    "startsAt": "2026-03-02T08:00:00.5Z",
                    "endsAt": ends_at,
                }
                for ends_at in ("2099-03-02T08:45:00Z", "2026-03-02T08:45:00Z", _ZERO)
            ]
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_host(14),
                level=Severity.MEDIUM,
                observed_at=_STARTED,
                expires_at=datetime(2099, 3, 2, 8, 45, tzinfo=UTC),
            ),
            Expected(type=SignalType.REMEDIATION, device_ids=_host(14), observed_at=_ENDED, resolves=True),
            Expected(type=SignalType.DETECTION, device_ids=_host(14), level=Severity.MEDIUM),
        ),
    ),
    Sample(
        name="rule-that-grafana-could-not-evaluate",
        payload=_group(_alert(11, alertname="DatasourceNoData", rulename="FirewallOff", severity="critical")),
        options={"facts": {"FirewallOff": "firewall_enabled"}},
        expected=(
            Expected(type=SignalType.DETECTION, device_ids=_host(11), level=Severity.UNKNOWN, facts={}),
        ),
    ),
    Sample(
        name="more-alerts-than-the-webhook-takes",
        payload=_group(_alert(11), truncatedAlerts=3),
        expected=(Expected(type=SignalType.DETECTION, device_ids=_host(11), level=Severity.MEDIUM),),
        rejected=("alerts-left-out",),
    ),
)
