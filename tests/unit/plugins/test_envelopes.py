"""What pipelines and SOARs put around the payloads of a product: every kind that names its items takes them out."""

import base64
import json
from datetime import UTC, datetime

import pytest

from plugins.catalog import Catalog
from plugins.payload import parse_payloads
from plugins.reading import Frame, Reader
from plugins.sensors.envelopes import MAX_BOXES, inside, items_of, opened

RECEIVED = datetime(2026, 3, 3, 12, tzinfo=UTC)
CATALOG = Catalog.discover()

SAMPLES = {
    "alertmanager": "alerts-of-the-api",
    "crowdstrike": "fusion-new",
    "defender": "alert",
    "elastic": "alert-of-elastic-defend",
    "falco": "bare-event",
    "fleet": "failing-policy-of-two-hosts",
    "intune": "row-of-a-workspace",
    "jamf": "alert-of-jamf-protect",
    "kolide": "issue",
    "ocsf": "detection",
    "okta": "risk-of-a-person",
    "sentinelone": "unified-alert",
    "wazuh": "finding-of-wazuh-5",
}
"""A sample of one item for each kind."""

INNER = {"okta": lambda payload: payload["data"]["events"][0]}
"""The item of a sample that is itself a list of items."""


def packed(item):
    return base64.b64encode(json.dumps(item).encode()).decode()


ENVELOPES = {
    "pubsub": lambda item: {
        "message": {"data": packed(item), "messageId": "1"},
        "subscription": "projects/p",
    },
    "firehose": lambda item: {"requestId": "r", "timestamp": 1, "records": [{"data": packed(item)}]},
    "firehose of a topic": lambda item: {
        "requestId": "r",
        "timestamp": 1,
        "records": [{"data": packed({"Type": "Notification", "TopicArn": "a", "Message": json.dumps(item)})}],
    },
    "event hub": lambda item: {"ContentData": packed(item), "Properties": {}},
    "packed cloudevent": lambda item: {
        "specversion": "1.0",
        "id": "1",
        "data_base64": packed({"alert": item}),
    },
    "soar": lambda item: {"alert": item},
    "queue": lambda item: {"body": {"event": item}},
    "bridge": lambda item: {"detail-type": "x", "source": "y", "detail": item},
    "text": lambda item: {"message": json.dumps(item)},
    "cloudevent": lambda item: {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": item},
    "splunk": lambda item: {"search_name": "x", "result": item},
    "container log": lambda item: {"stream": "stdout", "log": json.dumps(item) + "\n"},
    "topic": lambda item: {"Type": "Notification", "MessageId": "m", "Message": json.dumps(item)},
    "stream": lambda item: {"records": [{"key": "k", "value": item}]},
    "web function": lambda item: {"headers": {"a": "b"}, "query": {}, "body": json.dumps(item)},
    "results": lambda item: {"results": [item]},
    "events": lambda item: {"events": [item]},
    "value": lambda item: {"@odata.context": "x", "value": [item]},
    "search": lambda item: {"hits": {"total": 1, "hits": [{"_index": "i", "_source": item}]}},
}


def item_of(kind):
    sample = next(each for each in CATALOG.sensor(kind).samples if each.name == SAMPLES[kind])
    return INNER.get(kind, lambda payload: payload)(sample.payload), sample.options


def signals(kind, payload, options):
    facade = CATALOG.sensor(kind)
    read = facade.normalize(
        [payload], facade.parse_options(options), sensor="s", received_at=RECEIVED, headers={}
    )
    assert not read.rejections, read.rejections
    return [
        (
            each.type,
            each.device_ids,
            each.user_ids,
            each.level,
            each.external_id,
            each.observed_at,
            each.resolves,
        )
        for each in read.signals
    ]


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("kind", SAMPLES)
def test_an_item_in_an_envelope_says_what_it_says_bare(kind, envelope):
    item, options = item_of(kind)
    bare = signals(kind, item, options)
    assert bare
    assert signals(kind, ENVELOPES[envelope](item), options) == bare


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_list_of_items_in_an_envelope_loses_none(kind):
    item, options = item_of(kind)
    bare = signals(kind, item, options)
    several = signals(kind, {"payload": {"records": [item] * 3}}, options)
    assert len(several) in {3 * len(bare), len(bare)}  # rows of one alert on one machine are one detection
    assert set(map(str, several)) == set(map(str, bare))


def test_the_place_of_a_field_names_the_envelope():
    reader = inside(Reader(Frame("s", RECEIVED), {"alert": {"event": {"rule": "x"}}}), lambda v: "rule" in v)
    assert reader.text("title", "rule") == "x"
    assert reader.used == {"title": "alert.event.rule"}


def test_what_is_an_item_is_never_opened():
    """A product's own field `event` or `data` is no envelope."""
    item = {"rule": "outer", "event": {"rule": "inner"}}
    assert opened(item, lambda value: "rule" in value) == (item, "")
    assert items_of(item | {"events": [{"rule": "y"}]}, lambda value: "rule" in value)[1] == ""


def test_boxes_are_opened_to_a_depth():
    item = {"rule": "x"}
    for _ in range(MAX_BOXES):
        item = {"event": item}
    assert opened(item, lambda value: "rule" in value) is not None
    assert opened({"event": item}, lambda value: "rule" in value) is None


@pytest.mark.parametrize(
    "payload",
    [
        {"alert": {"nothing": 1}},
        {"events": []},
        {"events": [1, "x", None]},
        {"message": "{not json"},
        {"message": '{"a": 1, "a": 2}'},
        {"data": ["rule"]},
        "rule",
        None,
    ],
)
def test_what_holds_no_item_is_left_as_it_is(payload):
    def is_item(value):
        return isinstance(value, dict) and "rule" in value

    assert items_of(payload, is_item) == ([payload], "")
    assert opened(payload, is_item) is None


def test_lines_of_boxed_items_are_read_one_by_one():
    sample = next(each for each in CATALOG.sensor("falco").samples if each.name == "bare-event")
    lines = "\n".join(json.dumps({"alert": sample.payload | {"uuid": str(number)}}) for number in range(3))
    facade = CATALOG.sensor("falco")
    options = facade.parse_options({})
    read = facade.normalize(
        parse_payloads(lines.encode()), options, sensor="s", received_at=RECEIVED, headers={}
    )
    assert [each.event_id for each in read.signals] == ["0", "1", "2"]
