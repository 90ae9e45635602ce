"""Escalation in the analysis: what it takes for possible is what the evaluation of compliance brings about."""

from datetime import UTC, datetime, timedelta
from itertools import product

import msgspec
import pytest
import z3
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_analysis import MEANING, named
from test_policies import policy_lists
from test_z3_oracle import Theory

from compliance.analysis.domains import Space
from compliance.analysis.questions import Analysis, Verdict
from compliance.analysis.solver import solve
from compliance.model import (
    AccessPolicy,
    CompliancePolicy,
    ComplianceState,
    Conditions,
    DeviceAssignment,
    EscalationStep,
    FactRule,
    Outcome,
    RuleLevel,
    SessionControl,
)
from compliance.policy_tests import Never
from compliance.state import evaluate_compliance
from gateway.decision.analysis import breaks, surroundings
from gateway.hub.runtime import make_runtime
from risk.model import Fact, Posture, RiskAssessment, RiskLevel, SensorRules

pytestmark = pytest.mark.timeout(600)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOURS = [0.0, 3600.0, 7200.0]
SENSORS = {"mdm": SensorRules(name="mdm")}
NO_RISK = RiskAssessment(level=RiskLevel.NONE, is_known=True)

groups = st.builds(
    DeviceAssignment,
    platforms=st.sampled_from([(), (), ("macos",), ("macos", "linux")]),
    ownership=st.sampled_from([(), (), ("corporate",)]),
    tags=st.sampled_from([(), (), ("kiosk",)]),
)
steps = st.builds(
    EscalationStep,
    after=st.sampled_from(HOURS),
    decision=st.sampled_from([Outcome.RESTRICT, Outcome.REMEDIATE, Outcome.BLOCK]),
    controls=st.sampled_from([(), (SessionControl.READ_ONLY,), (SessionControl.NO_DOWNLOADS,)]),
).map(lambda step: step if step.decision is Outcome.RESTRICT else msgspec.structs.replace(step, controls=()))
rules = st.builds(
    FactRule,
    name=st.just("r"),
    fact=st.just("f"),
    equals=st.just(True),  # noqa: FBT003 - the value of a fact
    grace=st.sampled_from(HOURS),
    level=st.sampled_from([RuleLevel.REQUIRE, RuleLevel.REQUIRE, RuleLevel.REQUIRE, RuleLevel.NOTIFY]),
    platforms=st.sampled_from([(), (), ("macos",)]),
)
compliance_policies = st.builds(
    CompliancePolicy,
    name=st.just("c"),
    rules=st.lists(rules, min_size=1, max_size=2).map(tuple),
    include=st.just(DeviceAssignment()) | groups,
    exclude=st.none() | groups.filter(lambda group: group != DeviceAssignment()),
    escalation=st.lists(steps, max_size=2).map(tuple),
)


def distinct(policies):
    """Return policies whose rules have names, and facts, of their own."""
    return tuple(
        msgspec.structs.replace(
            policy,
            name=f"c{at}",
            rules=tuple(
                msgspec.structs.replace(rule, name=f"r{number}", fact=f"f{at}{number}")
                for number, rule in enumerate(policy.rules)
            ),
        )
        for at, policy in enumerate(policies)
    )


policy_sets = st.lists(compliance_policies, min_size=1, max_size=2).map(distinct)


def around_of(policies, uncovered=ComplianceState.NONCOMPLIANT):
    compliance = msgspec.structs.replace(MEANING.config.compliance, policies=policies, uncovered=uncovered)
    return surroundings(msgspec.structs.replace(MEANING.config, compliance=compliance))


def fact(name, value, age=0.0):
    at = NOW - timedelta(seconds=age)
    return Fact(name=name, sensor="mdm", value=value, observed_at=at, received_at=at)


def standing_of(space, name, result):
    """Return the key of the standing that an evaluated rule has."""
    keys = space.keys(name)
    if result is None or result.state is ComplianceState.COMPLIANT or not result.is_required:
        return keys[0]
    if result.since is None:
        return keys[1]
    age = (NOW - result.since).total_seconds()
    return max((key for key in keys if key.age is not None and key.age <= age), key=lambda key: key.age)


def escalating(space, policies):
    """Return the inputs of the rules that escalate; others stand for several rules."""
    names = tuple(f"failing {each.name}/" for each in policies if each.escalation)
    return [name for name in space.named("failing") if name.startswith(names)]


