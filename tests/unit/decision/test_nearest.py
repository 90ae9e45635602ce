"""What would have let a request in, in words: only what is true, fewest changes first."""

from pathlib import Path

import pytest

from gateway.config.given import read_given
from gateway.config.load import load_text
from gateway.decision.answers import changes_of
from gateway.decision.hypothetical import suppose
from gateway.hub.runtime import make_runtime

CONFIG = """\
public_url: https://login.corp.example
providers: [{name: idp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: SECRET}}]
apps: [{name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}]
sensors: [{name: edr, kind: fleet, max_silence: 1h, auth: {scheme: bearer, secrets: [{env: SECRET}]}}]
networks: [{name: office, cidrs: [203.0.113.0/24]}]
compliance: {policies: [{name: p, rules: [{type: fact, name: disk, fact: disk_encrypted, equals: true}]}]}
access:
  policies:
"""
STAFF = "{name: staff, decision: allow, include: {groups: [staff]}}"
FIX = "{name: fix, decision: remediate, when: {compliance: [noncompliant, unknown]}}"
MFA = "{name: mfa, decision: step-up, step_up: {acr_values: [hw]}}"


def told(policies, *said, config=CONFIG):
    text = config + "".join(f"    - {policy}\n" for policy in policies)
    meaning = make_runtime(load_text(text, Path("/nowhere/gate.yaml"), {"SECRET": "x" * 20}).config, "")
    supposed = suppose(read_given("wiki", ["groups=staff", *said], {}), meaning)
    return changes_of(supposed, meaning)


@pytest.mark.parametrize(
    ("policies", "said", "first"),
    [
        ([STAFF], [], None),
        (
            [STAFF, FIX],
            ["facts.disk_encrypted=false"],
            "the device becomes compliant (Disk encrypted: no, wanted yes)",
        ),
        ([STAFF, FIX], [], "the device is known and the device becomes compliant"),
        ([STAFF, "{name: b, decision: block, when: {risk: [high]}}"], ["risk=high"], "the risk of the device is none"),
        ([STAFF, MFA], ["acr=pwd"], "the sign-in has acr hw"),
        (
            [STAFF, "{name: s, decision: step-up, step_up: {max_age: 1m}}"],
            ["signed_in=2h"],
            "the sign-in is younger than 1 min",
        ),
        ([STAFF], ["groups=none"], "the user is in group staff"),
        (
            [STAFF, "{name: b, decision: block, when: {not_networks: [office]}}"],
            ["address=10.0.0.1"],
            "the request comes from network office",
        ),
        (
            [STAFF, "{name: b, decision: block, when: {platforms: [android]}}"],
            ["platform=android"],
            "the device runs macos",
        ),
        (
            [STAFF, "{name: b, decision: block, when: {clients: [api]}}"],
            ["client=api"],
            "the client is of kind browser",
        ),
        (
            [STAFF, "{name: b, decision: block, when: {facts: [{fact: os, below: 14}]}}"],
            ["facts.os='13.2'"],
            "os is 14",
        ),
        (
            [STAFF, "{name: b, decision: block, when: {findings: [{category: malware}]}}"],
            ["findings={severity: low, category: malware}"],
            "no finding (malware) is open",
        ),
        (
            [STAFF, "{name: r, decision: restrict, controls: [read-only], when: {tags: [kiosk]}}"],
            ["tags=kiosk"],
            "the device is not tagged kiosk",
        ),
        (
            ['{name: day, decision: allow, when: {times: [{start: "13:00", end: "14:00"}]}}'],
            [],
            "it is Wednesday, 2025-01-15 13:00 UTC",
        ),
        (
            [STAFF, "{name: b, decision: block, when: {sensors: [{sensor: edr, states: [never]}]}}"],
            ["device=known"],
            "sensor edr is heard",
        ),
    ],
)  # fmt: skip
def test_what_helps_is_named(policies, said, first):
    texts = told(policies, *said)
    if first is None:
        assert texts == ()
    else:
        name = policies[0].split(",")[0].removeprefix("{name: ")
        assert texts[0] == f"allow (policy {name}) if {first}"


def test_two_changes_where_one_is_not_enough():
    texts = told([STAFF, FIX, MFA], "facts.disk_encrypted=false", "acr=pwd")
    assert texts[0].count(" and ") == 1
    assert "becomes compliant" in texts[0]
    assert "acr hw" in texts[0]


def test_nothing_helps_who_is_named_and_blocked():
    assert told([STAFF, "{name: b, decision: block, include: {users: [eve]}}"], "user=eve") == ()


def test_what_an_escalation_demands_goes_with_its_cause():
    steps = CONFIG.replace("equals: true}]", "equals: true}], escalation: [{after: 1d, decision: block}]")
    said = told([STAFF], "failing={p/disk: 2d}", config=steps)
    assert said == (
        "allow (policy staff) if the device becomes compliant (Disk: failing for 2 d, wanted met)",
    )
    assert told([STAFF], "failing={p/disk: 1h}", config=steps) == ()
