"""Every mapping of `docs/generic-products.md` reads the payload that stands below it, as an engineer would expect."""

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from plugins.catalog import Catalog, SensorFacade
from plugins.sensors.generic import GenericSensor
from tests.fuzz.mutate import damaged, words_of
from tests.fuzz.target import Target

TEXT = (Path(__file__).parents[3] / "docs" / "generic-products.md").read_text(encoding="utf-8")
NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
PARTS = dict(re.findall(r"^## ([^\n(]+?) *(?:\([^\n]*)?\n(.*?)(?=^## |\Z)", TEXT, re.DOTALL | re.MULTILINE))

ESET = {"sensor-device-uuid": "5d6d0b1e-0000-4000-8000-00000000e014", "hostname": "lt-fin-014.corp.example"}
TENABLE = {"sensor-device-uuid": "cf165808-6a31-48e1-9cf3-c6c3174df51d"}
GRAVITY = {"sensor-device-id": "59a1604e", "hostname": "lt-fin-014.corp.example"}
CISCO = {"sensor-device-uuid": "0f6b1f0a-1c2d-4e3f-8a9b-0c1d2e3f4a5b", "hostname": "LT-FIN-014"}
WIZ = {"cloud-instance-id": "i-0a1b2c3d4e5f60718", "hostname": "build-07"}
HARFANGLAB = {"sensor-device-uuid": "8cb8fb07-0000-4000-8000-44ef855a8740", "hostname": "LT-FIN-014"}
EXPECTED = {
    "Suricata": [("detection", "high", {"hostname": "lt-fin-014", "ip": "10.20.0.14"}, "1:2024217", False)],
    "Zeek": [("detection", "high", {"hostname": "lt-fin-014", "ip": "10.20.0.14"}, "Intel::Notice", False)],
    "osquery": [
        (
            "exposure",
            "high",
            {"serial": "SN-4471", "sensor-device-uuid": "4C4C4544-0042-3510-8052-B4C04F4D3132"},
            "pack_posture_disk_unencrypted:/dev/sda2",
            False,
        ),
        (
            "remediation",
            None,
            {"serial": "SN-4471", "sensor-device-uuid": "4C4C4544-0042-3510-8052-B4C04F4D3132"},
            "pack_posture_firewall_off:host",
            True,
        ),
    ],
    "Qualys VMDR": [
        (
            "exposure",
            "critical",
            {"hostname": "lt-fin-014.corp.example", "sensor-device-id": "6506432"},
            "qid:92043:",
            False,
        ),
        (
            "remediation",
            None,
            {"hostname": "lt-fin-014.corp.example", "sensor-device-id": "6506432"},
            "qid:38739:443",
            True,
        ),
    ],
    "CrowdSec": [("detection", "medium", {"hostname": "build-07"}, "crowdsecurity/ssh-bf", False)],
    "Trend Vision One": [
        (
            "detection",
            "critical",
            {"sensor-device-uuid": "35FA11DA-A24E-40CF-8B56-BAF8828CC15E", "hostname": "LT-FIN-014"},
            "WB-9002-20260302-00001",
            False,
        )
    ],
    "Sophos Central": [
        (
            "detection",
            "high",
            {"sensor-device-id": "5d0f6f3e-1f6a-4d8a-a0b5-d2a61c9b8a7e", "hostname": "LT-FIN-014"},
            "Troj/Agent-BKJE",
            False,
        )
    ],
    "Carbon Black Cloud": [
        ("detection", "high", {"sensor-device-id": "17482451", "hostname": "LT-FIN-014"}, "9a1f0c", False)
    ],
    "Cortex XDR": [
        ("detection", "high", {"sensor-device-id": "e-14", "hostname": "LT-FIN-014"}, "4711", False),
        ("remediation", None, {"sensor-device-id": "e-14", "hostname": "LT-FIN-014"}, "4690", True),
    ],
    "Lookout": [
        ("detection", "high", {"sensor-device-id": "dev-7"}, "th-1", False),
        ("remediation", None, {"sensor-device-id": "dev-7"}, "th-1", True),
        ("remediation", None, {"sensor-device-id": "dev-7"}, "device-status", True),
    ],
    "WithSecure Elements": [
        (
            "detection",
            "critical",
            {"sensor-device-uuid": "0f6b1f0a-1c2d-4e3f-8a9b-0c1d2e3f4a5b", "hostname": "LT-FIN-014"},
            "inc-14",
            False,
        )
    ],
    "Google Workspace": [
        ("detection", "high", {}, "g-1", False),
        ("remediation", None, {"serial": "R58-14"}, "g-2", True),
    ],
    "ESET": [
        ("detection", "critical", ESET, "Win32/Agent.X:file:///C:/Temp/a.exe", False),
        ("detection", "medium", ESET, "Rare script host [F0500]:1234", False),
    ],
    "Tenable Vulnerability Management": [
        ("exposure", "critical", TENABLE | {"hostname": "lt-fin-014.corp.example"}, "9062:0:TCP", False),
        ("remediation", None, TENABLE | {"hostname": "10.20.0.14"}, "157288:443:TCP", True),
    ],
    "Bitdefender GravityZone": [
        ("remediation", None, GRAVITY, "av:275a021b", True),
        ("detection", "high", GRAVITY, "6690e2c5", False),
        ("detection", "high", GRAVITY | {"hostname": "LT-FIN-014"}, "hd:8b3f1918", False),
    ],
    "Cisco Secure Endpoint": [
        ("detection", "medium", CISCO, "6180352115244793858", False),
        ("remediation", None, CISCO, "6180352115244793858", True),
    ],
    "Tanium": [
        ("detection", "high", {"hostname": "lt-fin-014"}, "00000000-0000-0000-5370-4a274d06f4ec", False),
        ("remediation", None, {"hostname": "lt-fin-015"}, "00000000-0000-0000-5371-4a274d06f4ec", True),
    ],
    "NinjaOne": [
        ("detection", "high", {"sensor-device-id": "7"}, "2f0a-14", False),
        ("remediation", None, {"sensor-device-id": "7"}, "2f0a-13", True),
    ],
    "Wiz": [("exposure", "high", WIZ, "is-14", False), ("remediation", None, WIZ, "is-14", True)],
    "HarfangLab": [
        ("detection", "critical", HARFANGLAB, "0d1e2f3a-1", False),
        ("remediation", None, HARFANGLAB, "0d1e2f3a-1", True),
    ],
    "Amazon GuardDuty": [("detection", "high", {"cloud-instance-id": "i-0a1b2c3d4e5f60718"}, "gd-14", False)],
}


