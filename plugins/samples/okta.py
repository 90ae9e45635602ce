"""Samples of `okta`. Source of the field sets: Okta "Event Hooks", "System Log"."""

from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_DEVICE = (Identifier("sensor-device-id", "guo14", "sample"),)
_AT = datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC)


def _hook(*events: dict[str, object]) -> dict[str, object]:
    return {"eventType": "com.okta.event_hook", "eventId": "h1", "data": {"events": list(events)}}


def _event(kind: str, **rest: object) -> dict[str, object]:
    return {
        "uuid": f"u-{kind}",
        "published": "2026-03-02T09:15:30.250Z",
        "eventType": kind,
        "displayMessage": "Something happened",
        "severity": "INFO",
        "actor": {"id": "00u1", "type": "User", "alternateId": "robin@example.com"},
        "target": [],
    } | rest


SAMPLES: tuple[Sample, ...] = (
    Sample(
        name="sign-in-from-a-registered-device",
        payload=_hook(
            _event(
                "policy.evaluate_sign_on",
                device={
                    "id": "guo14",
                    "name": "Robin's Mac",
                    "os_platform": "OSX",
                    "os_version": "15.3",
                    "managed": False,
                    "registered": True,
                    "disk_encryption_type": "NONE",
                    "screen_lock_type": "BIOMETRIC",
                    "jailbreak": None,
                },
            ),
            _event("user.session.start"),
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_DEVICE,
                observed_at=_AT,
                expires_at=datetime(2026, 3, 9, 9, 15, 30, 250000, tzinfo=UTC),
                facts={
                    "managed": False,
                    "registered": True,
                    "platform": "OSX",
                    "os_version": "15.3",
                    "disk_encrypted": False,
                    "screen_lock": True,
                },
                user_ids=(Identifier("upn", "robin@example.com"),),
            ),
        ),
        ignored=1,
    ),
    Sample(
        name="suspended-by-an-administrator",
        payload=_hook(
            _event(
                "device.lifecycle.suspend",
                actor={"type": "User", "alternateId": "admin@example.com"},
                target=[{"id": "guo14", "type": "Device", "displayName": "Robin's Mac"}],
            )
        ),
        expected=(
            Expected(
                type=SignalType.POSTURE_FACT,
                device_ids=_DEVICE,
                facts={"registered": False, "device_status": "suspended"},
                user_ids=(),
            ),
        ),
    ),
    Sample(
        name="risk-of-a-person",
        payload=_hook(
            _event(
                "user.risk.detect",
                target=[{"id": "00u7", "type": "User", "alternateId": "Ana@example.com"}],
                debugContext={
                    "debugData": {"risk": "{level=HIGH, previousLevel=LOW, detectionName=Session hijack}"}
                },
            ),
            _event("user.lifecycle.unsuspend", target=[{"id": "00u7", "type": "User"}]),
            _event("user.account.report_suspicious_activity_by_enduser"),
        ),
        expected=(
            Expected(
                type=SignalType.RISK_LEVEL,
                level=Severity.HIGH,
                external_id="okta-user-risk",
                observed_at=_AT,
                user_ids=(Identifier("okta-user-id", "00u7"), Identifier("upn", "Ana@example.com")),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                external_id="okta-account:suspended",
                resolves=True,
                user_ids=(Identifier("okta-user-id", "00u7"),),
            ),
            Expected(
                type=SignalType.DETECTION,
                level=Severity.HIGH,
                user_ids=(Identifier("okta-user-id", "00u1"), Identifier("upn", "robin@example.com")),
                expires_at=datetime(2026, 3, 9, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="locked-and-unlocked-by-an-administrator",
        payload=_hook(
            _event(
                "user.account.lock.limit",
                target=[{"id": "00u7", "type": "User", "alternateId": "ana@example.com"}],
            ),
            _event("user.account.unlock_by_admin", target=[{"id": "00u7", "type": "User"}]),
        ),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.MEDIUM,
                external_id="okta-account:locked",
                user_ids=(Identifier("okta-user-id", "00u7"), Identifier("upn", "ana@example.com")),
            ),
            Expected(
                type=SignalType.REMEDIATION,
                external_id="okta-account:locked",
                user_ids=(Identifier("okta-user-id", "00u7"),),
                resolves=True,
            ),
        ),
    ),
    Sample(
        name="a-password-of-a-breach",
        payload=_hook(_event("security.breached_credential.detected")),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.HIGH,
                external_id="okta-breached",
                user_ids=(Identifier("okta-user-id", "00u1"), Identifier("upn", "robin@example.com")),
                expires_at=datetime(2026, 3, 9, 9, 15, 30, 250000, tzinfo=UTC),
            ),
        ),
    ),
    Sample(
        name="locked-without-a-target",
        payload=_hook(_event("user.account.lock")),
        expected=(
            Expected(
                type=SignalType.DETECTION,
                level=Severity.MEDIUM,
                external_id="okta-account:locked",
                user_ids=(Identifier("okta-user-id", "00u1"), Identifier("upn", "robin@example.com")),
            ),
        ),
    ),
    Sample(
        name="an-account-event-without-a-person",
        payload=_hook(_event("user.account.unlock")),
        rejected=("no-user",),
    ),
    Sample(
        name="a-device-event-without-a-device",
        payload=_hook(_event("device.lifecycle.delete")),
        rejected=("no-device",),
    ),
    Sample(name="no-event", payload={"hello": 1}, rejected=("not-an-event",)),
)
