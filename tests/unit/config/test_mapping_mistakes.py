"""Mistakes in the mapping of a sensor of kind `generic`: one fault each, at the value, with what is allowed there.

The same text is read by `posturegate check` as `options` of a sensor, and by `posturegate sensor test --options`.
"""

# ruff: noqa: E501 - a table of cases reads best with one case to a line

import textwrap

import pytest
from config_samples import CATALOG, GOOD, KINDS, load, one

from gateway.config.errors import ConfigInvalid
from gateway.config.options import options_of_text
from gateway.hub.hooks import hook_sensor
from plugins.sensors.generic import GenericSensor

SENSOR = """\
sensors:
  - name: edr
    kind: KIND
    max_silence: 1h
    auth: {scheme: bearer, secrets: [{env: SECRET}]}
    options:
"""
DEVICE = "device: [{kind: serial, path: serial}]\n"
LEVELS = "unknown, none, informational, low, medium, high, critical"

MISTAKES = [
    ("device: {kind: serial, path: serial}", "device", "expected a list, found a mapping", "begin each entry with `- `; its keys are kind, path"),
    ("device: host.serial", "device", "expected a list, found `host.serial`", "begin each entry with `- `; its keys are kind, path"),
    ("device: [{kind: serial, paht: serial}]", "device[0].paht", "unknown key `paht`", "did you mean `path`? known: kind, path"),
    ("device: [{kind: serial, path: 'host..serial'}]", "device[0].path", "path `host..serial`: unreadable at `..serial`", "a path is keys and positions, such as `host.name`"),
    ("device: [{kind: serial, path: {jmes: ']['}}]", "device[0].path.jmes", "`][` is no JMESPath expression at `][`", "https://jmespath.org"),
    ("device: [{kind: serial, path: }]", "device[0].path", "expected a text or a list or a mapping, found nothing", "write a value"),
    (DEVICE + "level: severity", "level", "expected a mapping, found `severity`", "did you mean `{path: severity}`? its keys are path, table, ranges, default"),
    (DEVICE + "level: {path: severity, table: {P1: urgent}}", "level.table.P1", "unknown value `urgent`", f"known: {LEVELS}"),
    (DEVICE + "level: {path: severity, default: hgih}", "level.default", "unknown default `hgih`", f"did you mean `high`? known: {LEVELS}"),
    (DEVICE + "level: {path: score, ranges: {70: high}}", "level.ranges", "expected a list, found a mapping", "begin each entry with `- `; its keys are at_least, level"),
    (DEVICE + "level: {path: severity, map: {P1: high}}", "level.map", "unknown key `map`", "it is called `table`"),
    (DEVICE + "severity: {path: severity}", "severity", "unknown key `severity`", "it is called `level`"),
    (DEVICE + "type: alert", "type", "unknown type `alert`", "known: risk-level, detection, exposure, posture-fact, remediation, heartbeat, or a mapping, with the keys path, table, default"),
    (DEVICE + "resolves: {path: status, equals: closed}", "resolves.equals", "expected a list, found `closed`", "did you mean `[closed]`?"),
    (DEVICE + "only: event_type=alert", "only", "expected a mapping, found `event_type=alert`", "write keys and values, `{key: value}`; its keys are path, equals"),
    (DEVICE + "title: \"hosts[?name=='x'].id\"", "title", "path `hosts[?name=='x'].id`: unreadable at `[?name=='x'].id`", "write an expression as `{jmes: …}`"),
    (DEVICE + "title: {jmes: \"hosts[?name=='x'\"}", "title.jmes", "`hosts[?name=='x'` is no JMESPath expression: it ends too early", "https://jmespath.org"),
    (DEVICE + "facts: {encrypted: 'a..b'}", "facts.encrypted", "path `a..b`: unreadable at `..b`", "a path is keys and positions"),
    (DEVICE + "actions: [fix, '[x']", "actions[1]", "path `[x`: unreadable", "a path is keys and positions"),
    (DEVICE + "expires_after: 24", "expires_after", "`24` has no unit", "did you mean `24s`? units: ms, s, m, h, d, w"),
]  # fmt: skip


def in_a_configuration(options, kind="generic"):
    return GOOD + SENSOR.replace("KIND", kind) + textwrap.indent(options, "      ") + "\n"


@pytest.mark.parametrize(("options", "path", "message", "hint"), MISTAKES)
def test_a_mistake_in_a_mapping_is_one_fault_at_its_value(options, path, message, hint):
    fault = one(in_a_configuration(options))
    assert fault.path == f"sensors[0].options.{path}"
    assert fault.message.startswith(message)
    assert hint in fault.hint
    line = len((GOOD + SENSOR).splitlines()) + len(options.splitlines())
    assert (fault.line, fault.column > 6) == (line, True)


@pytest.mark.parametrize(("options", "path", "message", "hint"), MISTAKES)
def test_options_in_a_text_of_their_own_have_the_same_faults(options, path, message, hint):
    with pytest.raises(ConfigInvalid) as caught:
        options_of_text(f"# ours\n{options}\n", "options.yaml", {}, GenericSensor.options_type)
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, fault.path) == (
        "options.yaml", len(options.splitlines()) + 1, f"options.{path}",
    )  # fmt: skip
    assert fault.message.startswith(message)
    assert hint in fault.hint


def test_options_of_their_own_may_have_their_key_around_them():
    bare = options_of_text(DEVICE, "o.yaml", {}, GenericSensor.options_type)
    wrapped = options_of_text(
        f"options:\n{textwrap.indent(DEVICE, '  ')}", "o.yaml", {}, GenericSensor.options_type
    )
    assert bare == wrapped
    empty = options_of_text("# nothing\n", "o.yaml", {}, KINDS["falco"])
    assert empty == KINDS["falco"]()


def test_a_number_where_a_text_is_taken_is_that_text_when_it_is_served():
    """What `check` lets pass must be what the hub can use."""
    text = in_a_configuration("closing_activities: [2004, '2005']", "sentinelone")
    (sensor,) = load(text).config.sensors
    assert hook_sensor(sensor, CATALOG).options.closing_activities == ("2004", "2005")
    (sensor,) = load(in_a_configuration(DEVICE + "title: 5\nresolves: {path: s, equals: [1]}")).config.sensors
    options = hook_sensor(sensor, CATALOG).options
    assert (options.title, options.resolves.equals) == ("5", (1,))
