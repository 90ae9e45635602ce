"""Prometheus metrics of the gateway. Names end in their unit; no user, device or address is ever a label."""

from functools import cached_property

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

WINDOW_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10)

LAG_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)

WORKER_GAUGES = frozenset({"open_connections", "open_exchanges", "tickets", "without_country_database"})
"""Worker figures that go up and down; all others only rise."""


class Metrics:
    """All metrics of one hub, on a registry of its own so that tests can run several."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.deliveries = Counter(
            "posturegate_sensor_deliveries",
            "Deliveries of sensors by verdict.",
            ["sensor", "verdict"],
            registry=self.registry,
        )
        self.signals = Counter(
            "posturegate_sensor_signals",
            "Signals of sensors by verdict.",
            ["sensor", "verdict"],
            registry=self.registry,
        )
        self.enforcement = Histogram(
            "posturegate_enforcement_seconds",
            "From a webhook's first byte until access is gone everywhere.",
            ["sensor"],
            buckets=WINDOW_BUCKETS,
            registry=self.registry,
        )
        self.durable = self._window(
            "posturegate_durable_seconds", "From a webhook's first byte until its signals are on disk."
        )
        self.evaluated = self._window(
            "posturegate_evaluated_seconds",
            "From a webhook's first byte until risk and compliance of its devices are known.",
        )
        self.answered = self._window(
            "posturegate_answered_seconds", "From a webhook's first byte until its answer has left the hub."
        )
        self.sensor_lag = Histogram(
            "posturegate_sensor_lag_seconds",
            "From a sensor's observation, by the sensor's own clock, until the webhook's first byte.",
            ["sensor"],
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        self.worker_enforcement = self._window(
            "posturegate_worker_enforcement_seconds",
            "From the announcement of a change until a worker enforces it.",
            "worker",
        )
        self.cut_window = self._window(
            "posturegate_streams_cut_seconds",
            "From a webhook's first byte until the open exchanges of an app that it forbids are cut.",
            "sensor",
            "app",
        )
        self.incidents = Counter(
            "posturegate_incidents", "Incidents that began.", ["sensor"], registry=self.registry
        )
        self.open_incidents = Gauge(
            "posturegate_incidents_open", "Incidents that are not over.", registry=self.registry
        )
        self.remediation_time = Histogram(
            "posturegate_time_to_remediate_seconds",
            "From access withdrawn until it was restored by evidence.",
            ["sensor"],
            buckets=LAG_BUCKETS,
            registry=self.registry,
        )
        self.cut = Counter(
            "posturegate_exchanges_cut", "Open exchanges ended from our side.", registry=self.registry
        )
        self.fenced = Counter(
            "posturegate_workers_fenced", "Workers killed for silence.", registry=self.registry
        )
        self.decisions = Counter(
            "posturegate_decisions",
            "Tickets and refusals by app and outcome.",
            ["app", "outcome"],
            registry=self.registry,
        )
        self.reload_ok = Gauge(
            "posturegate_config_last_reload_success",
            "1 when the last reload was applied.",
            registry=self.registry,
        )
        self.reload_at = Gauge(
            "posturegate_config_last_reload_success_timestamp_seconds",
            "When a configuration was last applied.",
            registry=self.registry,
        )
        self.build = Gauge(
            "posturegate_build_info", "Version.", ["version", "revision"], registry=self.registry
        )
        self._workers: dict[str, dict[str, float]] = {}
        self._sensors: dict[str, SensorFigures] = {}
        self._worker_windows: dict[str, Histogram] = {}
        self._decided: dict[tuple[str, str], Counter] = {}
        self.registry.register(self)

    def decided(self, app: str, outcome: str) -> None:
        """Count a decision of a ticket. Apps and outcomes are few, so all are kept."""
        known = self._decided.get((app, outcome))
        if known is None:
            known = self._decided[app, outcome] = self.decisions.labels(app, outcome)
        known.inc()

    def of_sensor(self, sensor: str) -> "SensorFigures":
        """Return the figures of one sensor; "" is whoever named none. Sensors are few, so all are kept."""
        found = self._sensors.get(sensor)
        if found is None:
            found = self._sensors[sensor] = SensorFigures(self, sensor)
        return found

    def enforced_by(self, worker: str, seconds: float) -> None:
        """Measure how long a worker took to enforce a change."""
        window = self._worker_windows.get(worker)
        if window is None:
            window = self._worker_windows[worker] = self.worker_enforcement.labels(worker)
        window.observe(seconds)

    def round_ended(self, cut: int, fenced: int) -> None:
        """Count what one announcement of changes brought about; of most, nothing."""
        if cut:
            self.cut.inc(cut)
        if fenced:
            self.fenced.inc(fenced)

    def _window(self, name: str, text: str, *labels: str) -> Histogram:
        return Histogram(name, text, labels or ["sensor"], buckets=WINDOW_BUCKETS, registry=self.registry)

    def worker_stats(self, worker: str, counters: dict[str, float]) -> None:
        """Take the newest counters of one worker."""
        self._workers[worker] = counters

    def workers_with(self, figure: str) -> list[str]:
        """Return the names of the workers that last told a figure other than zero, in order."""
        return sorted(name for name, counters in self._workers.items() if counters.get(figure))

    def collect(self) -> list[Metric]:
        """Return the workers' figures; called by the registry."""
        names = sorted({name for counters in self._workers.values() for name in counters})
        families: list[Metric] = []
        for name in names:
            kind = GaugeMetricFamily if name in WORKER_GAUGES else CounterMetricFamily
            family = kind(f"posturegate_proxy_{name}", "Figure of the data path.", labels=["worker"])
            for worker, counters in sorted(self._workers.items()):
                if name in counters:
                    family.add_metric([worker], counters[name])
            families.append(family)
        return families

    def describe(self) -> list[Metric]:
        """Return nothing: the workers' figures are known only at run time."""
        return []


class SensorFigures:
    """The figures of one sensor at hand: to find them by their labels costs more than to count."""

    def __init__(self, metrics: Metrics, sensor: str) -> None:
        self._metrics = metrics
        self._sensor = sensor
        self._verdicts: dict[str, Counter] = {}
        self._signals: dict[str, Counter] = {}

    def verdict(self, verdict: str) -> Counter:
        """Return the count of deliveries that ended so."""
        found = self._verdicts.get(verdict)
        if found is None:
            found = self._verdicts[verdict] = self._metrics.deliveries.labels(self._sensor, verdict)
        return found

    def signals(self, verdict: str) -> Counter:
        """Return the count of signals that ended so."""
        found = self._signals.get(verdict)
        if found is None:
            found = self._signals[verdict] = self._metrics.signals.labels(self._sensor, verdict)
        return found

    @cached_property
    def enforcement(self) -> Histogram:
        """Seconds to enforcement everywhere."""
        return self._metrics.enforcement.labels(self._sensor)

    @cached_property
    def answered(self) -> Histogram:
        """Seconds to the answer's last byte."""
        return self._metrics.answered.labels(self._sensor)

    @cached_property
    def lag(self) -> Histogram:
        """Seconds by the sensor's own clock."""
        return self._metrics.sensor_lag.labels(self._sensor)

    @cached_property
    def durable(self) -> Histogram:
        """Seconds until durable."""
        return self._metrics.durable.labels(self._sensor)

    @cached_property
    def evaluated(self) -> Histogram:
        """Seconds until it was known what the change means."""
        return self._metrics.evaluated.labels(self._sensor)
