"""The demo's configuration is valid, and its mapping reads what the demo's sensor sends."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
from ruamel.yaml import YAML

from gateway.demo.people import LAPTOPS
from gateway.demo.simulator import DETECTION_ACTIONS, DETECTION_TITLE, LaptopState, detection, report
from gateway.demo.world import config_text, free_addresses
from plugins.mapping import GenericOptions
from plugins.sensors.generic import GenericSensor
from risk.model import Severity, SignalType

STATE = LaptopState(next(iter(LAPTOPS.values())))


def signals_of(*events: dict[str, object]):
    folder = Path("/folder")
    tree = YAML(typ="safe").load(config_text(free_addresses(8080), folder))
    options = msgspec.convert(tree["sensors"][0]["options"], GenericOptions)
    normalized = GenericSensor().normalize(
        {"data": {"events": list(events)}},
        options,
        sensor="demo-edr",
        received_at=datetime.now(UTC),
        headers={},
    )
    assert not normalized.rejections
    return normalized.signals


def test_report_tells_facts_and_opens_nothing() -> None:
    (signal,) = signals_of(report(STATE))
    assert signal.type is SignalType.HEARTBEAT
    assert signal.facts["disk_encrypted"] is True
    assert {identifier.kind for identifier in signal.device_ids} == {"serial", "hostname"}


def test_detection_is_opened_and_closed() -> None:
    opened, closed = signals_of(detection(STATE, "d-1", is_open=True), detection(STATE, "d-1", is_open=False))
    assert (opened.type, opened.level, opened.title) == (
        SignalType.DETECTION,
        Severity.CRITICAL,
        DETECTION_TITLE,
    )
    assert opened.recommended_actions == DETECTION_ACTIONS
    assert closed.resolves
    assert closed.external_id == opened.external_id == "d-1"


def test_addresses_do_not_collide() -> None:
    addresses = free_addresses(8080)
    ports = [getattr(addresses, name) for name in addresses.__struct_fields__]
    assert len(set(ports)) == len(ports)
    assert addresses.app_url == "http://app.localhost:8080"
