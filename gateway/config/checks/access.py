"""Checks of access policies and their conditions."""

import re
from zoneinfo import available_timezones

from compliance.comparison import KEYS, Comparison, given, is_usable
from compliance.conditions.hosts import host_matches
from compliance.evaluate import ANY_SERVICE
from compliance.model import (
    AccessPolicy,
    Assignment,
    ClaimCondition,
    Conditions,
    FactCondition,
    FactStateCondition,
    FindingCondition,
    Outcome,
    SensorCondition,
    TimeWindow,
)
from compliance.paths import pattern_fault
from compliance.versions import parse_version
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, did_you_mean, shown
from gateway.config.schema import App, Provider
from gateway.wire.faults import RequestFault
from gateway.wire.target import canonical_path, plain_signs

_STAR = "~star~"
"""Stands for a wildcard where a pattern is looked at as a path."""

_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_METHOD = re.compile(r"[A-Z][A-Z0-9!#$%&'*+.^_`|~-]*", re.ASCII)


def check_access_policy(checks: Checks, path: KeyPath, policy: AccessPolicy) -> None:
    """Check that an access policy can match, and has what its decision needs."""
    checks.references((*path, "apps"), policy.apps, "apps", "app")
    checks.references((*path, "not_apps"), policy.not_apps, "apps", "app")
    known = checks.names("apps")
    if known and set(policy.not_apps).issuperset(policy.apps or known):
        message = f"policy `{policy.name}` covers no app: `not_apps` takes all away"
        hint = "leave one over, or leave the policy out"
        checks.fault(Code.ACCESS_POLICY, (*path, "not_apps"), message, hint)
    checks.not_empty(path, policy, Code.ACCESS_POLICY, "name one, or leave the list out")
    if checks.decoder.is_given((*path, "include")) and policy.include.is_for_everyone:
        message = "`include` names nobody"
        hint = "name `users`, `groups`, …, or leave it out to mean everyone who signs in"
        checks.fault(Code.ACCESS_POLICY, (*path, "include"), message, hint)
    if policy.exclude is not None and policy.exclude.is_for_everyone:
        message = "`exclude` names nobody"
        checks.fault(
            Code.ACCESS_POLICY,
            (*path, "exclude"),
            message,
            "name `users`, `groups`, …, or leave it out",
        )
    check_people(checks, (*path, "include"), policy.include)
    if policy.exclude is not None:
        check_people(checks, (*path, "exclude"), policy.exclude)
    if checks.decoder.is_sound((*path, "decision")):
        _controls(checks, path, policy)
        _step_up(checks, path, policy)


def check_people(checks: Checks, path: KeyPath, people: Assignment) -> None:
    """Check that somebody is named, that some provider tells the roles, and that no name is empty."""
    hint = "name somebody, or leave the list out"
    checks.not_empty(path, people, Code.ACCESS_POLICY, hint)
    if people.roles and not any(provider.roles_claim for _, provider in checks.all(Provider)):
        message = "no provider tells roles, so nobody is known to have one"
        checks.fault(Code.UNKNOWN_NAME, (*path, "roles"), message, "set `roles_claim` of the provider")
    for key in people.__struct_fields__:
        for at, name in enumerate(getattr(people, key)):
            if not name.strip():
                hint = "write a name, or leave the entry out"
                checks.fault(Code.FORM, (*path, key, at), "the name is empty", hint)
            elif name == ANY_SERVICE and key != "services":
                message = f"`*` names nobody in `{key}`: names stand for themselves"
                hint = "leave `include` out to mean everyone who signs in; only `services` knows `*`"
                checks.fault(Code.ACCESS_POLICY, (*path, key, at), message, hint)
            elif key == "users" and name.casefold() in _EVERYBODY:
                message = f"{shown(name)} is one person of this name, not everybody"
                hint = "leave `include` out to mean everyone who signs in"
                checks.fault(Code.LENIENT, (*path, key, at), message, hint)


_EVERYBODY = frozenset({"all", "any", "anyone", "everyone", "everybody", "all users", "allusers"})
"""Names that hardly anybody has."""


def _controls(checks: Checks, path: KeyPath, policy: AccessPolicy) -> None:
    where = (*path, "controls")
    if policy.decision is Outcome.RESTRICT and not policy.controls and not policy.profiles:
        message = f"policy `{policy.name}` restricts nothing"
        checks.fault(Code.ACCESS_POLICY, where, message, "name `controls` or `profiles`")
    for key in ("controls", "profiles"):
        if policy.decision is not Outcome.RESTRICT and getattr(policy, key):
            message = f"`{key}` belong to `decision: restrict`, not to `{policy.decision}`"
            hint = f"leave `{key}` out, or write `decision: restrict`"
            checks.fault(Code.ACCESS_POLICY, (*path, key), message, hint)
    checks.references((*path, "profiles"), policy.profiles, "session_profiles", "session profile")


