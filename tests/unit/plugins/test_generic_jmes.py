"""Kind `generic`: JMESPath expressions where a path does not reach."""

from datetime import UTC, datetime

import pytest

from plugins.catalog import Catalog, OptionsFault

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
FACADE = Catalog.discover().sensor("generic")
PAYLOAD = {
    "tenant": "acme",
    "groups": [
        {
            "host": "a",
            "sn": "SER-A",
            "alerts": [{"kind": "threat", "id": "1", "scores": [{"v": 10}, {"v": 90}]}],
        },
        {"host": "b", "serial": "SER-B", "alerts": [{"kind": "noise", "id": "2"}]},
    ],
}


def normalised(options, payload=PAYLOAD):
    parsed = FACADE.parse_options(options)
    return FACADE.normalize([payload], parsed, sensor="any", received_at=NOW, headers={})


def test_expressions_choose_items_identifiers_and_levels():
    found = normalised(
        {
            "items": {"jmes": "groups[?alerts[?kind=='threat']]"},
            "device": [{"kind": "serial", "path": {"jmes": "serial || sn"}}],
            "level": {
                "path": {"jmes": "max(alerts[].scores[].v)"},
                "ranges": [{"at_least": 0, "level": "low"}, {"at_least": 70, "level": "high"}],
            },
            "title": {"jmes": "join(' on ', ['threat', host])"},
            "external_id": {"jmes": "alerts[0].id"},
            "category": {"jmes": "$.tenant"},
        }
    )
    (signal,) = found.signals
    assert signal.device_ids[0].value == "SER-A"
    assert (signal.level, signal.title, signal.external_id, signal.category) == (
        "high",
        "threat on a",
        "1",
        "acme",
    )
    assert found.rejections == ()


def test_an_expression_that_fails_rejects_its_item_alone():
    options = {
        "items": "groups",
        "device": [{"kind": "serial", "path": {"jmes": "serial || sn"}}],
        "level": {"path": {"jmes": "max(alerts[0].scores[].v)"}, "default": "low"},
        "title": {"jmes": "to_upper(host)"},
    }
    with pytest.raises(OptionsFault, match="expression"):
        FACADE.parse_options({**options, "title": {"jmes": "]["}})
    found = normalised(options)
    assert [each.code for each in found.rejections] == ["expression-fails"] * 2
    found = normalised({**options, "title": {"jmes": "abs(host)", "value": "x"}})
    assert all(each.code == "expression-fails" for each in found.rejections)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({"jmes": "a[?"}, "no JMESPath expression"),
        ({"jmes": "a", "path": "b"}, "give one"),
        ({"jmes": "a." * 600 + "a"}, "at most 1024 characters"),
        ({"jmes": "foo(@)"}, ""),
    ],
)
def test_expressions_that_cannot_be_used(source, said):
    options = {"device": [{"kind": "serial", "path": source}]}
    if said:
        with pytest.raises(OptionsFault, match=said):
            FACADE.parse_options(options)
    else:
        assert [each.code for each in normalised(options).rejections] == ["expression-fails"]


@pytest.mark.parametrize("payload", [{}, [], "x", 1, None, {"serial": {"a": []}}, {"serial": [None]}])
def test_any_payload_has_a_defined_result(payload):
    found = normalised(
        {"items": {"jmes": "serial[]"}, "device": [{"kind": "serial", "path": {"jmes": "@"}}]}, payload
    )
    assert not found.signals
    assert found.rejections


def test_a_path_to_a_list_means_its_elements():
    """Products list names where there may be several, and an engineer names the field, not its first place."""
    options = {
        "device": [{"kind": "hostname", "path": ["names.dns", "name"]}],
        "level": {"path": "severity"},
        "external_id": "ids",
        "actions": ["fix"],
        "resolves": {"path": "tags", "equals": ["fixed"]},
        "facts": {"first": "tags"},
    }
    payload = {
        "names": {"dns": [None, "lt-1", "lt-2"]},
        "name": "other",
        "severity": ["high"],
        "ids": ["c1", "c2"],
        "fix": ["Do this.", "Then that."],
        "tags": ["seen", "open"],
    }
    (signal,) = normalised(options, payload).signals
    assert [each.value for each in signal.device_ids] == ["lt-1"]
    assert (signal.level, signal.external_id, signal.resolves) == ("high", "c1", False)
    assert signal.recommended_actions == ("Do this.", "Then that.")
    assert signal.facts == {"first": "seen"}
    (closing,) = normalised(options, payload | {"tags": ["seen", "fixed"]}).signals
    assert closing.resolves
    (other,) = normalised(options, payload | {"names": {"dns": []}}).signals
    assert [each.value for each in other.device_ids] == ["other"]


def test_an_empty_text_is_no_value_where_there_is_another():
    options = {
        "device": [{"kind": "hostname", "path": ["fqdn", "name"]}],
        "level": {"path": "severity", "default": "low"},
        "title": {"path": "title", "value": "Something"},
        "external_id": ["id", "number"],
    }
    payload = {"fqdn": "", "name": "lt-1", "severity": "", "title": "", "id": "", "number": 7}
    (signal,) = normalised(options, payload).signals
    assert [each.value for each in signal.device_ids] == ["lt-1"]
    assert (signal.level, signal.title, signal.external_id) == ("low", "Something", "7")
