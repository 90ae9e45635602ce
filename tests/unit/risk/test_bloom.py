"""The filter of message ids: it may take an unknown id for a known one, and never the other way round."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from risk.bloom import BloomFilter
from risk.recent import KEY_BYTES


def key(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=KEY_BYTES).digest()


@given(st.sets(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES)), st.integers(1, 300))
def test_what_was_put_in_is_never_unknown(keys: set[bytes], most: int) -> None:
    known = BloomFilter(most)
    known.put(keys)
    assert known.unknown(keys) == set()
    assert len(known) == len(keys)


def test_an_empty_filter_knows_nothing() -> None:
    assert BloomFilter(1).unknown([key(1), key(2)]) == {key(1), key(2)}


def test_most_other_keys_are_unknown_when_it_is_full() -> None:
    most = 50_000
    known = BloomFilter(most)
    known.put(key(number) for number in range(most))
    others = [key(number) for number in range(most, 2 * most)]
    assert len(known.unknown(others)) > 0.95 * most
