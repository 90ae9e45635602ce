"""What follows from a delivery once its answer is known: figures, the log, and a look at the devices it spoke of."""

from collections.abc import Callable
from datetime import datetime

from gateway.canary.watch import CanaryWatch
from gateway.deliveries.log import DeliveryLog
from gateway.deliveries.standing import Standings
from gateway.feed.hub_side import Enforcement
from gateway.hub.hooks import Delivery
from gateway.hub.triage import Triage
from gateway.incidents.model import Change
from gateway.observe.logs import EventLines
from gateway.observe.metrics import Metrics, SensorFigures

DELIVERY_FIELDS = (
    "id", "sensor", "status", "verdict", "body_bytes", "accepted", "duplicates", "rejected", "ignored", "devices",
    "parked", "durable_in_s", "enforced_in_s", "lag_s", "timings",
)  # fmt: skip


class DeliveryObserver:
    """Told of every delivery, however it came: by webhook, asked for at a product, as a token, or run again.

    Those of the canary are counted and logged, and kept by nobody. `standings` are asked for at each other delivery:
    they are made of those who tell of deliveries.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        canary: CanaryWatch,
        triage: Triage,
        standings: Callable[[], Standings],
        deliveries: DeliveryLog,
        clock: Callable[[], datetime],
    ) -> None:
        self._metrics = metrics
        self._canary = canary
        self._triage = triage
        self._standings = standings
        self._deliveries = deliveries
        self._clock = clock
        self._delivery_lines = EventLines("delivery", {name: name for name in DELIVERY_FIELDS})

    def delivered(self, delivery: Delivery) -> None:
        """Take note of a delivery whose answer is known."""
        figures = self._metrics.of_sensor(delivery.sensor)
        figures.verdict(delivery.verdict).inc()
        for verdict in ("accepted", "duplicates", "rejected", "ignored"):
            count = getattr(delivery, verdict)
            if count:
                figures.signals(verdict).inc(count)
        change = None
        if delivery.enforced_in_s is not None:
            figures.enforcement.observe(delivery.enforced_in_s)
            change = self._measured(delivery, figures, delivery.enforced_in_s)
        self._triage.look(delivery.device_ids, change)
        if delivery.sensor and not self._canary.is_its_sensor(delivery.sensor):
            self._standings().note(delivery)
            self._deliveries.note(delivery)
        self._delivery_lines.log(delivery)

    def answered(self, sensor: str, delivery_id: str, took_s: float) -> None:
        """Take note that the last byte of a delivery's answer has left."""
        self._metrics.of_sensor(sensor).answered.observe(took_s)
        self._deliveries.answered(delivery_id, took_s)

    def flush(self) -> None:
        """Write what waits to be logged."""
        self._delivery_lines.flush()

    def _measured(self, delivery: Delivery, figures: SensorFigures, enforced_in_s: float) -> Change | None:
        """Record how long this change took, and return what it brought about."""
        if delivery.lag_s is not None:
            figures.lag.observe(delivery.lag_s)
        durable_in_s = delivery.durable_in_s or 0.0
        figures.durable.observe(durable_in_s)
        report, began_at = delivery.enforcement, self._clock() if delivery.again else delivery.first_byte_at
        if not isinstance(report, Enforcement) or began_at is None:
            return None
        if report.evaluated_mono_ns is not None and delivery.received_mono_ns is not None:
            evaluated_in_s = (report.evaluated_mono_ns - delivery.received_mono_ns) / 1e9
            figures.evaluated.observe(evaluated_in_s)
        for worker, took in report.by_worker.items():
            self._metrics.enforced_by(worker, took)
        for app in report.cuts:
            self._metrics.cut_window.labels(delivery.sensor, app).observe(enforced_in_s)
        return Change(
            sensor=delivery.sensor,
            received_at=began_at,
            durable_in_s=durable_in_s,
            enforced_in_s=enforced_in_s,
            cuts=report.cuts,
            by_worker=report.by_worker,
            fenced=report.fenced,
        )
