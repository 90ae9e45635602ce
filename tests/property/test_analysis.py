"""The analysis of policies says of every request what the evaluator says of it."""

import random
from itertools import combinations, product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_policies import policies_of, policy_lists

from compliance.analysis.clauses import matching, not_matching
from compliance.analysis.domains import Space
from compliance.analysis.inputs import TOLD
from compliance.analysis.nearest import FIXED, nearest
from compliance.analysis.paths import representative_paths
from compliance.analysis.present import present_values
from compliance.analysis.questions import Analysis, Verdict, example_of
from compliance.analysis.solver import solve
from compliance.model import AccessPolicy, Mode, Outcome, SessionControl
from compliance.paths import path_matches
from compliance.policy_tests import Never, NeverAllow
from gateway.config.load import load_text
from gateway.config.locations import Network
from gateway.decision.analysis import surroundings
from gateway.decision.hypothetical import suppose
from gateway.hub.runtime import make_runtime

pytestmark = pytest.mark.timeout(600)

CONFIG = """\
version: 1
public_url: https://login.corp.example
providers:
  - {name: idp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}
  - {name: other, issuer: "https://other.corp.example", client_id: gate, client_secret: {env: SECRET}}
apps:
  - {name: payroll, host: payroll.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: labs, host: "*.apps.corp.example", upstream: "http://10.0.0.5:8080"}
sensors:
  - {name: mdm, kind: fleet, max_silence: null, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
  - {name: edr, kind: fleet, max_silence: 1h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
networks:
  - {name: office, cidrs: [203.0.113.0/24]}
  - {name: vpn, cidrs: [203.0.113.128/25, 10.0.0.0/8]}
devices:
  - {from: claim, claim: device, kind: serial}
access:
  policies: [{name: all, decision: allow}]
"""

LOADED = load_text(CONFIG, Path("/nowhere/gate.yaml"), {"SECRET": "0123456789abcdef"}).config
ABROAD = Network(name="abroad", cidrs=("198.51.100.0/24",), countries=("US", "unknown"))
MEANING = make_runtime(msgspec.structs.replace(LOADED, networks=(*LOADED.networks, ABROAD)), "")
AROUND = surroundings(MEANING.config)


seeds = st.integers(0, 2**32).map(random.Random)


def with_policies(policies):
    """Return the configuration in force with other access policies."""
    config = msgspec.structs.replace(
        MEANING.config, access=msgspec.structs.replace(MEANING.config.access, policies=tuple(policies))
    )
    return make_runtime(config, "")


def named(policies):
    """Return policies with names of their own."""
    return [msgspec.structs.replace(each, name=f"p{at}") for at, each in enumerate(policies)]


def some_request(space, chance):
    """Return some values of all inputs, drawn one by one from what the ties still allow."""
    domains = space.domains
    for variable in chance.sample(range(len(domains)), len(domains)):
        value = 1 << chance.randrange(len(space.variables[variable].values))
        tried = [*domains[:variable], value, *domains[variable + 1 :]]
        if solve(tried, space.ties) is not None:
            domains = tried
    return solve(domains, space.ties)


def holds(clauses, model):
    return all(any(mask >> model[variable] & 1 for variable, mask in clause) for clause in clauses)


def example(space, model):
    return example_of(
        space.app, (each.values[at].says for each, at in zip(space.variables, model, strict=True))
    )


@settings(max_examples=80, deadline=None)
@given(policy_lists, st.sampled_from(["payroll", "wiki", "labs"]), seeds)
def test_a_policy_matches_a_request_where_its_clauses_hold(policies, app, chance):
    policies = named(policies)
    space = Space(app, policies, AROUND)
    meaning = with_policies(policies)
    for _ in range(5):
        model = some_request(space, chance)
        request = example(space, model)
        traces = {each.policy: each.matched for each in suppose(request, meaning).traces}
        for policy in policies:
            if policy.name in traces:
                limits = policy.decision is not Outcome.ALLOW
                clauses = matching(policy, space, limits=limits)
                assert holds(clauses, model) == traces[policy.name], (policy, request)


