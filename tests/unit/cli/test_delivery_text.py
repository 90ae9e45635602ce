"""What people read about a delivery: the first of each, and how many there are beyond them."""

from gateway.cli.deliveries import delivery_lines

DELIVERY = {
    "id": "d1",
    "sensor": "edr",
    "at": "2026-12-01T06:00:00Z",
    "verdict": "partly-accepted",
    "code": "accepted",
    "status": 200,
    "accepted": 500,
    "rejected": 300,
    "devices": 40,
    "signals": [
        {"item": 0, "type": "detection", "condition": "c1", "device": "serial SN-1", "level": "high"},
    ],
    "signals_left_out": 499,
    "rejections": [{"item": 7, "code": "no-device", "error": "the item names no device"}],
    "effects": [
        {
            "device_id": "dev_1", "device": "lt-1", "risk_before": "none", "risk_after": "high",
            "compliance_before": "compliant", "compliance_after": "noncompliant", "access": [],
        }
    ],
}  # fmt: skip


def test_what_is_left_out_is_counted() -> None:
    lines = list(delivery_lines(DELIVERY))
    assert "    and 499 further signals" in lines
    assert "    and 299 further rejected items (`posturegate sensor dead-letters`)" in lines
    assert "  effect      and 39 further devices" in lines


def test_where_all_is_shown_nothing_is_said_of_more() -> None:
    whole = {**DELIVERY, "signals_left_out": 0, "rejected": 1, "devices": 1}
    assert not [line for line in delivery_lines(whole) if "further" in line]


def test_devices_that_wait_under_a_name_are_told() -> None:
    told = "1 device is known by nothing but a name: what is said waits (`posturegate device list --parked`)"
    assert f"  parked      {told}" in list(delivery_lines({**DELIVERY, "parked": 1}))
    assert not [line for line in delivery_lines(DELIVERY) if "nothing but a name" in line]
