"""The worked plugin of the documents, installed beside the gateway as a vendor's package is, found by entry point."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.config.sensors import installed
from plugins.catalog import SensorFacade
from plugins.conformance import faults
from plugins.contract import Expected, Normalized, Sample
from plugins.sensors.wazuh import WazuhSensor
from risk.model import SignalType

DOCS = Path(__file__).parents[3] / "docs"
CATALOG = installed()


def block(document: str, language: str, start: str) -> str:
    text = (DOCS / document).read_text(encoding="utf-8")
    return next(
        each for each in re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL) if each.startswith(start)
    )


@pytest.fixture
def site(tmp_path):
    """A folder of packages as an installer leaves it: modules, and `.dist-info` with the entry points."""
    (tmp_path / "acme_posturegate.py").write_text(block("sensors.md", "python", "from typing"))
    (tmp_path / "acme_pulled.py").write_text(block("pulling.md", "python", "from urllib"))
    info = tmp_path / "acme_posturegate-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-posturegate\nVersion: 1.0\n")
    section, line = block("sensors.md", "toml", "[project").strip().splitlines()
    name, target = re.fullmatch(r'(\w+) = "(.*)"', line).groups()
    assert section == '[project.entry-points."gateway.sensors"]'
    (info / "entry_points.txt").write_text(f"[gateway.sensors]\n{name} = {target}\n")
    return tmp_path


def gate(site: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "gateway", *arguments],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_it_is_a_kind_like_any_other(site):
    code, said = gate(site, "sensor", "check", "acme")
    assert (code, said) == (0, "acme (Acme EDR): known by serial\n1 samples, 0 faults\n")
    payload = site / "payload.json"
    payload.write_text(json.dumps({"host": {"sn": "SN-9"}, "threat": "T1", "at": "2026-03-01T12:00:00Z"}))
    code, said = gate(site, "sensor", "test", "acme", str(payload), "--options", "ttl: 2d")
    assert code == 0, said
    assert "SN-9" in said
    assert "<- host.sn" in said
    assert "2026-03-03T12:00:00" in said
    code, said = gate(site, "sensor", "test", "acme", str(payload), "--options", "tll: 2d")
    assert code == 2
    assert "did you mean `ttl`" in said
    code, said = gate(site, "config", "schema")
    assert '"acme"' in said


def test_asking_is_found_in_it(site):
    script = (
        "from acme_pulled import AcmeSensor\n"
        "from plugins.catalog import SensorFacade\n"
        "from plugins.pulling import Refreshing\n"
        "facade = SensorFacade(AcmeSensor())\n"
        "print(facade.pull_access.url, isinstance(facade.plugin, Refreshing))\n"
    )
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(site), str(DOCS.parent)))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "https://api.acme.example True\n", done.stderr


@pytest.mark.parametrize("kind", CATALOG.kinds)
def test_the_kinds_of_this_project_keep_the_contract(kind):
    assert faults(CATALOG.sensor(kind)) == []


def test_an_identifier_that_was_not_declared_is_found_out():
    class Wazuh(WazuhSensor):
        identity_kinds = ("serial", "hostname")

    assert any("`sensor-device-id` are not declared" in fault for fault in faults(SensorFacade(Wazuh())))


class Careless(WazuhSensor):
    """Raises for what is missing, forgets an item, and is sure of what it has not read."""

    samples = (
        Sample(name="wrong", payload={"a": {"b": 1}}, expected=(Expected(type=SignalType.DETECTION),)),
        Sample(name="lost", payload={"lost": True, "a": {"b": 1}}),
    )

    def normalize(self, payload, options, *, sensor, received_at, headers):
        if payload.get("lost"):
            return Normalized()
        return Normalized(ignored=payload["a"]["b"])


def test_a_careless_plugin_is_found_out():
    found = faults(SensorFacade(Careless()))
    assert "sample `wrong`: signals: 0, expected 1" in found
    assert "sample `wrong`: ignored items: 1, expected 0" in found
    assert any("damaged to" in fault and "Error" in fault for fault in found)
    assert any("an item vanished" in fault for fault in found)
