"""Prometheus figures of device records."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from risk.snapshot import RiskState


class DeviceFigures(Collector):
    """Reads what records there are whenever somebody asks for metrics."""

    def __init__(self, state: RiskState) -> None:
        self._state = state

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the figures as they are now."""
        index = self._state.index
        yield GaugeMetricFamily(
            "posturegate_devices", "Device records, parked ones included.", len(self._state)
        )
        yield GaugeMetricFamily(
            "posturegate_devices_parked", "Names that wait for a device that shows itself.", index.parked
        )
        yield GaugeMetricFamily(
            "posturegate_device_cases", "Identifiers that several devices claim.", len(index.cases)
        )
