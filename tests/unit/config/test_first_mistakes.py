"""What somebody writes who knows another system: one mistake gives one fault, with what is written here."""

import pytest
from config_samples import BASE, GOOD, load, one

from gateway.config.errors import Code


def policy(entry):
    return f"{BASE}access:\n  policies:\n    - {{name: all, decision: allow}}\n    - {entry}\n"


def escalation(step):
    return f"""{GOOD}compliance:
  policies:
    - name: base
      rules: [{{type: fact, name: disk, fact: disk, equals: true}}]
      escalation: [{step}]
"""


MISTAKES = [
    ("{name: p, decision: allow, include: {group: [staff]}}", "include.group", "did you mean `groups`?"),
    ("{name: p, decision: allow, groups: [staff]}", "groups", "it belongs under `include` or `exclude`"),
    ("{name: p, decision: allow, compliance: [compliant]}", "compliance", "it belongs under `when`"),
    ("{name: p, decision: allow, when: {groups: [staff]}}", "when.groups", "it belongs under `include` or `exclude`"),
    ("{name: p, decision: allow, include: {apps: [wiki]}}", "include.apps", "it belongs beside `include`"),
    ("{name: p, decision: step-up, step_up: {acr: [x]}}", "step_up.acr", "did you mean `acr_values`?"),
    ("{name: p, decision: deny}", "decision", "did you mean `block`?"),
    ("{name: p, decision: permit}", "decision", "did you mean `allow`?"),
    ("{name: p, decision: allow, mode: report-only}", "mode", "did you mean `report`?"),
    ("{name: p, decision: allow, enabled: true}", "enabled", "`mode: report` records what it would do"),
    ("{name: p, decision: allow, priority: 1}", "priority", "order never matters"),
    ("{name: p, decision: allow, when: {not_compliance: [unknown]}}", "when.not_compliance", "there is no such"),
    ("{name: p, decision: block, when: {findings: [{severity: high}]}}", "when.findings[0].severity", "`at_least` is"),
    ("{name: p, decision: block, when: {risk: [critical]}}", "when.risk[0]", "did you mean `high`?"),
    ("{name: p, decision: block, when: {binding: [mtls]}}", "when.binding[0]", "did you mean `certificate`?"),
    ("{name: p, decision: block, when: {ownership: [byod]}}", "when.ownership[0]", "did you mean `personal`?"),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "where", "hint"), MISTAKES, ids=[entry for entry, _, _ in MISTAKES])
def test_one_mistake_gives_one_fault_that_says_what_to_write(entry, where, hint):
    fault = one(policy(entry))
    assert fault.path == f"access.policies[1].{where}"
    assert fault.hint.startswith(hint)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("tests: [{name: t, given: {app: wiki}, expect: {outcome: allow}}]\n", "tests[0].expect.outcome"),
        ("never: [{name: n, deny: {apps: [wiki]}}]\n", "never[0].deny"),
    ],
)
def test_what_a_section_lacks_for_an_unknown_key_is_no_second_fault(text, path):
    assert one(GOOD + text).path == path


def test_a_path_in_the_spelling_of_an_interface_description_is_refused():
    """`/users/{id}` would be a segment of this very name, and a policy that blocks it would block nothing."""
    fault = one(policy('{name: p, decision: block, when: {paths: ["/users/{id}"]}}'))
    assert fault.code is Code.PATTERN
    assert "for any one segment write `*`" in fault.message


@pytest.mark.parametrize("name", ["All", "everyone", "All users"])
def test_everybody_by_name_is_warned_of(name):
    (warning,) = load(policy(f"{{name: p, decision: block, include: {{users: [{name}]}}}}")).warnings
    assert (warning.code, warning.path) == (Code.LENIENT, "access.policies[1].include.users[0]")
    assert warning.hint.startswith("leave `include` out")


def test_an_unquoted_star_is_told_of():
    assert one(policy("{name: p, decision: allow, include: {services: [*all]}}")).hint == (
        "put a text that begins with `*` into quotes"
    )


@pytest.mark.parametrize(
    ("rule", "path", "hint"),
    [
        ("{type: fact, name: r, fact: disk, equals: yes}", "equals", "`equals: true`, or `one_of: [yes]`"),
        ('{type: fact, name: r, fact: disk, not_equals: "false"}', "not_equals", "`not_equals: false`"),
        ("{type: finding, name: r, severity: high}", "severity", "the lowest severity that counts is `at_least: high`"),
    ],
)  # fmt: skip
def test_what_reads_like_something_else_is_warned_of(rule, path, hint):
    text = f"{GOOD}compliance: {{policies: [{{name: base, rules: [{rule}]}}]}}\n"
    (warning,) = load(text).warnings
    assert (warning.code, warning.path) == (Code.LOOKS_OTHERWISE, f"compliance.policies[0].rules[0].{path}")
    assert warning.hint.startswith(hint)


def test_a_key_that_stands_too_far_left_is_told_of_in_plain_words():
    text = f"{BASE}access:\n  policies:\n    - name: staff\n    decision: allow\n"
    assert one(text).hint == "a key stands further left than those that it belongs to"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("{after: 1d, decision: restrict}", "the step restricts nothing"),
        ("{after: 1d, decision: block, controls: [read-only]}", "`controls` have no effect with `decision: block`"),
        ("{after: 1d, decision: step-up}", "`decision: step-up` is no step of an escalation"),
        ("{after: 1d, decision: notify}", "unknown decision `notify`"),
    ],
)  # fmt: skip
def test_a_step_of_an_escalation_says_what_it_lacks(step, said):
    fault = one(escalation(step))
    assert fault.message == said
    assert "step-up" not in fault.hint
