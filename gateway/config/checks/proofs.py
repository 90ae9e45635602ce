"""Checks of the tests that stand beside the policies, and of assertions."""

from compliance.model import AccessPolicy, CompliancePolicy
from compliance.policy_tests import DEFAULT_DENY, Expect, Given, Never, PolicyTest, expectation
from gateway.config.checks.access import check_people
from gateway.config.checks.forms import path_fault
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.countries import UNKNOWN
from gateway.decision.hypothetical import moment

EARLIEST, LATEST = 1990, 2200
"""Years between which a test may take place."""


def check_policy_test(checks: Checks, path: KeyPath, test: PolicyTest) -> None:
    """Check that a test names what there is, and expects something."""
    expect = expectation(test)
    if expect == Expect():
        checks.fault(
            Code.POLICY_TEST, (*path, "expect"), f"test {shown(test.name)} expects nothing", "a decision"
        )
    checks.references(
        (*path, "expect", "profiles"), expect.profiles or (), "session_profiles", "session profile"
    )
    policies = [policy.name for _, policy in checks.all(AccessPolicy)]
    named: list[tuple[KeyPath, str | None]] = []
    if expect.policy not in {None, DEFAULT_DENY}:
        named.append((("policy",), expect.policy))
    named += [
        ((key, at), name)
        for key in ("matched", "not_matched")
        for at, name in enumerate(getattr(expect, key))
    ]
    for where, name in named:
        if name is not None and name not in policies and not name.startswith("compliance:"):
            hint = did_you_mean(name, policies)
            checks.fault(
                Code.UNKNOWN_NAME, (*path, "expect", *where), f"no policy is named {shown(name)}", hint
            )


def check_given(checks: Checks, path: KeyPath, given: Given) -> None:
    """Check the names and times of a hypothetical request."""
    checks.reference((*path, "app"), given.app, "apps", "app")
    checks.references((*path, "networks"), given.networks, "networks", "network")
    for key, section, noun in (("provider", "providers", "provider"), ("facts_from", "sensors", "sensor")):
        named = getattr(given, key)
        if named is not None:
            checks.reference((*path, key), named, section, noun)
    _country(checks, path, given)
    for name in given.heard:
        checks.reference((*path, "heard", name), name, "sensors", "sensor")
    for at, finding in enumerate(given.findings):
        if finding.sensor is not None:
            checks.reference((*path, "findings", at, "sensor"), finding.sensor, "sensors", "sensor")
    rules = [f"{each.name}/{rule.name}" for _, each in checks.all(CompliancePolicy) for rule in each.rules]
    for name in given.failing:
        if name not in rules:
            message = f"no compliance rule is named {shown(name)}"
            hint = did_you_mean(name, rules) or "write `policy/rule`"
            checks.fault(Code.UNKNOWN_NAME, (*path, "failing", name), message, hint)
    _moment(checks, path, given)
    told = (given.facts, given.findings, given.heard, given.tags, given.silent_facts, given.expired_facts)
    if given.device == "unknown" and any((*told, given.failing)):
        message = "of an unknown device there are no facts, findings or tags"
        checks.fault(Code.POLICY_TEST, (*path, "device"), message, "`device: known`, or leave them out")


def _moment(checks: Checks, path: KeyPath, given: Given) -> None:
    fault = path_fault(given.path) if given.path.startswith("/") else "a path starts with `/`"
    if fault is not None:
        checks.fault(Code.FORM, (*path, "path"), f"{shown(given.path)} is no path that an app gets", fault)
    try:
        is_within = EARLIEST <= moment(given.at).year <= LATEST
    except (ValueError, OverflowError) as error:
        hint = "such as `2026-05-04T09:30:00+02:00`"
        checks.fault(Code.FORM, (*path, "at"), f"{shown(given.at or '')} is no time: {error}", hint)
    else:
        if not is_within:
            checks.fault(Code.RANGE, (*path, "at"), f"the year is not between {EARLIEST} and {LATEST}")


def _country(checks: Checks, path: KeyPath, given: Given) -> None:
    code = given.country
    if code not in {None, UNKNOWN} and not (len(code or "") == 2 and (code or "").isupper()):  # noqa: PLR2004 - ISO 3166
        message = f"{shown(code or '')} is no code of a country"
        checks.fault(Code.FORM, (*path, "country"), message, "such as `DE`, or `unknown`")


def check_never(checks: Checks, path: KeyPath, never: Never) -> None:
    """Check the names of an assertion."""
    checks.references((*path, "allow", "apps"), never.allow.apps, "apps", "app")
    checks.references((*path, "allow", "not_apps"), never.allow.not_apps, "apps", "app")
    checks.not_empty((*path, "allow"), never.allow, Code.ACCESS_POLICY, "name an app, or leave the list out")
    check_people(checks, (*path, "allow", "include"), never.allow.include)
    if never.allow.exclude is not None:
        check_people(checks, (*path, "allow", "exclude"), never.allow.exclude)
    if never == Never(name=never.name):
        message = f"`{never.name}` forbids every request"
        checks.fault(Code.ACCESS_POLICY, path, message, "say what must never be let in: `allow` or `when`")
