"""What every kind of sensor must do: its own samples hold, and no payload makes it raise, hang or lie."""

import copy
import json
import random
import tomllib
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.bounds import MAX_ID_CHARS
from plugins.catalog import Catalog
from plugins.payload import MAX_ITEMS
from risk.model import SignalType

RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def declared():
    """Return the catalog as the project declares it: the tests also run where it is not installed."""
    group = tomllib.loads(PROJECT.read_text())["project"]["entry-points"]["gateway.sensors"]
    return Catalog.discover(EntryPoint(name, value, "gateway.sensors") for name, value in group.items())


CATALOG = declared()
SAMPLES = [
    pytest.param(kind, sample, id=f"{kind}-{sample.name}")
    for kind in CATALOG.kinds
    for sample in CATALOG.sensor(kind).samples
]
MAPPING = {"items": "alerts", "device": [{"kind": "serial", "path": "sn"}], "level": {"path": "severity"}}

OPTIONS = {"generic": MAPPING, "cloudevents": {"kind": "falco"}}
"""Options of the kinds that cannot do without."""


def normalize(kind, payloads, options=None, headers=None):
    facade = CATALOG.sensor(kind)
    parsed = facade.parse_options({} if options is None else options)
    return facade.normalize(payloads, parsed, sensor="sample", received_at=RECEIVED, headers=headers or {})


def assert_bounded(normalized):
    assert len(normalized.origins) == len(normalized.signals) == len(normalized.sources)
    assert all(0 <= origin < normalized.items for origin in normalized.origins)
    for signal in normalized.signals:
        assert signal.sensor == "sample"
        assert signal.received_at == RECEIVED
        # A detection that names neither device nor user is kept as a dead letter by the intake, with all that it says.
        assert signal.device_ids or signal.user_ids or signal.type is SignalType.DETECTION
        assert 0 < len(signal.external_id) <= MAX_ID_CHARS + 40
        assert 0 < len(signal.event_id) <= MAX_ID_CHARS + 40
        assert signal.observed_at.tzinfo is not None
        assert all(isinstance(value, str | int | float | None) for value in signal.facts.values())
    assert all(rejection.code != "plugin-fault" for rejection in normalized.rejections), normalized.rejections


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_a_sample_becomes_what_its_author_says(kind, sample):
    normalized = normalize(kind, [sample.payload], sample.options, sample.headers)
    assert_bounded(normalized)
    assert normalized.pulls == sample.pulls
    assert [each.code for each in normalized.rejections] == list(sample.rejected)
    assert normalized.ignored == sample.ignored
    assert len(normalized.signals) == len(sample.expected)
    for signal, expected in zip(normalized.signals, sample.expected, strict=True):
        assert (signal.type, signal.device_ids, signal.level, signal.resolves) == (
            expected.type,
            expected.device_ids,
            expected.level,
            expected.resolves,
        )
        for field in ("external_id", "title", "observed_at", "expires_at"):
            if getattr(expected, field) is not None:
                assert getattr(signal, field) == getattr(expected, field), field
        if expected.facts is not None:
            assert signal.facts == expected.facts
        if expected.user_ids is not None:
            assert signal.user_ids == expected.user_ids
        if expected.actions is not None:
            assert signal.recommended_actions == tuple(expected.actions)


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_the_same_payload_gives_the_same_signals(kind, sample):
    payload = json.loads(json.dumps(sample.payload))
    assert normalize(kind, [sample.payload], sample.options) == normalize(kind, [payload], sample.options)


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_every_field_tells_where_it_comes_from(kind, sample):
    normalized = normalize(kind, [sample.payload], sample.options, sample.headers)
    for signal, sources in zip(normalized.signals, normalized.sources, strict=True):
        assert not signal.device_ids or any(field.startswith("device.") for field in sources)


def mutations(payload, dice, count=60):
    """Yield the payload with something missing, enormous or of the wrong type, somewhere."""
    wrong = [
        None,
        True,
        -1,
        1e308,
        "",
        "x" * 50_000,
        [],
        {},
        [[]],
        {"": {"": None}},
        ["x"] * 3,
        "\U0001f4a5\x00",
    ]
    for _ in range(count):
        changed = copy.deepcopy(payload)
        at, steps = changed, []
        while isinstance(at, dict | list) and at:
            key = dice.choice(list(at) if isinstance(at, dict) else range(len(at)))
            steps.append((at, key))
            at = at[key]
        if not steps:
            continue
        holder, key = dice.choice(steps)
        if dice.random() < 0.3:
            del holder[key]
        else:
            holder[key] = dice.choice(wrong)
        yield changed


@pytest.mark.parametrize(("kind", "sample"), SAMPLES)
def test_a_damaged_sample_is_read_or_rejected(kind, sample):
    dice = random.Random(f"{kind}-{sample.name}")  # noqa: S311 - not for secrets
    for damaged in mutations(sample.payload, dice):
        assert_bounded(normalize(kind, [damaged], sample.options, sample.headers))


def keys_of(value):
    """Return every key of a payload at any depth."""
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values())) if value else set()
    return set().union(*map(keys_of, value)) if isinstance(value, list) and value else set()


def words_of(value):
    """Return every text of a payload at any depth."""
    if isinstance(value, dict | list):
        return set().union(*map(words_of, value.values() if isinstance(value, dict) else value), set())
    return {value} if isinstance(value, str) else set()


def fields(kind):
    """Return JSON in the kind's own field names and words, in any shape."""
    payloads = [sample.payload for sample in CATALOG.sensor(kind).samples]
    names = sorted(set().union(*map(keys_of, payloads)))
    words = [*sorted(set().union(*map(words_of, payloads))), "2024-02-14T22:06:37.782+0500", "localhost"]
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=20)
        | st.sampled_from(words),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(names), inner, max_size=6)
        ),
        max_leaves=30,
    )


JSON = {kind: fields(kind) for kind in CATALOG.kinds}


@pytest.mark.parametrize("kind", CATALOG.kinds)
@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_json_is_read_or_rejected(kind, data):
    payload = data.draw(JSON[kind])
    normalized = normalize(kind, [payload], OPTIONS.get(kind, {}))
    assert_bounded(normalized)
    assert normalized.signals or normalized.rejections or normalized.ignored


def test_items_are_numbered_through_all_payloads_of_a_delivery():
    good = {"sn": "SN-1", "severity": "low"}
    normalized = normalize("generic", [{"alerts": [good, {}]}, {"alerts": [good]}, {}], MAPPING)
    assert normalized.origins == (0, 2)
    assert [each.index for each in normalized.rejections] == [1, 3]
    assert normalized.items == 4


def test_too_many_items_are_refused_as_a_whole():
    payload = {"alerts": [{"sn": f"SN-{n}", "severity": "low"} for n in range(MAX_ITEMS + 1)]}
    normalized = normalize("generic", [payload], MAPPING)
    assert normalized.signals == ()
    assert [each.code for each in normalized.rejections] == ["too-many-items"]
