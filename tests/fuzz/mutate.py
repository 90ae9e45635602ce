"""Damage to payloads: to the JSON tree and to its text. All of it is drawn from the dice: a seed repeats it."""

import json
import random
from collections.abc import Sequence
from typing import Any

WRONG: Sequence[Any] = (
    None,
    True,
    False,
    0,
    -1,
    2**63,
    -(2**63) - 1,
    10**30,
    1e308,
    -1e308,
    5e-324,
    "",
    " ",
    "\x00",
    "\U0001f4a5\x00",
    "\u202etxt",
    "İ",
    "x" * 5000,
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "2026-02-30T25:61:61Z",
    "2026-03-02T12:00:00+99:99",
    "2026-03-02T12:00:00.123456789123Z",
    1e17,
    -1e17,
    "1e400",
    "NaN",
    "-Infinity",
    "localhost",
    "00000000-0000-0000-0000-000000000000",
    "NT AUTHORITY\\SYSTEM",
    "3f4e5d6c7b8a",
    "true",
    "True",
    [],
    {},
    [[]],
    [None],
    {"": {"": None}},
    [{}] * 3,
    ["x"] * 3,
    {"$ref": "#"},
)
TEXTS: Sequence[bytes] = (
    b"1e400", b"NaN", b"-Infinity", b"9" * 500, b"\xff", b"\xed\xa0\x80", b'"\\ud800"', b'"\\udfff\\ud800"', b"{}",
    b"[" * 40, b"]" * 40, b'{"a":' * 40, b"\n", b"\r\n", b"\xef\xbb\xbf", b"\x00", b'"a":1,"a":2,', b"/**/", b"'",
    b",,",
    b"0x10", b"01", b"-0", b"1E+2", b"null", b"\x1f\x8b",
)  # fmt: skip


MANY = 500
LONG = 16_384
"""A tree with more places, or more characters, than this grows no further: it would be copied fifty times over."""


def places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) of a tree."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting and len(found) < 5000:
        at = waiting.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        found += [(at, key) for key in keys]
        waiting += [at[key] for key in keys]
    return found


def has_room(found: Sequence[tuple[Any, Any]]) -> bool:
    """Return whether a tree with these places may grow."""
    texts = (each for holder, key in found for each in (key, holder[key]) if isinstance(each, str))
    return len(found) < MANY and sum(map(len, texts)) < LONG


def damaged(payload: Any, dice: random.Random, words: Sequence[str] = ()) -> Any:
    """Return a copy of a payload with one to four things missing, wrong, repeated, moved, nested or enormous."""
    tree = json.loads(json.dumps(payload))
    for _ in range(dice.randint(1, 4)):
        tree = _once(tree, dice, words)
    return tree


def _wrong(dice: random.Random) -> Any:
    """Return a wrong value of its own: what is damaged further must not be what the next body is made of."""
    return json.loads(json.dumps(dice.choice(WRONG)))


def _once(tree: Any, dice: random.Random, words: Sequence[str]) -> Any:  # noqa: C901 - one line a kind of damage
    found = places(tree)
    if not found:
        return _wrong(dice)
    holder, key = dice.choice(found)
    match dice.randrange(9):
        case 0:
            del holder[key]
        case 1 | 2:
            holder[key] = _wrong(dice)
        case 3:
            other, place = dice.choice(found)
            if isinstance(other, dict | list) and (
                place in other if isinstance(other, dict) else place < len(other)
            ):
                holder[key] = json.loads(json.dumps(other[place])) if has_room(found) else None
        case 4:
            holder[key] = [holder[key]] * (dice.choice((1, 2, 50)) if has_room(found) else 1)
        case 5:
            for _ in range(dice.choice((1, 5, 40))):
                holder[key] = {"value": holder[key]} if dice.random() < 0.5 else [holder[key]]
        case 6 if words:
            holder[key] = dice.choice(words)
        case 7 if words and isinstance(holder, dict):
            holder[dice.choice(words)] = holder[key]
        case _:
            holder[key] = (
                text if isinstance(text := holder[key], str) and not text else str(holder[key])[::-1]
            )
    return tree


def damaged_text(body: bytes, dice: random.Random) -> bytes:
    """Return a copy of a body with bytes cut, repeated, flipped or put in."""
    text = bytearray(body)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(len(text) + 1)
        match dice.randrange(5):
            case 0:
                del text[at : at + dice.randint(1, 20)]
            case 1:
                text[at:at] = dice.choice(TEXTS)
            case 2:
                text[at:at] = text[at : at + dice.randint(1, 200)]
            case 3 if text:
                text[min(at, len(text) - 1)] ^= 1 << dice.randrange(8)
            case _:
                text[at : at + 1] = bytes([dice.randrange(256)])
    return bytes(text)


def words_of(payloads: Sequence[Any]) -> list[str]:
    """Return every key and text of payloads: what a kind's own language is made of."""
    found: dict[str, None] = {}
    for holder, key in places(list(payloads)):
        if isinstance(key, str):
            found[key] = None
        if isinstance(holder[key], str):
            found[holder[key]] = None
    return list(found)
