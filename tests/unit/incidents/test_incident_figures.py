"""Incidents as Prometheus sees them."""

from datetime import UTC, datetime, timedelta

import msgspec

from gateway.incidents.figures import IncidentFigures
from gateway.incidents.model import Incident
from gateway.observe.metrics import Metrics

NOW = datetime(2026, 12, 1, 12, tzinfo=UTC)
INCIDENT = Incident(
    id="inc_1", device_id="dev_1", device="lt-1", cause="threat", title="malware", sensor="edr", opened_at=NOW
)


def test_what_began_is_counted_and_what_ended_is_measured_where_access_is_back():
    metrics = Metrics()
    figures = IncidentFigures(metrics)
    figures.incident_began(INCIDENT)
    figures.incidents_open(4)
    figures.incident_ended(INCIDENT)  # its device is gone: access was never restored
    figures.incident_ended(msgspec.structs.replace(INCIDENT, restored_at=NOW + timedelta(seconds=90)))
    value = metrics.registry.get_sample_value
    assert value("posturegate_incidents_total", {"sensor": "edr"}) == 1
    assert value("posturegate_incidents_open") == 4
    assert value("posturegate_time_to_remediate_seconds_count", {"sensor": "edr"}) == 1
    assert value("posturegate_time_to_remediate_seconds_sum", {"sensor": "edr"}) == 90
