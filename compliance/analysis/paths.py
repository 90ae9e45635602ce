"""Paths that stand for all paths: one for every set of patterns that a path can match at once. Pure.

A pattern is a sequence of segments, a segment a sequence of characters, and both are automata. All of them are run side
by side, first over characters and then over segments; every combination of verdicts that occurs is kept with the first
text that leads there. That is exact: two paths with the same verdicts differ for no policy.
"""

from functools import lru_cache

from compliance.analysis.solver import TooHard
from compliance.paths import path_matches

MAX_STATES = 20_000
_DOTS = frozenset({".", ".."})

_OTHER = "abcdefghijklmnopqrstuvwxyz0123456789-_~"


@lru_cache(maxsize=256)
def representative_paths(patterns: tuple[str, ...]) -> tuple[str, ...]:
    """Return canonical paths, one for every combination of these patterns that a path can match, shortest first.

    Raises `TooHard` when there are more combinations than can be looked at.
    """
    asked = tuple(dict.fromkeys(patterns))
    words = _words(asked)
    segments = [_segments(pattern) for pattern in asked]
    start = tuple(frozenset(_skip(each, {0})) for each in segments)
    seen = {start}
    queue: list[tuple[tuple[frozenset[int], ...], str]] = [(start, "")]
    found: dict[tuple[bool, ...], str] = {}
    for states, path in queue:
        text = path or "/"
        found.setdefault(tuple(path_matches(pattern, text) for pattern in asked), text)
        for word, verdicts in words:
            then = tuple(
                frozenset(_step(each, at, verdicts)) for each, at in zip(segments, states, strict=True)
            )
            if then not in seen:
                seen.add(then)
                queue.append((then, f"{path}/{word}"))
                if len(seen) > MAX_STATES:
                    raise TooHard
    return tuple(found.values())


def _segments(pattern: str) -> tuple[str, ...]:
    """Return the segments of a pattern; a prefix goes on with any number of them."""
    segments = tuple(each for each in pattern.split("/") if each)
    return segments if "*" in pattern else (*segments, "**")


def _skip(segments: tuple[str, ...], at: set[int]) -> set[int]:
    """Return positions with those behind `**`, which may stand for nothing."""
    reached = set(at)
    for position in sorted(at):
        while position < len(segments) and segments[position] == "**":
            position += 1  # noqa: PLW2901 - walks on from there
            reached.add(position)
    return reached


def _step(segments: tuple[str, ...], at: frozenset[int], verdicts: dict[str, bool]) -> set[int]:
    then: set[int] = set()
    for position in at:
        if position == len(segments):
            continue
        if segments[position] == "**":
            then.add(position)
        elif verdicts[segments[position]]:
            then.add(position + 1)
    return _skip(segments, then)


def _words(patterns: tuple[str, ...]) -> list[tuple[str, dict[str, bool]]]:
    """Return segments, one for every combination of segment patterns, each with its verdicts."""
    asked = tuple({each: None for pattern in patterns for each in _segments(pattern) if each != "**"})
    letters = sorted({letter for each in asked for letter in each if letter != "*"})
    other = next(
        (letter for letter in _OTHER if letter not in letters), "\N{LATIN SMALL LETTER O WITH STROKE}"
    )
    start = tuple(frozenset(_loops(each, {0})) for each in asked)
    # Dots alone are no segment, but the beginning of some: their states are told from those of real segments.
    seen = {(start, "")}
    queue = [(start, "")]
    found: dict[tuple[bool, ...], str] = {}
    for states, text in queue:
        if text and text not in _DOTS:
            found.setdefault(tuple(len(each) in at for each, at in zip(asked, states, strict=True)), text)
        for letter in (other, *letters):
            then = tuple(frozenset(_letter(each, at, letter)) for each, at in zip(asked, states, strict=True))
            longer = text + letter
            state = (then, longer if longer in _DOTS else "a segment")
            if state not in seen:
                seen.add(state)
                queue.append((then, longer))
                if len(seen) > MAX_STATES:
                    raise TooHard
    return [(text, dict(zip(asked, verdicts, strict=True))) for verdicts, text in found.items()]


def _loops(pattern: str, at: set[int]) -> set[int]:
    reached = set(at)
    for position in sorted(at):
        while position < len(pattern) and pattern[position] == "*":
            position += 1  # noqa: PLW2901 - walks on from there
            reached.add(position)
    return reached


def _letter(pattern: str, at: frozenset[int], letter: str) -> set[int]:
    then: set[int] = set()
    for position in at:
        if position == len(pattern):
            continue
        if pattern[position] == "*":
            then.add(position)
        elif pattern[position] == letter:
            then.add(position + 1)
    return _loops(pattern, then)
