"""Policy sets with a hole in them, each beside the same set without it: assertions find the one and prove the other."""

# ruff: noqa: E501 - a policy stands on one line

from pathlib import Path

import pytest

from compliance.analysis.questions import Answer, Verdict
from gateway.config.load import load_text
from gateway.decision.analysis import is_let_in, prove
from gateway.hub.runtime import make_runtime

BASE = """\
public_url: https://login.corp.example
providers:
  - name: idp
    issuer: https://idp.corp.example
    client_id: gate
    client_secret: {env: SECRET}
    roles_claim: roles
    keep_claims: [terms]
apps:
  - {name: payroll, host: payroll.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: wiki, host: "*.wiki.corp.example", upstream: "http://10.0.0.5:8080"}
sensors:
  - {name: mdm, kind: fleet, max_silence: 48h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
  - {name: edr, kind: defender, max_silence: 24h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
networks:
  - {name: office, cidrs: [203.0.113.0/24, "2001:db8::/32"]}
  - {name: vpn, cidrs: [203.0.113.128/25, 10.0.0.0/8]}
session_profiles:
  - {name: look-only, no_downloads: {}, no_store: true}
"""

ALLOW = "{name: in, decision: allow, include: {groups: [staff]}"
HEALTHY = "{name: in, decision: allow, when: {compliance: [compliant, in-grace-period]}}"
UNHEALTHY = "{name: n, when: {compliance: [noncompliant, unknown]}}"
WORK = '{days: [mon, tue, wed, thu, fri], start: "08:00", end: "18:00", zone: Europe/Berlin}'

