"""Policies that contradict themselves are refused on load, and what stands in the way is named."""

import pytest
from config_samples import BASE, invalid, load

from gateway.config.errors import Code

SENSOR = (
    "sensors: [{name: edr, kind: fleet, max_silence: 1h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}]\n"
)
NETWORK = "networks: [{name: office, cidrs: [203.0.113.0/24]}]\n"


def text(policy):
    access = "access:\n  policies:\n    - {name: all, decision: allow}\n"
    return BASE + SENSOR + NETWORK + access + f"    - {{name: it, {policy}}}\n"


@pytest.mark.parametrize(
    ("policy", "blamed"),
    [
        ("decision: allow, when: {platforms: [macos], not_platforms: [macos]}", "platforms"),
        ("decision: block, when: {networks: [office], not_networks: [office]}", "networks"),
        ("decision: block, when: {device: [unknown], compliance: [compliant]}", "compliance"),
        ("decision: block, when: {auth_within: 1h, auth_older_than: 1h}", "auth_older_than"),
        ("decision: block, when: {acr: [mfa], not_acr: [mfa, pwd]}", "acr"),
        ("decision: block, when: {methods: [GET], not_methods: [GET]}", "methods"),
        ("decision: block, when: {paths: [/a/b], not_paths: [/a]}", "paths"),
        ("decision: block, when: {tags: [kiosk], not_tags: [kiosk]}", "tags"),
        ("decision: allow, when: {facts: [{fact: x, equals: true}, {fact: x, equals: false}]}", "facts"),
        ("decision: remediate, when: {facts: [{fact: v, at_least: 15}, {fact: v, below: 14}]}", "facts"),
        ('decision: block, when: {times: [{end: "12:00"}], not_times: [{end: "13:00"}]}', "times"),
        ("decision: block, when: {risk: [high], device: [unknown]}", "risk"),
        ("decision: block, mode: report, when: {not_hosts: [wiki.corp.example]}", "not_hosts"),
    ],
)  # fmt: skip
def test_contradictory_conditions_are_refused(policy, blamed):
    (fault,) = invalid(text(policy)).faults
    assert (fault.code, fault.path) == (Code.ACCESS_POLICY, f"access.policies[1].when.{blamed}")
    assert "can never match" in fault.message


def test_people_who_are_all_excluded():
    (fault,) = invalid(text("decision: block, include: {groups: [a]}, exclude: {groups: [a, b]}")).faults
    assert (fault.code, fault.path) == (Code.ACCESS_POLICY, "access.policies[1]")


@pytest.mark.parametrize(
    "policy",
    [
        "decision: block, when: {risk: [high], sensors: [{sensor: edr, states: [silent]}]}",
        "decision: restrict, controls: [read-only], when: {device: [unknown], platforms: [macos]}",
        "decision: block, when: {findings: [{category: a}], not_findings: [{category: b}]}",
        "decision: block, when: {auth_within: 2h, auth_older_than: 1h}",
        "decision: block, include: {groups: [a]}, exclude: {users: [ana]}",
    ],
)
def test_what_can_match_is_taken(policy):
    load(text(policy))


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ("fact: v, at_least: 15, below: 14", "at_least"),
        ("fact: v, at_least: 15, below: 15", "at_least"),
        ("fact: v, min: 3, max: 2", "min"),
    ],
)
def test_ranges_with_nothing_between_are_refused(rule, path):
    policy = f"compliance: {{policies: [{{name: p, rules: [{{type: fact, name: r, {rule}}}]}}]}}\n"
    (fault,) = invalid(text("decision: block, when: {risk: [high]}") + policy).faults
    assert fault.path == f"compliance.policies[0].rules[0].{path}"


def test_a_step_that_comes_too_late_is_pointed_at():
    steps = "{after: 7d, decision: remediate}, {after: 1d, decision: block}"
    policy = f"{{name: p, rules: [{{type: risk, name: r, max: low}}], escalation: [{steps}]}}"
    loaded = load(text("decision: block, when: {risk: [high]}") + f"compliance: {{policies: [{policy}]}}\n")
    assert [each.path for each in loaded.warnings] == ["compliance.policies[0].escalation[0]"]


@pytest.mark.parametrize(
    ("pattern", "hint"), [("/a%2fb", "/a%2Fb"), ("/%61dmin", "/admin"), ("/a/../b", "never")]
)
def test_patterns_that_no_path_can_match_are_refused(pattern, hint):
    (fault,) = invalid(text(f"decision: block, when: {{paths: ['{pattern}']}}")).faults
    assert fault.code is Code.PATTERN
    assert hint in fault.message


@pytest.mark.parametrize("name", ["x" * 201, '"a\\nb"'])
def test_names_are_short_and_of_one_line(name):
    (fault,) = invalid(text("decision: block").replace("name: it", f"name: {name}")).faults
    assert (fault.code, fault.path) == (Code.FORM, "access.policies[1].name")
