"""How each sensor stands: when it was last heard, how often it delivers, what was wrong last."""

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.deliveries.model import HEARD, MAX_TEXT, Verdict, is_verified, verdict_of
from gateway.hub.hooks import Delivery, HookSensor
from gateway.pulls.puller import PullStatus

WINDOW_S = 300.0
"""Rates are over this long."""

STEP_S = 5.0
"""Deliveries are counted by steps of time: what is remembered of a sensor does not grow with what it sends."""


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """How one sensor stands. `rate_per_s` is over five minutes, `quota_left` what it could send at once now.

    `parked` counts devices of its newest delivery that were known by nothing but a name. `last_at` is when it last
    delivered, or when its product was last asked with success (`asked_at`).
    """

    sensor: str
    kind: str
    last_at: datetime | None = None
    age_s: float | None = None
    max_silence_s: float | None = None
    is_silent: bool = False
    rate_per_s: float = 0.0
    lag_s: float | None = None
    quota_per_s: float = 0.0
    quota_left: float = 0.0
    secret: int | None = None
    last_fault: str = ""
    last_fault_at: datetime | None = None
    asked_at: datetime | None = None
    pull_fault: str = ""
    parked: int = 0
    verdicts: dict[str, int] = {}


class _Heard:
    __slots__ = ("_counts", "fault", "fault_at", "lag_s", "last_at", "parked", "secret", "verdicts")

    def __init__(self) -> None:
        self.last_at: datetime | None = None
        self.lag_s: float | None = None
        self.secret: int | None = None
        self.parked = 0
        self.fault = ""
        self.fault_at: datetime | None = None
        self.verdicts: Counter[str] = Counter()
        self._counts: dict[int, int] = {}

    def count(self, at: datetime) -> None:
        """Count a delivery for the rate."""
        step = int(at.timestamp() // STEP_S)
        self._counts[step] = self._counts.get(step, 0) + 1
        while len(self._counts) > WINDOW_S / STEP_S:
            del self._counts[next(iter(self._counts))]

    def rate_per_s(self, now: datetime) -> float:
        """Return how many a second there were lately."""
        first = (now.timestamp() - WINDOW_S) / STEP_S
        return sum(count for step, count in self._counts.items() if step >= first) / WINDOW_S


class Standings(Collector):
    """Notes every delivery, and tells how the sensors stand, to people and to Prometheus."""

    def __init__(
        self,
        sensors: Callable[[], Iterable[HookSensor]],
        quota: Callable[[str], tuple[float, float]],
        clock: Callable[[], datetime],
        pulls: Callable[[], Iterable[PullStatus]] = tuple,
    ) -> None:
        self._pulls = pulls
        self._sensors = sensors
        self._quota = quota
        self._clock = clock
        self._heard: dict[str, _Heard] = {}

    def load(self, last: dict[str, datetime]) -> None:
        """Take over when sensors were last heard before this start."""
        for sensor, at in last.items():
            self._heard.setdefault(sensor, _Heard()).last_at = at

    def note(self, delivery: Delivery) -> None:
        """Note a delivery."""
        heard = self._heard.setdefault(delivery.sensor, _Heard())
        verdict = verdict_of(delivery)
        heard.verdicts[verdict.value] += 1
        at = delivery.received_at or self._clock()
        if verdict in HEARD and not delivery.again:
            heard.last_at = max(at, heard.last_at or at)
            heard.count(at)
            heard.lag_s = delivery.lag_s
            heard.parked = delivery.parked
        self._note_fault(heard, delivery, verdict, at)
        if is_verified(delivery) and delivery.secret is not None:
            heard.secret = delivery.secret + 1

    @staticmethod
    def _note_fault(heard: _Heard, delivery: Delivery, verdict: Verdict, at: datetime) -> None:
        if delivery.status >= 400:  # noqa: PLR2004 - HTTP: refused
            heard.fault, heard.fault_at = f"{delivery.status} {delivery.verdict}", at
        elif verdict is Verdict.NO_SUBJECT:
            # Its sender is told of no error, so the operator has to be.
            text = next(each.error for each in delivery.rejections)
            heard.fault, heard.fault_at = f"{verdict}: {text[:MAX_TEXT]}", at

    def all(self) -> list[Standing]:
        """Return how every configured sensor stands."""
        now = self._clock()
        asked = {each.sensor: each for each in self._pulls()}
        return [self._standing(sensor, asked.get(sensor.name), now) for sensor in self._sensors()]

    def _standing(self, sensor: HookSensor, asked: PullStatus | None, now: datetime) -> Standing:
        heard = self._heard.get(sensor.name) or _Heard()
        asked_at = None if asked is None else asked.succeeded_at
        last_at = max((at for at in (heard.last_at, asked_at) if at is not None), default=None)
        age_s = None if last_at is None else max(0.0, (now - last_at).total_seconds())
        quota, left = self._quota(sensor.name)
        return Standing(
            sensor=sensor.name,
            kind=sensor.facade.kind,
            last_at=last_at,
            age_s=age_s,
            max_silence_s=sensor.max_silence,
            is_silent=sensor.max_silence is not None and (age_s is None or age_s > sensor.max_silence),
            rate_per_s=heard.rate_per_s(now),
            lag_s=heard.lag_s,
            quota_per_s=quota,
            quota_left=left,
            secret=heard.secret,
            last_fault=heard.fault,
            last_fault_at=heard.fault_at,
            asked_at=asked_at,
            pull_fault="" if asked is None else asked.fault,
            parked=heard.parked,
            verdicts=dict(heard.verdicts),
        )

    def collect(self) -> list[Metric]:
        """Return the metrics; called by the registry."""
        last = _gauge("last_event_timestamp_seconds", "When a sensor last delivered something.")
        rate = _gauge("rate", "Deliveries a second of a sensor over five minutes.")
        lag = _gauge("last_lag_seconds", "How old the newest signal of the last delivery was when it came.")
        silent = _gauge("silent", "1 while a sensor has been silent for longer than its `max_silence`.")
        quota = _gauge("quota_per_second", "Most deliveries a second that a sensor may send.")
        left = _gauge("quota_left", "Deliveries that a sensor could send at once now.")
        for each in self.all():
            for family, value in (
                (last, None if each.last_at is None else each.last_at.timestamp()),
                (rate, each.rate_per_s),
                (lag, each.lag_s),
                (silent, float(each.is_silent)),
                (quota, each.quota_per_s),
                (left, each.quota_left),
            ):
                if value is not None:
                    family.add_metric([each.sensor], value)
        return [last, rate, lag, silent, quota, left]

    def describe(self) -> list[Metric]:
        """Return nothing: sensors come and go with the configuration."""
        return []


def _gauge(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"posturegate_sensor_{name}", text, labels=["sensor"])
