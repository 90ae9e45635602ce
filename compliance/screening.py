"""Screening: a quick look at a device that tells whether it may fail a rule, before anybody judges it in full. Pure.

INVARIANT: where `Screen.may_fail` returns False, no rule is failed but those that are only reported:
`evaluate_compliance` finds no other result that is `noncompliant` or `in-grace-period`. Where it returns True, only the
judgement can tell: the screen knows nothing of exemptions, of silent sensors, or of how many findings a rule lets pass.
It makes no text, and says nothing of `unknown`.

INVARIANT: while the digest of a device is the same, and no moment has come at which time changes its judgement, it
fails and meets the same rules as when it was judged, provided that nothing was stale then (`is_fresh`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from compliance.comparison import FAILED, Scalar, compare
from compliance.device_facts import OWNERSHIP_FACTS, PLATFORM_FACTS, TAG_LIST, TAG_PREFIX
from compliance.model import (
    CompliancePolicy,
    ComplianceResult,
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    FindingRule,
    RiskRule,
    RuleLevel,
    SensorRule,
)
from compliance.reasons import ComplianceReason
from compliance.rules import Evidence
from compliance.state import DeviceFacts, applicable
from risk.correlation import NOTHING, Weighing
from risk.model import RISK_ORDER, Posture, RiskAssessment, RiskLevel, SensorRules, Severity
from risk.scoring import risk_level

FAILING = frozenset({ComplianceState.NONCOMPLIANT, ComplianceState.IN_GRACE_PERIOD})

MAX_VALUES = 1024
"""Most values of one fact whose comparison is remembered."""

MAX_KINDS = 256
"""Most sets of rules that are kept ready, one for each kind of device that policies tell apart."""

STALE = frozenset(
    {
        ComplianceReason.FACT_TOO_OLD,
        ComplianceReason.FACT_EXPIRED,
        ComplianceReason.SENSOR_SILENT,
        ComplianceReason.SENSOR_NOT_SEEN_LATELY,
        ComplianceReason.EXEMPTED,
    }
)
"""Reasons that go away when a sensor says the same once more, or that may hide one which does."""

_NO_MATTER = RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False)
"""Which policies cover a device does not depend on its risk."""

MayFail = Callable[[Posture, datetime], bool]


class Screen:
    """The quick look for one set of compliance policies."""

    def __init__(
        self,
        policies: Sequence[CompliancePolicy],
        *,
        sensors: Mapping[str, SensorRules],
        uncovered: ComplianceState,
        weighing: Weighing = NOTHING,
    ) -> None:
        self._policies = policies
        self._sensors = sensors
        self._uncovered_fails = uncovered in FAILING
        self._weighing = weighing
        self._asked = {
            *(rule.fact for policy in policies for rule in policy.rules if isinstance(rule, FactRule)),
            *PLATFORM_FACTS,
            *OWNERSHIP_FACTS,
            TAG_LIST,
        }
        self._kinds: dict[tuple[tuple[str, str], ...], MayFail] = {}
        self.may_fail: MayFail = self._of_its_kind
        if _is_one_kind(policies):
            self.may_fail = self._held_to([rule for policy in policies for rule in policy.rules])

    def digest(self, posture: Posture, now: datetime) -> int:
        """Return a number that is another one whenever the device has changed in what its judgement rests on.

        What is only said again leaves it as it is, unless another sensor's word counts from then on. For this process.
        """
        facts: list[tuple[object, ...]] = []
        heeded: dict[str, tuple[int, datetime, str]] = {}
        for (sensor, name), fact in posture.facts.items():
            if name not in self._asked and not name.startswith(TAG_PREFIX):
                continue
            facts.append((sensor, name, type(fact.value), fact.value, fact.since, fact.expires_at))
            rules = self._sensors.get(sensor)
            if rules is not None and (fact.expires_at is None or fact.expires_at > now):
                place = (rules.trust, fact.observed_at, sensor)
                heeded[name] = max(place, heeded.get(name, place))
        is_dated = bool(self._weighing.correlation)
        findings = [
            (
                key, each.is_open, each.level, each.category, each.title, each.first_observed_at, each.expires_at,
                each.open_level, each.observed_at if is_dated or not each.is_open else None,
            )
            for key, each in posture.findings.items()
        ]  # fmt: skip
        return hash(
            (
                (posture.name, posture.identifiers, posture.contested),
                frozenset(posture.heard),
                frozenset(sensor for sensor, _ in posture.facts),
                frozenset(facts),
                frozenset((name, sensor) for name, (_, _, sensor) in heeded.items()),
                frozenset(findings),
            )
        )

    def _of_its_kind(self, posture: Posture, now: datetime) -> bool:
        """Return whether a device may fail one of the rules that it is held to."""
        about = _Coverage(Evidence(posture, _NO_MATTER, self._sensors, now))
        found = list(applicable(self._policies, about))
        kind = tuple((policy.name, rule.name) for policy, rule in found)
        may_fail = self._kinds.get(kind)
        if may_fail is None:
            if len(self._kinds) >= MAX_KINDS:
                self._kinds.clear()
            may_fail = self._kinds[kind] = self._held_to([rule for _, rule in found])
        return may_fail(posture, now)

    def _held_to(self, rules: Sequence[ComplianceRule]) -> MayFail:
        if not rules:
            return self._uncovered
        return _Rules([rule for rule in rules if rule.level is not RuleLevel.REPORT], self._weighing).may_fail

    def _uncovered(self, _posture: Posture, _now: datetime) -> bool:
        return self._uncovered_fails


def is_fresh(risk: RiskAssessment, compliance: ComplianceResult) -> bool:
    """Return whether all that a judgement rests on counted, so that to say it again would change nothing."""
    return not risk.silent_sensors and not any(each.reason in STALE for each in compliance.results)


class _Coverage(DeviceFacts):
    """What assignments ask about a device now, without when that changes."""

    def _watch(self, names: tuple[str, ...]) -> None:
        pass


def _is_one_kind(policies: Iterable[CompliancePolicy]) -> bool:
    """Return whether every device is held to the same rules."""
    everything = DeviceAssignment()
    return all(
        policy.include == everything
        and policy.exclude is None
        and not any(rule.platforms for rule in policy.rules)
        for policy in policies
    )


class _Rules:
    """Rules that one kind of device is held to, in the shape in which they are asked."""

    def __init__(self, rules: Sequence[ComplianceRule], weighing: Weighing) -> None:
        self._harmless = harmless_severities(rules, weighing)
        self._decays_for = timedelta(seconds=max((each.lasts for each in weighing.decay), default=0.0))
        named = {rule.fact for rule in rules if isinstance(rule, FactRule)}
        self._facts = {
            name: _Values([rule for rule in rules if isinstance(rule, FactRule) and rule.fact == name])
            for name in named
        }
        self._heard = [
            (rule.sensor, timedelta(seconds=rule.seen_within))
            for rule in rules
            if isinstance(rule, SensorRule)
        ]

    def may_fail(self, posture: Posture, now: datetime) -> bool:
        """Return whether the device may fail one of the rules."""
        for finding in posture.findings.values():
            if finding.is_open:
                is_over = finding.expires_at is not None and finding.expires_at <= now
                if finding.level not in self._harmless and not is_over:
                    return True
            elif (
                self._decays_for
                and finding.open_level is not None
                and finding.open_level not in self._harmless
                and finding.observed_at + self._decays_for > now
            ):
                return True
        for fact in posture.facts.values():
            asked = self._facts.get(fact.name)
            if asked is not None and asked.may_fail(fact.value, now):
                return True
        for sensor, within in self._heard:
            heard = posture.heard.get(sensor)
            if heard is not None and heard + within <= now:
                return True
        return False


class _Values:
    """The comparisons of one fact, with the verdicts of lately seen values."""

    def __init__(self, rules: Sequence[FactRule]) -> None:
        self._rules = [rule for rule in rules if rule.newer_than is None]
        self._dated = [rule for rule in rules if rule.newer_than is not None]
        self._known: dict[tuple[type, Scalar], bool] = {}

    def may_fail(self, value: Scalar | None, now: datetime) -> bool:
        """Return whether a device of which a sensor states this may fail a rule; of dates, whether it does now."""
        if value is None:
            return False
        # The type is part of the key: `True` is no 1, and 1.0 no version.
        key = (type(value), value)
        is_failed = self._known.get(key)
        if is_failed is None:
            if len(self._known) >= MAX_VALUES:
                self._known.clear()
            is_failed = self._known[key] = _is_failed(self._rules, value, now)
        return is_failed or (bool(self._dated) and _is_failed(self._dated, value, now))


def _is_failed(rules: Iterable[FactRule], value: Scalar, now: datetime) -> bool:
    return any(compare(rule, value, now) in FAILED for rule in rules)


def harmless_severities(rules: Sequence[ComplianceRule], weighing: Weighing = NOTHING) -> frozenset[Severity]:
    """Return the severities of open findings that fail none of these rules, however many there are.

    >>> sorted(harmless_severities([RiskRule(name="r", max=RiskLevel.LOW)]))
    ['informational', 'low', 'none']
    """
    most = len(RISK_ORDER)
    for rule in rules:
        if isinstance(rule, RiskRule) and rule.max in RISK_ORDER:
            most = min(most, 0 if weighing.correlation else RISK_ORDER[rule.max])
    counted = [rule.at_least for rule in rules if isinstance(rule, FindingRule)]
    return frozenset(
        severity
        for severity in Severity
        if RISK_ORDER[_level(severity)] <= most and not any(_counts(severity, lowest) for lowest in counted)
    )


def _level(severity: Severity) -> RiskLevel:
    """Return the highest risk level that a finding of this severity may carry."""
    return risk_level(severity, severity)


_ORDER = (
    Severity.NONE,
    Severity.INFORMATIONAL,
    Severity.LOW,
    Severity.MEDIUM,
    Severity.HIGH,
    Severity.CRITICAL,
)


def _counts(severity: Severity, lowest: Severity) -> bool:
    """Return whether a rule that counts from `lowest` on may count a finding of this severity."""
    if severity not in _ORDER or lowest not in _ORDER:
        return True
    return _ORDER.index(severity) >= _ORDER.index(lowest)
