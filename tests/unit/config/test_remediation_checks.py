"""Faults in `remediation` and `pages` name their place and what is allowed."""

import pytest

from tests.unit.config.config_samples import ENV, GOOD, faults, load

RULES = """\
compliance:
  policies:
    - name: laptop
      rules:
        - {type: risk, name: threat, max: low, title: No threat}
"""
TARGET = "{name: desk, url: %s, secrets: [{env: WHSEC}]%s}"


def tasks(url: str = '"https://desk.example/in"', more: str = "") -> str:
    return GOOD + "remediation: {tasks: {targets: [" + TARGET % (url, more) + "]}}\n"


def test_the_whole_section_loads():
    text = tasks() + RULES
    text = text.replace(
        "remediation: {",
        "remediation: {snoozes: [{rule: laptop/threat}], approvals: [{rule: laptop, owners: [pat]}], ",
    )
    config = load(text, env=ENV).config
    assert config.remediation.tasks.targets[0].name == "desk"
    assert config.remediation.forms.keep == 1800


@pytest.mark.parametrize(
    ("text", "path", "said"),
    [
        (tasks('"http://desk.example/in"'), "remediation.tasks.targets[0].url", "clear text"),
        (tasks("ftp://x"), "remediation.tasks.targets[0].url", "no address of a target"),
        (tasks('"https://u:p@desk.example"'), "remediation.tasks.targets[0].url", "no address of a target"),
        (tasks(more=", events: [opend]"), "remediation.tasks.targets[0].events[0]", "opend"),
        (tasks().replace("WHSEC", "SECRET"), "remediation.tasks.targets[0].secrets[0]", "whsec_"),
        (GOOD + RULES + "remediation: {snoozes: [{rule: laptop/thret}]}\n", "snoozes[0].rule", "thret"),
        (
            GOOD + RULES + "remediation: {approvals: [{rule: laptop, owners: []}]}\n",
            "approvals[0].owners",
            "empty",
        ),
        (
            GOOD + RULES + "remediation: {snoozes: [{rule: laptop, lasts: 8d}]}\n",
            "snoozes[0].lasts",
            "seven days",
        ),
        (GOOD + "remediation: {forms: {keep: 2d}}\n", "remediation.forms.keep", "a day"),
        (GOOD + "remediation: {tasks: {sla: {high: 0s}}}\n", "remediation.tasks.sla.high", "more than zero"),
        (GOOD + "pages: {apps: {wikki: {brand: X}}}\n", "pages.apps.wikki", "wikki"),
        (GOOD + "pages: {languages: [tlh]}\n", "pages.languages", "there are: en"),
        (GOOD + 'pages: {style: {accent: "#ffee00"}}\n', "pages.style.accent", "contrast"),
        (GOOD + "pages: {style: {texts: nowhere}}\n", "pages", "is no folder"),
    ],
)
def test_what_is_wrong_is_said_where_it_is(text, path, said):
    found = [str(fault) for fault in faults(text)]
    assert any(path in each and said in each for each in found), found
