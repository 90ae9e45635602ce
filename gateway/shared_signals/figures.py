"""Prometheus figures of Shared Signals. Labels are names of the configuration, never a person, device or address."""

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.shared_signals.receiver import Receiver
from gateway.shared_signals.transmitter import Transmitter


class Figures(Collector):
    """Reads what receivers and transmitter are, whenever somebody asks for metrics."""

    def __init__(self, receivers: Mapping[str, Receiver], transmitter: Transmitter) -> None:
        self._receivers = receivers
        self._transmitter = transmitter

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the figures as they are now."""
        well = GaugeMetricFamily(
            "posturegate_ssf_receiver_up", "Whether a transmitter can be heard.", labels=["receiver"]
        )
        for name, receiver in self._receivers.items():
            well.add_metric([name], float(receiver.status().is_well))
        waiting = GaugeMetricFamily(
            "posturegate_ssf_waiting_events",
            "Events that a subscriber has not taken yet.",
            labels=["subscriber"],
        )
        sent = CounterMetricFamily(
            "posturegate_ssf_sent_events", "Events pushed and taken.", labels=["subscriber"]
        )
        refused = CounterMetricFamily(
            "posturegate_ssf_refused_events",
            "Events that a subscriber refused for good.",
            labels=["subscriber"],
        )
        for party, count in self._transmitter.backlog().items():
            waiting.add_metric([party], count)
        for party, status in self._transmitter.senders().items():
            sent.add_metric([party], status.sent)
            refused.add_metric([party], status.refused)
        dropped = CounterMetricFamily(
            "posturegate_ssf_dropped_events",
            "Events dropped because too many waited.",
            value=self._transmitter.emitter.dropped,
        )
        yield from (well, waiting, sent, refused, dropped)
