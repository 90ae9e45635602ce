"""The memory of recent messages."""

from risk.recent import Recent


def keys(*numbers: int) -> list[tuple[bytes, bytes]]:
    return [(b"%d" % number, b"v%d" % number) for number in numbers]


def test_the_newest_half_is_remembered_and_never_more_than_all() -> None:
    recent = Recent(10)
    recent.put(keys(*range(100)))
    assert len(recent) <= 10
    assert [recent.get(b"%d" % number) for number in range(95, 100)] == [b"v%d" % n for n in range(95, 100)]
    assert recent.get(b"1") is None
    assert recent.has_forgotten


def test_the_last_word_under_a_key_counts() -> None:
    recent = Recent(4)
    recent.put(keys(1, 2))
    recent.put([(b"1", b"newer"), (b"3", b"v3")])
    assert (recent.get(b"1"), recent.get(b"2"), len(recent)) == (b"newer", b"v2", 3)
    assert not recent.has_forgotten
