"""What delivery services put around payloads: opened for every kind, within the limits of any body."""

import base64
import gzip
import json
from datetime import UTC, datetime

import pytest

from plugins import streams
from plugins.catalog import Catalog
from plugins.payload import MAX_ITEMS, PayloadFault
from plugins.streams import (
    MAX_LAYERS,
    UNREADABLE,
    VALIDATION_EVENT,
    Unreadable,
    firehose_request_id,
    opened,
    validation_code,
)

CATALOG = Catalog.discover()
RECEIVED = datetime(2026, 3, 3, 12, tzinfo=UTC)
TOPIC = "arn:aws:sns:eu-central-1:111122223333:alerts"
PAYLOAD = {"rule": "x", "priority": "Notice", "hostname": "lt-1", "time": "2026-03-02T09:15:30Z"}


def packed(value):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.b64encode(data).decode()


def pushed(value):
    message = {"data": packed(value), "attributes": {"a": "b"}, "messageId": "1", "publishTime": "x"}
    return {"message": message, "subscription": "projects/p/subscriptions/s"}


def hose(*values):
    return {"requestId": "r-1", "timestamp": 1, "records": [{"data": packed(each)} for each in values]}


def hub(value):
    return {"ContentData": packed(value), "Properties": {}, "SystemProperties": {"SequenceNumber": 1}}


def event(value):
    return {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": packed(value)}


def notified(value):
    return {"Type": "Notification", "MessageId": "m", "TopicArn": TOPIC, "Message": json.dumps(value)}


WRAPPINGS = {"pubsub": pushed, "firehose": hose, "event hub": hub, "cloudevent": event, "sns": notified}


def read(kind, payloads, options=None):
    facade = CATALOG.sensor(kind)
    parsed = facade.parse_options(options or {})
    return facade.normalize(payloads, parsed, sensor="s", received_at=RECEIVED, headers={})


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_is_inside_is_read(wrapping):
    wrap = WRAPPINGS[wrapping]
    assert opened([wrap(PAYLOAD)]) == [PAYLOAD]
    assert opened([wrap([PAYLOAD, 7])]) == [PAYLOAD, 7]
    assert read("falco", [wrap(PAYLOAD)]).signals == read("falco", [PAYLOAD]).signals


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_a_mapping_reads_what_is_inside(wrapping):
    """Unlike the envelopes of SOARs: nobody can map base64."""
    options = {"device": [{"kind": "hostname", "path": "hostname"}], "level": {"path": "priority"}}
    assert len(read("generic", [WRAPPINGS[wrapping](PAYLOAD)], options).signals) == 1


def test_records_hold_lines_and_lists():
    lines = b'{"a": 1}\n{"a": 2}\n'
    assert opened([hose(lines, [3, 4], {"a": 5})]) == [{"a": 1}, {"a": 2}, 3, 4, {"a": 5}]


def test_a_bad_record_costs_itself_alone():
    """One of a batch that is sent again and again must not keep the others out."""
    body = hose(PAYLOAD, PAYLOAD | {"rule": "y"})
    body["records"][1:1] = [{"data": "%%%"}, {"data": packed(b"\xff")}, {"nothing": 1}, None]
    body["records"].append({"data": packed(gzip.compress(b"{}"))})
    got = read("falco", [body])
    assert [each.title for each in got.signals] == ["x", "y"]
    assert [(each.index, each.code) for each in got.rejections] == [
        *((n, UNREADABLE) for n in (1, 2, 3, 4)),
        (6, UNREADABLE),
    ]
    texts = [each.error for each in got.rejections]
    assert texts[0] == "`records[1].data` is not base64"
    assert texts[1].startswith("`records[2].data`: byte 0 is not UTF-8")
    assert texts[2] == "`records[3].data` is missing"
    assert "gzip" in texts[4]
    assert got.rejections[0].item == body | {"records": [{"data": "%%%"}]}


@pytest.mark.parametrize(
    "payload",
    [
        pushed(PAYLOAD) | {"message": {"messageId": "1", "attributes": {"a": "b"}}},
        pushed(PAYLOAD) | {"message": {"messageId": "1", "data": 7}},
        hub(PAYLOAD) | {"ContentData": "é"},
        hub(PAYLOAD) | {"ContentData": packed(PAYLOAD)[:-1] + "\n"},
        event(PAYLOAD) | {"data_base64": packed(b"{")},
        event(PAYLOAD) | {"data_base64": packed(b'{"a": 1, "a": 2}')},
        event(PAYLOAD) | {"data_base64": packed(b"[" * 100)},
        notified(PAYLOAD) | {"Message": "{not json"},
    ],
)
def test_what_cannot_be_decoded_is_told(payload):
    (found,) = opened([payload])
    assert isinstance(found, Unreadable)
    assert (found.code, found.item) == (UNREADABLE, payload)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("SubscriptionConfirmation", "subscription-unconfirmed"),
        ("UnsubscribeConfirmation", "subscription-ended"),
    ],
)
def test_nobody_visits_the_address_of_a_topic(kind, code):
    """It is kept for somebody who looks at it first: whoever writes here must not choose where we go."""
    payload = {"Type": kind, "TopicArn": TOPIC, "SubscribeURL": "https://sns.example/?Token=t", "Token": "t"}
    (rejection,) = read("falco", [payload]).rejections
    assert (rejection.code, rejection.item) == (code, payload)
    assert TOPIC in rejection.error


