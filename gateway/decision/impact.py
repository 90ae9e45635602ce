"""What another configuration would change for everybody who is known now: devices, sessions and apps. Pure."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

import msgspec

from compliance.model import (
    AccessContext,
    Binding,
    ClientKind,
    CompliancePolicy,
    ComplianceState,
    Decision,
    Outcome,
    RequestFacts,
)
from compliance.residual import decide_once
from compliance.rules import Evidence
from compliance.state import DeviceFacts, covered_state, worst
from gateway.config.schema import Config
from gateway.decision.context import DeviceEvidence, PostureSource, situation
from gateway.decision.explain import DecisionRecord
from gateway.decision.hypothetical import Meaning
from gateway.decision.judge import Interpretation, Judge, judge
from gateway.devices.resolve import Strength, identify_device
from gateway.sessions.model import Session
from risk.model import DeviceId, Posture
from risk.scoring import assess

MAX_LISTED = 10_000
"""Most changes of each kind that are listed; all are counted."""

_LETS_IN = frozenset({Outcome.ALLOW, Outcome.RESTRICT})


class DeviceChange(msgspec.Struct, frozen=True, kw_only=True):
    """A device whose compliance state would be another one."""

    device: str
    name: str
    before: ComplianceState
    after: ComplianceState


class AccessChange(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's access to an app, who is signed in now, that would be decided otherwise. `policy` would decide."""

    app: str
    user: str
    session: str
    device: str
    before: Outcome
    after: Outcome
    policy: str
    reason: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether the person would no longer be let in."""
        return self.before in _LETS_IN and self.after not in _LETS_IN

    @property
    def is_gained(self) -> bool:
        """Whether the person would be let in anew."""
        return self.before not in _LETS_IN and self.after in _LETS_IN


class Impact(msgspec.Struct, kw_only=True):
    """All that would change. The counts are exact, the lists bounded."""

    devices: int = 0
    sessions: int = 0
    decisions: int = 0
    devices_changed: int = 0
    access_changed: int = 0
    device_changes: list[DeviceChange] = []
    access_changes: list[AccessChange] = []
    users_lost: set[str] = set()
    users_gained: set[str] = set()

    def note_device(self, change: DeviceChange) -> None:
        """Count a device that changes."""
        self.devices_changed += 1
        if len(self.device_changes) < MAX_LISTED:
            self.device_changes.append(change)

    def note_access(self, change: AccessChange) -> None:
        """Count a decision that changes."""
        self.access_changed += 1
        if change.is_lost:
            self.users_lost.add(change.user)
        if change.is_gained:
            self.users_gained.add(change.user)
        if len(self.access_changes) < MAX_LISTED:
            self.access_changes.append(change)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Who and what is known now."""

    source: PostureSource
    devices: tuple[DeviceId, ...]
    sessions: tuple[Session, ...]


