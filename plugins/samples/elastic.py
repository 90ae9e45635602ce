"""Samples of `elastic`. Source of the field sets: Elastic Security "Alert schema", Kibana "Webhook connector"."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_EVENT_AT = datetime(2026, 3, 2, 8, 7, 31, 757000, tzinfo=UTC)
_CLOSED_AT = datetime(2026, 3, 2, 9, 31, 20, 1000, tzinfo=UTC)
_AGENT = "5b1d4a4e-0000-4000-8000-00000000a014"
_DEVICE = (Identifier("hostname", "lt-14"), Identifier("sensor-device-id", _AGENT, "sample"))
_NESTED: dict[str, object] = {
    "@timestamp": "2026-03-02T08:10:54.778Z",
    "kibana": {
        "alert": {
            "uuid": "a0a0a0a0a0",
            "status": "active",
            "workflow_status": "open",
            "severity": "high",
            "risk_score": 73,
            "original_time": "2026-03-02T08:07:31.757Z",
            "reason": "process event on lt-14 created high alert Credential dumping.",
            "rule": {
                "name": "Credential dumping",
                "description": "Finds tools that read credentials.",
                "note": "Isolate the host.",
            },
        }
    },
    "event": {"kind": "signal", "category": ["process"]},
    "host": {"id": "4fa0", "name": "lt-14", "ip": ["10.0.0.14"]},
    "user": {"name": "robin", "domain": "CORP"},
    "agent": {"id": _AGENT, "type": "endpoint"},
}
_DOTTED: dict[str, object] = {
    "@timestamp": "2026-03-02T08:10:54.778Z",
    "kibana.alert.uuid": "a0a0a0a0a0",
    "kibana.alert.workflow_status": "closed",
    "kibana.alert.workflow_status_updated_at": "2026-03-02T09:31:20.001Z",
    "kibana.alert.severity": "high",
    "kibana.alert.original_time": "2026-03-02T08:07:31.757Z",
    "kibana.alert.rule.name": "Credential dumping",
    "host": {"name": "lt-14"},
    "agent": {"id": _AGENT, "type": "endpoint"},
}


def _document(**rest: object) -> dict[str, object]:
    return {"_index": ".alerts", "_id": "a0a0a0a0a0", "_source": _DOTTED | rest}


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="webhook-of-a-rule",
        payload={"rule": {"name": "Credential dumping"}, "alerts": [_NESTED, {"@timestamp": "x"}, {}]},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.HIGH,
                external_id="alert:a0a0a0a0a0",
                title="Credential dumping",
                observed_at=_EVENT_AT,
                expires_at=datetime(2026, 3, 9, 8, 7, 31, 757000, tzinfo=UTC),
                actions=("Isolate the host.",),
                user_ids=(),
            ),
        ),
        rejected=("not-an-alert",),
        ignored=1,
    ),
    Sample(
        name="closed-document-with-dotted-keys",
        payload=_document(),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_DEVICE,
                external_id="alert:a0a0a0a0a0",
                observed_at=_CLOSED_AT,
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="opened-again-after-it-was-closed",
        payload=_document(**{"kibana.alert.workflow_status": "open"}),
        expected=(
            Expected(
                type=SignalType.DETECTION, device_ids=_DEVICE, level=Severity.HIGH, observed_at=_CLOSED_AT
            ),
        ),
    ),
    Sample(
        name="search-result-with-a-score-only-and-a-log-shipper",
        payload={
            "hits": {
                "hits": [
                    _document(
                        **{
                            "kibana.alert.workflow_status": "acknowledged",
                            "kibana.alert.severity": None,
                            "kibana.alert.risk_score": "47",
                            "agent": {"id": _AGENT, "type": "filebeat"},
                            "user": {"email": "robin@example.com"},
                        }
                    )
                ]
            }
        },
        options={"ttl": "1d"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE[:1],
                level=Severity.MEDIUM,
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(
        name="search-result-of-fields",
        payload={
            "hits": {
                "hits": [
                    {
                        "_id": "a0a0a0a0a0",
                        "fields": {
                            "kibana.alert.severity": ["high"],
                            "kibana.alert.workflow_status": ["open"],
                            "kibana.alert.rule.name": ["Malware"],
                            "host.name": ["lt-14"],
                            "agent.id": [_AGENT],
                            "agent.type": ["endpoint"],
                            "@timestamp": ["2026-03-02T08:07:31.757Z"],
                        },
                    }
                ]
            }
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.HIGH,
                external_id="alert:a0a0a0a0a0",
                title="Malware",
                observed_at=datetime(2026, 3, 2, 8, 7, 31, 757000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="no-host",
        payload=_document(host={"name": "localhost"}, agent=None),
        rejected=("no-device",),
    ),
    Sample(
        name="alert-about-an-account",
        payload=_document(host=None, agent=None, user={"email": "robin@example.com"}),
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=(),
                user_ids=(Identifier("upn", "robin@example.com"),),
                external_id="alert:a0a0a0a0a0",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="alert-about-a-resource-of-a-cloud",
        payload=_document(host=None, agent=None, cloud={"instance": {"id": "i-0a1b2c3d"}}),
        rejected=("no-subject",),
    ),
    Sample(
        name="closed-signal-of-kibana-7",
        payload={
            "_id": "s-14",
            "_source": {
                "@timestamp": "2026-03-02T08:10:54.778Z",
                "signal": {
                    "status": "closed",
                    "original_time": "2026-03-02T08:07:31.757Z",
                    "rule": {"name": "Credential dumping", "severity": "high", "risk_score": 73},
                },
                "host": {"name": "lt-14"},
            },
        },
        expected=(
            Expected(
                type=SignalType.REMEDIATION,
                device_ids=_DEVICE[:1],
                external_id="alert:s-14",
                title="Credential dumping",
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="alert-of-elastic-defend",
        payload={
            "@timestamp": "2026-03-02T08:07:31.757Z",
            "event": {"kind": "alert", "id": "e-14", "severity": 73, "category": ["malware"]},
            "message": "Malware detection alert",
            "host": {"name": "lt-14"},
            "agent": {"id": _AGENT, "type": "endpoint"},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_DEVICE,
                level=Severity.HIGH,
                external_id="alert:e-14",
                title="Malware detection alert",
                observed_at=_EVENT_AT,
            ),
        ),
    ),
    Sample(
        name="building-block-of-a-sequence",
        payload={
            "_id": "b-14",
            "_source": {
                "@timestamp": "2026-03-02T08:07:31.757Z",
                "kibana.alert.uuid": "b-14",
                "kibana.alert.building_block_type": "default",
                "kibana.alert.group.id": "g-14",
                "kibana.alert.severity": "high",
                "kibana.alert.workflow_status": "open",
                "host": {"name": "lt-14"},
            },
        },
        ignored=1,
    ),
    Sample(
        name="alert-over-several-hosts",
        payload=_document(
            **{"host": {"name": ["lt-14", "lt-15", "lt-14"]}, "kibana.alert.workflow_status": "open"}
        ),
        expected=tuple(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", name),),
                level=Severity.HIGH,
                external_id="alert:a0a0a0a0a0",
            )
            for name in ("lt-14", "lt-15")
        ),
    ),
    Sample(
        name="alert-about-an-account-of-a-directory",
        payload=_document(
            **{
                "host": None,
                "agent": {"id": _AGENT, "type": "filebeat"},
                "user": {"name": "robin", "id": "robin@example.com"},
                "kibana.alert.workflow_status": "open",
                "kibana.alert.severity": None,
                "kibana.alert.rule.parameters": {"severity": "low", "risk_score": 21},
            }
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(),
                user_ids=(Identifier("upn", "robin@example.com"),),
                level=Severity.LOW,
            ),
        ),
    ),
    Sample(
        name="threshold-that-counts-by-address",
        payload=_document(
            **{
                "host": None,
                "agent": None,
                "kibana.alert.threshold_result": {
                    "count": 15,
                    "terms": [{"field": "source.ip", "value": "203.0.113.7"}],
                },
            }
        ),
        rejected=("no-subject",),
    ),
    Sample(
        name="story-of-attack-discovery",
        payload=_document(
            **{"host": None, "agent": None, "kibana.alert.attack_discovery.title": "Malware on a laptop"}
        ),
        rejected=("no-subject",),
    ),
    Sample(
        name="alert-that-is-tracked-no-more",
        payload=_document(**{"kibana.alert.status": "untracked", "kibana.alert.workflow_status": "open"}),
        ignored=1,
    ),
    Sample(
        name="event-that-is-no-alert",
        payload={
            "hits": {
                "hits": [
                    {
                        "_index": "logs-system.auth-default",
                        "_id": "l-14",
                        "_source": {
                            "@timestamp": "2026-03-02T08:07:31.757Z",
                            "event": {"kind": "event", "category": ["authentication"], "outcome": "success"},
                            "host": {"name": "lt-14"},
                        },
                    }
                ]
            }
        },
        rejected=("not-an-alert",),
    ),
)
