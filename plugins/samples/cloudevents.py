"""Samples of `cloudevents`. Source of the field sets: CloudEvents 1.0.2, HTTP protocol binding."""

import base64
import json
from datetime import UTC, datetime

from plugins.contract import Expected, Sample
from risk.model import Identifier, Severity, SignalType

_FALCO = {
    "hostname": "build-03",
    "priority": "Error",
    "rule": "Write below binary dir",
    "time": "2026-03-02T09:15:30.25Z",
    "output": "File below a known binary directory opened for writing",
}
_EVENT: dict[str, object] = {
    "specversion": "1.0",
    "id": "e1",
    "source": "https://falco.org",
    "type": "falco.rule.output.v1",
    "time": "2026-03-02T09:15:31Z",
    "datacontenttype": "application/json",
    "data": _FALCO,
}
_DETECTION = Expected(
    type=SignalType.DETECTION,
    device_ids=(Identifier("hostname", "build-03"),),
    level=Severity.HIGH,
    title="Write below binary dir",
    observed_at=datetime(2026, 3, 2, 9, 15, 30, 250000, tzinfo=UTC),
)
_OPTIONS: dict[str, object] = {"kind": "falco"}
_MAPPING = {"device": [{"kind": "serial", "path": "sn"}], "level": {"path": "severity"}}

SAMPLES: tuple[Sample, ...] = (
    Sample(name="structured", payload=_EVENT, options=_OPTIONS, expected=(_DETECTION,)),
    Sample(
        name="data-as-text",
        payload=_EVENT | {"data": json.dumps(_FALCO)},
        options=_OPTIONS | {"types": ["falco.rule.output.v1"]},
        expected=(_DETECTION,),
    ),
    Sample(
        name="data-in-base64",
        payload=_EVENT
        | {"data": None, "data_base64": base64.b64encode(json.dumps([_FALCO]).encode()).decode()},
        options=_OPTIONS,
        expected=(_DETECTION,),
    ),
    Sample(
        name="binary",
        payload=_FALCO,
        headers={"ce-specversion": "1.0", "ce-id": "e1", "ce-source": "s", "ce-type": "t"},
        options=_OPTIONS,
        expected=(_DETECTION,),
    ),
    Sample(
        name="the-time-of-the-event-counts-where-the-data-has-none",
        payload=_EVENT | {"data": {"sn": "SN-14", "severity": "low"}},
        options={"kind": "generic", "options": _MAPPING},
        expected=(
            Expected(
                type=SignalType.DETECTION,
                device_ids=(Identifier("serial", "SN-14"),),
                level=Severity.LOW,
                observed_at=datetime(2026, 3, 2, 9, 15, 31, tzinfo=UTC),
            ),
        ),
    ),
    Sample(name="other-type", payload=_EVENT, options=_OPTIONS | {"types": ["x"]}, ignored=1),
    Sample(name="no-event", payload=_FALCO, options=_OPTIONS, rejected=("not-a-cloudevent",)),
    Sample(
        name="another-version",
        payload=_EVENT | {"specversion": "0.3"},
        options=_OPTIONS,
        rejected=("not-a-cloudevent",),
    ),
    Sample(
        name="unreadable-data",
        payload=_EVENT | {"data": None, "data_base64": "%"},
        options=_OPTIONS,
        rejected=("data-unreadable",),
    ),
)
