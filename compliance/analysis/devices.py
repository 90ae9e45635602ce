"""What two sets of compliance policies make of the same device: where they differ, with such a device. Pure.

A device is worse off in one set where its state there is at least as bad as some state, and better than that in the
other; or where a step that is reached demands more, or brings a session control that the other does not. Each of these
is a question of its own, so that nothing that differs is left out: where no question finds a device, both sets treat
every device alike, now and at all times to come.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from compliance.analysis.device_inputs import DeviceInputs
from compliance.analysis.solver import Literal, Prepared, TooHard
from compliance.analysis.supposed import (
    Requirements,
    SupposedDevice,
    judged,
    moments_of,
    with_built_in,
)
from compliance.comparison import parse_date
from compliance.model import (
    STRICTNESS,
    CompliancePolicy,
    ComplianceResult,
    ComplianceRule,
    ComplianceState,
    Outcome,
    RuleLevel,
    SessionControl,
)
from compliance.state import WORST_FIRST
from risk.model import SensorRules

MAX_MOMENTS = 60
"""Most instants that are looked at: each date of an exemption or a `warn_until` that is still to come is one."""

MAX_SPLITS = 5_000
"""Most splits of one search. Only rules that let several findings pass need many."""

Question = ComplianceState | Outcome | SessionControl
"""Is the state at least this bad, is at least this demanded, is this control brought?"""

QUESTIONS: tuple[Question, ...] = (
    ComplianceState.NONCOMPLIANT,
    ComplianceState.UNKNOWN,
    ComplianceState.IN_GRACE_PERIOD,
    Outcome.BLOCK,
    Outcome.REMEDIATE,
    Outcome.RESTRICT,
    *SessionControl,
)


class Treatment(msgspec.Struct, frozen=True, kw_only=True):
    """What a set makes of a device: its state, the strictest that escalation demands, and all controls it brings.

    `because` are texts about the rules that make it so.
    """

    state: ComplianceState
    demanded: Outcome | None = None
    controls: frozenset[SessionControl] = frozenset()
    because: tuple[str, ...] = ()

    def is_at(self, question: Question) -> bool:
        """Return the answer to a question."""
        match question:
            case ComplianceState():
                return WORST_FIRST.index(self.state) <= WORST_FIRST.index(question)
            case Outcome():
                return self.demanded is not None and STRICTNESS[self.demanded] >= STRICTNESS[question]
            case SessionControl():
                return question in self.controls


class DeviceDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A device that two sets treat differently."""

    device: SupposedDevice
    before: Treatment
    after: Treatment


def device_differences(
    before: Requirements, after: Requirements, sensors: Mapping[str, SensorRules], now: datetime
) -> Iterator[DeviceDifference]:
    """Yield devices that two sets treat differently, one at least for each way in which they differ from `now` on.

    Raises `TooHard` when it gives up, perhaps after some of them.
    """
    if before == after:
        return
    known = with_built_in(sensors)
    moments = moments_of((before, after), now)
    if len(moments) > MAX_MOMENTS:
        raise TooHard
    found: list[DeviceDifference] = []
    for moment in moments:
        comparison = _Comparison(before, after, known, moment)
        for question in QUESTIONS:
            for is_after_worse in (True, False):
                if not any(_answers(each, question, is_after_worse=is_after_worse) for each in found):
                    difference = comparison.find(question, is_after_worse=is_after_worse)
                    if difference is not None:
                        found.append(difference)
                        yield difference


def _answers(difference: DeviceDifference, question: Question, *, is_after_worse: bool) -> bool:
    answers = (difference.after.is_at(question), difference.before.is_at(question))
    return answers == (is_after_worse, not is_after_worse)


