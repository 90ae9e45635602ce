"""What `docs/sensors.md` shows works as shown."""

import re
from datetime import UTC, datetime
from pathlib import Path

from ruamel.yaml import YAML

from gateway.hub.hooks import TITLES
from plugins.catalog import SensorFacade
from plugins.sensors.generic import GenericSensor
from plugins.verify import VerifyCode

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sensors.md").read_text(encoding="utf-8")
NOW = datetime(2026, 3, 1, tzinfo=UTC)


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