def _step_up(checks: Checks, path: KeyPath, policy: AccessPolicy) -> None:
    where = (*path, "step_up")
    step_up = policy.step_up
    if policy.decision is not Outcome.STEP_UP and step_up is not None:
        message = f"`step_up` belongs to `decision: step-up`, not to `{policy.decision}`"
        hint = "leave `step_up` out, or write `decision: step-up`"
        checks.fault(Code.ACCESS_POLICY, where, message, hint)
    elif policy.decision is Outcome.STEP_UP and step_up is None:
        message = f"policy `{policy.name}` does not say what the stronger sign-in must bring"
        checks.fault(Code.ACCESS_POLICY, where, message, "`step_up: {acr_values: […]}` or `{max_age: …}`")
    elif step_up is not None and not step_up.acr_values and step_up.max_age is None:
        checks.fault(Code.ACCESS_POLICY, where, "`step_up` asks for nothing", "`acr_values` or `max_age`")
    elif step_up is not None:
        checks.positive(where, step_up, "max_age")


def check_finding_condition(checks: Checks, path: KeyPath, asked: FindingCondition) -> None:
    """Check that a finding condition asks something, of a sensor that there is."""
    if asked == FindingCondition():
        checks.fault(
            Code.ACCESS_POLICY, path, "this means any finding", "name a `category`, `at_least` or `sensor`"
        )
    if asked.sensor:
        checks.reference((*path, "sensor"), asked.sensor, "sensors", "sensor")


def check_fact_condition(checks: Checks, path: KeyPath, asked: FactCondition) -> None:
    """Check that a fact condition compares in a way that can be met."""
    comparison_faults(checks, path, asked, f"`{asked.fact}`", Code.ACCESS_POLICY)
    if not asked.fact.strip():
        checks.fault(Code.ACCESS_POLICY, (*path, "fact"), "the name of the fact is empty")


def check_sensor_condition(checks: Checks, path: KeyPath, asked: SensorCondition) -> None:
    """Check the sensor's name, and that some state is meant."""
    checks.reference((*path, "sensor"), asked.sensor, "sensors", "sensor")
    if not asked.states:
        checks.fault(Code.ACCESS_POLICY, (*path, "states"), "no state is named", "`heard`, `silent`, `never`")


def check_fact_state_condition(checks: Checks, path: KeyPath, asked: FactStateCondition) -> None:
    """Check that a fact and some state are meant."""
    if not asked.fact.strip():
        checks.fault(Code.ACCESS_POLICY, (*path, "fact"), "the name of the fact is empty")
    if not asked.states:
        hint = "`fresh`, `stale`, `silent`, `never`"
        checks.fault(Code.ACCESS_POLICY, (*path, "states"), "no state is named", hint)
    checks.positive(path, asked, "max_age")


def _hosts(checks: Checks, path: KeyPath, patterns: tuple[str, ...]) -> None:
    """Check that each name is a host of some app."""
    hosts = [app.host.lower().rstrip(".") for _, app in checks.all(App)]
    for at, pattern in enumerate(patterns):
        wanted = pattern.lower().rstrip(".")
        if not any(host_matches(wanted, host) or host_matches(host, wanted) for host in hosts):
            message = f"no app has the host {shown(pattern)}"
            checks.fault(Code.UNKNOWN_NAME, (*path, at), message, did_you_mean(wanted, hosts))


def check_time_window(checks: Checks, path: KeyPath, window: TimeWindow) -> None:
    """Check the clock times and the zone of a window."""
    for key in ("start", "end"):
        text = getattr(window, key)
        if _CLOCK.fullmatch(text) is None and not (key == "end" and text == "24:00"):
            checks.fault(
                Code.FORM, (*path, key), f"{shown(text)} is no time of day", "`HH:MM`, such as `09:30`"
            )
    if window.start == window.end:
        checks.fault(
            Code.ACCESS_POLICY, path, "the window is empty: it ends when it begins", "`00:00` to `24:00`"
        )
    if window.zone not in available_timezones():
        hint = did_you_mean(window.zone, sorted(available_timezones())) or "such as `Europe/Berlin`"
        checks.fault(Code.FORM, (*path, "zone"), f"{shown(window.zone)} is no time zone", hint)


def check_claim_condition(checks: Checks, path: KeyPath, asked: ClaimCondition) -> None:
    """Check that some provider keeps the claim."""
    kept = sorted({claim for _, provider in checks.all(Provider) for claim in provider.keep_claims})
    if asked.claim not in kept:
        message = f"no provider keeps the claim {shown(asked.claim)}"
        hint = did_you_mean(asked.claim, kept) or "name it in `keep_claims` of the provider"
        checks.fault(Code.UNKNOWN_NAME, (*path, "claim"), message, hint)
    if not asked.one_of:
        hint = "name one at least, such as `one_of: [engineering]`"
        checks.fault(Code.ACCESS_POLICY, (*path, "one_of"), "no value is named", hint)


