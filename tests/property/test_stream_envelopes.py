"""Whatever stands in the base64 of a delivery service: it is what it would be alone, or it is told why not."""

import base64
import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.config.sensors import installed
from plugins.payload import PayloadFault, parse_payloads
from plugins.streams import MAX_LAYERS, UNREADABLE, Unreadable, opened
from tests.fuzz.mutate import damaged, damaged_text, words_of
from tests.fuzz.target import Target

CATALOG = installed()
ANY = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
CODES = {UNREADABLE, "subscription-unconfirmed", "subscription-ended"}

NAMES = st.sampled_from(["a", "rule", "data", "message", "records", "Type", "timestamp"])
INNER = st.dictionaries(NAMES, st.integers(0, 9) | st.text("ab{}", max_size=4) | st.none(), max_size=4)
"""Payloads with none of the names by which services are told."""

MARKS = st.sampled_from(
    [
        *("subscription", "message", "messageId", "data", "requestId", "timestamp", "records", "ContentData"),
        *("Properties", "specversion", "data_base64", "TopicArn", "Type", "Message"),
    ]
)
WORDS = st.sampled_from(
    [
        "projects/p",
        "Notification",
        "SubscriptionConfirmation",
        "e30=",
        "W10=",
        "[]",
        "{",
        "%",
        "H4sI",
        "gA==",
        "\ud800",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.integers() | WORDS | st.text(max_size=5),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(MARKS, below, max_size=6),
    max_leaves=25,
)


def packed(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


WRAPS = (
    lambda values: {"message": {"data": packed(values), "messageId": "1"}, "subscription": "projects/p"},
    lambda values: {"requestId": "r", "timestamp": 1, "records": [{"data": packed(each)} for each in values]},
    lambda values: {"ContentData": packed(values), "SystemProperties": {}},
    lambda values: {"specversion": "1.0", "data_base64": packed(values)},
    lambda values: {"Type": "Notification", "TopicArn": "arn", "Message": json.dumps(values)},
)


@ANY
@given(values=st.lists(INNER, max_size=5), wraps=st.lists(st.sampled_from(WRAPS), max_size=MAX_LAYERS))
def test_what_was_put_in_comes_out(values, wraps):
    payloads = values
    for wrap in wraps:
        payloads = [wrap(payloads)]
    assert opened(payloads) == values


@ANY
@given(payloads=st.lists(ANYTHING, max_size=4), keeps_events=st.booleans())
def test_anything_is_opened_left_or_told(payloads, keeps_events):
    for each in opened(payloads, keeps_events=keeps_events):
        if isinstance(each, Unreadable):
            assert each.code in CODES
            assert each.error


@ANY
@given(data=st.binary(max_size=200), cut=st.integers(0, 300))
def test_any_bytes_in_a_record(data, cut):
    record = base64.b64encode(data).decode()[:cut]
    found = opened([{"requestId": "r", "timestamp": 1, "records": [{"data": record}]}])
    try:
        inside = parse_payloads(base64.b64decode(record, validate=True))
    except (PayloadFault, ValueError):
        inside = None
    if inside is None:
        assert [type(each) for each in found] == [Unreadable]
    else:
        assert found == opened(inside)


@pytest.fixture(scope="module", params=CATALOG.kinds)
def target(request):
    made = Target(request.param, CATALOG)
    yield made
    made.close()


def test_damaged_samples_inside_and_damage_outside(target):
    """As the samples alone are damaged: nothing raises, nothing vanishes, everything is bounded."""
    samples = [each.payload for each in target.facade.samples]
    dice = random.Random(target.facade.kind)  # noqa: S311 - not for secrets
    words = words_of(samples)
    for _ in range(100):
        inside = [damaged(dice.choice(samples), dice, words) for _ in range(dice.randint(1, 3))]
        wrapped = dice.choice(WRAPS)(inside)
        target.run(json.dumps(wrapped).encode())
        target.run(json.dumps(damaged(wrapped, dice, words)).encode())
        target.run(damaged_text(json.dumps(wrapped).encode(), dice))
