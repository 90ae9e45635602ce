"""Assembles the slow facts of an access request: session, device, posture, compliance.

The same function serves tickets, pages, `explain` and what-if, so that they can never disagree.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from compliance.model import AccessContext, CompliancePolicy, ComplianceState, User
from compliance.state import evaluate_compliance
from risk.devices import normalise_identifier
from risk.model import DeviceId, Identifier, Posture, RiskAssessment, RiskLevel, SensorRules
from risk.scoring import assess

CONTRADICTION = "contradiction: "
"""How `device_source` begins when sources name different devices."""

UNKNOWN_RISK = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)


class DeviceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one configured source says of the device of a request. `source` is for people: `claim device_id`."""

    source: str
    identifiers: tuple[Identifier, ...]
    is_proof: bool = False
    """Whether this request itself proves it (a certificate), not only the sign-in (a claim)."""


class PostureSource(Protocol):
    """Where postures come from."""

    def resolve(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        """Return the one device that these identifiers name, or None."""
        ...

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return what is known of the device, or None."""
        ...


class Interpretation(msgspec.Struct, frozen=True):
    """The part of the configuration that turns posture into compliance."""

    sensors: Mapping[str, SensorRules]
    policies: tuple[CompliancePolicy, ...]
    uncovered: ComplianceState


class Situation(msgspec.Struct, frozen=True, kw_only=True):
    """An access context, the posture it was made from, and the invalidation keys that it rests on."""

    context: AccessContext
    posture: Posture | None
    keys: tuple[str, ...]


def session_key(session_id: str) -> str:
    """Return the invalidation key of a session."""
    return f"session:{session_id}"


def user_key(issuer: str, subject: str) -> str:
    """Return the invalidation key of a user."""
    return f"user:{issuer}|{subject}"


def device_keys(posture: Posture) -> tuple[str, ...]:
    """Return the invalidation keys of a device: its own, and each identifier by which it may just become known."""
    return (f"device:{posture.device_id}", *identifier_keys(posture.identifiers))


def identifier_keys(identifiers: Iterable[Identifier]) -> list[str]:
    """Return the invalidation keys of device identifiers; the issuer is left out, so that no spelling hides one."""
    normal = (normalise_identifier(each) for each in identifiers)
    return [f"identifier:{each.kind}:{each.value}" for each in normal if each is not None]


def situation(
    *,
    app: str,
    session_id: str,
    user: User,
    evidence: Sequence[DeviceEvidence],
    source: PostureSource,
    interpretation: Interpretation,
    now: datetime,
) -> Situation:
    """Return the slow facts of `user` of `session_id` at `app`, with the device that `evidence` names.

    Sources that name different devices make the device unknown: a contradiction is never resolved by a guess.
    """
    device_id, said_by = _device(evidence, source)
    posture = None if device_id is None else source.posture(device_id)
    if posture is None:
        risk, name = UNKNOWN_RISK, ""
        device_id = None
    else:
        risk, name = assess(posture, interpretation.sensors, now), posture.name
    compliance = evaluate_compliance(
        posture,
        interpretation.policies,
        risk=risk,
        sensors=interpretation.sensors,
        now=now,
        uncovered=interpretation.uncovered,
    )
    context = AccessContext(
        app=app,
        user=user,
        now=now,
        device_id=device_id,
        device_name=name or _claimed_name(evidence),
        device_source=said_by,
        risk=risk,
        compliance=compliance,
    )
    keys = [session_key(session_id), user_key(user.issuer, user.subject)]
    keys += identifier_keys(each for one in evidence for each in one.identifiers)
    if posture is not None:
        keys.append(f"device:{posture.device_id}")
    return Situation(context=context, posture=posture, keys=tuple(keys))


def _device(evidence: Sequence[DeviceEvidence], source: PostureSource) -> tuple[DeviceId | None, str]:
    found: dict[DeviceId, str] = {}
    for one in evidence:
        device_id = source.resolve(one.identifiers)
        if device_id is not None:
            found.setdefault(device_id, one.source)
        elif one.is_proof:
            # Proven to be a device that nobody has told us about: no claim may turn it into another one.
            return None, one.source
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        return None, CONTRADICTION + ", ".join(sorted(found.values()))
    return None, ", ".join(one.source for one in evidence)


def _claimed_name(evidence: Sequence[DeviceEvidence]) -> str:
    """Return what to call a device that nobody has told us about: the identifier that was claimed."""
    for one in evidence:
        for identifier in one.identifiers:
            return identifier.value
    return ""