def test_every_product_of_the_document_is_tried():
    assert PARTS.keys() == EXPECTED.keys()


def shown(product):
    """Return the mapping and the payload of a product."""
    mapping, payload = (
        re.search(rf"```{language}\n(.*?)```", PARTS[product], re.DOTALL)[1] for language in ("yaml", "json")
    )
    return YAML(typ="safe").load(mapping), json.loads(payload)


@pytest.mark.parametrize("product", EXPECTED)
def test_damaged_payloads_are_read_or_rejected(product, monkeypatch):
    mapping, payload = shown(product)
    monkeypatch.setattr("tests.fuzz.target.OPTIONS", {"generic": mapping})
    target = Target("generic", Catalog([GenericSensor()]))
    dice = random.Random(product)  # noqa: S311 - not for secrets
    words = words_of([payload])
    for _ in range(60):
        target.run(json.dumps(damaged(payload, dice, words)).encode())
    target.close()


@pytest.mark.parametrize("product", EXPECTED)
def test_the_mapping_of_a_product(product):
    mapping, value = shown(product)
    facade = SensorFacade(GenericSensor())
    options = facade.parse_options(mapping)
    payloads = value if isinstance(value, list) else [value]
    read = facade.normalize(payloads, options, sensor="s", received_at=NOW, headers={})
    assert read.rejections == ()
    assert [
        (
            each.type.value,
            each.level and each.level.value,
            {one.kind: one.value for one in each.device_ids},
            each.external_id,
            each.resolves,
        )
        for each in read.signals
    ] == EXPECTED[product]
    assert all(each.device_ids or each.user_ids for each in read.signals)
    assert all(each.observed_at != NOW for each in read.signals), "the product says when"
    assert all(each.title and not each.title.endswith("reported by s") for each in read.signals)
    again = facade.normalize(payloads, options, sensor="s", received_at=NOW, headers={})
    assert [each.event_id for each in again.signals] == [each.event_id for each in read.signals]
