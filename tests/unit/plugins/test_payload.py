"""Reading bodies: what is JSON, what is too much, and the small readings of plugins."""

import contextlib
import gzip
import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins import payload as payload_module
from plugins.payload import (
    MAX_DEPTH,
    MAX_ITEMS,
    MAX_KEYS,
    MAX_VALUES,
    PayloadFault,
    dig,
    digest,
    follow,
    list_at,
    object_at,
    parse_number,
    parse_path,
    parse_payloads,
    parse_time,
    text_at,
    text_of,
)


def test_a_compressed_body_that_does_not_say_so_is_told():
    with pytest.raises(PayloadFault, match="it is gzip, which `Content-Encoding: gzip` has to say"):
        parse_payloads(gzip.compress(b'{"a": 1}'))


@pytest.mark.parametrize(
    ("body", "payloads"),
    [
        (b'{"a": 1}', [{"a": 1}]),
        (b'[{"a": 1}, 2]', [{"a": 1}, 2]),
        (b"[]", []),
        (b'{"a": 1}\n{"b": 2}\n', [{"a": 1}, {"b": 2}]),
        (b'\n{"a": 1}\r\n\r\n{"b": 2}', [{"a": 1}, {"b": 2}]),
        (b'\xef\xbb\xbf{"a": 1}', [{"a": 1}]),
        ('{"a": "\u2028"}'.encode(), [{"a": "\u2028"}]),
        (b'"text"', ["text"]),
        (b'{"a": 18446744073709551615}', [{"a": 18446744073709551615.0}]),
        (b'{"a": -9223372036854775808}', [{"a": -(2**63)}]),
    ],
)
def test_bodies_that_are_read(body, payloads):
    assert parse_payloads(body) == payloads


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "body-empty"),
        (b" \n ", "body-empty"),
        (b"\xff", "body-not-utf8"),
        (b"{", "body-not-json"),
        (b"{'a': 1}", "body-not-json"),
        (b'{"a": 1} x', "body-not-json"),
        (b'{"a": 1}\n{"b": ', "body-not-json"),
        (b'{"a": 1, "a": 2}', "duplicate-key"),
        (b'[{"a": {"b": 1, "b": 1}}]', "duplicate-key"),
        (b'{"a": NaN}', "number-not-finite"),
        (b'{"a": -Infinity}', "number-not-finite"),
        (b'{"a": 1e999}', "number-not-finite"),
        (b'{"a": %s}' % (b"9" * 5000), "number-not-finite"),
        (b'{"a": "\\ud800"}', "text-not-unicode"),
        (b'{"\\udfff": 1}', "text-not-unicode"),
        (b"[" * 100_000, "too-deep"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "too-deep"),
        (b"[%s]" % b",".join([b"1"] * (MAX_ITEMS + 1)), "too-many-items"),
        (b"1\n" * (MAX_ITEMS + 1), "too-many-items"),
        (b"{%s}" % b",".join(b'"%d":1' % n for n in range(MAX_KEYS + 1)), "too-many-keys"),
        (b'{"a":[%s]}' % b",".join([b"1"] * (MAX_VALUES + 1)), "too-many-values"),
    ],
)
def test_bodies_that_are_refused(body, code):
    with pytest.raises(PayloadFault) as caught:
        parse_payloads(body)
    assert caught.value.code == code
    assert len(str(caught.value)) < 200


def test_depth_is_counted_from_the_payload():
    deepest = b"[" * (MAX_DEPTH - 1) + b"1" + b"]" * (MAX_DEPTH - 1)
    assert parse_payloads(b'{"a":%s}' % deepest[1:-1])


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(body):
    with contextlib.suppress(PayloadFault):
        assert isinstance(parse_payloads(body), list)


@given(st.text(alphabet='{}[]",:\\u0123eE+-. \ntrulsfan', max_size=60))
def test_anything_like_json_is_read_or_refused(text):
    with contextlib.suppress(PayloadFault):
        assert isinstance(parse_payloads(text.encode()), list)


