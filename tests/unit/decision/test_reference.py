"""Reference codes are unbiased, hold no look-alikes, and forgive how people type them."""

import itertools
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decision.reference import ALPHABET, new_reference, parse_reference


def source(*chunks: bytes):
    queue = list(chunks)
    return lambda count: queue.pop(0)[:count]


def test_a_code_has_two_groups_of_four_from_the_alphabet():
    assert new_reference(source(bytes(range(8)))) == "2345-6789"


def test_bytes_that_would_favour_some_signs_are_drawn_again():
    """253 to 255 would make the first three signs likelier; a whole chunk of them gives nothing."""
    assert new_reference(source(b"\xff" * 8, b"\xfe" * 4 + b"\x00" * 4, b"\x01" * 8)) == "2222-3333"


def test_every_sign_is_equally_likely():
    """The bytes that are not drawn again stand for each sign equally often."""
    every_byte = itertools.cycle(range(253))
    codes = [new_reference(lambda count: bytes(itertools.islice(every_byte, count))) for _ in range(253)]
    counts = Counter("".join(codes).replace("-", ""))
    assert counts == dict.fromkeys(ALPHABET, 253 * 8 // 23)


def test_the_alphabet_has_one_sign_of_each_look_alike_class_and_no_vowels():
    for look_alikes in ("O0DQ", "I1L7", "Z2", "S5", "G6", "B8", "UV"):
        assert sum(sign in ALPHABET for sign in look_alikes) == 1
    assert not set("AEIOU") & set(ALPHABET)


@pytest.mark.parametrize(
    "typed",
    [
        "7F3K-9QXM",
        "7f3k9qxm",
        " 7f3k 9qxm\n",
        "7F3K\u20139QXM",
        "7f3k_9oxm",
        "IF3K-9DXM",
        "lf3k-90xm",
        "7-F-3-K 9.Q.X.M",
    ],
)
def test_ways_of_typing_one_code(typed):
    assert parse_reference(typed) == "7F3K-9QXM"


@pytest.mark.parametrize(
    "typed", ["", "7F3K", "7F3K-9QXM-2", "7F3K-9QX!", "7F3K-9QXE", "\u0667F3K-9QXM", "7" * 100_000]
)
def test_what_cannot_be_a_code_is_none(typed):
    assert parse_reference(typed) is None


@given(st.randoms(use_true_random=False))
def test_whatever_is_made_is_read_back(random):
    code = new_reference(random.randbytes)
    assert parse_reference(code.lower().replace("-", " ")) == code


@given(st.text(max_size=80))
def test_parsing_never_raises_and_is_idempotent(text):
    code = parse_reference(text)
    assert code is None or parse_reference(code) == code
