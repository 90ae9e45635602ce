"""The memory of recent messages."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from risk.recent import KEY_BYTES, VALUE_BYTES, Recent


def key(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=KEY_BYTES).digest()


def value(number: int) -> bytes:
    return number.to_bytes(VALUE_BYTES, "big")


def rows(*numbers: int) -> list[tuple[bytes, bytes]]:
    return [(key(number), value(number)) for number in numbers]


def test_the_newest_half_is_remembered_and_never_more_than_all() -> None:
    recent = Recent(1000)
    for number in range(5000):
        recent.put(rows(number))
        assert len(recent) <= 1000
        if number % 97 == 0:
            newest = range(max(0, number - 499), number + 1)
            assert [recent.get(key(each)) for each in newest] == [value(each) for each in newest]
    assert recent.get(key(1)) is None
    assert recent.has_forgotten


def test_nothing_is_forgotten_before_half_of_all_has_come() -> None:
    recent = Recent(1000)
    recent.put(rows(*range(500)))
    assert not recent.has_forgotten
    assert all(recent.get(key(each)) == value(each) for each in range(500))
    assert recent.get(key(500)) is None


def test_the_last_word_under_a_key_counts() -> None:
    recent = Recent(4)
    recent.put(rows(1, 2))
    recent.put([(key(1), value(9)), *rows(3)])
    assert [recent.get(key(each)) for each in (1, 2, 3)] == [value(9), value(2), value(3)]


def test_a_value_of_zeros_is_a_value() -> None:
    recent = Recent(10)
    recent.put([(bytes(KEY_BYTES), bytes(VALUE_BYTES))])
    assert recent.get(bytes(KEY_BYTES)) == bytes(VALUE_BYTES)
    assert recent.get(bytes(KEY_BYTES - 1) + b"\x01") is None


@given(st.lists(st.tuples(st.sampled_from(range(8)), st.sampled_from(range(3))), max_size=60))
def test_keys_that_belong_to_one_place_are_kept_apart(told: list[tuple[int, int]]) -> None:
    """A few places have room for all of them, and some end alike."""
    recent, expected = Recent(16), dict[bytes, bytes]()
    for number, said in told:
        one = bytes(KEY_BYTES - 2) + bytes((number, number % 2))
        recent.put([(one, value(said))])
        expected[one] = value(said)
    assert {each: recent.get(each) for each in expected} == expected
    assert recent.get(bytes(KEY_BYTES - 2) + b"\xff\x01") is None


def test_thousands_take_a_few_bytes_each() -> None:
    recent = Recent(20_000)
    recent.put(rows(*range(20_000)))
    taken = sum(len(table._tags) + len(table._rows) for table in recent._tables)
    assert taken < 50 * len(recent)