def slowly(body):
    """Read a body without the short way, which must not be told from the long one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_module, "_fast", lambda body: None)
        return parse_payloads(body)


def read(parse, body):
    try:
        return repr(parse(body))
    except PayloadFault as fault:
        return fault.code, str(fault)


KEYS = st.sampled_from(
    ["a", "b", ":", "a:", "::", "\\u003a", "\\u003A:", "\\ud83d\\ude00", "\\ud800", "\\\\u003a"]
)
SCALARS = st.one_of(
    KEYS.map(lambda text: f'"{text}"'),
    st.sampled_from(
        ["1", "-0", "-0.0", "1e5", "1.5", "null", "true", "1e400", "18446744073709551616", "NaN"]
    ),
    st.floats(allow_nan=False, allow_infinity=False).map(json.dumps),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.one_of(
        st.lists(below, max_size=4).map(lambda values: f"[{','.join(values)}]"),
        st.lists(st.tuples(KEYS, below), max_size=4).map(
            lambda pairs: "{" + ",".join(f'"{key}": {value}' for key, value in pairs) + "}"
        ),
    ),
    max_leaves=12,
)


@given(
    st.lists(VALUES, min_size=1, max_size=3),
    st.sampled_from(["\n", "\r\n", " "]),
    st.sampled_from([1, 20, payload_module.MAX_PIECE]),
)
@settings(max_examples=600)
def test_the_short_way_reads_what_the_long_one_reads(values, between, piece):
    """Duplicate keys are told by counting colons: whatever stands in keys and texts, nothing may hide one.

    It is the same for a body that is cut in pieces, however small.
    """
    body = between.join(values).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_module, "MAX_PIECE", piece)
        assert read(parse_payloads, body) == read(slowly, body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "::", "a": 1}',
        b'{"a": 1, "\\u0061": 2}',
        b'{"x": "\\u003a", "a": 1, "a": 2}',
        b'{"x": {":": 1, ":": 2}}',
        b'{"a": 1}\n{"b": 1, "b": ":"}',
    ],
)
def test_no_text_hides_a_duplicate_key(body):
    with pytest.raises(PayloadFault) as caught:
        parse_payloads(body)
    assert caught.value.code == "duplicate-key"


ROWS = st.recursive(
    st.sampled_from(["1", '"},{"', '"},{\\"a\\":"', '":"', "[]", "{}", "tru", ""]),
    lambda below: st.lists(below.map(lambda value: f'{{"a":{value}}}'), max_size=3).map(
        lambda rows: f"[{','.join(rows)}]"
    ),
    max_leaves=9,
)


@given(
    st.lists(ROWS.map(lambda value: f'{{"a":{value}}}'), min_size=1, max_size=6),
    st.sampled_from(
        [
            ("[", "]"),
            (' {"x" : [', "]}"),
            ('{"x":[', '], "x":[]}'),
            ('{"x":[', '],"y":{"x":[{}]}}'),
            ("[", ",]"),
        ]
    ),
    st.sampled_from([",", ",", ",\n", ",,", ",\v", ""]),
    st.sampled_from([0, 1, 12, 40]),
)
@settings(max_examples=600)
def test_wherever_a_body_is_cut_it_reads_the_same(rows, around, between, piece):
    """What looks like the place between two objects may be in a text, or further down; or the body may be none."""
    body = f"{around[0]}{between.join(rows)}{around[1]}".encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(payload_module, "MAX_PIECE", piece)
        assert read(parse_payloads, body) == read(slowly, body)


@pytest.mark.parametrize("is_alike", [True, False])
def test_a_long_body_is_decoded_in_pieces(monkeypatch, is_alike):
    """Objects that begin alike are decoded many at a time, others each for itself."""
    sizes = []
    decoded = msgspec.json.decode

    def decode(body):
        sizes.append(len(body))
        return decoded(body)

    rows = [
        {"serial" if is_alike else f"s{number}": f"SN-{number}", "note": "x" * 80} for number in range(4000)
    ]
    bodies = [{"hosts": rows, "next": None}, rows]
    monkeypatch.setattr(msgspec.json, "decode", decode)
    for body in bodies:
        text = json.dumps(body).encode()
        assert len(text) > 4 * payload_module.MAX_PIECE
        payloads = parse_payloads(text)
        assert payloads == (body if isinstance(body, list) else [body])
    assert max(sizes) < (2 * payload_module.MAX_PIECE + 200 if is_alike else 200)
    assert (len(sizes) < 50) is is_alike


@pytest.mark.parametrize("row", ["{}", '{"a"}', '{"%s": 1}' % ("k" * 300)])
def test_a_long_body_whose_objects_begin_with_no_short_key_is_read_the_same(row):
    body = f"[{','.join([row] * 60_000)}]"[:300_000].encode()
    assert read(parse_payloads, body) == read(slowly, body)
    body = f"[{','.join([row] * 900)}]".encode() + b" " * 200_000
    assert read(parse_payloads, body) == read(slowly, body)


def test_other_threads_have_their_turn_while_a_long_body_is_read(monkeypatch):
    """Compiled code lets nobody else run by itself: whoever waits for the interpreter gets it by our `sleep`."""
    turns = []
    monkeypatch.setattr(payload_module, "sleep", turns.append)
    rows = [{"serial": f"SN-{number}", "note": "x" * 80} for number in range(8000)]
    assert parse_payloads(json.dumps({"hosts": rows}).encode()) == [{"hosts": rows}]
    assert len(turns) > 10
    turns.clear()
    parse_payloads(json.dumps({"hosts": rows[:100]}).encode())
    assert turns == []


def test_ordinary_bodies_are_read_the_short_way():
    rows = [{"id": f"a:{n}", "at": "2026-01-01T10:00:00Z", "n": [n, {"deep": None}]} for n in range(3)]
    for body in (json.dumps({"rows": rows}), "\n".join(map(json.dumps, rows))):
        assert payload_module._fast(body.encode()) is not None


NOON = datetime(2024, 2, 14, 17, 6, 37, 782000, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2024-02-14T22:06:37.782+0500",
        "2024-02-14T22:06:37.782+05:00",
        "2024-02-14T17:06:37.782Z",
        "2024-02-14 17:06:37.782",
        "2024-02-14t17:06:37,782z",
        "2024-02-14T17:06:37.782000000Z",
        "2024-02-14T17:06:37.7820004Z",
        1707930397.782,
        1707930397782,
        1707930397782000,
        1707930397782000000,
        "1707930397.782",
        "1707930397782",
    ],
)
def test_times_of_every_clock(value):
    assert parse_time(value) == NOON


@pytest.mark.parametrize(
    "value",
    [
        "Wed, 14 Feb 2024 17:06:37 +0000",
        "Wed, 14 Feb 2024 18:06:37 +01:00",
        "14 Feb 2024 17:06:37 GMT",
        "14-Feb-2024 17:06:37",
        "14-FEB-2024, 17:06:37 Z",
        "2024-02-14 17:06:37 UTC",
        "Feb 14 2024 17:06:37 UTC",
        "February 14, 2024 17:06:37",
        "Wed Feb 14 17:06:37 2024",
        "Wed Feb 14 17:06:37 2024 UTC",
        "Wednesday, 14 February 2024 17:06:37 +0000",
        "20240214T170637Z",
        "20240214T180637+0100",
    ],
)
def test_times_with_words(value):
    assert parse_time(value) == NOON.replace(microsecond=0)


@pytest.mark.parametrize(
    "value",
    ["14 Feb 2024 17:06 GMT", "14 February 2024 17:06 GMT", "2024-02-14T17:06Z", "2024-02-14 18:06 +01:00"],
)
def test_times_without_seconds(value):
    assert parse_time(value) == NOON.replace(second=0, microsecond=0)


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "",
        "yesterday",
        "31-Feb-2024 17:06:37",
        "14 Febr 2024 17:06:37",
        "02/14/2024 17:06:37",
        "20240230T170637Z",
        "14-Fev-2024 17:06:37",
        "14-02-2024 17:06:37",
        "14 Feb 24 17:06:37",
        "2024-02-14",
        "2024-13-14T00:00:00Z",
        "2024-02-14T25:00:00Z",
        "2024-02-14T22:06:37+99:99",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        "0001-01-01T00:00:00+0500",
        0,
        -5,
        1e300,
        "12",
        "x" * 1000,
        [],
        {},
        "\u0662024-02-14T22:06:37Z",
    ],
)
def test_what_is_no_time(value):
    assert parse_time(value) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_no_value_breaks_the_clock(value):
    found = parse_time(value)
    assert found is None or found.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), ("7.5", 7.5), ("72.0", 72), ("", None), ("x", None), ("nan", None), ("1e99", None)],
)
def test_numbers_in_texts(text, number):
    assert parse_number(text) == number


def test_readings_tolerate_what_is_missing_or_of_another_type():
    payload = {"a": {"b": 1, "c": [1], "d": "x "}, "e": None}
    assert (dig(payload, "a", "b"), dig(payload, "a", "b", "c"), dig(None, "a")) == (1, None, None)
    assert (text_at(payload, "a", "d"), text_at(payload, "a", "c"), text_at(payload, "e")) == ("x", "", "")
    assert (object_at(payload, "a", "c"), list_at(payload, "a", "c"), list_at(payload, "a")) == ({}, [1], [])
    assert (text_of(value=True), text_of(None), text_of(1.5)) == ("true", "", "1.5")


def test_digests_are_equal_for_equal_content_only():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest("a", "b") != digest("ab")


DOCUMENT = {"a": [{"b": 1}, {"b": 2}, 3], "os.name": "x", "c": {"d.e": {"f": 5}}, "g": {"h": None}}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("a[0].b", [1]),
        ("a[-2].b", [2]),
        ("a[*].b", [1, 2]),
        ("a[9]", []),
        ("a.b", []),
        ("os.name", ["x"]),
        ('["os.name"]', ["x"]),
        ("c['d.e'].f", [5]),
        ("g.h", [None]),
        ("nothing.at.all", []),
    ],
)
def test_paths(path, found):
    assert follow(DOCUMENT, parse_path(path)) == found


@pytest.mark.parametrize("path", ["", ".a", "a..b", "a[", "a[x]", "a[*", "a]", 'a["b]'])
def test_unreadable_paths(path):
    with pytest.raises(ValueError, match="path"):
        parse_path(path)


@given(
    st.text(max_size=30),
    st.recursive(st.none() | st.integers(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)),
)
def test_any_path_over_anything(path, value):
    try:
        steps = parse_path(path)
    except ValueError:
        return
    assert len(follow(value, steps)) <= 1000