# What it is, the policies with the hole, the policies without it, and the assertion.
CASES = {
    "unknown compliance is forgotten": (
        ["{name: in, decision: allow}", "{name: b, decision: remediate, when: {compliance: [noncompliant]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: remediate, when: {compliance: [noncompliant, unknown]}}"],
        UNHEALTHY,
    ),
    "the block is only in report mode": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {risk: [high]}, mode: report}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {risk: [high]}}"],
        "{name: n, when: {risk: [high]}}",
    ),
    "an unknown risk passes": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {risk: [medium, high]}}"],
        ["{name: in, decision: allow, when: {risk: [none, low]}}"],
        "{name: n, when: {risk: [unknown]}}",
    ),
    "a silent sensor hides the risk": (
        ["{name: in, decision: allow, when: {risk: [none, low, unknown]}}"],
        ["{name: in, decision: allow, when: {risk: [none, low]}}"],
        "{name: n, when: {sensors: [{sensor: edr, states: [silent]}], device: [known]}}",
    ),
    "an excluded group": (
        ["{name: in, decision: allow}", "{name: b, decision: block, exclude: {groups: [vip]}, when: {risk: [high]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {risk: [high]}}"],
        "{name: n, when: {risk: [high]}}",
    ),
    "groups that are not told": (
        ["{name: in, decision: allow, exclude: {users: [eve]}}"],
        ["{name: in, decision: allow, exclude: {groups: [guests]}}"],
        "{name: n, allow: {include: {groups: [guests]}}}",
    ),
    "an address that is not verified": (
        ["{name: in, decision: allow, exclude: {users: [eve]}}"],
        ["{name: in, decision: allow, exclude: {users: [eve@corp.example]}}"],
        "{name: n, allow: {include: {users: [eve@corp.example]}}}",
    ),
    "one app is left out": (
        ["{name: in, decision: allow}", "{name: b, decision: block, apps: [payroll], when: {device: [unknown]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {device: [unknown]}}"],
        "{name: n, allow: {apps: [wiki]}, when: {device: [unknown]}}",
    ),
    "not_apps": (
        ["{name: in, decision: allow}", "{name: b, decision: block, not_apps: [wiki], when: {device: [unknown]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {device: [unknown]}}"],
        "{name: n, when: {device: [unknown]}}",
    ),
    "a path beside the pattern": (
        ["{name: in, decision: allow}", '{name: b, decision: block, when: {paths: ["/api/*/admin"]}}'],
        ["{name: in, decision: allow}", '{name: b, decision: block, when: {paths: ["/api/**/admin/**", "/api/**/admin"]}}'],
        '{name: n, when: {paths: ["/api/**/admin"]}}',
    ),
    "a prefix is no word": (
        ["{name: in, decision: allow, when: {not_paths: [/admin]}}"],
        ['{name: in, decision: allow, when: {not_paths: [/admin, "/admin*", "/admin*/**"]}}'],
        '{name: n, when: {paths: ["/admin*/**"]}}',
    ),
    "a method": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {methods: [POST, PUT, DELETE]}}"],
        ["{name: in, decision: allow, when: {methods: [GET, HEAD]}}"],
        "{name: n, when: {not_methods: [GET, HEAD, POST, PUT, DELETE]}}",
    ),
    "HEAD is not GET": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {methods: [GET], paths: [/x]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {methods: [GET, HEAD], paths: [/x]}}"],
        "{name: n, when: {methods: [HEAD], paths: [/x]}}",
    ),
    "a client kind": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {clients: [api]}}"],
        ["{name: in, decision: allow, when: {clients: [browser]}}"],
        "{name: n, when: {clients: [api, websocket]}}",
    ),
    "one network within another": (
        ["{name: in, decision: allow, when: {networks: [office]}}"],
        ["{name: in, decision: allow, when: {networks: [office], not_networks: [vpn]}}"],
        "{name: n, when: {networks: [vpn]}}",
    ),
    "IPv6 of the office": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {not_networks: [office, vpn]}}"],
        ["{name: in, decision: allow, when: {networks: [vpn]}}"],
        "{name: n, when: {not_networks: [vpn]}}",
    ),
    "a gap between two windows": (
        [
            "{name: in, decision: allow}",
            '{name: b, decision: block, when: {times: [{start: "18:00", end: "23:59"}, {start: "00:00", end: "08:00"}]}}',
        ],
        ["{name: in, decision: allow}", '{name: b, decision: block, when: {times: [{start: "18:00", end: "08:00"}]}}'],
        '{name: n, when: {times: [{start: "18:00", end: "08:00"}]}}',
    ),
    "another zone": (
        ['{name: in, decision: allow, when: {times: [{start: "08:00", end: "18:00", zone: Europe/Lisbon}]}}'],
        [f"{{name: in, decision: allow, when: {{times: [{WORK}]}}}}"],
        f"{{name: n, when: {{not_times: [{WORK}]}}}}",
    ),
    "daylight saving": (
        ['{name: in, decision: allow, when: {times: [{start: "07:00", end: "17:00", zone: UTC}]}}'],
        ['{name: in, decision: allow, when: {times: [{start: "08:00", end: "18:00", zone: Europe/Berlin}]}}'],
        '{name: n, when: {not_times: [{start: "08:00", end: "18:00", zone: Europe/Berlin}]}}',
    ),
    "the grace period": (
        [HEALTHY],
        ["{name: in, decision: allow, when: {compliance: [compliant]}}"],
        "{name: n, when: {compliance: [in-grace-period]}}",
    ),
    "a limited session all the same": (
        ["{name: in, decision: restrict, controls: [no-store]}"],
        ["{name: in, decision: restrict, controls: [no-store, no-downloads]}"],
        "{name: n, when: {device: [unknown]}, without: [no-downloads]}",
    ),
    "a limit on some paths only": (
        ["{name: in, decision: allow}", "{name: r, decision: restrict, controls: [no-downloads], when: {paths: [/files]}}"],
        ["{name: in, decision: allow}", "{name: r, decision: restrict, controls: [no-downloads]}"],
        "{name: n, without: [no-downloads], when: {paths: [/]}}",
    ),
    "a profile that lacks the control": (
        ["{name: in, decision: restrict, profiles: [look-only]}"],
        ["{name: in, decision: restrict, profiles: [look-only], controls: [read-only]}"],
        "{name: n, when: {device: [known]}, without: [read-only, no-downloads]}",
    ),
    "a step-up that is satisfied": (
        ["{name: in, decision: allow}", "{name: s, decision: step-up, step_up: {max_age: 8h}}"],
        ["{name: in, decision: allow}", "{name: s, decision: step-up, step_up: {max_age: 8h, acr_values: [mfa]}}"],
        "{name: n, when: {not_acr: [mfa]}}",
    ),
    "a step-up for a fresh sign-in only": (
        ["{name: in, decision: allow}", "{name: s, decision: step-up, when: {auth_older_than: 1h}, step_up: {acr_values: [mfa]}}"],
        ["{name: in, decision: allow}", "{name: s, decision: step-up, step_up: {acr_values: [mfa]}}"],
        "{name: n, when: {not_acr: [mfa]}}",
    ),
    "the age of a sign-in": (
        ["{name: in, decision: allow, when: {auth_within: 8h}}"],
        ["{name: in, decision: allow, when: {auth_within: 4h}}"],
        "{name: n, when: {auth_older_than: 4h}}",
    ),
    "user risk": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {risk: [high]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {user_risk: [high]}}"],
        "{name: n, when: {user_risk: [high]}}",
    ),
    "session risk": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {user_risk: [high]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {worst_risk: [high]}}"],
        "{name: n, when: {session_risk: [high]}}",
    ),
    "a stale fact": (
        ["{name: in, decision: allow, when: {facts: [{fact: disk, equals: true}]}}"],
        ["{name: in, decision: allow, when: {facts: [{fact: disk, equals: true, max_age: 3d}]}}"],
        "{name: n, when: {device: [known], fact_states: [{fact: disk, states: [stale], max_age: 3d}]}}",
    ),
    "two numbers for one version": (
        ["{name: in, decision: allow, when: {facts: [{fact: os, at_least: 14.2}]}}"],
        ["{name: in, decision: allow, when: {facts: [{fact: os, at_least: 14.10}]}}"],
        "{name: n, when: {device: [known], facts: [{fact: os, below: 14.10}]}}",
    ),
    "a platform": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {platforms: [android]}}"],
        ["{name: in, decision: allow, when: {platforms: [macos, windows]}}"],
        "{name: n, when: {not_platforms: [macos, windows]}}",
    ),
    "a weak binding": (
        ["{name: in, decision: allow, when: {device: [known]}}"],
        ["{name: in, decision: allow, when: {binding: [certificate]}}"],
        "{name: n, when: {binding: [none, claim]}}",
    ),
    "a finding of less than that": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {findings: [{category: malware, at_least: high}]}}"],
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {findings: [{category: malware}]}}"],
        "{name: n, when: {device: [known], findings: [{category: malware}], risk: [none, low, medium, high]}}",
    ),
    "a claim that is not told": (
        ['{name: in, decision: allow, when: {claims: [{claim: terms, one_of: ["true", "later"]}]}}'],
        [
            '{name: in, decision: allow, when: {claims: [{claim: terms, one_of: ["true", "later"]}]}}',
            "{name: b, decision: block, when: {claims: [{claim: terms, one_of: [later]}]}}",
        ],
        "{name: n, when: {claims: [{claim: terms, one_of: [later]}]}}",
    ),
    "a role": (
        ["{name: in, decision: allow, exclude: {roles: [contractor]}}"],
        ["{name: in, decision: allow, exclude: {roles: [contractor, intern]}}"],
        "{name: n, allow: {include: {roles: [intern]}}}",
    ),
    "a service identity": (
        ["{name: in, decision: allow, exclude: {services: [ci]}}"],
        ['{name: in, decision: allow, exclude: {services: ["*"]}}'],
        '{name: n, allow: {include: {services: ["*"]}}}',
    ),
    "a host": (
        ["{name: in, decision: allow}", "{name: b, decision: block, when: {hosts: [hr.wiki.corp.example]}}"],
        ["{name: in, decision: allow, when: {not_hosts: [hr.wiki.corp.example, it.wiki.corp.example]}}"],
        "{name: n, when: {hosts: [it.wiki.corp.example]}}",
    ),
    "a group whose name is a word of ours": (
        ["{name: in, decision: allow, include: {groups: [told]}}", "{name: b, decision: block, include: {groups: [told, staff]}, when: {risk: [high]}}"],
        ["{name: in, decision: allow, include: {groups: [told]}}", "{name: b, decision: block, include: {groups: [told]}}"],
        "{name: n, allow: {include: {groups: [told]}}}",
    ),
    "another allow": (
        [HEALTHY, "{name: helpdesk, decision: allow, include: {groups: [helpdesk]}}"],
        [HEALTHY],
        UNHEALTHY,
    ),
}  # fmt: skip