@pytest.mark.parametrize(
    "payload",
    [
        {"message": "x", "subscription": "projects/p/subscriptions/s"},
        {"message": {"data": "e30=", "messageId": "1"}, "subscription": "gold"},
        {"message": {"data": "e30="}},
        {"requestId": "r", "records": [{"data": "e30="}]},
        {"requestId": 7, "timestamp": 1, "records": []},
        {"requestId": "r", "timestamp": 1, "records": [{"data": {"a": 1}}, {"b": 2}]},
        {"ContentData": "e30="},
        {"ContentData": {"a": 1}, "Properties": {}},
        {"data_base64": "e30="},
        {"specversion": "1.0", "data": {"a": 1}, "data_base64": "e30="},
        {"Type": "Notification", "TopicArn": TOPIC, "Message": "a word"},
        {"Type": "Other", "TopicArn": TOPIC},
        {"Type": "Notification", "Message": "{}"},
        *(None, 7, "e30=", [], {}),
    ],
)
def test_what_only_looks_alike_is_left_alone(payload):
    assert opened([payload]) == [payload]


def test_layers_are_opened_to_a_depth():
    value = PAYLOAD
    for number in range(MAX_LAYERS):
        value = (pushed, hose, hub)[number % 3](value)
    assert opened([value]) == [PAYLOAD]
    assert opened([event(value)]) != [PAYLOAD]


def test_a_plugin_that_reads_events_gets_them():
    assert opened([event(PAYLOAD)], keeps_events=True) == [event(PAYLOAD)]
    assert opened([pushed(event(PAYLOAD))], keeps_events=True) == [event(PAYLOAD)]
    got = read("cloudevents", [hose(event(PAYLOAD))], {"kind": "falco"})
    assert [each.title for each in got.signals] == ["x"]


def test_records_count_against_the_limits_together(monkeypatch):
    half = [0] * (MAX_ITEMS // 2)
    assert len(opened([hose(half, half)])) == MAX_ITEMS
    for body in (hose(half, half, 0), hose(*([[]] * (MAX_ITEMS + 1)))):
        with pytest.raises(PayloadFault) as fault:
            opened([body])
        assert fault.value.code == "too-many-items"
    assert [each.code for each in read("falco", [hose(half, half, 0)]).rejections] == ["too-many-items"]
    monkeypatch.setattr(streams, "MAX_VALUES", 100)
    assert len(opened([hose({"a": [0] * 40}, {"a": [0] * 40})])) == 2
    with pytest.raises(PayloadFault) as fault:
        opened([hose({"a": [0] * 40}, {"a": [0] * 60})])
    assert fault.value.code == "too-many-values"


def test_no_records_are_no_news():
    got = read("falco", [hose()])
    assert (got.signals, got.rejections, got.ignored) == ((), (), 1)


def test_only_whole_requests_of_firehose_have_an_id():
    assert firehose_request_id([hose(PAYLOAD)]) == "r-1"
    assert firehose_request_id([hose(PAYLOAD), 7]) == ""
    assert firehose_request_id([PAYLOAD]) == ""
    assert firehose_request_id([]) == ""


def test_the_question_of_event_grid_has_a_code():
    question = {
        "eventType": VALIDATION_EVENT,
        "data": {"validationCode": "c-1", "validationUrl": "https://x"},
    }
    assert validation_code([question]) == "c-1"
    assert validation_code([question, question]) == ""
    assert validation_code([question | {"eventType": "other"}]) == ""
    assert validation_code([7]) == ""