@settings(max_examples=40, deadline=None)
@given(policy_lists, st.sampled_from(["payroll", "wiki", "labs"]), st.booleans(), seeds)
def test_what_does_not_match_is_the_rest(policies, app, limits, chance):
    space = Space(app, policies, AROUND)
    model = some_request(space, chance)
    pinned = [1 << at for at in model]
    for policy in (each for each in policies if each.covers(app)):
        clauses = not_matching(policy, space, limits=limits)
        domains = [*pinned, *space.domains[len(pinned) :]]
        assert (solve(domains, clauses) is None) == holds(matching(policy, space, limits=limits), model)


@settings(max_examples=40, deadline=None)
@given(policy_lists, policy_lists, st.lists(st.sampled_from(list(SessionControl)), max_size=2, unique=True))
def test_assertions_hold_or_an_example_breaks_them(policies, forbidden, without):
    """What is refuted is let in by the evaluator, with what is forbidden; what is proven no sampled request breaks."""
    policies = named(policies)
    for each in named(forbidden)[:2]:
        never = Never(
            name="n", allow=NeverAllow(apps=each.apps, include=each.include, exclude=each.exclude), when=each.when,
            without=tuple(without),
        )  # fmt: skip
        analysis = Analysis(policies, AROUND, nevers=[never])
        answer = analysis.prove(never)
        assert answer.verdict is not Verdict.UNDECIDED
        if answer.verdict is Verdict.REFUTED:
            assert breaks(answer.example, never, policies)
        else:
            sample(policies, never)


def breaks(request, never, policies):
    block = msgspec.structs.replace(never.as_block(), name="the assertion")
    supposed = suppose(request, with_policies([*policies, msgspec.structs.replace(block, mode=Mode.REPORT)]))
    is_let_in = supposed.decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}
    is_meant = any(each.policy == "the assertion" and each.matched for each in supposed.traces)
    return (
        is_let_in
        and is_meant
        and not (never.without and supposed.decision.controls.issuperset(never.without))
    )


def sample(policies, never):
    chance = random.Random(0)  # noqa: S311 - a sample, not a secret
    for app in never.allow.apps or AROUND.apps:
        space = Space(app, [*policies, never.as_block()], AROUND)
        for _ in range(5):
            request = example(space, some_request(space, chance))
            assert not breaks(request, never, policies), request


@settings(max_examples=30, deadline=None)
@given(policy_lists, policy_lists)
def test_differences_are_let_in_by_one_set_only(policies, before):
    policies, before = named(policies), named(before)
    analysis = Analysis(policies, AROUND, others=before)
    seen = set()
    for difference in analysis.differences(before):
        seen.add((difference.app, difference.is_newly_let_in))
        ours, theirs = (policies, before) if difference.is_newly_let_in else (before, policies)
        assert is_let_in(difference.example, ours)
        assert not is_let_in(difference.example, theirs)
    chance = random.Random(0)  # noqa: S311 - a sample, not a secret
    for app in AROUND.apps:
        space = Space(app, [*policies, *before], AROUND)
        for _ in range(5):
            request = example(space, some_request(space, chance))
            now, then = is_let_in(request, policies), is_let_in(request, before)
            assert now == then or (app, now) in seen


def is_let_in(request, policies):
    return suppose(request, with_policies(policies)).decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(2, 4), min_size=1, max_size=5),
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 15)), max_size=3), max_size=8),
)
def test_the_search_finds_what_trying_everything_finds(sizes, raw):
    clauses = [tuple((variable % len(sizes), mask) for variable, mask in clause) for clause in raw]
    found = solve([(1 << size) - 1 for size in sizes], clauses)
    if found is None:
        assert not any(holds(clauses, model) for model in product(*map(range, sizes)))
    else:
        assert holds(clauses, found)
        assert all(value < size for value, size in zip(found, sizes, strict=True))


@settings(max_examples=80, deadline=None)
@given(policy_lists, st.sampled_from(["payroll", "wiki", "labs"]), seeds)
def test_a_request_stands_where_it_came_from(policies, app, chance):
    """The inputs of a decision are found in their domains: what the evaluator sees is what the analysis means."""
    policies = named(policies)
    space = Space(app, policies, AROUND)
    model = some_request(space, chance)
    supposed = suppose(example(space, model), with_policies(policies))
    found = present_values(space, supposed.context, supposed.request)
    for variable, value, here in zip(space.variables, model, found, strict=True):
        if variable.name not in UNPLACED:
            assert here == value, (variable, value, here)


