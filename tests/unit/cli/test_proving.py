"""`posturegate test`, `what-if` and `analyze`: what is printed, the exit code, and what a load refuses."""

import json
import os

import pytest

from gateway.cli import main
from gateway.cli.impact import _bar

BASE = """\
version: 1
public_url: https://login.corp.example
server: {run_dir: run}
store: {url: 'sqlite:state.db'}
providers: [{name: corp, issuer: "http://127.0.0.1:1", client_id: gate}]
networks: [{name: office, cidrs: [203.0.113.0/24]}]
devices: [{from: claim, claim: device, kind: serial}]
apps:
  - {name: wiki, host: wiki.corp.example, upstream: "http://127.0.0.1:1"}
  - {name: payroll, host: pay.corp.example, upstream: "http://127.0.0.1:1"}
compliance:
  policies:
    - name: laptop
      rules:
        - {type: risk, name: threat, max: low}
        - {type: fact, name: disk, fact: disk_encrypted, equals: true}
access:
  policies:
    - {name: staff, decision: allow, include: {groups: [staff]}}
    - {name: fix, decision: remediate, when: {compliance: [noncompliant, unknown]}}
    - {name: admin, apps: [payroll], decision: block, when: {paths: [/admin], not_networks: [office]}}
"""
TESTS = """\
tests:
  - name: staff get in
    given: {app: wiki, groups: [staff], facts: {disk_encrypted: true}}
    expect: allow
  - name: an unencrypted disk leads to the repair
    given: {app: wiki, groups: [staff], facts: {disk_encrypted: false}}
    expect: {decision: remediate, policy: fix, compliance: noncompliant, matched: [staff], not_matched: [admin]}
  - name: payroll administration from a café
    given: {app: payroll, groups: [staff], compliance: compliant, risk: none, path: /admin/x}
    expect: {decision: block, policy: admin}
"""
NEVER = """\
never:
  - name: no device at risk
    when: {risk: [medium, high]}
  - name: payroll administration from outside
    allow: {apps: [payroll]}
    when: {paths: [/admin], not_networks: [office]}
"""
HOLE = """\
never:
  - name: contractors stay out of payroll
    allow: {apps: [payroll], include: {groups: [contractors]}}
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a configuration and gives its path."""

    def write_config(text, name="gate.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write_config


def test_tests_that_pass(write, capsys):
    path = write(BASE + TESTS)
    assert main(["check", "--config", path]) == 0
    capsys.readouterr()
    assert main(["test", path, "--coverage"]) == 0
    said = capsys.readouterr().out
    assert "3 tests passed" in said
    assert "coverage: 3 of 3 access policies decided a test" in said


def test_a_test_that_fails_refuses_the_configuration(write, capsys):
    path = write(BASE + TESTS.replace("expect: allow", "expect: block"))
    assert main(["check", "--config", path]) == 2
    said = capsys.readouterr().out
    line = (BASE + TESTS).splitlines().index("  - name: staff get in") + 1
    assert f"{path}:{line}:" in said
    assert "GATE-C044" in said
    assert "expected decision block, it is allow (policy staff)" in said
    assert main(["test", path]) == 1
    said = capsys.readouterr().out
    assert f"FAILED  {path}:{line}  staff get in" in said
    assert "3 tests, 1 failed" in said


def test_tests_by_name_and_as_json(write, capsys):
    path = write(BASE + TESTS)
    assert main(["test", path, "--run", "café", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in said["tests"]] == ["payroll administration from a café"]
    assert said["tests"][0]["decision"]["policy"] == "admin"
    assert said["coverage"]["unmatched"] == ["fix"]
    assert main(["test", path, "--run", "no such test"]) == 1
    assert main(["test", path, "--run", "("]) == 2


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("app: wiki, groups: [staff], facts: {disk_encrypted: true}", "app: wik", "no app is named `wik`"),
        ("path: /admin/x", "path: admin", "a path starts with `/`"),
        ("policy: admin", "policy: admn", "did you mean `admin`"),
        ("compliance: compliant, risk: none", "complaince: compliant", "did you mean `compliance`"),
        ("risk: none", "risk: extreme", "known: unknown, none, low, medium, high"),
        ("risk: none", "networks: [home]", "no network is named `home`"),
        ("risk: none", "at: yesterday", "is no time"),
        ("risk: none", "heard: {edr: 1h}", "no sensors are configured"),
        ("expect: allow", "expect: {}", "expects nothing"),
    ],
)
def test_a_test_that_makes_no_sense(write, capsys, old, new, said):
    assert old in TESTS
    assert main(["check", "--config", write(BASE + TESTS.replace(old, new))]) == 2
    assert said in capsys.readouterr().out


