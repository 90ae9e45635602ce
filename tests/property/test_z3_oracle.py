"""The analysis against z3, which knows nothing of our search: the same questions, put as a theory of bit choices."""

import msgspec
import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from test_analysis import AROUND, named
from test_policies import policy_lists

from compliance.analysis.clauses import matching
from compliance.analysis.domains import Space
from compliance.analysis.questions import Analysis, Verdict
from compliance.conditions import REQUEST_KINDS
from compliance.model import AccessPolicy, Mode, Outcome
from compliance.policy_tests import Never, NeverAllow

pytestmark = pytest.mark.timeout(600)

GRANTS = {Outcome.ALLOW, Outcome.RESTRICT}


class Theory:
    """The inputs of one app as integers, and what policies mean of them, condition by condition, in z3's own terms.

    `compliance.analysis.clauses` says it as clauses with helper variables; here it is written down as formulas from the
    values' keys by the meaning of a single policy, so that negation, search and helpers are z3's.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        self.inputs = [z3.Int(variable.name) for variable in space.variables]
        self.ground = [
            z3.And(each >= 0, each < len(variable.values))
            for each, variable in zip(self.inputs, space.variables, strict=True)
        ]
        self.ground += [self.formula([clause]) for clause in space.ties]

    def formula(self, clauses):
        return z3.And([z3.Or([self._literal(*literal) for literal in clause]) for clause in clauses])

    def _literal(self, variable: int, mask: int):
        values = [value for value in range(mask.bit_length()) if mask >> value & 1]
        return z3.Or([self.inputs[variable] == value for value in values])

    def matches(self, policy: AccessPolicy, *, limits: bool):
        return self.formula(matching(policy, self.space, limits=limits))

    def lets_in(self, policies):
        """Return that some policy lets in, and none that is stricter matches."""
        ours = [each for each in policies if each.mode is Mode.ENFORCE and each.covers(self.space.app)]
        grants = [self.matches(each, limits=False) for each in ours if each.decision in GRANTS]
        strict = [self.matches(each, limits=True) for each in ours if each.decision not in GRANTS]
        return z3.And(z3.Or(grants), z3.Not(z3.Or(strict)))

    def is_possible(self, *formulas) -> bool:
        solver = z3.Solver()
        solver.add(*self.ground, *formulas)
        answer = solver.check()
        assert answer != z3.unknown
        return answer == z3.sat


@settings(max_examples=40)
@given(policy_lists, policy_lists, st.sampled_from(["payroll", "wiki", "labs"]))
def test_assertions_are_proven_where_z3_proves_them(policies, forbidden, app):
    policies = named(policies)
    for each in named(forbidden)[:2]:
        allow = NeverAllow(apps=(app,), include=each.include, exclude=each.exclude)
        never = Never(name="n", allow=allow, when=each.when)
        answer = Analysis(policies, AROUND, nevers=[never]).prove(never)
        theory = Theory(Space(app, [*policies, never.as_block()], AROUND))
        is_broken = theory.is_possible(
            theory.lets_in(policies), theory.matches(never.as_block(), limits=True)
        )
        assert (answer.verdict is Verdict.REFUTED) == is_broken


@settings(max_examples=40)
@given(policy_lists, policy_lists)
def test_two_sets_differ_where_z3_finds_a_difference(policies, before):
    policies, before = named(policies), named(before)
    analysis = Analysis(policies, AROUND, others=before)
    found = {(each.app, each.is_newly_let_in) for each in analysis.differences(before)}
    for app in AROUND.apps:
        theory = Theory(Space(app, [*policies, *before], AROUND))
        now, then = theory.lets_in(policies), theory.lets_in(before)
        assert ((app, True) in found) == theory.is_possible(now, z3.Not(then))
        assert ((app, False) in found) == theory.is_possible(then, z3.Not(now))


@settings(max_examples=40)
@given(policy_lists)
def test_a_policy_is_unreachable_where_z3_says_so(policies):
    policies = [msgspec.structs.replace(each, mode=Mode.ENFORCE) for each in named(policies)]
    unreachable = {
        each.policy for each in Analysis(policies, AROUND).findings() if each.kind == "unreachable"
    }
    for policy in policies:
        limits = policy.decision is not Outcome.ALLOW
        theories = [Theory(Space(app, policies, AROUND)) for app in AROUND.apps if policy.covers(app)]
        can_match = any(each.is_possible(each.matches(policy, limits=limits)) for each in theories)
        assert (policy.name in unreachable) == (not can_match)


@pytest.mark.parametrize("key", REQUEST_KINDS)
def test_conditions_on_the_request_are_never_unsure(key):
    """What only the request knows is known: both readings of a condition are the same formula."""
    values = {
        "networks": ("office",), "not_networks": ("office",), "methods": ("GET",), "not_methods": ("GET",),
        "paths": ("/a",), "not_paths": ("/a",), "clients": ("api",),
    }  # fmt: skip
    when = msgspec.convert({key: values[key]}, type=type(AccessPolicy(name="p", decision=Outcome.BLOCK).when))
    policy = AccessPolicy(name="p", decision=Outcome.BLOCK, when=when)
    theory = Theory(Space("wiki", [policy], AROUND))
    sure, unsure = theory.matches(policy, limits=False), theory.matches(policy, limits=True)
    assert not theory.is_possible(sure != unsure)
