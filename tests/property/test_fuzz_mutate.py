"""The damage that fuzzing does: bounded, so that the search meets the bounds of the target and not its own."""

import json
import random
import tracemalloc

import pytest

from tests.fuzz.mutate import MANY, WRONG, damaged


class Repeating:
    """Dice that repeat the first value of a tree as often as they can."""

    def __init__(self, *times):
        self._times = list(times)

    def randint(self, _low, high):
        return high

    def randrange(self, _sides):
        return 4

    def choice(self, options):
        return self._times.pop(0) if options == (1, 2, 50) else options[0]

    def random(self):
        return 0.5


@pytest.mark.parametrize("times", [(50, 2, 2, 50), (2, 2, 2, 50), (50, 50, 50, 50)])
@pytest.mark.parametrize("payload", [{"text": "\U0001f4a5" * 4000}, {"o": {"k" * 16_000: 1}}])
def test_what_is_made_of_one_long_text_is_not_copied_without_end(times, payload):
    """Half a gigabyte was made of 16 KiB."""
    tracemalloc.start()
    try:
        made = json.dumps(damaged(payload, Repeating(*times)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(made) < 10_000_000
    assert peak < 80_000_000


@pytest.mark.parametrize("payload", [{}, [], "x", None])
def test_damage_to_one_body_is_no_part_of_the_next(payload):
    """Values of which bodies are made grew with every empty body, until copies of them filled the memory."""
    before = json.dumps(WRONG)
    dice = random.Random(1)  # noqa: S311 - not for secrets
    for _ in range(500):
        damaged(payload, dice, ["a", "b"])
    assert json.dumps(WRONG) == before


def test_small_trees_grow():
    made = damaged({"a": [1, 2, 3]}, Repeating(50, 2, 2, 1))
    assert 50 < len(json.dumps(made)) < 100 * MANY