def test_assertions_that_hold(write, capsys):
    path = write(BASE + NEVER)
    assert main(["check", "--config", path]) == 0
    capsys.readouterr()
    assert main(["analyze", path]) == 0
    said = capsys.readouterr().out
    assert said.count("proven") == 2


def test_an_assertion_with_a_hole_refuses_the_configuration(write, capsys):
    path = write(BASE + HOLE)
    assert main(["check", "--config", path]) == 2
    said = capsys.readouterr().out
    assert "GATE-C045" in said
    assert "policy `staff` lets in" in said
    assert "groups staff and contractors" in said
    assert main(["analyze", path, "--json"]) == 1
    (answer,) = json.loads(capsys.readouterr().out)["never"]
    assert answer["verdict"] == "refuted"
    assert set(answer["example"]["groups"]) == {"staff", "contractors"}


def test_the_example_of_a_hole_can_be_tried(write, capsys):
    path = write(BASE + HOLE)
    assert (
        main(["what-if", "payroll", "groups=staff,contractors", "compliance=compliant", "--config", path])
        == 0
    )
    assert capsys.readouterr().out.startswith("allow by staff")


def test_findings_about_policies_and_apps(write, capsys):
    extra = """\
    - {name: never holds, decision: allow, when: {device: [unknown], compliance: [compliant]}}
    - {name: too late, decision: restrict, controls: [read-only], when: {compliance: [noncompliant]}}
    - {name: twice, decision: allow, include: {groups: [staff]}, when: {methods: [GET]}}
    - {name: lockout, apps: [wiki], decision: block}
"""
    path = write(BASE.rstrip() + "\n" + extra)
    assert main(["analyze", path, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    kinds = {(each["kind"], each["policy"] or each["app"]) for each in found}
    assert {("unreachable", "never holds"), ("shadowed", "too late"), ("redundant", "twice")} <= kinds
    assert ("closed", "wiki") in kinds


def test_how_open_an_app_is(write, capsys):
    path = write(BASE.replace("[noncompliant, unknown]", "[noncompliant]"))
    assert main(["analyze", path]) == 0
    said = capsys.readouterr().out
    assert "apps wiki, payroll: can be reached from a device that we do not know (policy staff)" in said
    assert "GET / of wiki with groups staff, device unknown, compliance unknown, risk unknown\n" in said


def test_two_sets_are_compared_by_example(write, capsys):
    now = write(BASE)
    before = write(BASE.replace("groups: [staff]", "groups: [staff, guests]"), "before.yaml")
    assert main(["analyze", now, "--against", before]) == 0
    said = capsys.readouterr().out
    assert "no longer let in at apps wiki, payroll, by staff:" in said
    assert "GET / of wiki with groups guests" in said
    assert "newly" not in said
    assert main(["analyze", now, "--against", now]) == 0
    assert "both sets let in the same requests" in capsys.readouterr().out


BASE_WITHOUT = BASE[: BASE.index("compliance:")] + BASE[BASE.index("access:") :]
COMPLIANCE = """\
compliance:
  policies:
    - name: laptops
      rules:
        - {type: fact, name: os, fact: os_version, at_least: "14.4", grace: 7d}
        - {type: fact, name: disk, fact: disk_encrypted, equals: true}
"""


def devices_of(write, capsys, before, after):
    """Return the devices that two compliance policies treat differently, as the command tells them in JSON."""
    now, then = write(BASE_WITHOUT + after), write(BASE_WITHOUT + before, "before.yaml")
    main(["analyze", now, "--against", then, "--json"])
    return json.loads(capsys.readouterr().out)["devices"]


def test_two_sets_of_compliance_policies_are_compared_by_a_device(write, capsys):
    stricter = COMPLIANCE.replace("14.4", "14.6")
    main(
        [
            "analyze",
            write(BASE_WITHOUT + stricter),
            "--against",
            write(BASE_WITHOUT + COMPLIANCE, "before.yaml"),
        ]
    )
    said = capsys.readouterr().out
    assert "both sets let in the same requests" in said
    assert "a device that is compliant becomes noncompliant:" in said
    assert "os_version 14.4 (for 7 d), disk_encrypted yes" in said
    assert "now: laptops/os noncompliant: 14.4, wanted 14.6 or newer" in said


@pytest.mark.parametrize(
    ("old", "new", "turns"),
    [
        ("grace: 7d", "grace: 3d", {("in-grace-period", "noncompliant")}),
        ('"14.4"', '"14.4.1"', {("compliant", "noncompliant")}),
        ("equals: true", "equals: true, max_age: 3d", {("compliant", "unknown"), ("noncompliant", "unknown")}),
        ("equals: true", "equals: true, level: notify", {("noncompliant", "compliant")}),
        ("compliance:\n", "compliance:\n  uncovered: unknown\n", set()),
        ("rules:", "exclude: {tags: [kiosk]}\n      rules:", {("compliant", "noncompliant")}),
        ("disk_encrypted", "disk_encryption", {("compliant", "noncompliant"), ("noncompliant", "compliant")}),
        ("name: laptops", "name: notebooks", set()),
    ],
)  # fmt: skip
def test_each_way_in_which_devices_are_treated_otherwise_is_told(write, capsys, old, new, turns):
    found = devices_of(write, capsys, COMPLIANCE, COMPLIANCE.replace(old, new))
    assert turns <= {(each["before"]["state"], each["after"]["state"]) for each in found}
    assert bool(found) is bool(turns)


def test_devices_of_a_comparison_show_escalation_exemptions_and_dates(write, capsys):
    steps = [
        "      escalation:\n",
        "        - {after: 1d, decision: restrict, controls: [no-downloads]}\n",
        "        - {after: 3d, decision: block}\n",
    ]
    found = devices_of(write, capsys, COMPLIANCE, COMPLIANCE + "".join(steps))
    assert {each["after"]["demanded"] for each in found} == {"block"}
    assert {control for each in found for control in each["after"]["controls"]} == {"no-downloads"}
    exempt = "  exemptions: [{rule: laptops/disk, devices: [lab-7], reason: r, author: a, expires: '2099-01-01'}]\n"
    found = devices_of(write, capsys, COMPLIANCE, COMPLIANCE + exempt)
    assert {tuple(each["device"]["names"]) for each in found} == {("lab-7",)}
    dated = COMPLIANCE.replace("equals: true", "equals: true, level: warn-until, warn_until: '2098-01-01'")
    later = dated.replace("2098", "2099")
    (difference,) = devices_of(write, capsys, dated, later)
    assert difference["device"]["at"].startswith("2098-01-01")
    assert difference["before"]["state"] == "noncompliant"


def test_what_if_says_why_and_what_would_help(write, capsys):
    path = write(BASE)
    arguments = [
        "groups=staff",
        "facts.disk_encrypted=true",
        "risk=none",
        "path=/admin",
        "address=198.51.100.1",
    ]
    assert main(["what-if", "payroll", *arguments, "--config", path]) == 0
    said = capsys.readouterr().out
    assert said.startswith("block by admin")
    assert "if the request comes from network office" in said
    assert f"{path}:{BASE.splitlines().index(BASE.splitlines()[-1]) + 1}" in said
    assert main(["what-if", "payroll", *arguments, "--json", "--config", path]) == 0
    assert json.loads(capsys.readouterr().out)["decision"]["policy"] == "admin"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["payrol"], 1, "did you mean `payroll`"),
        (["payroll", "grops=staff"], 2, "did you mean `groups`"),
        (["payroll", "groups"], 2, "has no value"),
        (["payroll", "risk=extreme"], 2, "`extreme`"),
        (["payroll", "at=noon"], 2, "noon"),
        (["payroll", "facts.x={"], 2, "error"),
    ],
)
def test_what_if_refuses_what_it_does_not_understand(write, capsys, arguments, code, said):
    assert main(["what-if", *arguments, "--config", write(BASE)]) == code
    assert said in capsys.readouterr().err