LAPTOPS = """\
compliance:
  policies:
    - name: laptops
      rules: [{type: fact, name: disk, fact: disk_encrypted, equals: true, grace: 2d}]
      escalation: [%s]
access:
  policies: [{name: in, decision: allow%s}]
"""

# What it is, the steps with the hole, those without it, the assertion, and what the example says of the failing rule.
ESCALATIONS = {
    "payroll is reachable while nothing but a notice happens": (
        "{after: 3d, decision: block}",
        "{after: 0s, decision: block}",
        "{name: n, allow: {apps: [payroll]}, when: {compliance: [noncompliant]}}",
        172800.0,
    ),
    "the grace period is no escalation": (
        "{after: 2d, decision: block}",
        "{after: 0s, decision: remediate}",
        "{name: n, when: {compliance: [in-grace-period]}}",
        0.0,
    ),
    "the step comes a second after grace has ended": (
        "{after: 48h, decision: restrict, controls: [read-only]}, {after: 172801s, decision: block}",
        "{after: 48h, decision: block}",
        "{name: n, when: {compliance: [noncompliant]}}",
        172800.0,
    ),
    "a restriction is not yet a block": (
        "{after: 1d, decision: restrict, controls: [no-downloads]}, {after: 7d, decision: block}",
        "{after: 1d, decision: restrict, controls: [no-downloads]}, {after: 2d, decision: remediate}",
        "{name: n, when: {compliance: [noncompliant]}}",
        172800.0,
    ),
    "a limit that comes late": (
        "{after: 1d, decision: restrict, controls: [no-downloads]}",
        "{after: 0s, decision: restrict, controls: [no-downloads]}",
        "{name: n, when: {compliance: [in-grace-period, noncompliant]}, without: [no-downloads]}",
        0.0,
    ),
}