# Without shrinking: each attempt tries everything, and the sets are small as they are.
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(policy_sets, st.sampled_from([ComplianceState.NONCOMPLIANT, ComplianceState.UNKNOWN]))
def test_what_the_analysis_takes_for_possible_is_what_evaluation_brings_about(policies, uncovered):
    """Both ways, by trying everything: each rule met, unknown or failing since each age, on each sort of device."""
    when = Conditions(platforms=("macos",), ownership=("corporate",), tags=("kiosk",))
    around = around_of(policies, uncovered)
    space = Space("wiki", [AccessPolicy(name="p", decision=Outcome.ALLOW, when=when)], around)
    rules_ = escalating(space, policies)
    if not rules_ or sum(len(policy.rules) for policy in policies) > 3:
        return
    watched = ["platform", "ownership", "tag kiosk", "compliance", *rules_]
    possible = set()
    for keys in product(*(space.keys(name) for name in watched)):
        pinned = space.domains
        pinned[space.place("device")] = space.is_in("device", ["known"])[1]
        for name, key in zip(watched, keys, strict=True):
            pinned[space.place(name)] = space.is_in(name, [key])[1]
        if solve(pinned, space.ties) is not None:
            possible.add(keys)
    assert possible == set(evaluated(space, policies, uncovered, rules_))


def evaluated(space, policies, uncovered, rules_):
    every_rule = [rule for policy in policies for rule in policy.rules]
    statuses = [(True, 0.0), (None, 0.0), *((False, age) for age in HOURS)]
    platforms = {value.key: value.says.get("platform") for value in space.variable("platform").values}
    for platform, ownership, kiosk in product(platforms, ["corporate", "personal", ""], ["no", "yes"]):
        said = [fact("platform", platforms[platform])] if platform else []
        said += [fact("ownership", ownership)] if ownership else []
        said += [fact("tag.kiosk", kiosk == "yes")]
        for chosen in product(statuses, repeat=len(every_rule)):
            told = zip(every_rule, chosen, strict=True)
            facts = [fact(rule.fact, value, age) for rule, (value, age) in told if value is not None]
            posture = Posture(
                device_id="d",
                facts={("mdm", each.name): each for each in (*said, *facts)},
                heard={"mdm": NOW},
            )
            result = evaluate_compliance(
                posture, policies, risk=NO_RISK, sensors=SENSORS, now=NOW, uncovered=uncovered
            )
            by_name = {f"failing {each.policy}/{each.rule}": each for each in result.results}
            standings = [standing_of(space, name, by_name.get(name)) for name in rules_]
            demanded = {each.outcome for each in result.demands}
            assert demanded.issuperset(each.outcome for each in standings if each.outcome is not None)
            assert bool(demanded) == any(each.outcome is not None for each in standings)
            brought = [each.controls for each in result.demands]
            assert frozenset().union(*brought) == frozenset().union(*(each.controls for each in standings))
            yield (platform, ownership, kiosk, result.state, *standings)


class Escalating(Theory):
    """The theory of `test_z3_oracle` with what the steps of escalations demand, step by step."""

    def demands(self, holds):
        """Return that a step for which `holds` is reached by a rule that fails."""
        reached = []
        for policy in self.space.around.compliance:
            due = [step.after for step in policy.escalation if holds(step)]
            for name in escalating(self.space, [policy]) if due else ():
                ages = [key.age for key in self.space.keys(name)]
                late = [at for at, age in enumerate(ages) if age is not None and age >= min(due)]
                reached += [self.inputs[self.space.place(name)] == at for at in late]
        return z3.Or(reached)

    def lets_in(self, policies):
        return z3.And(
            super().lets_in(policies),
            z3.Not(self.demands(lambda step: step.decision is not Outcome.RESTRICT)),
        )


def meaning_of(policies, compliance):
    config = msgspec.structs.replace(
        MEANING.config,
        access=msgspec.structs.replace(MEANING.config.access, policies=tuple(policies)),
        compliance=msgspec.structs.replace(MEANING.config.compliance, policies=compliance),
    )
    return make_runtime(config, "")


@settings(max_examples=30, deadline=None)
@given(
    policy_lists,
    policy_sets,
    st.lists(st.sampled_from(list(ComplianceState)), max_size=2, unique=True),
    st.sampled_from([None, SessionControl.READ_ONLY, SessionControl.NO_DOWNLOADS]),
)
def test_assertions_are_decided_as_z3_and_the_evaluator_do(policies, compliance, states, control):
    policies = named([*policies, AccessPolicy(name="in", decision=Outcome.ALLOW)])
    without = () if control is None else (control,)
    never = Never(name="n", when=Conditions(compliance=tuple(states), device=("known",)), without=without)
    around = around_of(compliance)
    answer = Analysis(policies, around, nevers=[never]).prove(never)
    is_broken = False
    for app in around.apps:
        theory = Escalating(Space(app, [*policies, never.as_block()], around))
        claims = [theory.lets_in(policies), theory.matches(never.as_block(), limits=True)]
        if control is not None:
            bringing = [each for each in policies if each.covers(app) and control in each.controls]
            restricting = [
                theory.matches(each, limits=True)
                for each in bringing
                if each.decision is Outcome.RESTRICT and each.mode == "enforce"
            ]
            brought = theory.demands(lambda step: control in step.controls)
            claims.append(z3.Not(z3.Or(*restricting, brought)))
        is_broken = is_broken or theory.is_possible(*claims)
    assert (answer.verdict is Verdict.REFUTED) == is_broken
    if answer.example is not None:
        assert breaks(answer.example, never, meaning_of(policies, compliance))