def test_explain_a_request_that_nobody_made(write, capsys):
    """The record that the decision would have: the rules with their ages, the deciding policy with its line."""
    old = "    - {name: old, decision: block, when: {facts: [{fact: os, below: 14}]}, reason: Too old.}\n"
    path = write(BASE + old)
    asked = ["--app", "wiki", "--user", "ana", "--path", "/x", "--method", "POST"]
    asked += ["--at", "2026-05-04T09:30:00+02:00"]
    said = ["groups=staff", "facts.disk_encrypted=true", "facts.os='13.2'", "facts_age=2h"]
    assert main(["explain", *asked, *said, "--config", path]) == 0
    told = capsys.readouterr().out
    assert "DECISION  block   policy old" in told
    assert f"stands in  {path}:22" in told
    assert "decided    2026-05-04 07:30:00 UTC" in told
    assert "fact       os 13.2 (hypothetical-sensor, 2 h ago)" in told
    assert "wiki: POST /x" in told
    assert "hit   laptop/disk  compliant: met" in told
    assert main(["explain", *asked, *said, "--json", "--config", path]) == 0
    assert json.loads(capsys.readouterr().out)["facts"][0]["name"] == "os"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "name a reference code"),
        (["--app", "none"], 1, "no app is named `none`"),
        (["--app", "wiki", "--device", "lt-1"], 1, "there is no store"),
        (["--app", "wiki", "--at", "noon"], 1, "noon"),
        (["--app", "wiki", "grups=a"], 2, "did you mean `groups`?"),
    ],
)
def test_explain_refuses_what_it_does_not_understand(write, capsys, arguments, code, said):
    assert main(["explain", *arguments, "--config", write(BASE)]) == code
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    "entry", ["networks=ofice", "provider=crop", "heard.edr=1h", "failing={laptop/disc: 1h}", "facts_from=x"]
)
def test_what_if_refuses_names_that_there_are_not(entry, write, capsys):
    assert main(["what-if", "--config", write(BASE), "wiki", entry]) == 2
    said = capsys.readouterr().err
    assert "GATE-C031" in said
    assert "is named" in said


def test_the_progress_of_impact_is_drawn_on_a_terminal_only(monkeypatch):
    primary, secondary = os.openpty()
    with os.fdopen(secondary, "w") as terminal, os.fdopen(primary, "rb", buffering=0) as screen:
        monkeypatch.setattr("sys.stderr", terminal)
        _bar(500, 2000)
        _bar(2000, 2000)
        shown = ""
        while "2,000 of 2,000" not in shown:
            shown += screen.read(4096).decode()
    assert shown.startswith("\r[")
    assert "500 of 2,000\r[" in shown
    assert "##] 2,000 of 2,000" in shown
    with open(os.devnull, "w") as nowhere:  # noqa: PTH123 - no terminal
        monkeypatch.setattr("sys.stderr", nowhere)
        _bar(500, 2000)
