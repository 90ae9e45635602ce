"""Broken policies as people write them: each is refused with its place, its key path, and what would be right."""

# ruff: noqa: E501 - a policy stands on one line

import pytest
from config_samples import load

from gateway.config.errors import ConfigInvalid

BASE = """\
version: 1
public_url: https://login.corp.example
providers:
  - {name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}, roles_claim: roles, keep_claims: [department]}
apps:
  - {name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}
  - {name: payroll, host: payroll.corp.example, upstream: "http://10.0.0.6:8080"}
sensors:
  - {name: fleet, kind: fleet, max_silence: 24h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}
networks:
  - {name: office, cidrs: [203.0.113.0/24]}
"""
STAFF = """\
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
"""


def access(policy):
    return f"{STAFF}    - {policy}\n"


def rule(text):
    return f"compliance:\n  policies:\n    - name: laptops\n      rules:\n        - {text}\n{STAFF}"


# What is wrong, the text, the code of the fault, and the key path it names.
CASES = {
    "unknown decision": (access("{name: x, decision: deny}"), "GATE-C012", "access.policies[1].decision"),
    "misspelt key": (access("{name: x, decison: block}"), "GATE-C010", "access.policies[1].decison"),
    "misspelt condition": (
        access("{name: x, decision: block, when: {complience: [noncompliant]}}"),
        "GATE-C010",
        "access.policies[1].when.complience",
    ),
    "misspelt value": (
        access("{name: x, decision: block, when: {compliance: [non-compliant]}}"),
        "GATE-C012",
        "access.policies[1].when.compliance[0]",
    ),
    "state of Entra": (
        access("{name: x, decision: block, when: {compliance: [notCompliant]}}"),
        "GATE-C012",
        "access.policies[1].when.compliance[0]",
    ),
    "grant controls of Entra": (
        access("{name: x, decision: allow, grantControls: {builtInControls: [mfa]}}"),
        "GATE-C010",
        "access.policies[1].grantControls",
    ),
    "wrong risk word": (
        access("{name: x, decision: block, when: {risk: [critical]}}"),
        "GATE-C012",
        "access.policies[1].when.risk[0]",
    ),
    "scalar for a list": (
        access("{name: x, decision: block, when: {risk: high}}"),
        "GATE-C013",
        "access.policies[1].when.risk",
    ),
    "number for a duration": (
        access("{name: x, decision: step-up, when: {auth_older_than: 8}, step_up: {max_age: 1h}}"),
        "GATE-C014",
        "access.policies[1].when.auth_older_than",
    ),
    "wrong unit": (
        access("{name: x, decision: step-up, when: {auth_older_than: 8 hours}, step_up: {max_age: 1h}}"),
        "GATE-C014",
        "access.policies[1].when.auth_older_than",
    ),
    "unit month": (
        access("{name: x, decision: step-up, step_up: {max_age: 1mo}}"),
        "GATE-C014",
        "access.policies[1].step_up.max_age",
    ),
    "negative duration": (
        access("{name: x, decision: step-up, step_up: {max_age: -1h}}"),
        "GATE-C014",
        "access.policies[1].step_up.max_age",
    ),
    "unknown app": (
        access("{name: x, decision: block, apps: [pay-roll]}"),
        "GATE-C031",
        "access.policies[1].apps[0]",
    ),
    "unknown network": (
        access("{name: x, decision: block, when: {networks: [ofice]}}"),
        "GATE-C031",
        "access.policies[1].when.networks[0]",
    ),
    "unknown provider": (
        access("{name: x, decision: block, when: {providers: [google]}}"),
        "GATE-C031",
        "access.policies[1].when.providers[0]",
    ),
    "unknown sensor": (
        access("{name: x, decision: block, when: {sensors: [{sensor: intune, states: [silent]}]}}"),
        "GATE-C031",
        "access.policies[1].when.sensors[0].sensor",
    ),
    "unknown profile": (
        access("{name: x, decision: restrict, profiles: [look-only]}"),
        "GATE-C031",
        "access.policies[1].profiles[0]",
    ),
    "duplicate policy": (access("{name: staff, decision: block}"), "GATE-C030", "access.policies[1].name"),
    "duplicate key": (
        "access:\n  policies:\n    - name: x\n      decision: allow\n      decision: block\n",
        "GATE-C003",
        "access.policies[0].decision",
    ),
    "bad zone": (
        access(
            '{name: x, decision: block, when: {times: [{start: "09:00", end: "17:00", zone: Europe/Belrin}]}}'
        ),
        "GATE-C015",
        "access.policies[1].when.times[0].zone",
    ),
    "zone CET typo offset": (
        access('{name: x, decision: block, when: {times: [{start: "09:00", end: "17:00", zone: "+02:00"}]}}'),
        "GATE-C015",
        "access.policies[1].when.times[0].zone",
    ),
    "bad time": (
        access('{name: x, decision: block, when: {times: [{start: "25:00", end: "17:00"}]}}'),
        "GATE-C015",
        "access.policies[1].when.times[0].start",
    ),
    "time without quotes": (
        access("{name: x, decision: block, when: {times: [{start: 9, end: 17}]}}"),
        "GATE-C015",
        "access.policies[1].when.times[0].start",
    ),
    "12 hour time": (
        access('{name: x, decision: block, when: {times: [{start: "9am", end: "5pm"}]}}'),
        "GATE-C015",
        "access.policies[1].when.times[0].start",
    ),
    "bad day": (
        access('{name: x, decision: block, when: {times: [{days: [monday], start: "09:00", end: "17:00"}]}}'),
        "GATE-C012",
        "access.policies[1].when.times[0].days[0]",
    ),
    "empty window": (
        access('{name: x, decision: block, when: {times: [{days: [], start: "09:00", end: "09:00"}]}}'),
        "GATE-C043",
        "access.policies[1].when.times[0]",
    ),
    "empty list": (
        access("{name: x, decision: block, when: {compliance: []}}"),
        "GATE-C043",
        "access.policies[1].when.compliance",
    ),
    "empty apps": (access("{name: x, decision: allow, apps: []}"), "GATE-C043", "access.policies[1].apps"),
    "empty include": (
        access("{name: x, decision: allow, include: {}}"),
        "GATE-C043",
        "access.policies[1].include",
    ),
    "empty groups": (
        access("{name: x, decision: allow, include: {groups: []}}"),
        "GATE-C043",
        "access.policies[1].include",
    ),
    "empty exclude": (
        access("{name: x, decision: block, exclude: {}}"),
        "GATE-C043",
        "access.policies[1].exclude",
    ),
    "empty name": (access('{name: "", decision: block}'), "GATE-C015", "access.policies[1].name"),
    "no name": (access("{decision: block}"), "GATE-C011", "access.policies[1].name"),
    "no decision": (access("{name: x}"), "GATE-C011", "access.policies[1].decision"),
    "policies is a mapping": (
        "access:\n  policies:\n    staff: {decision: allow}\n",
        "GATE-C013",
        "access.policies",
    ),
    "policy is a text": ("access:\n  policies: [staff]\n", "GATE-C013", "access.policies[0]"),
    "contradictory platforms": (
        access("{name: x, decision: allow, when: {platforms: [macos], not_platforms: [macos]}}"),
        "GATE-C043",
        "access.policies[1].when.platforms",
    ),
    "contradictory apps": (
        access("{name: x, decision: allow, apps: [wiki], not_apps: [wiki]}"),
        "GATE-C043",
        "access.policies[1].not_apps",
    ),
    "contradictory group": (
        access("{name: x, decision: allow, include: {groups: [a]}, exclude: {groups: [a]}}"),
        "GATE-C043",
        "access.policies[1]",
    ),
    "contradictory versions": (
        access(
            "{name: x, decision: allow, when: {facts: [{fact: os_version, at_least: '15', below: '14'}]}}"
        ),
        "GATE-C043",
        "access.policies[1].when.facts[0].at_least",
    ),
    "contradictory numbers": (
        access("{name: x, decision: allow, when: {facts: [{fact: score, min: 20, max: 10}]}}"),
        "GATE-C043",
        "access.policies[1].when.facts[0].min",
    ),
    "contradictory age": (
        access("{name: x, decision: allow, when: {auth_older_than: 8h, auth_within: 1h}}"),
        "GATE-C043",
        "access.policies[1].when.auth_older_than",
    ),
    "fact without comparison": (
        access("{name: x, decision: allow, when: {facts: [{fact: disk}]}}"),
        "GATE-C043",
        "access.policies[1].when.facts[0]",
    ),
    "fact with two comparisons": (
        access("{name: x, decision: allow, when: {facts: [{fact: disk, equals: true, one_of: [a]}]}}"),
        "GATE-C043",
        "access.policies[1].when.facts[0]",
    ),
    "version without order": (
        access("{name: x, decision: allow, when: {facts: [{fact: os_version, at_least: 22H2}]}}"),
        "GATE-C043",
        "access.policies[1].when.facts[0].at_least",
    ),
    "number as text": (
        access("{name: x, decision: allow, when: {facts: [{fact: score, min: '10'}]}}"),
        "GATE-C013",
        "access.policies[1].when.facts[0].min",
    ),
    "controls on block": (
        access("{name: x, decision: block, controls: [read-only]}"),
        "GATE-C043",
        "access.policies[1].controls",
    ),
    "restrict without controls": (
        access("{name: x, decision: restrict, include: {groups: [a]}}"),
        "GATE-C043",
        "access.policies[1].controls",
    ),
    "unknown control": (
        access("{name: x, decision: restrict, include: {groups: [a]}, controls: [readonly]}"),
        "GATE-C012",
        "access.policies[1].controls[0]",
    ),
    "step-up without step_up": (
        access("{name: x, decision: step-up}"),
        "GATE-C043",
        "access.policies[1].step_up",
    ),
    "step_up on allow": (
        access("{name: x, decision: allow, step_up: {max_age: 1h}}"),
        "GATE-C043",
        "access.policies[1].step_up",
    ),
    "empty step_up": (
        access("{name: x, decision: step-up, step_up: {}}"),
        "GATE-C043",
        "access.policies[1].step_up",
    ),
    "relative path": (
        access("{name: x, decision: block, when: {paths: [admin]}}"),
        "GATE-C038",
        "access.policies[1].when.paths[0]",
    ),
    "regex path": (
        access("{name: x, decision: block, when: {paths: ['^/admin.*$']}}"),
        "GATE-C038",
        "access.policies[1].when.paths[0]",
    ),
    "double star glued": (
        access("{name: x, decision: block, when: {paths: [/a**b]}}"),
        "GATE-C038",
        "access.policies[1].when.paths[0]",
    ),
    "path with query": (
        access("{name: x, decision: block, when: {paths: ['/a?b=1']}}"),
        "GATE-C038",
        "access.policies[1].when.paths[0]",
    ),
    "dotdot path": (
        access("{name: x, decision: block, when: {paths: ['/a/../b']}}"),
        "GATE-C038",
        "access.policies[1].when.paths[0]",
    ),
    "lower-case method": (
        access("{name: x, decision: block, when: {methods: [post]}}"),
        "GATE-C015",
        "access.policies[1].when.methods[0]",
    ),
    "unknown client": (
        access("{name: x, decision: block, when: {clients: [mobile]}}"),
        "GATE-C012",
        "access.policies[1].when.clients[0]",
    ),
    "unknown platform": (
        access("{name: x, decision: block, when: {platforms: [mac]}}"),
        "GATE-C012",
        "access.policies[1].when.platforms[0]",
    ),
    "claim not kept": (
        access("{name: x, decision: block, when: {claims: [{claim: title, one_of: [boss]}]}}"),
        "GATE-C031",
        "access.policies[1].when.claims[0].claim",
    ),
    "claim without values": (
        access("{name: x, decision: block, when: {claims: [{claim: department, one_of: []}]}}"),
        "GATE-C043",
        "access.policies[1].when.claims[0].one_of",
    ),
    "roles without roles_claim other": (
        access("{name: x, decision: block, include: {roles: ['']}}"),
        "GATE-C015",
        "access.policies[1].include.roles[0]",
    ),
    "mode": (access("{name: x, decision: block, mode: report-only}"), "GATE-C012", "access.policies[1].mode"),
    "wildcard group": (
        access("{name: x, decision: allow, include: {groups: ['*']}}"),
        "GATE-C043",
        "access.policies[1].include.groups[0]",
    ),
    "wildcard user": (
        access("{name: x, decision: allow, include: {users: ['*']}}"),
        "GATE-C043",
        "access.policies[1].include.users[0]",
    ),
    "host of no app": (
        access("{name: x, decision: allow, when: {hosts: [crm.corp.example]}}"),
        "GATE-C031",
        "access.policies[1].when.hosts[0]",
    ),
    "bad host": (
        access("{name: x, decision: allow, when: {hosts: ['https://wiki.corp.example/']}}"),
        "GATE-C031",
        "access.policies[1].when.hosts[0]",
    ),
    "rule without type": (
        rule("{name: disk, fact: disk_encrypted, equals: true}"),
        "GATE-C011",
        "compliance.policies[0].rules[0]",
    ),
    "rule of unknown type": (
        rule("{type: factt, name: disk, fact: disk_encrypted, equals: true}"),
        "GATE-C012",
        "compliance.policies[0].rules[0].type",
    ),
    "rule without comparison": (
        rule("{type: fact, name: disk, fact: disk_encrypted}"),
        "GATE-C042",
        "compliance.policies[0].rules[0]",
    ),
    "rule key of other type": (
        rule("{type: risk, name: r, max: low, fact: disk}"),
        "GATE-C010",
        "compliance.policies[0].rules[0].fact",
    ),
    "risk max unknown": (
        rule("{type: risk, name: r, max: unknown}"),
        "GATE-C042",
        "compliance.policies[0].rules[0].max",
    ),
    "grace without unit": (
        rule("{type: fact, name: disk, fact: disk_encrypted, equals: true, grace: 3}"),
        "GATE-C014",
        "compliance.policies[0].rules[0].grace",
    ),
    "grace with wrong unit": (
        rule("{type: fact, name: disk, fact: disk_encrypted, equals: true, grace: 3 days}"),
        "GATE-C014",
        "compliance.policies[0].rules[0].grace",
    ),
    "warn-until without date": (
        rule("{type: fact, name: disk, fact: disk_encrypted, equals: true, level: warn-until}"),
        "GATE-C015",
        "compliance.policies[0].rules[0].warn_until",
    ),
    "bad date": (
        rule(
            "{type: fact, name: disk, fact: disk_encrypted, equals: true, level: warn-until, warn_until: 31.12.2026}"
        ),
        "GATE-C015",
        "compliance.policies[0].rules[0].warn_until",
    ),
    "sensor rule unknown": (
        rule("{type: sensor, name: s, sensor: flet, seen_within: 48h}"),
        "GATE-C031",
        "compliance.policies[0].rules[0].sensor",
    ),
    "duplicate rule": (
        rule("{type: risk, name: r, max: low}\n        - {type: risk, name: r, max: low}"),
        "GATE-C030",
        "compliance.policies[0].rules[1].name",
    ),
    "escalation allow": (
        rule("{type: risk, name: r, max: low}\n      escalation: [{after: 1d, decision: allow}]"),
        "GATE-C042",
        "compliance.policies[0].escalation[0].decision",
    ),
    "escalation step-up": (
        rule("{type: risk, name: r, max: low}\n      escalation: [{after: 1d, decision: step-up}]"),
        "GATE-C042",
        "compliance.policies[0].escalation[0].decision",
    ),
    "escalation notify": (
        rule("{type: risk, name: r, max: low}\n      escalation: [{after: 1d, decision: notify}]"),
        "GATE-C012",
        "compliance.policies[0].escalation[0].decision",
    ),
    "exemption of unknown rule": (
        rule(
            "{type: risk, name: r, max: low}\n  exemptions:\n    - {rule: laptops/x, devices: [a], reason: r, author: me, expires: '2027-01-01'}"
        ),
        "GATE-C031",
        "compliance.exemptions[0].rule",
    ),
    "exemption without expiry": (
        rule(
            "{type: risk, name: r, max: low}\n  exemptions:\n    - {rule: laptops/r, devices: [a], reason: r, author: me}"
        ),
        "GATE-C011",
        "compliance.exemptions[0].expires",
    ),
    "exemption of nobody": (
        rule(
            "{type: risk, name: r, max: low}\n  exemptions:\n    - {rule: laptops/r, reason: r, author: me, expires: '2027-01-01'}"
        ),
        "GATE-C042",
        "compliance.exemptions[0].devices",
    ),
    "test fails": (
        STAFF + "tests:\n  - {name: t, given: {app: wiki, groups: [staff]}, expect: block}\n",
        "GATE-C044",
        "tests[0]",
    ),
    "test of unknown app": (
        STAFF + "tests:\n  - {name: t, given: {app: wikki, groups: [staff]}, expect: block}\n",
        "GATE-C031",
        "tests[0].given.app",
    ),
    "test expects unknown policy": (
        STAFF + "tests:\n  - {name: t, given: {app: wiki, groups: [staff]}, expect: {policy: stafff}}\n",
        "GATE-C031",
        "tests[0].expect.policy",
    ),
    "test with naive time": (
        STAFF
        + "tests:\n  - {name: t, given: {app: wiki, groups: [staff], at: '2026-01-01T09:00'}, expect: allow}\n",
        "GATE-C015",
        "tests[0].given.at",
    ),
    "never refuted": (
        STAFF + "never:\n  - {name: n, allow: {apps: [payroll]}, when: {compliance: [noncompliant]}}\n",
        "GATE-C045",
        "never[0]",
    ),
    "never forbids all": (STAFF + "never:\n  - {name: n}\n", "GATE-C043", "never[0]"),
    "never unknown app": (
        STAFF + "never:\n  - {name: n, allow: {apps: [hr]}}\n",
        "GATE-C031",
        "never[0].allow.apps[0]",
    ),
    "duplicate never": (
        STAFF
        + "never:\n  - {name: n, allow: {include: {groups: [x]}, exclude: {groups: [staff]}}}\n  - {name: n, allow: {include: {groups: [x]}, exclude: {groups: [staff]}}}\n",
        "GATE-C030",
        "never[1].name",
    ),
    "duplicate test": (
        STAFF
        + "tests:\n  - {name: t, given: {app: wiki, groups: [staff]}, expect: allow}\n  - {name: t, given: {app: wiki, groups: [staff]}, expect: allow}\n",
        "GATE-C030",
        "tests[1].name",
    ),
    "tab": ("access:\n\tpolicies: []\n", "GATE-C002", ""),
    "colon": ("access:\n  policies:\n    - name: a: b\n      decision: allow\n", "GATE-C002", ""),
    "unclosed": ("access:\n  policies:\n    - {name: a, decision: allow\n", "GATE-C002", ""),
    "include nothing": ("include: [policies/*.yaml]\n" + STAFF, "GATE-C037", "include"),
    "top-level policies": ("policies: []\n" + STAFF, "GATE-C010", "policies"),
    "null decision": (access("{name: x, decision: null}"), "GATE-C013", "access.policies[1].decision"),
    "list name": (access("{name: [x], decision: block}"), "GATE-C013", "access.policies[1].name"),
    "when is a list": (
        access("{name: x, decision: block, when: [risk]}"),
        "GATE-C013",
        "access.policies[1].when",
    ),
    "boolean list": (
        access("{name: x, decision: block, when: {tags: [true]}}"),
        "GATE-C013",
        "access.policies[1].when.tags[0]",
    ),
    "fact_states empty": (
        access("{name: x, decision: block, when: {fact_states: [{fact: disk, states: []}]}}"),
        "GATE-C043",
        "access.policies[1].when.fact_states[0].states",
    ),
    "findings empty": (
        access("{name: x, decision: block, when: {findings: [{}]}}"),
        "GATE-C043",
        "access.policies[1].when.findings[0]",
    ),
    "findings none": (
        access("{name: x, decision: block, when: {findings: []}}"),
        "GATE-C043",
        "access.policies[1].when.findings",
    ),
    "severity typo": (
        access("{name: x, decision: block, when: {findings: [{at_least: severe}]}}"),
        "GATE-C012",
        "access.policies[1].when.findings[0].at_least",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_with_its_place_and_a_suggestion(name):
    text, code, path = CASES[name]
    with pytest.raises(ConfigInvalid) as refused:
        load(BASE + text)
    faults = refused.value.faults
    assert (code, path) in [(str(fault.code), fault.path) for fault in faults]
    for fault in faults:
        assert fault.file.endswith(".yaml")
        assert fault.line > BASE.count("\n")
        assert fault.column > 0
        assert fault.message
        assert fault.hint
