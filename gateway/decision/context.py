"""Assembles the slow facts of an access request: session, device, posture, compliance.

The same function serves tickets, pages, `explain` and what-if, so that they can never disagree.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from compliance.model import AccessContext, Binding, ComplianceResult, User
from compliance.state import exemptions_of
from gateway.decision.judge import UNKNOWN_RISK, Interpretation, judge
from gateway.decision.persons import UserSource, person_identifiers, session_identifiers
from risk.devices import normalise_identifier
from risk.model import DeviceId, Identifier, Posture, RiskAssessment
from risk.scoring import assess
from risk.users import UserId

CONTRADICTION = "contradiction: "
"""How `device_source` begins when sources name different devices."""

MAX_KEYS = 16_384
"""Most records whose keys are remembered, as many as postures are kept open."""

Interpret = Callable[[Posture | None, Interpretation, datetime], tuple[RiskAssessment, ComplianceResult]]
"""What turns a posture into risk and compliance: `gateway.decision.judge.judge`, or a `Judge` that remembers."""


class DeviceEvidence(msgspec.Struct, frozen=True, kw_only=True):
    """What one configured source says of the device of a request. `source` is for people: `claim device_id`."""

    source: str
    identifiers: tuple[Identifier, ...]
    is_proof: bool = False
    """Whether this request itself proves it (a certificate), not only the sign-in (a claim)."""


class PostureSource(UserSource, Protocol):
    """Where postures come from."""

    def resolve(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        """Return the one device that these identifiers name, or None."""
        ...

    def posture(self, device_id: DeviceId) -> Posture | None:
        """Return what is known of the device, or None."""
        ...


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


def person_key(user_id: UserId) -> str:
    """Return the invalidation key of the record of one identifier of a user."""
    return f"person:{user_id}"


def device_keys(posture: Posture, before: DeviceId | None = None) -> tuple[str, ...]:
    """Return the invalidation keys of a device: its own, and each identifier by which it may just become known.

    `before` is the record that was merged into this one, if it was: tickets may still rest on it.
    """
    keys = _keys_of(posture)
    if before is None or before == posture.device_id:
        return keys
    return (*keys, f"device:{before}")


_known_keys: dict[DeviceId, tuple[tuple[Identifier, ...], tuple[str, ...]]] = {}


def _keys_of(posture: Posture) -> tuple[str, ...]:
    """Return the keys of a record, which change with its identifiers: seldom, and then they are another tuple."""
    known = _known_keys.get(posture.device_id)
    if known is None or known[0] is not posture.identifiers:
        if len(_known_keys) >= MAX_KEYS:
            _known_keys.clear()
        keys = (f"device:{posture.device_id}", *identifier_keys(posture.identifiers))
        known = _known_keys[posture.device_id] = (posture.identifiers, keys)
    return known[1]


def identifier_keys(identifiers: Iterable[Identifier]) -> list[str]:
    """Return the invalidation keys of device identifiers; the issuer is left out, so that no spelling hides one.

    A hostname has its first label as well: which domains are left out of names is decided where the records are.
    """
    normal = [found for each in identifiers if (found := normalise_identifier(each)) is not None]
    labels = {
        each.value.partition(".")[0]: None for each in normal if each.kind == "hostname" and "." in each.value
    }
    return [
        *(f"identifier:{each.kind}:{each.value}" for each in normal),
        *(f"identifier:hostname:{label}" for label in labels),
    ]


def situation(
    *,
    app: str,
    session_id: str,
    user: User,
    evidence: Sequence[DeviceEvidence],
    source: PostureSource,
    interpretation: Interpretation,
    now: datetime,
    interpret: Interpret = judge,
    host: str = "",
) -> Situation:
    """Return the slow facts of `user` of `session_id` at `app` on `host`, with the device that `evidence` names.

    Sources that name different devices make the device unknown: a contradiction is never resolved by a guess.
    """
    device_id, said_by = _device(evidence, source)
    posture = None if device_id is None else source.posture(device_id)
    if any(each.users for each in interpretation.exemptions):
        exemptions = exemptions_of(interpretation.exemptions, user.names, posture)
        interpretation = msgspec.structs.replace(interpretation, exemptions=exemptions)
    risk, compliance = interpret(posture, interpretation, now)
    person_ids, person = source.user(person_identifiers(user))
    session_ids, session = source.user(session_identifiers(session_id))

    def risk_of(told: Posture | None) -> RiskAssessment:
        if told is None:
            return UNKNOWN_RISK
        return assess(told, interpretation.sensors, now, interpretation.weighing)

    context = AccessContext(
        app=app,
        user=user,
        now=now,
        device_id=None if posture is None else device_id,
        device_name=(posture.name if posture is not None else "") or _claimed_name(evidence),
        device_source=said_by,
        risk=risk,
        compliance=compliance,
        posture=posture,
        sensors=interpretation.sensors,
        binding=_binding(posture, evidence),
        user_risk=risk_of(person),
        session_risk=risk_of(session),
        host=host,
    )
    keys = [session_key(session_id), user_key(user.issuer, user.subject)]
    keys += [person_key(each) for each in (*person_ids, *session_ids)]
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


def _binding(posture: Posture | None, evidence: Sequence[DeviceEvidence]) -> Binding:
    """Return how the request is bound to its device: all evidence names the same one, or it would not be known."""
    if posture is None:
        return Binding.NONE
    return Binding.CERTIFICATE if any(one.is_proof for one in evidence) else Binding.CLAIM


def _claimed_name(evidence: Sequence[DeviceEvidence]) -> str:
    """Return what to call a device that nobody has told us about: the identifier that was claimed."""
    for one in evidence:
        for identifier in one.identifiers:
            return identifier.value
    return ""
