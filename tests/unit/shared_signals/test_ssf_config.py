"""What the section `shared_signals` must be."""

import json
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gateway.cli import main
from gateway.config.load import ConfigInvalid
from gateway.config.sensors import load_config
from gateway.shared_signals.events import EventType

BASE = """
public_url: http://login.localhost:8080
server: {{listen: "127.0.0.1:8080", run_dir: run}}
providers: [{{name: corp, issuer: "http://127.0.0.1:9", client_id: gate}}]
apps: [{{name: notes, host: {host}, upstream: "http://127.0.0.1:1"}}]
sensors:
  - name: edr
    kind: generic
    max_silence: 1h
    auth: {{scheme: bearer, secrets: [{{env: LONG}}]}}
    options: {options}
access: {{policies: [{{name: all, decision: allow{when}}}]}}
shared_signals: {section}
"""
OPTIONS = (
    "{device: [{kind: serial, path: s}], type: {path: t}, level: {path: l}, event_id: e, external_id: c}"
)
GOOD = "name: idp, issuer: 'https://t.example', secrets: [{env: LONG}], token: {env: LONG}"
PARTY = "name: siem, tokens: [{env: LONG}], endpoints: ['https://siem.example/']"


CLIENT = "{token_url: 'https://t.example/t', client_id: a, client_secret: {env: LONG}}"
STATIC_POLL = (
    "{receivers: [{name: idp, issuer: 'https://t.example', delivery: poll, stream: static, audience: [x]}]}"
)


def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, **changes: str) -> list[str]:
    monkeypatch.setenv("LONG", "a-secret-that-is-long-enough")
    monkeypatch.setenv("SHORT", "short")
    file = tmp_path / "gate.yaml"
    values = {"host": "notes.localhost", "options": OPTIONS, "when": "", **changes}
    file.write_text(BASE.format(section=section, **values))
    try:
        load_config(str(file))
    except ConfigInvalid as invalid:
        return [str(fault) for fault in invalid.faults if not fault.is_warning]
    return []


def receiver(text: str = "") -> str:
    return "{receivers: [{" + GOOD + text + "}]}"


def transmitter(text: str = "", party: str = PARTY) -> str:
    return "{transmitter: {receivers: [{" + party + "}]" + text + "}}"


@pytest.mark.parametrize(
    "section",
    [
        "{}",
        receiver(),
        receiver(
            ", events: [session-revoked], providers: [corp], subjects: [{format: email, email: a@b.example}]"
        ),
        "{receivers: [{name: idp, issuer: 'https://t.example', delivery: poll, token: {env: LONG}}]}",
        receiver(", stream: static, audience: [x]").replace(", token: {env: LONG}", ""),
        receiver(", unauthenticated_push: true").replace("secrets: [{env: LONG}], ", ""),
        transmitter(),
        transmitter(", subjects: none"),
        "{receivers: [{" + GOOD + "}], transmitter: {receivers: [{" + PARTY + ", peer: idp}]}}",
    ],
)
def test_what_can_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str) -> None:
    assert faults(tmp_path, monkeypatch, section) == []


def test_a_receiver_is_a_sensor_to_policies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its statements are told apart by its name."""
    when = ", when: {facts: [{fact: compliant, sensor: idp, is: true}]}"
    found = faults(tmp_path, monkeypatch, receiver(), when=when)
    assert not [each for each in found if "no sensor" in each], found


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (receiver(", events: [session-revokd]"), "session-revoked"),
        (receiver(", providers: [crop]"), "corp"),
        (receiver(", algorithms: [HS256]"), "HS256"),
        (receiver(", algorithms: []"), "nothing could be believed"),
        (receiver(", rate: 0"), "more than zero"),
        (receiver(", jwks_uri: 'https://t.example/k'"), "`stream: static`"),
        (receiver(", subjects: [{format: new}]"), "not known here"),
        (receiver(f", client: {CLIENT}"), "both given"),
        (receiver().replace("idp", "edr"), "name of a sensor"),
        (receiver().replace("https:", "http:"), "plain http"),
        (receiver().replace("secrets: [{env: LONG}], ", ""), "0 secrets"),
        (receiver().replace("secrets: [{env: LONG}]", "secrets: [{env: SHORT}]"), "at least 16 bytes"),
        (receiver().replace(", token: {env: LONG}", ""), "stream management"),
        (receiver(", stream: static"), "`audience`"),
        (STATIC_POLL, "`poll_url`"),
        ("{receivers: [{" + GOOD + "}, {" + GOOD + "}]}", "two receivers"),
        (transmitter(party=PARTY.replace("LONG", "SHORT")), "at least 16 bytes"),
        (transmitter(party=PARTY + ", events: [risk-changed]"), "not known"),
        (transmitter(party=PARTY + ", device_kinds: []"), "no device could be named"),
        (transmitter(party=PARTY + ", peer: nobody"), "no receiver is named"),
        (transmitter(party=PARTY.replace("https:", "http:")), "plain http"),
        (transmitter(", keep: 0s"), "more than zero"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, says: str
) -> None:
    """One mistake, one fault, that says what is wrong."""
    found = faults(tmp_path, monkeypatch, section)
    assert len(found) == 1, found
    assert says in found[0]


def test_the_login_host_must_not_be_an_apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Receivers look for the metadata there."""
    (found,) = faults(tmp_path, monkeypatch, transmitter(), host="login.localhost")
    assert "ssf-configuration" in found


DOCS = Path(__file__).parents[3] / "docs" / "shared-signals.md"
EXAMPLES = [
    text for text in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL) if "# first" not in text
]


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_examples_of_the_documentation_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, example: str
) -> None:
    for name in re.findall(r"env: (\w+)", example):
        monkeypatch.setenv(name, "a-secret-that-is-long-enough")
    section = json.dumps(YAML(typ="safe").load(example)["shared_signals"])
    assert faults(tmp_path, monkeypatch, section) == []


def test_every_event_is_documented() -> None:
    """With its effect, or by the pattern of its family."""
    text = DOCS.read_text()
    for event in EventType:
        family = event.value.partition("-")[0] + "-*"
        assert f"`{event.value}`" in text or f"`{family}`" in text, event


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["verify"], "needs the name"),
        (["status", "idp"], "takes no name"),
        (["verify", "idp", "--ours"], "`--ours` is for"),
    ],
)
def test_the_command_line_says_what_it_needs(
    capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    assert main(["ssf", *arguments]) == 2
    assert says in capsys.readouterr().out