def impact_of(
    before: Meaning,
    after: Meaning,
    known: Known,
    now: datetime,
    *,
    request: RequestFacts | None = None,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Impact:
    """Return what would change if `after` were in force.

    Every device is held to the compliance policies of both. For every session and every app that both have, `request`
    is decided by both: default `GET /` by a browser from no named network. `progress` is told how far it is.
    """
    found = Impact()
    total = len(known.devices) + len(known.sessions)
    for at, change in enumerate(_devices(before, after, known, now), 1):
        found.devices += 1
        if change is not None:
            found.note_device(change)
        if not at % 1000:
            progress(at, total)
    asked = request or RequestFacts("GET", "/", ClientKind.BROWSER, frozenset())
    apps = [app.name for app in after.config.apps if before.app(app.name) is not None]
    for at, session in enumerate(known.sessions, 1):
        found.sessions += 1
        for change_of_access in _session((before, after), known, session, (apps, asked), now):
            found.decisions += 1
            if change_of_access is not None:
                found.note_access(change_of_access)
        if not at % 100:
            progress(len(known.devices) + at, total)
    progress(total, total)
    return found


def _devices(before: Meaning, after: Meaning, known: Known, now: datetime) -> Iterator[DeviceChange | None]:
    states_of = BothStates(before.interpretation, after.interpretation)
    for device in known.devices:
        posture = known.source.posture(device)
        states = states_of(posture, now)
        if states[0] is states[1]:
            yield None
        else:
            name = "" if posture is None else posture.name
            yield DeviceChange(device=device, name=name, before=states[0], after=states[1])


class BothStates:
    """Judges a device by two configurations; what they have in common is judged once."""

    def __init__(self, before: Interpretation, after: Interpretation) -> None:
        self._sides = (before, after)
        is_alike = all(
            getattr(before, key) == getattr(after, key)
            for key in Interpretation.__struct_fields__
            if key not in {"policies", "uncovered"}
        )
        common = [each for each in before.policies if each in after.policies]
        self._common = tuple(common) if is_alike else None
        self._own = [tuple(each for each in side.policies if each not in common) for side in self._sides]

    def __call__(self, posture: Posture | None, now: datetime) -> tuple[ComplianceState, ComplianceState]:
        """Return the state before and after."""
        before, after = self._sides
        if posture is None:
            return ComplianceState.UNKNOWN, ComplianceState.UNKNOWN
        if self._common is None:
            return judge(posture, before, now)[1].state, judge(posture, after, now)[1].state
        risk = assess(posture, before.sensors, now, before.weighing)
        about = DeviceFacts(Evidence(posture, risk, before.sensors, now))
        shared = self._state(about, self._common)
        if shared is ComplianceState.NONCOMPLIANT:
            return shared, shared
        states = []
        for side, policies in zip(self._sides, self._own, strict=True):
            parts = [each for each in (shared, self._state(about, policies)) if each is not None]
            states.append(worst(parts) if parts else side.uncovered)
        return states[0], states[1]

    def _state(self, about: DeviceFacts, policies: tuple[CompliancePolicy, ...]) -> ComplianceState | None:
        side = self._sides[0]
        return covered_state(
            about, policies, exemptions=side.exemptions, exemption_ceiling=side.exemption_ceiling
        )


def _session(
    sides_of: tuple[Meaning, Meaning],
    known: Known,
    session: Session,
    asked: tuple[Iterable[str], RequestFacts],
    now: datetime,
) -> Iterator[AccessChange | None]:
    apps, request = asked
    # Each side judges the device once for all apps.
    judges = [Judge(most=1) for _ in sides_of]
    for app in apps:
        sides = []
        for meaning, interpret in zip(sides_of, judges, strict=True):
            facts = situation(
                app=app,
                session_id=session.id,
                user=session.user,
                evidence=_evidence(session, meaning.config, now),
                source=known.source,
                interpretation=meaning.interpretation,
                now=now,
                interpret=interpret,
                host=meaning.host_of(app),
            )
            decision = decide_once(meaning.policies_of(app), facts.context, request)
            sides.append((facts.context, decision))
        (_, then), (context, new) = sides
        if _is_same(then, new):
            yield None
            continue
        yield AccessChange(
            app=app,
            user=session.user.email or session.user.subject,
            session=session.id[:12],
            device=context.device_name or "unknown",
            before=then.outcome,
            after=new.outcome,
            policy=new.policy or "none",
            reason=new.reason,
        )


def _is_same(then: Decision, new: Decision) -> bool:
    return (then.outcome, then.controls, then.profiles) == (new.outcome, new.controls, new.profiles)


def _evidence(session: Session, config: Config, now: datetime) -> tuple[DeviceEvidence, ...]:
    """Return what the sign-in says of the device. Certificates of connections are not known here."""
    identity = identify_device(session.devices, b"", config.devices, None, now)
    return tuple(
        DeviceEvidence(
            source=each.source, identifiers=each.identifiers, is_proof=each.strength >= Strength.CERTIFICATE
        )
        for each in identity.statements
    )


# --- what was decided before -----------------------------------------------------------------------------


class Replay(msgspec.Struct, kw_only=True):
    """What recorded decisions would have been with other access policies; `changes` by how often they occurred."""

    records: int = 0
    changed: int = 0
    changes: dict[str, int] = {}


def replayed(
    before: Meaning, after: Meaning, records: Iterable[DecisionRecord], source: PostureSource
) -> Replay:
    """Return what the access policies of both make of recorded decisions.

    A record holds the person, the request, the device's risk and its compliance at that time; what the device's facts
    were is not in it, so that conditions on facts, findings, tags and the like meet the device as it is now.
    """
    found = Replay()
    for record in records:
        if before.app(record.app) is None or after.app(record.app) is None:
            continue
        found.records += 1
        context, request = _recorded(record, before, source)
        then = decide_once(before.policies_of(record.app), context, request)
        new = decide_once(after.policies_of(record.app), context, request)
        if _is_same(then, new):
            continue
        found.changed += 1
        user = record.user.email or record.user.subject
        what = f"{user} at {record.app}: {then.outcome} -> {new.outcome} (policy {new.policy or 'none'})"
        if what in found.changes or len(found.changes) < MAX_LISTED:
            found.changes[what] = found.changes.get(what, 0) + 1
    return found


def _recorded(
    record: DecisionRecord, meaning: Meaning, source: PostureSource
) -> tuple[AccessContext, RequestFacts]:
    posture = None if record.device_id is None else source.posture(DeviceId(record.device_id))
    context = AccessContext(
        app=record.app,
        user=record.user,
        now=record.decided_at,
        device_id=record.device_id,
        device_name=record.device_name,
        device_source=record.device_source,
        risk=record.risk,
        compliance=record.compliance,
        posture=posture,
        sensors=meaning.interpretation.sensors,
        binding=_binding(record),
        user_risk=record.user_risk,
        session_risk=record.session_risk,
        host=record.host or (meaning.host_of(record.app)),
    )
    request = RequestFacts(record.method, record.path, record.client_kind, frozenset(record.networks))
    return context, request


def _binding(record: DecisionRecord) -> Binding:
    if record.device_id is None:
        return Binding.NONE
    return Binding.CERTIFICATE if record.device_source.startswith("certificate") else Binding.CLAIM