UNPLACED = {"witness"}


BLOCKS = policies_of(st.just(Outcome.BLOCK), st.just(Mode.ENFORCE))


@settings(max_examples=50, deadline=None)
@given(policy_lists, BLOCKS, st.sampled_from(["payroll", "wiki", "labs"]))
def test_the_nearest_allow_lets_in_and_nothing_less_does(policies, block, app):
    policies = named([block, *policies, AccessPolicy(name="in", decision=Outcome.ALLOW)])
    if not policies[0].covers(app):
        return
    meaning = with_policies(policies)
    space = Space(app, meaning.policies_of(app), AROUND)
    blocked = solve(space.domains, [*space.ties, *matching(policies[0], space, limits=True)])
    if blocked is None:
        return
    supposed = suppose(example(space, blocked), meaning)
    sets = list(nearest(space, meaning.policies_of(app), supposed.context, supposed.request))
    if supposed.decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}:
        assert sets == []
        return
    assert [len(each.changes) for each in sets] == sorted(len(each.changes) for each in sets)
    for each in sets:
        then = example(space, each.values[: len(space.variables)])
        assert suppose(then, meaning).decision.outcome in {Outcome.ALLOW, Outcome.RESTRICT}, then
    smallest = len(sets[0].changes) if sets else 3
    assert not lets_in_within(space, policies, supposed, smallest - 1)


def lets_in_within(space, policies, supposed, changes):
    """Return whether any so few changes let in, by trying all of them."""
    ours = [each for each in policies if each.mode is Mode.ENFORCE and each.covers(space.app)]
    grants = {Outcome.ALLOW, Outcome.RESTRICT}
    outside = [
        clause
        for each in ours
        if each.decision not in grants
        for clause in not_matching(each, space, limits=True)
    ]
    ways = [[*matching(each, space, limits=False), *outside] for each in ours if each.decision in grants]
    present = present_values(space, supposed.context, supposed.request)
    free = [at for at, name in enumerate(each.name for each in space.variables) if is_free(name)]
    fixed = [at for at, each in enumerate(space.variables) if each.name in FIXED]
    pinned = [
        whole if value is None else 1 << value for value, whole in zip(present, space.domains, strict=True)
    ]
    for at, value in enumerate(present):
        if value is not None and space.variables[at].values[value].key in space.only_unknown(
            space.variables[at].name
        ):
            pinned[at] |= 1
    for at in free:
        pinned[at] = space.domains[at]
    movable = [at for at in range(len(pinned)) if at not in free and at not in fixed]
    for chosen in combinations(movable, min(changes, 2 if len(movable) <= 30 else 1)):
        domains = [space.domains[at] if at in chosen else mask for at, mask in enumerate(pinned)]
        if any(solve(domains, [*space.natural_ties, *clauses]) for clauses in ways):
            return True
    return False


def is_free(name):
    return name.startswith(("helper", "witness")) or name.endswith(TOLD)


segments = st.text("ab.*", min_size=1, max_size=3).filter(
    lambda text: text not in {".", ".."} and "**" not in text
)
patterns = st.lists(segments | st.just("**"), max_size=3).map(lambda parts: "/" + "/".join(parts))
paths = st.lists(
    st.text("ab.c", min_size=1, max_size=4).filter(lambda text: text not in {".", ".."}), max_size=4
).map(lambda parts: "/" + "/".join(parts))


@settings(max_examples=150, deadline=None)
@given(st.lists(patterns, max_size=4), paths)
def test_every_path_has_one_that_stands_for_it(asked, path):
    found = representative_paths(tuple(asked))
    vectors = [tuple(path_matches(each, one) for each in asked) for one in found]
    assert tuple(path_matches(each, path) for each in asked) in vectors
    assert len(set(vectors)) == len(vectors)


@pytest.mark.parametrize("path", ["/.a", "/..a", "/a/.b"])
def test_paths_with_leading_dots_are_thought_of(path):
    found = representative_paths(("/.*", "/**/.*"))
    assert any(
        [path_matches(each, one) for each in ("/.*", "/**/.*")]
        == [path_matches(each, path) for each in ("/.*", "/**/.*")]
        for one in found
    )
