"""Access policies for arbitrary policies, contexts and requests: a ticket decides as full evaluation does."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compliance.compiled import CompiledPolicies, interpreted
from compliance.evaluate import decide
from compliance.model import (
    STRICTNESS,
    AccessContext,
    AccessPolicy,
    Assignment,
    Binding,
    ClaimCondition,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Conditions,
    FactCondition,
    FactState,
    FactStateCondition,
    FindingCondition,
    Mode,
    Outcome,
    RequestFacts,
    SensorCondition,
    SensorState,
    SessionControl,
    StepUp,
    TimeWindow,
    User,
)
from compliance.paths import compile_paths, path_matches, pattern_fault
from compliance.residual import compile_residual, decide_once, decide_residual, residual
from risk.model import Fact, Finding, Posture, RiskAssessment, RiskLevel, SensorRules, Severity, SignalType

pytestmark = pytest.mark.timeout(600)

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)


def some(values):
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


def rarely(strategy, default):
    return st.one_of(st.just(default), st.just(default), strategy)


APPS = ["payroll", "wiki", "labs"]
GROUPS = ["staff", "admins"]
ROLES = ["auditor", "owner"]
SERVICES = ["robot", "*"]
HOSTS = ["wiki.corp.example", "*.corp.example", "x.apps.corp.example", "*.apps.corp.example"]
USERS = ["u1", "u2", "Ana@corp.example"]
ACRS = ["pwd", "mfa"]
AMRS = ["otp", "hwk"]
NETWORKS = ["office", "vpn", "abroad"]
PATHS = ["/", "/admin", "/admin/", "/api/*/keys", "/**", "/**/x", "/a*/b"]
SECONDS = st.sampled_from([0.0, 60.0, 3600.0, 86400.0])

SEVERITIES = [None, Severity.LOW, Severity.HIGH]
AGES = st.none() | st.sampled_from([60.0, 3600.0])
FACT_CONDITIONS = [
    FactCondition(fact="disk", equals=True, max_age=3600.0),
    FactCondition(fact="disk", not_equals=False),
    FactCondition(fact="patched", newer_than=86400.0),
    FactCondition(fact="os_version", at_least="14.2", below="15"),
    FactCondition(fact="score", min=10, max=20),
]
WINDOWS = [
    TimeWindow(days=("mon", "tue", "wed", "thu", "fri"), start="09:00", end="17:30", zone="Europe/Berlin"),
    TimeWindow(start="22:00", end="06:00", zone="America/New_York"),
    TimeWindow(days=("tue",), zone="Asia/Kathmandu"),
]


def one(value):
    return (value,)


ANY_OUTCOME = st.sampled_from(list(Outcome))
ANY_MODE = st.sampled_from(list(Mode))

conditions = st.builds(
    Conditions,
    compliance=rarely(some(list(ComplianceState)), ()),
    risk=rarely(some(list(RiskLevel)), ()),
    user_risk=rarely(some(list(RiskLevel)), ()),
    session_risk=rarely(some(list(RiskLevel)), ()),
    worst_risk=rarely(st.lists(st.sampled_from(list(RiskLevel)), max_size=3, unique=True).map(tuple), ()),
    device=rarely(some(["known", "unknown"]), ()),
    acr=rarely(some(ACRS), ()),
    not_acr=rarely(some(ACRS), ()),
    amr=rarely(some(AMRS), ()),
    not_amr=rarely(some(AMRS), ()),
    auth_older_than=rarely(SECONDS, None),
    auth_within=rarely(SECONDS.filter(bool), None),
    binding=rarely(some(list(Binding)), ()),
    platforms=rarely(some(["macos", "windows"]), ()),
    not_platforms=rarely(some(["macos", "linux"]), ()),
    ownership=rarely(some(["corporate", "personal"]), ()),
    tags=rarely(some(["kiosk", "lab"]), ()),
    not_tags=rarely(some(["kiosk"]), ()),
    findings=rarely(
        st.builds(FindingCondition, at_least=st.sampled_from(SEVERITIES), older_than=AGES).map(one), ()
    ),
    not_findings=rarely(st.builds(FindingCondition, category=st.sampled_from(["", "malware"])).map(one), ()),
    facts=rarely(st.sampled_from(FACT_CONDITIONS).map(one), ()),
    fact_states=rarely(
        st.builds(
            FactStateCondition,
            fact=st.sampled_from(["disk", "score"]),
            states=some(list(FactState)),
            max_age=AGES,
        ).map(one),
        (),
    ),
    sensors=rarely(
        st.builds(SensorCondition, sensor=st.just("edr"), states=some(list(SensorState))).map(one), ()
    ),
    times=rarely(st.sampled_from(WINDOWS).map(one), ()),
    not_times=rarely(st.sampled_from(WINDOWS).map(one), ()),
    claims=rarely(st.just((ClaimCondition(claim="dept", one_of=("it",)),)), ()),
    not_claims=rarely(
        st.just((ClaimCondition(claim="dept", one_of=("hr",)), ClaimCondition(claim="site", one_of=("b",)))),
        (),
    ),
    providers=rarely(some(["idp", "other"]), ()),
    hosts=rarely(some(HOSTS), ()),
    not_hosts=rarely(some(HOSTS), ()),
    networks=rarely(some(NETWORKS), ()),
    not_networks=rarely(some(NETWORKS), ()),
    methods=rarely(some(["GET", "POST"]), ()),
    not_methods=rarely(some(["GET", "POST"]), ()),
    paths=rarely(some(PATHS), ()),
    not_paths=rarely(some(PATHS), ()),
    clients=rarely(some(list(ClientKind)), ()),
)
assignments = st.builds(
    Assignment,
    users=some(USERS),
    groups=some(GROUPS),
    roles=rarely(some(ROLES), ()),
    services=rarely(some(SERVICES), ()),
)
step_ups = st.builds(StepUp, acr_values=some(ACRS), max_age=st.none() | SECONDS)


def policies_of(outcomes=ANY_OUTCOME, modes=ANY_MODE):
    return st.builds(
        AccessPolicy,
        name=st.text("pqrs", min_size=1, max_size=3),
        decision=outcomes,
        apps=rarely(some(APPS), ()),
        not_apps=rarely(some(APPS), ()),
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
    subject=st.sampled_from(["u1", "robot"]),
    is_service=st.sampled_from([False, False, True]),
    roles=st.frozensets(st.sampled_from(ROLES)),
    are_roles_known=st.booleans(),
    email=st.sampled_from(["", "ana@corp.example"]),
    names=st.frozensets(st.sampled_from(USERS)),
    groups=st.frozensets(st.sampled_from(GROUPS)),
    are_groups_known=st.booleans(),
    acr=st.none() | st.sampled_from(ACRS),
    amr=st.none() | some(AMRS),
    auth_at=pasts,
    claims=st.sampled_from([{}, {"dept": ("it",)}, {"dept": ("hr",)}, {"dept": ("it",), "site": ("b", "c")}]),
)
stated = st.builds(
    lambda name, value, at, expires_at: Fact(
        name=name, sensor="edr", value=value, observed_at=at, received_at=at, expires_at=expires_at
    ),
    st.sampled_from(["disk", "patched", "os_version", "score", "platform", "ownership", "tag.kiosk", "tags"]),
    st.sampled_from(
        [True, False, 15, "14.10", "15.1", "macOS", "corporate", "lab, x", "2029-12-31T18:00:00Z"]
    ),
    pasts.filter(bool),
    st.none() | futures | pasts,
)
found = st.builds(
    lambda number, level, is_open, at, category: Finding(
        sensor="edr",
        external_id=str(number),
        type=SignalType.DETECTION,
        level=level,
        is_open=is_open,
        observed_at=at,
        received_at=at,
        first_observed_at=at,
        category=category,
    ),
    st.integers(0, 2),
    st.sampled_from(list(Severity)),
    st.booleans(),
    pasts.filter(bool),
    st.sampled_from(["", "malware", "Malware, c2"]),
)
postures = st.builds(
    lambda facts, findings, heard: Posture(
        device_id="dev_1",
        facts={("edr", fact.name): fact for fact in facts},
        findings={("edr", finding.external_id): finding for finding in findings},
        heard={} if heard is None else {"edr": heard},
    ),
    st.lists(stated, max_size=5),
    st.lists(found, max_size=2),
    pasts,
)
contexts = st.builds(
    AccessContext,
    posture=st.none() | postures,
    sensors=st.sampled_from([{}, {"edr": SensorRules(name="edr", max_silence_s=7200.0)}]),
    binding=st.sampled_from(list(Binding)),
    app=st.sampled_from(APPS),
    user=users,
    now=st.just(NOW),
    device_id=st.none() | st.just("dev_1"),
    device_name=st.just("laptop"),
    device_source=st.just("claim"),
    risk=st.builds(
        RiskAssessment, level=st.sampled_from(list(RiskLevel)), is_known=st.booleans(), changes_at=futures
    ),
    user_risk=st.builds(
        RiskAssessment, level=st.sampled_from(list(RiskLevel)), is_known=st.booleans(), changes_at=futures
    ),
    session_risk=st.builds(
        RiskAssessment, level=st.sampled_from(list(RiskLevel)), is_known=st.booleans(), changes_at=futures
    ),
    host=st.sampled_from(["", "wiki.corp.example", "x.apps.corp.example"]),
    compliance=st.builds(
        ComplianceResult,
        state=st.sampled_from(list(ComplianceState)),
        results=st.just(()),
        changes_at=futures,
    ),
)
FACTLESS = AccessContext(
    app="wiki",
    user=User(provider="idp", issuer="https://idp.example", subject="u1"),
    now=NOW,
    device_id=None,
    device_name="",
    device_source="",
    risk=RiskAssessment(level=RiskLevel.UNKNOWN, is_known=False),
    compliance=ComplianceResult(state=ComplianceState.UNKNOWN, results=()),
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
    assert decide_once(tuple(policies), context, request) == expected
    compiled = compile_residual(left)
    assert compiled(request) == expected
    assert compiled(request) == expected
    assert [trace.policy for trace in traces] == [policy.name for policy in policies]


@given(policy_lists, contexts)
def test_compiled_policies_equal_the_interpreter(policies, context):
    ready = CompiledPolicies(tuple(policies))
    assert ready._match(context) == interpreted(policies, context)


def test_a_fault_while_matching_is_the_interpreters_affair():
    broken = msgspec.structs.replace(FACTLESS, user=None)
    policies = (
        AccessPolicy(name="a", decision=Outcome.ALLOW),
        AccessPolicy(name="b", decision=Outcome.BLOCK),
    )
    assert CompiledPolicies(policies).matching(broken) == interpreted(policies, broken)


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
