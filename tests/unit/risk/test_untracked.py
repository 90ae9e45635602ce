"""What rests in memory for every device makes no work for the collector of reference cycles."""

import gc
from datetime import UTC, datetime

from risk.folding import fold
from risk.model import DeviceId, Identifier, Posture, Severity, Signal, SignalType
from risk.packing import pack_posture, unpack_posture

NOW = datetime(2026, 9, 1, 12, 0, tzinfo=UTC)


def test_signals_and_postures_are_not_walked():
    signal = Signal(
        sensor="edr",
        type=SignalType.DETECTION,
        observed_at=NOW,
        received_at=NOW,
        external_id="malware",
        event_id="1",
        device_ids=(Identifier("serial", "S1"),),
        level=Severity.HIGH,
        facts={"disk_encrypted": True},
    )
    folded = fold(Posture(device_id=DeviceId("dev_1")), signal)
    opened = unpack_posture(folded.device_id, pack_posture(folded))
    for posture in (folded, opened):
        assert posture.findings
        inside = (*posture.findings.values(), *posture.facts.values(), *posture.identifiers)
        assert not any(map(gc.is_tracked, (posture, *inside)))
    assert not gc.is_tracked(signal)
