"""Prometheus figures of service tokens. No token and no service is a label."""

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.service_tokens.registry import ServiceTokens


class TokenFigures(Collector):
    """Reads how the tokens are whenever somebody asks for metrics."""

    def __init__(self, tokens: ServiceTokens) -> None:
        self._tokens = tokens

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not collect."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield when the next token expires; nothing without one, so that no alert is about nothing."""
        left_s = self._tokens.soonest_expiry_s()
        if left_s is not None:
            yield GaugeMetricFamily(
                "posturegate_service_token_expiry_seconds",
                "Until the next service token expires that no other has replaced.",
                value=left_s,
            )
