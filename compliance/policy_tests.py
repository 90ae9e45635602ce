"""Tests of policies that stand beside the policies, and `never` assertions: their types, and what fails. Pure.

How a `Given` becomes a context is `gateway.decision.hypothetical`: by the same code that serves requests, so that a
test can never pass on a meaning of its own.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec

from compliance.model import (
    AccessContext,
    AccessPolicy,
    Assignment,
    ClientKind,
    ComplianceState,
    Conditions,
    Decision,
    Mode,
    Outcome,
    PolicyTrace,
    SessionControl,
)
from risk.model import RiskLevel, Severity
from risk.values import Duration, Strict

DEFAULT_MOMENT = datetime(2025, 1, 15, 12, tzinfo=UTC)
"""When a test takes place that does not say it: a Wednesday at noon, so that no test depends on the calendar."""

DEFAULT_DENY = "none"
"""How an expectation calls the case that no policy decided."""

Scalar = str | int | float | bool


class GivenFinding(Strict, frozen=True):
    """A finding that a sensor reported on the device and that is open.

    Field: severity: as the sensor's plugin normalises it.
    Field: title: what the sensor calls it.
    Field: category: what kind of finding it is.
    Field: sensor: who reported it; default: the first sensor of the configuration.
    Field: age: how long ago it was first seen.
    """

    severity: Severity
    title: str = "finding"
    category: str = ""
    sensor: str | None = None
    age: Duration = 0.0


class Given(Strict, frozen=True):
    """A hypothetical request: who, on which device, what, from where, when. What is not given is not known.

    The device is unknown unless something is said of it. `facts`, `findings` and `heard` are judged by the
    compliance policies; `compliance` and `risk` set the result itself.

    Field: app: name of the app.
    Field: user: subject of the person, as `include.users` names it.
    Field: email: the person's e-mail address.
    Field: email_verified: whether the provider says that the address is the person's own.
    Field: groups: groups of the person; `null` when the provider does not tell them.
    Field: roles: roles of the person; `null` when the provider does not tell them.
    Field: service: subject of the service identity that asks, in place of a person.
    Field: claims: claims of the sign-in by name.
    Field: provider: name of the provider that the person signed in at; default: the app's.
    Field: acr: authentication context class of the sign-in.
    Field: amr: authentication methods of the sign-in.
    Field: signed_in: how long ago the sign-in was; `null` when the provider does not tell.
    Field: device: `known` or `unknown`.
    Field: device_name: what the device is called.
    Field: binding: how strongly the device is proven: `claim` or `certificate`.
    Field: platform: operating system of the device, such as `macos`.
    Field: ownership: `corporate` or `personal`.
    Field: tags: tags of the device.
    Field: facts: what a sensor reported of the device, by the name of the fact.
    Field: facts_age: how long ago it reported that, and spoke of the device last.
    Field: fact_ages: how long ago it reported single facts, speaking on since.
    Field: facts_from: which sensor reported the facts; default: the first of the configuration.
    Field: silent_facts: facts that a sensor told, which has been silent for too long.
    Field: expired_facts: facts that a sensor told for a time that is over.
    Field: findings: open findings on the device.
    Field: heard: how long ago each sensor last spoke of the device.
    Field: compliance: compliance state of the device, whatever the facts say.
    Field: failing: compliance rules, as `policy/rule`, that the device fails and for how long, whatever the facts say;
        what the escalation of their policy demands by then follows.
    Field: risk: risk level of the device, whatever the findings say.
    Field: silent: whether a sensor of the device is silent, so that its risk is not known for sure.
    Field: user_risk: risk level of the person.
    Field: user_silent: whether a sensor that told of the person is silent, so that their risk is not known for sure.
    Field: session_risk: risk level of the session.
    Field: session_silent: whether a sensor that told of the session is silent.
    Field: host: host name that is asked; default: the app's, when it has only one.
    Field: method: HTTP method.
    Field: path: path of the request.
    Field: client: kind of client.
    Field: address: client address, from which the networks follow.
    Field: networks: networks that hold the client address, besides those of `address`.
    Field: country: country of the client address, as two capital letters, or `unknown`; default: what the country
        database says of `address`.
    Field: at: when, as RFC 3339 with an offset; default: Wednesday, 2025-01-15 12:00 UTC.
    """

    app: str
    user: str = "somebody"
    email: str = ""
    email_verified: bool = True
    groups: tuple[str, ...] | None = ()
    roles: tuple[str, ...] | None = ()
    service: str | None = None
    claims: dict[str, Scalar | tuple[str, ...]] = msgspec.field(default_factory=dict)
    provider: str | None = None
    acr: str | None = None
    amr: tuple[str, ...] | None = None
    signed_in: Duration | None = 0.0
    device: Literal["known", "unknown"] | None = None
    device_name: str = ""
    binding: Literal["claim", "certificate"] | None = None
    platform: str | None = None
    ownership: str | None = None
    tags: tuple[str, ...] = ()
    facts: dict[str, Scalar] = msgspec.field(default_factory=dict)
    facts_age: Duration = 0.0
    fact_ages: dict[str, Duration] = msgspec.field(default_factory=dict)
    facts_from: str | None = None
    silent_facts: tuple[str, ...] = ()
    expired_facts: tuple[str, ...] = ()
    findings: tuple[GivenFinding, ...] = ()
    heard: dict[str, Duration] = msgspec.field(default_factory=dict)
    compliance: ComplianceState | None = None
    failing: dict[str, Duration] = msgspec.field(default_factory=dict)
    risk: RiskLevel | None = None
    silent: bool = False
    user_risk: RiskLevel | None = None
    user_silent: bool = False
    session_risk: RiskLevel | None = None
    session_silent: bool = False
    host: str | None = None
    method: str = "GET"
    path: str = "/"
    client: ClientKind = ClientKind.BROWSER
    address: str | None = None
    networks: tuple[str, ...] = ()
    country: str | None = None
    at: str | None = None


class Expect(Strict, frozen=True):
    """What must come out. Only what is given is compared.

    Field: decision: the decision.
    Field: policy: name of the policy that decides; `none` when no policy matches.
    Field: controls: all session controls that limit the session, in any order.
    Field: profiles: all session profiles that limit the session, in any order.
    Field: compliance: compliance state of the device.
    Field: risk: risk level of the device.
    Field: reason: a text that the reason shown to the person contains.
    Field: acr_values: what a step-up asks for.
    Field: matched: policies that match, whether they decide or not; others may match too.
    Field: not_matched: policies that do not match.
    Field: would_be: the decision if policies in report mode were enforced.
    """

    decision: Outcome | None = None
    policy: str | None = None
    controls: tuple[SessionControl, ...] | None = None
    profiles: tuple[str, ...] | None = None
    compliance: ComplianceState | None = None
    risk: RiskLevel | None = None
    reason: str | None = None
    acr_values: tuple[str, ...] | None = None
    matched: tuple[str, ...] = ()
    not_matched: tuple[str, ...] = ()
    would_be: Outcome | None = None


class PolicyTest(Strict, frozen=True):
    """A test of the policies: it is run on every load, and a configuration whose tests fail is not used.

    Field: name: what it shows; unique among tests.
    Field: given: the request and all that is known.
    Field: expect: the decision alone, or everything that is compared.
    """

    name: str
    given: Given
    expect: Outcome | Expect


class NeverAllow(Strict, frozen=True):
    """What must never be let in. Empty means every app and everyone.

    Field: apps: names of apps.
    Field: not_apps: names of apps that the assertion does not concern.
    Field: include: people; absent means everyone.
    Field: exclude: people whom the assertion does not concern.
    """

    apps: tuple[str, ...] = ()
    not_apps: tuple[str, ...] = ()
    include: Assignment = Assignment()
    exclude: Assignment | None = None


class Never(Strict, frozen=True):
    """An assertion over all requests there can ever be: proven on every load, or refused with an example.

    Its conditions are those of a policy and hold as in a policy that limits: what is not known may be what is feared.

    Field: name: what it asserts; unique among assertions.
    Field: allow: what must not be let in, neither by `allow` nor by `restrict`.
    Field: when: under these conditions.
    Field: without: only requests are meant that are let in and lack one of these session controls.
    """

    name: str
    allow: NeverAllow = NeverAllow()
    when: Conditions = Conditions()
    without: tuple[SessionControl, ...] = ()

    def as_block(self) -> AccessPolicy:
        """Return the policy that would enforce the assertion: it matches exactly what must never be let in."""
        return AccessPolicy(
            name=self.name,
            decision=Outcome.BLOCK,
            apps=self.allow.apps,
            not_apps=self.allow.not_apps,
            include=self.allow.include,
            exclude=self.allow.exclude,
            when=self.when,
        )


def expectation(test: PolicyTest) -> Expect:
    """Return what a test compares; the short form names the decision alone."""
    return test.expect if isinstance(test.expect, Expect) else Expect(decision=test.expect)


def differences(
    expect: Expect, context: AccessContext, decision: Decision, traces: Sequence[PolicyTrace]
) -> tuple[str, ...]:
    """Return what came out otherwise than expected, as short texts for people; empty when the test passes."""
    return tuple(_differences(expect, context, decision, traces))


def _differences(
    expect: Expect, context: AccessContext, decision: Decision, traces: Sequence[PolicyTrace]
) -> Iterator[str]:
    by = f" (policy {decision.policy})" if decision.policy else " (no policy matched)"
    pairs: tuple[tuple[str, object, object], ...] = (
        ("decision", expect.decision, decision.outcome),
        ("policy", expect.policy, decision.policy or DEFAULT_DENY),
        ("compliance", expect.compliance, context.compliance.state),
        ("risk", expect.risk, context.risk.level),
        ("decision with report-mode policies", expect.would_be, decision.would_be or decision.outcome),
    )
    for what, wanted, came in pairs:
        if wanted is not None and wanted != came:
            yield f"expected {what} {wanted}, it is {came}{by if what == 'decision' else ''}"
    if expect.controls is not None and frozenset(expect.controls) != decision.controls:
        yield f"expected controls {listed(expect.controls)}, they are {listed(decision.controls)}"
    if expect.profiles is not None and frozenset(expect.profiles) != decision.profiles:
        yield f"expected profiles {listed(expect.profiles)}, they are {listed(decision.profiles)}"
    if expect.reason is not None and expect.reason not in decision.reason:
        yield f"expected a reason with `{expect.reason}`, it is `{decision.reason}`"
    if expect.acr_values is not None:
        asked = () if decision.step_up is None else decision.step_up.acr_values
        if set(expect.acr_values) != set(asked):
            yield f"expected a step-up to {listed(expect.acr_values)}, it asks for {listed(asked)}"
    yield from _matches(expect, traces)


def _matches(expect: Expect, traces: Sequence[PolicyTrace]) -> Iterator[str]:
    by_name = {trace.policy: trace for trace in traces}
    for name in expect.matched:
        trace = by_name.get(name)
        if trace is None:
            yield f"expected policy {name} to match, it does not cover the app"
        elif not trace.matched:
            yield f"expected policy {name} to match, it does not: {trace.missed} is {trace.seen or 'otherwise'}"
    for name in expect.not_matched:
        trace = by_name.get(name)
        if trace is not None and trace.matched:
            yield f"expected policy {name} not to match, it does"


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Which policies the tests exercised: names, in the order of the file.

    `unmatched` matched in no test; `undecided` matched in some, and decided none; `never_missed` matched in
    every test that covers their app, so that no test shows where they end.
    """

    policies: int
    decided: tuple[str, ...]
    undecided: tuple[str, ...]
    unmatched: tuple[str, ...]
    never_missed: tuple[str, ...]