_TRUTHS = {"yes": "true", "on": "true", "true": "true", "no": "false", "off": "false", "false": "false"}
"""Texts that read like truth values, and what these are."""


def comparison_faults(checks: Checks, path: KeyPath, asked: Comparison, name: str, code: Code) -> None:
    """Report comparisons that cannot stand together, and bounds that nothing can meet."""
    keys = given(asked)
    if not is_usable(keys) and all(checks.decoder.is_sound((*path, key)) for key in KEYS):
        found = f"has {' and '.join(f'`{key}`' for key in keys)}" if keys else "compares with nothing"
        hint = f"exactly one of {', '.join(f'`{key}`' for key in KEYS)}, or both ends of a range"
        checks.fault(code, path, f"{name} {found}", hint)
    for key in ("equals", "not_equals"):
        text = getattr(asked, key)
        if isinstance(text, str) and text.casefold() in _TRUTHS:
            message = f"{shown(text)} is a text: no truth value equals it"
            hint = f"`{key}: {_TRUTHS[text.casefold()]}`, or `one_of: [{text}]` where the sensor tells this very text"
            checks.fault(Code.LOOKS_OTHERWISE, (*path, key), message, hint)
    for key in ("at_least", "below"):
        bound = getattr(asked, key)
        if bound is not None and parse_version(bound) is None:
            message = f"{shown(bound)} is not a version that can be ordered"
            checks.fault(code, (*path, key), message, "such as `14.5` or `10.0.22631`")
    for key in ("one_of", "not_one_of"):
        if getattr(asked, key) == ():
            checks.fault(code, (*path, key), "the list is empty", "name one value at least")
    if (
        asked.at_least is not None
        and asked.below is not None
        and _is_empty_range(asked.at_least, asked.below)
    ):
        message = "`at_least` is not below `below`: no version is between them"
        checks.fault(code, (*path, "at_least"), message, "the lower version stands in `at_least`")
    if asked.min is not None and asked.max is not None and asked.min > asked.max:
        message = "`min` is above `max`: no number is between them"
        checks.fault(code, (*path, "min"), message, "the lower number stands in `min`")
    checks.positive(path, asked, "max_age", "newer_than")


def _is_empty_range(lowest: str, first_too_high: str) -> bool:
    low, high = parse_version(lowest), parse_version(first_too_high)
    return low is not None and high is not None and low.is_at_least(high) is True


def _pattern_fault(pattern: str) -> str | None:
    """Return why a pattern can never be a path that an app gets, None when it can."""
    fault = pattern_fault(pattern)
    if fault is not None:
        return fault
    try:
        canonical = canonical_path(pattern.replace("*", _STAR).encode()).decode().replace(_STAR, "*")
    except RequestFault as refused:
        return refused.detail
    # Braces are refused as they are: there `*` is the way to say it.
    plain = plain_signs(canonical).replace("{", "*").replace("}", "*")
    return None if plain == pattern else f"write `{plain}`"


def check_conditions(checks: Checks, path: KeyPath, when: Conditions) -> None:
    """Check the names, methods and paths of an access policy's conditions."""
    checks.positive(path, when, "auth_within")
    checks.not_empty(path, when, Code.ACCESS_POLICY, "name a value, or leave the condition out to mean any")
    checks.references((*path, "providers"), when.providers, "providers", "provider")
    checks.references((*path, "networks"), when.networks, "networks", "network")
    checks.references((*path, "not_networks"), when.not_networks, "networks", "network")
    _hosts(checks, (*path, "hosts"), when.hosts)
    _hosts(checks, (*path, "not_hosts"), when.not_hosts)
    for key, methods in (("methods", when.methods), ("not_methods", when.not_methods)):
        for at, method in enumerate(methods):
            if _METHOD.fullmatch(method) is None:
                hint = (
                    f"did you mean `{method.upper()}`?"
                    if _METHOD.fullmatch(method.upper())
                    else "such as `GET`"
                )
                checks.fault(Code.FORM, (*path, key, at), f"{shown(method)} is not a method", hint)
    for key, patterns in (("paths", when.paths), ("not_paths", when.not_paths)):
        for at, pattern in enumerate(patterns):
            fault = _pattern_fault(pattern)
            if fault is not None:
                message = f"{shown(pattern)} is no path pattern: {fault}"
                hint = "such as `/admin`, with all below it, or `/api/*/keys`, `/files/**`"
                checks.fault(Code.PATTERN, (*path, key, at), message, hint)
