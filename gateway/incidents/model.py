"""What an incident is, and how one begins, goes on and ends. Pure: times come in as arguments.

    opened ─► (first refused) ─► remediated ─► restored        a relapse before `restored` takes `remediated` back

An incident is one *cause* on one device: a finding that makes the device noncompliant, or a compliance rule that it
fails. It is remediated when the sensors' evidence no longer shows the cause, and restored when no cause is left on the
device and every worker knows.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from compliance.model import CompliancePolicy, ComplianceResult, ComplianceState, RiskRule, RuleResult
from compliance.reasons import ComplianceReason
from risk.model import RISK_ORDER, RiskAssessment, RiskContribution

MAX_CAUSES = 16
"""Most incidents of one device at a time; a sensor with a thousand findings about it tells nothing new with each."""


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """Why a device may not be trusted now. `key` is unique per device."""

    key: str
    title: str
    sensor: str = ""
    level: str = ""
    observed_at: datetime | None = None


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a delivery of a sensor brought about, with our own monotonic measurements in seconds from its first byte.

    `cuts` are the open exchanges ended, by app; `by_worker` the seconds from the announcement to each acknowledgement.
    """

    sensor: str
    received_at: datetime
    durable_in_s: float
    enforced_in_s: float
    cuts: Mapping[str, int] = {}
    by_worker: Mapping[str, float] = {}
    fenced: tuple[str, ...] = ()