def escalated(steps: str, never: str, when: str = "") -> Answer:
    text = f"{BASE}{LAPTOPS % (steps, when)}never:\n  - {never}\n"
    meaning = make_runtime(
        load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}, is_proving=False).config, ""
    )
    (answer,) = prove(meaning, meaning.config.never)
    assert answer.example is None or is_let_in(answer.example, meaning)
    return answer


@pytest.mark.parametrize("name", ESCALATIONS)
def test_a_hole_in_time_is_found_with_the_age_of_the_failure(name: str) -> None:
    steps, _, never, age = ESCALATIONS[name]
    answer = escalated(steps, never)
    assert answer.verdict is Verdict.REFUTED
    assert answer.example is not None
    assert answer.example.failing == {"laptops/disk": age}


@pytest.mark.parametrize("name", ESCALATIONS)
def test_steps_that_come_in_time_prove_it(name: str) -> None:
    _, steps, never, _ = ESCALATIONS[name]
    assert escalated(steps, never).verdict is Verdict.PROVEN


def test_steps_hold_only_for_devices_that_the_policy_covers() -> None:
    """Another policy without steps makes devices noncompliant too, and those stay in."""
    never = "{name: n, when: {compliance: [noncompliant]}}"
    other = "    - {name: phones, rules: [{type: fact, name: root, fact: rooted, equals: false}]}\naccess:"
    text = f"{BASE}{LAPTOPS % ('{after: 0s, decision: block}', '')}never:\n  - {never}\n".replace(
        "access:", other
    )
    meaning = make_runtime(
        load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}, is_proving=False).config, ""
    )
    (answer,) = prove(meaning, meaning.config.never)
    assert answer.verdict is Verdict.REFUTED
    assert answer.example is not None
    assert answer.example.failing.keys() == {"phones/root"}


def test_a_fact_that_fails_the_rule_goes_with_the_steps() -> None:
    """What is asked of the fact itself is tied to the age of the failure."""
    never = "{name: n, when: {device: [known]}}"
    when = ", when: {facts: [{fact: disk_encrypted, equals: false}]}"
    assert escalated("{after: 0s, decision: block}", never, when).verdict is Verdict.PROVEN
    assert escalated("{after: 1d, decision: block}", never, when).verdict is Verdict.REFUTED


def verdict(policies: list[str], never: str) -> Verdict:
    access = "".join(f"    - {policy}\n" for policy in policies)
    text = f"{BASE}access:\n  policies:\n{access}never:\n  - {never}\n"
    meaning = make_runtime(
        load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}, is_proving=False).config, ""
    )
    (answer,) = prove(meaning, meaning.config.never)
    if answer.example is not None:
        assert is_let_in(answer.example, meaning)
    return answer.verdict


@pytest.mark.parametrize("name", CASES)
def test_the_hole_is_found(name: str) -> None:
    policies, _, never = CASES[name]
    assert verdict(policies, never) is Verdict.REFUTED


@pytest.mark.parametrize("name", CASES)
def test_without_the_hole_it_is_proven(name: str) -> None:
    _, policies, never = CASES[name]
    assert verdict(policies, never) is Verdict.PROVEN
