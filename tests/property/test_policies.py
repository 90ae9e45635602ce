"""Access policies for arbitrary policies, contexts and requests: a ticket decides as full evaluation does."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.evaluate import decide
from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    Assignment,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    Mode,
    Outcome,
    RequestFacts,
    SessionControl,
    StepUp,
    User,
)
from compliance.paths import compile_paths, path_matches, pattern_fault
from compliance.residual import compile_residual, decide_residual, residual
from risk.model import RiskAssessment, RiskLevel

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def some(values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def rarely(strategy, default):
    return st.one_of(st.just(default), st.just(default), strategy)


APPS = ["payroll", "wiki"]
GROUPS = ["staff", "admins"]
USERS = ["u1", "u2", "Ana@corp.example"]
ACRS = ["pwd", "mfa"]
AMRS = ["otp", "hwk"]
NETWORKS = ["office", "vpn"]
PATHS = ["/", "/admin", "/admin/", "/api/*/keys", "/**", "/**/x", "/a*/b"]
SECONDS = st.sampled_from([0.0, 60.0, 3600.0, 86400.0])

ANY_OUTCOME = st.sampled_from(list(Outcome))
ANY_MODE = st.sampled_from(list(Mode))

conditions = st.builds(
    Conditions,
    compliance=rarely(some(list(ComplianceState)), ()),
    risk=rarely(some(list(RiskLevel)), ()),
    device=rarely(some(["known", "unknown"]), ()),
    acr=rarely(some(ACRS), ()),
    not_acr=rarely(some(ACRS), ()),
    amr=rarely(some(AMRS), ()),
    not_amr=rarely(some(AMRS), ()),
    auth_older_than=rarely(SECONDS, None),
    providers=rarely(some(["idp", "other"]), ()),
    networks=rarely(some(NETWORKS), ()),
    not_networks=rarely(some(NETWORKS), ()),
    methods=rarely(some(["GET", "POST"]), ()),
    paths=rarely(some(PATHS), ()),
    not_paths=rarely(some(PATHS), ()),
    clients=rarely(some(list(ClientKind)), ()),
)
assignments = st.builds(Assignment, users=some(USERS), groups=some(GROUPS))
step_ups = st.builds(StepUp, acr_values=some(ACRS), max_age=st.none() | SECONDS)


def policies_of(outcomes=ANY_OUTCOME, modes=ANY_MODE):
    return st.builds(
        AccessPolicy,
        name=st.text("pqrs", min_size=1, max_size=3),
        decision=outcomes,
        apps=rarely(some(APPS), ()),
        include=rarely(assignments, Assignment()),
        exclude=rarely(assignments, None),
        when=conditions,
        controls=some(list(SessionControl)),
        step_up=st.none() | step_ups,
        mode=modes,
    )


policy_lists = st.lists(policies_of(), max_size=6)
moments = st.none() | st.integers(-100000, 100000).map(lambda seconds: NOW + timedelta(seconds=seconds))
pasts = st.none() | st.integers(0, 100000).map(lambda seconds: NOW - timedelta(seconds=seconds))
futures = st.none() | st.integers(1, 100000).map(lambda seconds: NOW + timedelta(seconds=seconds))
users = st.builds(
    User,
    provider=st.sampled_from(["idp", "other"]),
    issuer=st.just("https://idp.example"),
    subject=st.just("u1"),
    email=st.sampled_from(["", "ana@corp.example"]),
    names=st.frozensets(st.sampled_from(USERS)),
    groups=st.frozensets(st.sampled_from(GROUPS)),
    are_groups_known=st.booleans(),
    acr=st.none() | st.sampled_from(ACRS),
    amr=st.none() | some(AMRS),
    auth_at=pasts,
)
contexts = st.builds(
    AccessContext,
    app=st.sampled_from(APPS),
    user=users,
    now=st.just(NOW),
    device_id=st.none() | st.just("dev_1"),
    device_name=st.just("laptop"),
    device_source=st.just("claim"),
    risk=st.builds(
        RiskAssessment, level=st.sampled_from(list(RiskLevel)), is_known=st.booleans(), changes_at=futures
    ),
    compliance=st.builds(
        ComplianceResult,
        state=st.sampled_from(list(ComplianceState)),
        results=st.just(()),
        changes_at=futures,
    ),
)
requests = st.builds(
    RequestFacts,
    method=st.sampled_from(["GET", "POST", "HEAD"]),
    path=st.sampled_from(
        ["/", "/admin", "/admin/x", "/administrator", "/api/v1/keys", "/api/v1/keys/", "/ab/b"]
    ),
    client=st.sampled_from(list(ClientKind)),
    networks=st.frozensets(st.sampled_from(NETWORKS)),
)


@given(policy_lists, contexts, requests)
def test_the_residual_decides_as_the_full_evaluation(policies, context, request):
    """A ticket's table and its compiled form give exactly the decision of the interpreter."""
    expected, traces = decide(policies, context, request)
    left = residual(policies, context)
    assert decide_residual(left, request) == expected
    compiled = compile_residual(left)
    assert compiled(request) == expected
    assert compiled(request) == expected
    assert [trace.policy for trace in traces] == [policy.name for policy in policies]


