"""Samples of `falco`. Source of the field sets: Falco documentation ("Alerts"), Falcosidekick README."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_AT = datetime(2026, 3, 2, 9, 15, 30, 123456, tzinfo=UTC)
_EXPIRES = datetime(2026, 3, 3, 9, 15, 30, 123456, tzinfo=UTC)
_EVENT: dict[str, object] = {
    "hostname": "build-03",
    "output": "09:15:30.123456789: Notice A shell was started in a container (user=root command=sh)",
    "priority": "Notice",
    "rule": "Terminal shell in container",
    "source": "syscall",
    "tags": ["container", "shell"],
    "time": "2026-03-02T09:15:30.123456789Z",
    "output_fields": {"evt.time.iso8601": 1772442930123456789, "user.name": "root", "proc.cmdline": "sh"},
}
_BUILD = (Identifier("hostname", "build-03"),)

SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="bare-event",
        payload=_EVENT,
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_BUILD,
                level=Severity.LOW,
                title="Terminal shell in container",
                observed_at=_AT,
                expires_at=_EXPIRES,
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="falcosidekick-adds-an-id-and-two-clocks-disagree",
        payload=_EVENT
        | {
            "uuid": "2d8a0f0e-0001-4c5e-8f00-000000000001",
            "priority": "Critical",
            "tags": None,
            "output_fields": {"evt.time": 1507591916746609046},
        },
        options={"ttl": "1h"},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=_BUILD,
                level=Severity.CRITICAL,
                external_id="event:2d8a0f0e-0001-4c5e-8f00-000000000001",
                observed_at=_AT,
                expires_at=datetime(2026, 3, 2, 10, 15, 30, 123456, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="localhost-names-nothing",
        payload=_EVENT | {"hostname": "localhost"},
        expected=(Expected(type=SignalType.DETECTION, level=Severity.LOW),),
    ),
    Sample(
        name="priorities-are-the-administrators",
        payload=_EVENT,
        options={"levels": {"notice": "high"}},
        expected=(Expected(type=SignalType.DETECTION, device_ids=_BUILD, level=Severity.HIGH),),
    ),
    Sample(
        name="a-priority-nobody-knows",
        payload=_EVENT | {"priority": "Purple"},
        expected=(Expected(type=SignalType.DETECTION, device_ids=_BUILD, level=Severity.UNKNOWN),),
    ),
    Sample(
        name="dropped-system-calls",
        payload={
            "hostname": "build-03",
            "output": "Falco internal: syscall event drop. 12 system calls dropped in last second.",
            "output_fields": {"n_drops": "12"},
            "priority": "Debug",
            "rule": "Falco internal: syscall event drop",
            "time": "2026-03-02T09:15:30.000000003Z",
        },
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_BUILD,
                level=Severity.INFORMATIONAL,
                facts={"sensor_degraded": True},
            ),
        ),
    ),
    Sample(
        name="test-of-falcosidekick",
        payload=_EVENT | {"rule": "Test rule", "hostname": "falcosidekick", "source": "internal"},
        ignored=1,
    ),
    Sample(
        name="in-a-pod-of-a-node",
        payload=_EVENT | {"hostname": "falco-x2kq9", "output_fields": {"k8smeta.node.name": "node-7"}},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("hostname", "node-7"),),
                level=Severity.LOW,
                expires_at=_EXPIRES,
            ),
        ),
    ),
    Sample(
        name="audit-of-kubernetes-about-a-person",
        payload={
            "rule": "Create Privileged Pod",
            "priority": "Error",
            "time": "2026-03-02T09:15:30Z",
            "source": "k8s_audit",
            "output_fields": {"ka.user.name": "robin@example.com"},
        },
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.HIGH,
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
    ),
    Sample(name="no-event", payload={"hostname": "build-03"}, rejected=("not-an-event",)),
    Sample(
        name="unreadable-time",
        payload=_EVENT | {"time": "soon", "output_fields": {}},
        rejected=("time-unreadable",),
    ),
    Sample(
        name="events-of-a-plugin-happened-elsewhere",
        payload={
            "events": [
                _EVENT
                | {
                    "source": source,
                    "output_fields": fields,
                    "rule": "Somebody did something",
                    "uuid": source,
                }
                for source, fields in (
                    ("k8s_audit", {"ka.user.name": "kubernetes-admin", "ka.target.name": "shop"}),
                    ("gcp_auditlog", {"gcp.user": "robin@example.com"}),
                    ("gcp_auditlog", {"gcp.user": "build@shop.iam.gserviceaccount.com"}),
                    ("okta", {"okta.actor.alternateid": "sam@example.com"}),
                )
            ]
        },
        expected=tuple(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(),
                level=Severity.LOW,
                user_ids=(Identifier("upn", name),),
                external_id=f"event:{source}",
            )
            for source, name in (("gcp_auditlog", "robin@example.com"), ("okta", "sam@example.com"))
        ),
        rejected=("no-subject", "no-subject"),
    ),
    Sample(
        name="source-that-speaks-of-its-own-host",
        payload=_EVENT | {"source": "Journald"},
        options={"host_sources": ["syscall", "journald"]},
        expected=(Expected(type=SignalType.DETECTION, device_ids=_BUILD, level=Severity.LOW),),
    ),
    Sample(
        name="container-on-a-host-without-a-name",
        payload=_EVENT | {"hostname": "", "output_fields": {"container.id": "9656db3bb358"}},
        rejected=("no-subject",),
    ),
    Sample(
        name="metrics-snapshot",
        payload=_EVENT
        | {
            "rule": "Falco internal: metrics snapshot",
            "priority": "Informational",
            "source": "internal",
            "output_fields": {"evt.hostname": "build-03", "scap.n_drops_perc": 0.0},
        },
        expected=(Expected(type=SignalType.HEARTBEAT, device_ids=_BUILD, observed_at=_AT, facts={}),),
    ),
)