class Incident(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cause on one device, from its beginning to its end.

    `observed_at` is the sensor's clock, all other instants are ours. `lag_s` is between the two clocks, never negative.
    The `_in_s` are monotonic seconds from the webhook's first byte; None where no delivery began it (time alone did).
    """

    id: str
    device_id: str
    device: str
    cause: str
    title: str
    sensor: str = ""
    level: str = ""
    opened_at: datetime
    observed_at: datetime | None = None
    received_at: datetime | None = None
    lag_s: float | None = None
    durable_in_s: float | None = None
    enforced_in_s: float | None = None
    by_worker: dict[str, float] = {}
    fenced: tuple[str, ...] = ()
    cuts: dict[str, int] = {}
    first_refused_at: datetime | None = None
    first_refused_app: str = ""
    first_refused_code: str = ""
    remediated_at: datetime | None = None
    restored_at: datetime | None = None
    relapses: int = 0

    @property
    def is_open(self) -> bool:
        """Whether access has not been restored."""
        return self.restored_at is None

    @property
    def streams_cut(self) -> int:
        """Number of open exchanges that were ended for it."""
        return sum(self.cuts.values())


def causes(
    risk: RiskAssessment,
    compliance: ComplianceResult,
    policies: Iterable[CompliancePolicy],
) -> tuple[Cause, ...]:
    """Return why a device is noncompliant, worst first; nothing for one that is compliant, in grace or unknown."""
    rules = {(policy.name, rule.name): rule for policy in policies for rule in policy.rules}
    found: dict[str, Cause] = {}
    for result in compliance.results:
        if result.state is not ComplianceState.NONCOMPLIANT or not result.is_required:
            continue
        rule = rules.get((result.policy, result.rule))
        if result.reason == ComplianceReason.RISK_TOO_HIGH and isinstance(rule, RiskRule):
            above = [each for each in risk.contributions if _is_above(each, rule)]
            found |= {cause.key: cause for cause in map(_finding_cause, above)}
        else:
            cause = _rule_cause(result)
            found[cause.key] = cause
    return tuple(found.values())[:MAX_CAUSES]


def _is_above(contribution: RiskContribution, rule: RiskRule) -> bool:
    most = RISK_ORDER.get(rule.max, -1)
    return RISK_ORDER.get(contribution.level, len(RISK_ORDER)) > most


def _finding_cause(contribution: RiskContribution) -> Cause:
    return Cause(
        key=f"finding:{contribution.sensor}:{contribution.external_id}",
        title=contribution.title or contribution.external_id,
        sensor=contribution.sensor,
        level=contribution.level.value,
        observed_at=contribution.observed_at,
    )


def _rule_cause(result: RuleResult) -> Cause:
    return Cause(
        key=f"rule:{result.policy}/{result.rule}",
        title=f"{result.title}: {result.seen}" if result.seen else result.title,
        sensor=result.source,
        observed_at=result.since or result.observed_at,
    )


def advance(
    open_: Sequence[Incident],
    present: Sequence[Cause],
    *,
    device_id: str,
    device: str,
    change: Change | None,
    now: datetime,
    new_ids: Iterable[str],
) -> tuple[Incident, ...]:
    """Return the incidents of a device that began or changed, given those open before and the causes present now.

    `change` is the delivery after which we looked, None when time or a refused request made us look.
    """
    ids = iter(new_ids)
    keys = {cause.key for cause in present}
    known = {incident.cause for incident in open_}
    replace = msgspec.structs.replace
    changed = [
        _begun(
            cause,
            Incident(
                id=next(ids), device_id=device_id, device=device, cause=cause.key, title="", opened_at=now
            ),
            change,
        )
        for cause in present
        if cause.key not in known
    ]
    at = now if change is None else change.received_at
    for incident in open_:
        if incident.cause in keys:
            after = incident
            if incident.remediated_at is not None:
                after = replace(incident, remediated_at=None, relapses=incident.relapses + 1)
            if change is not None and _is_begun_by(change, incident):
                after = _measured(after, change)
            if after is not incident:
                changed.append(after)
            continue
        after = incident if incident.remediated_at is not None else replace(incident, remediated_at=at)
        if not present:
            after = replace(after, restored_at=now)
        if after is not incident:
            changed.append(after)
    return tuple(changed)


def new_home(device_id: str, cause: str, causes_of: Mapping[str, Collection[str]]) -> str | None:
    """Return the device to which a cause has gone, None while its own still has it, or none of them has.

    `causes_of` are the keys of the causes that are present on devices whose records were changed together.

    >>> new_home("dev_1", "finding:edr:m1", {"dev_1": [], "dev_2": ["finding:edr:m1"]})
    'dev_2'
    """
    if cause in causes_of.get(device_id, ()):
        return None
    return next((each for each, keys in causes_of.items() if cause in keys), None)


def refused(incident: Incident, at: datetime, app: str, code: str) -> Incident | None:
    """Return the incident with its first refused request; None when it has one already."""
    if incident.first_refused_at is not None:
        return None
    return msgspec.structs.replace(
        incident,
        # A refused request may be what made us look: then the incident began no later than that.
        opened_at=min(incident.opened_at, at),
        first_refused_at=at,
        first_refused_app=app,
        first_refused_code=code,
    )


def _begun(cause: Cause, blank: Incident, change: Change | None) -> Incident:
    begun = msgspec.structs.replace(
        blank,
        title=cause.title,
        sensor=cause.sensor,
        level=cause.level,
        observed_at=cause.observed_at,
    )
    return begun if change is None else _measured(begun, change)


def _is_begun_by(change: Change, incident: Incident) -> bool:
    """Return whether a delivery began an incident that a refused request told us of before the delivery itself did.

    One worker refuses already while others have yet to acknowledge.
    """
    if incident.received_at is not None or incident.opened_at < change.received_at:
        return False
    return incident.sensor in ("", change.sensor)


def _measured(incident: Incident, change: Change) -> Incident:
    """Return the incident with what was measured of the delivery that began it."""
    observed_at = incident.observed_at
    lag_s = None if observed_at is None else (change.received_at - observed_at).total_seconds()
    return msgspec.structs.replace(
        incident,
        received_at=change.received_at,
        lag_s=None if lag_s is None else max(0.0, lag_s),
        durable_in_s=change.durable_in_s,
        enforced_in_s=change.enforced_in_s,
        by_worker=dict(change.by_worker),
        fenced=change.fenced,
        cuts=dict(change.cuts),
    )