def coverage(
    policies: Iterable[AccessPolicy], runs: Iterable[tuple[Decision, Sequence[PolicyTrace]]]
) -> Coverage:
    """Return how far the runs of all tests exercise the policies.

    A policy in report mode decides nothing: it counts as decided once it matched.
    """
    decided: set[str] = set()
    matched: set[str] = set()
    missed: set[str] = set()
    for decision, traces in runs:
        decided.add(decision.policy)
        for trace in traces:
            (matched if trace.matched else missed).add(trace.policy)
            if trace.matched and (trace.mode is Mode.REPORT or _contributes(trace, decision)):
                decided.add(trace.policy)
    names = [policy.name for policy in policies]
    return Coverage(
        policies=len(names),
        decided=tuple(name for name in names if name in decided),
        undecided=tuple(name for name in names if name in matched and name not in decided),
        unmatched=tuple(name for name in names if name not in matched),
        never_missed=tuple(name for name in names if name in matched and name not in missed),
    )


def _contributes(trace: PolicyTrace, decision: Decision) -> bool:
    """Return whether a policy shaped a decision that it did not name: controls of all restrictions add up."""
    return trace.decision is decision.outcome and trace.decision in {Outcome.RESTRICT, Outcome.STEP_UP}


def listed(words: Iterable[str]) -> str:
    """Return words in order with commas, `none` without any."""
    return ", ".join(sorted(words)) or "none"
