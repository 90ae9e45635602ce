"""`posturegate sensor test`: what it prints, and its exit codes."""

import argparse
import io
import json

import pytest

from gateway.cli.sensor import add_arguments, run
from plugins.catalog import Catalog
from plugins.sensors.fleet import FleetSensor
from plugins.sensors.generic import GenericSensor
from plugins.sensors.wazuh import WazuhSensor

CATALOG = Catalog([WazuhSensor(), FleetSensor(), GenericSensor()])
OPTIONS = "device: [{kind: serial, path: host.sn}]\nlevel: {path: severity}\nactions: [fix]\nfacts: {a: a}\n"


@pytest.fixture
def command(tmp_path):
    def call(kind, payload, options=None):
        file = tmp_path / "body.json"
        file.write_bytes(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        extra = [] if options is None else ["--options", options]
        out = io.StringIO()
        code = run(parser.parse_args(["test", kind, str(file), *extra]), out, CATALOG)
        return code, out.getvalue()

    return call


PAYLOAD = {"host": {"sn": "SN-1"}, "severity": "high", "fix": "Scan\x1b[31m it", "a": True}


def test_every_field_is_shown_with_its_source(command):
    code, text = command("generic", PAYLOAD, OPTIONS)
    assert code == 0
    lines = {line.split()[0]: line for line in text.splitlines() if line.startswith("  ")}
    assert lines["device.serial"].endswith("<- host.sn")
    assert lines["level"].endswith("<- severity")
    assert lines["facts.a"].endswith("<- a")
    assert lines["actions[0]"].endswith("<- fix")
    assert "\x1b" not in text, "a payload must not steer the terminal"


def test_what_leads_nowhere_is_told(command):
    """A misspelt field rejects nothing: the level is unknown then, and nobody would see why."""
    options = OPTIONS.replace("path: severity", "path: severty") + "title: [ttle, name]\nexternal_id: a\n"
    code, text = command("generic", PAYLOAD, options)
    assert code == 0
    assert "nothing is there in this payload for level (`severty`), title (`ttle`, `name`)\n" in text
    assert "nothing is there" not in command("generic", PAYLOAD, OPTIONS)[1]


def test_people_are_shown_too(command):
    options = "device: []\nuser: [{kind: email, path: who}]\nlevel: {path: severity}\n"
    code, text = command("generic", {"who": "robin@corp.example", "severity": "low"}, options)
    assert code == 0
    (line,) = (each for each in text.splitlines() if "user.email" in each)
    assert "robin@corp.example" in line
    assert line.endswith("<- who")


def test_options_from_a_file(command, tmp_path):
    (tmp_path / "options.yaml").write_text("options:\n  device: [{kind: serial, path: host.sn}]\n")
    assert command("generic", PAYLOAD, str(tmp_path / "options.yaml"))[0] == 0


def test_a_rejected_item_is_told_and_fails(command):
    code, text = command("wazuh", [{"hello": 1}])
    assert code == 1
    assert "item 0 is rejected with not-an-alert" in text


def test_an_ignored_item_is_fine(command):
    assert command("fleet", {"type": "user_logged_in"}) == (
        0,
        "0 signals, 0 rejected items, 1 ignored item\n",
    )


def test_an_unreadable_body_fails(command):
    code, text = command("wazuh", b"{")
    assert code == 1
    assert "400 body-not-json" in text


def test_junk_is_marked(command):
    assert "(junk: `0000`)" in command("generic", {"host": {"sn": "0000"}}, OPTIONS)[1]


@pytest.mark.parametrize(
    ("kind", "options", "text"),
    [
        ("wazu", None, "did you mean `wazuh`"),
        ("wazuh", "ttl: 5", "options.ttl"),
        ("wazuh", "- a: 1", "mapping"),
        ("wazuh", "a: [", "--options"),
        ("wazuh", "no-such-file", "neither YAML nor a readable file"),
    ],
)
def test_what_cannot_be_done_is_said(command, capsys, kind, options, text):
    assert command(kind, {}, options)[0] == 2
    assert text in capsys.readouterr().err


def test_a_missing_file_is_said(capsys):
    assert run(argparse.Namespace(kind="wazuh", file="/no/such", options=None), catalog=CATALOG) == 2
    assert "No such file" in capsys.readouterr().err
