"""To whom a device is given, as the products say that know it: the fact `owner`."""

from datetime import UTC, datetime
from typing import Any

import pytest

from plugins.catalog import Catalog
from plugins.sensors.fleet import FleetSensor
from plugins.sensors.intune import IntuneSensor

AT = datetime(2026, 3, 3, 12, tzinfo=UTC)
CATALOG = Catalog([FleetSensor(), IntuneSensor()])


def owners(kind: str, payload: Any) -> set[object]:
    facade = CATALOG.sensor(kind)
    found = facade.normalize(
        [payload], facade.parse_options({}), sensor="s", received_at=AT, headers={}
    ).signals
    assert found
    return {each.facts["owner"] for each in found if "owner" in each.facts}


HOST = {"id": 5, "hostname": "lt-1", "seen_time": "2026-03-03T10:00:00Z"}


@pytest.mark.parametrize(
    ("more", "owner"),
    [
        ({"end_users": [{"idp_username": "ana@corp.example"}]}, {"ana@corp.example"}),
        ({"device_mapping": [{"email": "ben@corp.example", "source": "custom"}]}, {"ben@corp.example"}),
        (
            {
                "end_users": [{"idp_username": "ana@corp.example"}],
                "device_mapping": [{"email": "ben@corp.example"}],
            },
            {"ana@corp.example"},
        ),
        ({"end_users": [{"idp_username": "local"}, 7], "device_mapping": "x"}, set()),
        ({}, set()),
    ],
)
def test_a_host_of_fleet(more: dict[str, Any], owner: set[object]) -> None:
    assert owners("fleet", {"hosts": [HOST | more]}) == owner


@pytest.mark.parametrize(
    ("more", "owner"),
    [({"userPrincipalName": "ana@corp.example"}, {"ana@corp.example"}), ({}, set())],
)
def test_a_device_of_intune(more: dict[str, Any], owner: set[object]) -> None:
    device = {"id": "a1b2c3d4-0000-4000-8000-000000000001", "complianceState": "compliant", **more}
    assert owners("intune", device) == owner
