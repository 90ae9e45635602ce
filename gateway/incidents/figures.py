"""Prometheus figures of incidents."""

from gateway.incidents.model import Incident
from gateway.observe.metrics import Metrics


class IncidentFigures:
    """Counts incidents and how long they last: an `Observer` of the incident desk."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def incident_began(self, incident: Incident) -> None:
        """Count an incident."""
        self._metrics.incidents.labels(incident.sensor).inc()

    def incident_ended(self, incident: Incident) -> None:
        """Measure how long access was withdrawn."""
        if incident.restored_at is not None:
            took_s = (incident.restored_at - incident.opened_at).total_seconds()
            self._metrics.remediation_time.labels(incident.sensor).observe(max(0.0, took_s))

    def incidents_open(self, count: int) -> None:
        """Take the number of open incidents."""
        self._metrics.open_incidents.set(count)
