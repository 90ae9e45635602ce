"""What `docs/sensors.md` shows works as shown."""

import re
import subprocess
import time
import tomllib
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from gateway.config.load import load_text
from gateway.hub.hooks import TITLES, hook_sensors
from plugins.catalog import Catalog, SensorFacade
from plugins.payload import parse_payloads
from plugins.sensors.generic import GenericSensor
from plugins.verify import VerifyCode
from risk.model import Severity

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sensors.md").read_text(encoding="utf-8")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


BASE = """\
version: 1
public_url: https://login.corp.example
providers: [{name: corp, issuer: "https://idp.corp.example", client_id: gate, client_secret: {env: HOOK_SECRET}}]
apps: [{name: wiki, host: wiki.corp.example, upstream: "http://10.0.0.5:8080"}]
access: {policies: [{name: all, decision: allow}]}
"""
PROJECT = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
KINDS = PROJECT["project"]["entry-points"]["gateway.sensors"]
CATALOG = Catalog.discover(EntryPoint(name, value, "gateway.sensors") for name, value in KINDS.items())


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def test_the_generic_mapping_reads_the_product_it_is_written_for():
    mapping = next(block for block in blocks("yaml") if block.startswith("items:"))
    facade = SensorFacade(GenericSensor())
    options = facade.parse_options(YAML(typ="safe").load(mapping))
    alert = {
        "status": "resolved",
        "fingerprint": "f1",
        "labels": {"hostname": "lt-1", "severity": "page"},
        "startsAt": "2026-02-01T00:00:00Z",
        "endsAt": "2026-03-01T00:00:00Z",
    }
    read = facade.normalize([{"alerts": [alert]}], options, sensor="s", received_at=NOW, headers={})
    assert read.signals[0].resolves
    assert read.signals[0].observed_at == NOW


def test_the_worked_plugin_passes_its_own_sample():
    scope = {}
    exec(blocks("python")[0], scope)  # noqa: S102 - our own document
    facade = SensorFacade(scope["AcmeSensor"]())
    (sample,) = facade.samples
    options = facade.parse_options({"ttl": "2d"})
    (signal,) = facade.normalize([sample.payload], options, sensor="s", received_at=NOW, headers={}).signals
    (expected,) = sample.expected
    assert (signal.type, signal.device_ids, signal.level) == (
        expected.type,
        expected.device_ids,
        expected.level,
    )


def test_every_answer_is_documented():
    for status in TITLES:
        assert f"| {status} |" in DOCUMENT
    for code in VerifyCode:
        assert f"`{code.value}`" in DOCUMENT


SNIPPETS = [block for block in blocks("yaml") if block.startswith("- name:")]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: text.split()[2])
def test_every_snippet_of_a_sensor_is_taken(snippet):
    loaded = load_text(
        f"{BASE}sensors:\n{snippet}",
        Path("/nowhere/gate.yaml"),
        {"HOOK_SECRET": "a-sensor-secret-of-our-own"},
        sensor_options=lambda kind: CATALOG.sensor(kind).options_type,
        sensor_kinds=CATALOG.kinds,
    )
    assert loaded.config.sensors
    assert hook_sensors(loaded.config.sensors, CATALOG).keys() == {
        sensor.name for sensor in loaded.config.sensors if sensor.kind != "cloudflare"
    }


def test_every_kind_has_its_section_and_its_snippet():
    shown = {kind for snippet in SNIPPETS for kind in re.findall(r"kind: (\w+)$", snippet, re.MULTILINE)}
    for kind in CATALOG.kinds:
        assert f"# Kind `{kind}`" in DOCUMENT
        assert kind in shown | {"generic", "wazuh", "fleet"}


def test_the_template_for_kibana_becomes_alerts():
    template = next(block for block in blocks("text") if "context.alerts" in block)
    one = re.sub(r"{{[#/]context.alerts}}", "", template)
    values = {
        "@timestamp": "2026-03-01T08:00:00Z",
        "kibana.alert.original_time": "2026-03-01T07:59:00Z",
        "kibana.alert.severity": "high",
        "kibana.alert.workflow_status": "open",
        "agent.type": "endpoint",
    }
    body = re.sub(r"{{([^}]*)}}", lambda match: values.get(match[1], f"v-{match[1]}"), one)
    read = CATALOG.sensor("elastic").normalize(
        parse_payloads(body.encode()),
        CATALOG.sensor("elastic").parse_options({}),
        sensor="s",
        received_at=NOW,
        headers={},
    )
    assert (len(read.signals), read.rejections, read.ignored) == (1, (), 1)
    assert read.signals[0].level == "high"


def test_the_five_minutes_are_as_shown(tmp_path):
    """The secret, the section and the delivery, word for word: what is sent is believed and read."""
    begin = DOCUMENT[: DOCUMENT.index("## Answers")]
    make, send = re.findall(r"```sh\n(.*?)```", begin, re.DOTALL)
    (section,) = re.findall(r"```yaml\n(.*?)```", begin, re.DOTALL)
    stub = "set -eu\ncurl() { printf '%s\\n' \"$@\"; }\n"
    subprocess.run(["/bin/bash", "-c", make], cwd=tmp_path, check=True)  # noqa: S603 - our own document
    done = subprocess.run(  # noqa: S603 - our own document
        ["/bin/bash", "-c", stub + send], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    given = done.stdout.splitlines()
    body = given[given.index("--data-binary") + 1]
    loaded = load_text(BASE + section, tmp_path / "posturegate.yaml", {"HOOK_SECRET": "x" * 40})
    assert loaded.warnings == ()
    sensor = hook_sensors(loaded.config.sensors, CATALOG)["edr"]
    headers = [given[at + 1].split(": ") for at, each in enumerate(given) if each == "-H"]
    assert sensor.verifier.verify(headers, body.encode(), time.time()).secret == 0
    read = sensor.facade.normalize(
        parse_payloads(body.encode()), sensor.options, sensor="edr", received_at=NOW, headers={}
    )
    assert [(each.level, each.external_id) for each in read.signals] == [(Severity.HIGH, "c1")]