@given(policy_lists, contexts, requests)
def test_the_residual_survives_the_feed(policies, context, request):
    """Encoded as the posture feed does, a residual still decides the same."""
    left = residual(policies, context)
    received = msgspec.msgpack.decode(msgspec.msgpack.encode(left), type=type(left))
    assert received == left
    assert compile_residual(received)(request) == decide_residual(left, request)


@given(policy_lists, contexts, requests, st.integers(0, 200000))
def test_time_alone_changes_nothing_before_valid_until(policies, context, request, seconds):
    """Within its validity a ticket decides as an evaluation at the later time would."""
    left = residual(policies, context)
    later = context.now + timedelta(seconds=seconds)
    if left.valid_until is not None and later >= left.valid_until:
        return
    moved = msgspec.structs.replace(context, now=later)
    assert decide(policies, moved, request)[0] == decide_residual(left, request)


@given(
    policy_lists,
    policies_of(st.just(Outcome.BLOCK), st.just(Mode.ENFORCE)),
    contexts,
    requests,
    st.integers(0, 6),
)
def test_another_block_policy_never_allows_more(policies, block, context, request, at):
    before, _ = decide(policies, context, request)
    after, _ = decide([*policies[:at], block, *policies[at:]], context, request)
    assert STRICTNESS[after.outcome] >= STRICTNESS[before.outcome]


@given(policy_lists, policies_of(), contexts, requests, st.integers(0, 6))
def test_another_policy_loosens_only_the_default_deny(policies, more, context, request, at):
    """Only a request that no policy covered before can be decided less strictly, and controls only add up."""
    before, _ = decide(policies, context, request)
    after, _ = decide([*policies[:at], more, *policies[at:]], context, request)
    if before.policy:
        assert STRICTNESS[after.outcome] >= STRICTNESS[before.outcome]
    assert after.controls >= before.controls


@given(policy_lists, contexts, requests)
def test_report_mode_changes_nothing(policies, context, request):
    """Without its report-mode policies a set decides the same."""
    enforced = [policy for policy in policies if policy.mode is Mode.ENFORCE]
    with_report, _ = decide(policies, context, request)
    without, _ = decide(enforced, context, request)
    assert msgspec.structs.replace(with_report, would_be=None) == without
    everything = [msgspec.structs.replace(policy, mode=Mode.ENFORCE) for policy in policies]
    if with_report.would_be is not None:
        assert with_report.would_be == decide(everything, context, request)[0].outcome


@given(policy_lists, contexts, requests, st.randoms(use_true_random=False))
def test_the_order_of_policies_never_changes_the_outcome(policies, context, request, random):
    shuffled = list(policies)
    random.shuffle(shuffled)
    one, _ = decide(policies, context, request)
    other, _ = decide(shuffled, context, request)
    assert (one.outcome, one.controls, one.would_be) == (other.outcome, other.controls, other.would_be)


@given(policy_lists, contexts, requests)
def test_what_is_not_known_never_widens_access(policies, context, request):
    """Whatever the true value of what is not known, access is never wider without the knowledge.

    Where the provider tells no groups, any set of groups could be the true one; `decide` must be at least as
    strict as for every one of them. The same holds for `acr`.
    """
    unknown = msgspec.structs.replace(context.user, are_groups_known=False, acr=None)
    blind, _ = decide(policies, msgspec.structs.replace(context, user=unknown), request)
    for groups in ([], ["staff"], ["admins"], GROUPS):
        for acr in [*ACRS, "other"]:
            user = msgspec.structs.replace(
                context.user, are_groups_known=True, groups=frozenset(groups), acr=acr
            )
            seeing, _ = decide(policies, msgspec.structs.replace(context, user=user), request)
            # With nothing matched the default is block; a blind step-up or remediate lets nobody in either.
            is_default = not seeing.policy and blind.outcome in {Outcome.STEP_UP, Outcome.REMEDIATE}
            assert STRICTNESS[blind.outcome] >= STRICTNESS[seeing.outcome] or is_default


segments = st.sampled_from(["a", "b", "ab", "aab", "*", "**", "a*", "*b", "a*b", "*a*"])
patterns = st.lists(segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
paths = st.lists(st.text("ab\n.", min_size=1, max_size=4), max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)


@settings(max_examples=300)
@given(st.lists(patterns, min_size=1, max_size=3), paths, st.booleans())
def test_compiled_paths_equal_the_plain_meaning(patterns, path, has_slash):
    assert all(pattern_fault(pattern) is None for pattern in patterns)
    path += "/" if has_slash and path != "/" else ""
    assert compile_paths(patterns)(path) == any(path_matches(pattern, path) for pattern in patterns)


@given(patterns, paths)
def test_a_trailing_slash_evades_no_pattern(pattern, path):
    if path != "/":
        assert path_matches(pattern, path) == path_matches(pattern, path + "/")