class _Comparison:
    """Two sets at one instant."""

    def __init__(
        self, before: Requirements, after: Requirements, sensors: Mapping[str, SensorRules], now: datetime
    ) -> None:
        self._before, self._after, self._sensors, self._now = before, after, sensors, now
        self._inputs = DeviceInputs((before, after), sensors, now)
        self._is_at = {
            (question, is_after): self._answer(side, question)
            for question in QUESTIONS
            for is_after, side in ((False, before), (True, after))
        }
        self._prepared = Prepared(self._inputs.domains, self._inputs.ties)

    def find(self, question: Question, *, is_after_worse: bool) -> DeviceDifference | None:
        """Return a device of which the answer is yes in one set only."""
        worse = self._is_at[question, is_after_worse]
        better = self._inputs.unlike(self._is_at[question, not is_after_worse])
        # A device that the other set finds nothing wrong with says most.
        is_well = self._inputs.unlike(self._is_at[ComplianceState.IN_GRACE_PERIOD, not is_after_worse])
        model = self._solved(worse, better, is_well) or self._solved(worse, better)
        if model is None:
            return None
        found = self._difference(self._inputs.device(model))
        if not _answers(found, question, is_after_worse=is_after_worse):
            raise TooHard  # The evaluator does not agree: nothing is claimed.
        return self._pared(found)

    def _solved(self, *goals: Literal) -> tuple[int, ...] | None:
        return self._prepared.solve(self._inputs.domains, self._inputs.meaning(goals), max_steps=MAX_SPLITS)

    def _difference(self, device: SupposedDevice) -> DeviceDifference:
        return DeviceDifference(
            device=device,
            before=treatment(judged(device, self._before, self._sensors)),
            after=treatment(judged(device, self._after, self._sensors)),
        )

    def _pared(self, found: DeviceDifference) -> DeviceDifference:
        """Return the difference with a device of which nothing is said that does not matter to it."""
        for key in ("user", "email", "override", "contested"):
            found = self._without(found, key, getattr(SupposedDevice(at=self._now), key))
        for key in ("names", "facts", "findings"):
            for each in getattr(found.device, key):
                some = list(getattr(found.device, key))
                some.remove(each)
                found = self._without(found, key, tuple(some))
        for name in found.device.heard:
            rest = {sensor: age for sensor, age in found.device.heard.items() if sensor != name}
            found = self._without(found, "heard", rest)
        return found

    def _without(self, found: DeviceDifference, key: str, value: object) -> DeviceDifference:
        other = self._difference(msgspec.structs.replace(found.device, **{key: value}))
        is_same = (_bare(other.before), _bare(other.after)) == (_bare(found.before), _bare(found.after))
        return other if is_same else found

    # --- what a set makes of a device ------------------------------------------------------------------

    def _answer(self, side: Requirements, question: Question) -> Literal:
        """Return the literal that the answer to a question is yes in a set."""
        inputs = self._inputs
        ways: list[Literal] = []
        holding: list[Literal] = []
        for policy in side.policies:
            for rule in policy.rules:
                holds = inputs.applies(policy.include, policy.exclude, rule)
                holding.append(holds)
                if self._is_required(rule):
                    is_met = inputs.unlike(self._is_bad(policy, rule, question))
                    is_exempted = self._is_exempted(side, policy.name, rule.name)
                    ways.append(inputs.all_of([holds, inputs.unlike(is_met), inputs.unlike(is_exempted)]))
        if isinstance(question, ComplianceState):
            uncovered = Treatment(state=side.uncovered)
            if uncovered.is_at(question):
                ways.append(inputs.unlike(inputs.any_of(holding)))
        return inputs.any_of(ways)

    def _is_required(self, rule: ComplianceRule) -> bool:
        if rule.level is not RuleLevel.WARN_UNTIL:
            return rule.level is RuleLevel.REQUIRE
        since = parse_date(rule.warn_until)
        return since is not None and since <= self._now

    def _is_bad(self, policy: CompliancePolicy, rule: ComplianceRule, question: Question) -> Literal:
        inputs = self._inputs
        match question:
            case ComplianceState():
                in_full = inputs.fails(rule, max(rule.grace, 0.0))
                if question is ComplianceState.NONCOMPLIANT:
                    return in_full
                failing = in_full if question is ComplianceState.UNKNOWN else inputs.fails(rule, 0.0)
                return inputs.any_of([failing, inputs.is_unknown(rule)])
            case Outcome():
                due = [s.after for s in policy.escalation if STRICTNESS[s.decision] >= STRICTNESS[question]]
            case SessionControl():
                due = [s.after for s in policy.escalation if question in s.controls]
        return inputs.fails(rule, min(due)) if due else inputs.false

    def _is_exempted(self, side: Requirements, policy: str, rule: str) -> Literal:
        inputs = self._inputs
        ways = []
        for each in side.exemptions:
            expires = parse_date(each.expires)
            if each.rule in {policy, f"{policy}/{rule}"} and expires is not None and expires > self._now:
                asked = []
                if each.users:
                    asked.append(inputs.is_person(each.users))
                if each.devices:
                    asked.append(inputs.has_name(frozenset(each.devices).__contains__))
                ways.append(inputs.all_of(asked))
        if not ways:
            return inputs.false
        return inputs.all_of([inputs.any_of(ways), inputs.is_exemptible(side.exemption_ceiling)])


def _bare(treatment: Treatment) -> Treatment:
    return msgspec.structs.replace(treatment, because=())


def treatment(result: ComplianceResult) -> Treatment:
    """Return how a device is treated whose compliance is this."""
    required = [each for each in result.results if each.is_required]
    bad = [each for each in required if each.state is not ComplianceState.COMPLIANT]
    return Treatment(
        state=result.state,
        demanded=max((each.outcome for each in result.demands), key=STRICTNESS.__getitem__, default=None),
        controls=frozenset(control for each in result.demands for control in each.controls),
        because=tuple(
            f"{each.policy}/{each.rule} {each.state}: {each.seen}, wanted {each.wanted}"
            if each.rule
            else f"{each.title}: {each.wanted}"
            for each in bad
        ),
    )
