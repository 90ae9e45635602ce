"""Bodies of deliveries into JSON values, and the small readings that every plugin needs. Pure and bounded.

A body is one JSON value, an array (many payloads), or NDJSON (one payload a line). Unknown fields are
harmless; what JSON does not define is refused: duplicate keys, numbers that are not finite, lone surrogates.
Source: RFC 8259, I-JSON (RFC 7493) section 2.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from time import sleep
from typing import Any, NoReturn, TypeVar

import msgspec

MAX_DEPTH = 32
MAX_KEYS = 2000
"""Most keys of one object."""

MAX_ITEMS = 10_000
"""Most payloads of one delivery, and most items that a plugin may find in them together."""

MAX_VALUES = 500_000
"""Most JSON values of one delivery."""

MAX_INTEGER_DIGITS = 400
"""Longest run of digits that is read; whatever exceeds 64 bits becomes a float."""

MAX_NUMBER = 1e15
"""Largest number that a text is read as; scores, levels and counts are far below."""

MAX_PATH_RESULTS = 1000
"""Most values that one path may lead to."""

T = TypeVar("T")

MAX_PIECE = 65_536
"""A longer body is decoded in pieces of about so many bytes where it can be cut."""

MAX_KEY_BYTES = 200
"""How far the first key of a list's objects is looked for."""

MAX_CUTS = 4
"""Most places at which a piece is tried to end."""

AT_A_STRETCH = 1024
"""Most values of a long body that are looked at before other threads have their turn."""

_FIRST = re.compile(rb"[ \t\r\n]*([\[{])")
_LIST = re.compile(rb'[ \t\r\n]*(?:\{[ \t\r\n]*("[^"\\]{0,200}")[ \t\r\n]*:[ \t\r\n]*)?\[[ \t\r\n]*(?=\{)')
_RAW_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])
_SURROGATE = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")
_CLOCK = r"(?P<clock>\d\d:\d\d(?::\d\d)?)"
_ZONE = r"(?P<zone>[Zz]|UTC|GMT|[+-]\d\d:?\d\d)?"
_WEEKDAY = r"(?:[A-Za-z]{3,9}(?:, ?| ))?"
_TIME = re.compile(
    rf"(?P<date>\d{{4}}-\d\d-\d\d)[Tt ]{_CLOCK}(?:[.,](?P<fraction>\d{{1,12}}))?\s*{_ZONE}", re.ASCII
)
_MONTH, _DAY, _YEAR = r"(?P<month>[A-Za-z]{3,9})", r"(?P<day>\d{1,2})", r"(?P<year>\d{4})"
_NAMED_TIMES = tuple(
    re.compile(rf"{_WEEKDAY}{pattern}\s*{_ZONE}(?P<fraction>)", re.ASCII)
    for pattern in (
        rf"{_DAY}[ -]{_MONTH}[ -]{_YEAR},? {_CLOCK}",
        rf"{_MONTH} {_DAY},? {_YEAR},? {_CLOCK}",
        rf"{_MONTH} {{1,2}}{_DAY} {_CLOCK} {_YEAR}",
    )
)
"""Dates with the name of the month: that of RFC 5322 and what products make of it (`02 Mar 2026 09:00:00 +0000`,
`02-Mar-2026 09:00:00`, `2 March 2026 09:00 GMT`), the American order (`Mar 2, 2026 09:00:00`), that of `ctime`
(`Mon Mar  2 09:00:00 2026`).
"""

_BASIC_TIME = re.compile(
    rf"(\d{{4}})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(?:[.,](\d{{1,12}}))?{_ZONE.replace('?P<zone>', '')}", re.ASCII
)
"""The basic form of ISO 8601: `20260302T090000Z`."""

_EPOCH_TIME = re.compile(r"\d{9,19}(\.\d{1,9})?", re.ASCII)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 1e11
"""A bare number from here on counts milliseconds (in seconds it would lie in the year 5138)."""

_MICROSECONDS_FROM = 1e14
_NANOSECONDS_FROM = 1e17


GZIP = b"\x1f\x8b"
_COMPRESSED = (
    ": it is gzip, which `Content-Encoding: gzip` has to say, and `gzip: true` of the sensor has to allow"
)


class PayloadFault(Exception):
    """The sender's body is not what it may send; `code` is stable, the text says what was found."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def parse_payloads(body: bytes) -> list[Any]:
    """Return the payloads of a body in order: elements of an array, lines of NDJSON, or the one value.

    Raises `PayloadFault` with `body-empty`, `body-not-utf8`, `body-not-json`, `duplicate-key`, `too-deep`,
    `too-many-keys`, `too-many-items`, `too-many-values`, `number-not-finite`, `text-not-unicode`.
    """
    payloads = _fast(body)
    if payloads is not None:
        return payloads
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        hint = _COMPRESSED if body.startswith(GZIP) else ""
        raise PayloadFault("body-not-utf8", f"byte {error.start} is not UTF-8{hint}") from error
    if not text.strip():
        raise PayloadFault("body-empty", "the body is empty")
    payloads = _values(text)
    if len(payloads) > MAX_ITEMS:
        raise PayloadFault("too-many-items", f"{len(payloads)} payloads exceed {MAX_ITEMS}")
    _check(payloads)
    return payloads


def _fast(body: bytes) -> list[Any] | None:
    """Return the payloads of an ordinary body, None for one that has to be looked at more closely.

    The decoder lets duplicate keys pass. That there are none is told by counting: a colon of the body either follows a
    key or stands in a text, so that every key and text that got lost by a duplicate leaves colons over. INVARIANT: what
    is returned is what the slow way returns.
    """
    if b"\\u003" in body:  # an escaped colon could make up for a lost one
        return None
    try:
        value = _decoded(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        lines = [line for line in body.split(b"\n") if line.strip()]
        if not 1 < len(lines) <= MAX_ITEMS:
            return None
        try:
            value = [msgspec.json.decode(line) for line in lines]
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None
    payloads = value if isinstance(value, list) else [value]
    return payloads if len(payloads) <= MAX_ITEMS and _colons(payloads) == body.count(b":") else None


def _decoded(body: bytes) -> Any:
    """Return the value of a body as the decoder does, and raise as it does.

    It lets no other thread run meanwhile. A long body is therefore decoded in pieces: that is as long as others have to
    wait when this is done beside them.
    """
    if len(body) <= MAX_PIECE:
        return msgspec.json.decode(body)
    value = _in_pieces(body)
    return _by_elements(body) if value is None else value


def _in_pieces(body: bytes) -> Any:
    """Return a body that is a long list of objects, or an object that begins with one; None for any other.

    Where the list may be cut is guessed: before an object that begins as the first one does. INVARIANT: the guess is
    right if all that stands before it is whole, for JSON is read from left to right.
    """
    begins = _LIST.match(body)
    if begins is None:
        return None
    found: list[Any] = []
    at = begins.end()
    colon = body.find(b":", at, at + MAX_KEY_BYTES)
    if colon < 0:
        return None
    start = body[at : colon + 1]
    try:
        while len(body) - at > 2 * MAX_PIECE:
            end, elements = _piece(body, at, start)
            if not elements:
                return None
            found += elements
            at = end
            sleep(0)
        value = msgspec.json.decode(body[: begins.end()] + body[at:])
    except msgspec.MsgspecError:
        return None
    if begins[1] is None:
        return found + value
    name = msgspec.json.decode(begins[1])
    rest = value[name]
    return value | {name: found + rest} if isinstance(rest, list) else None


def _piece(body: bytes, at: int, start: bytes) -> tuple[int, list[Any]]:
    """Return where a piece of a list ends that begins here, and its elements: none where no end is found."""
    end = at + MAX_PIECE
    for _ in range(MAX_CUTS):
        end = body.find(start, end + 1)
        if end < 0:
            break
        piece = body[at:end].rstrip(b" \t\r\n")
        if not piece.endswith(b","):
            continue
        try:
            elements: list[Any] = msgspec.json.decode(b"[" + piece[:-1] + b"]")
        except msgspec.MsgspecError:
            continue
        return end, elements
    return at, []


def _by_elements(body: bytes) -> Any:
    """Return the value of a body that is cut at its top two levels first, which takes a tenth of the time."""
    first = _FIRST.match(body)
    if first is None:
        return msgspec.json.decode(body)
    if first[1] == b"[":
        return _elements(body)
    return {name: _decoded_member(raw) for name, raw in _RAW_OBJECT.decode(body).items()}


def _decoded_member(raw: msgspec.Raw) -> Any:
    if len(raw) > MAX_PIECE and bytes(memoryview(raw)[:1]) == b"[":
        return _elements(raw)
    return msgspec.json.decode(raw)


def _elements(array: bytes | msgspec.Raw) -> list[Any]:
    return [msgspec.json.decode(each) for each in _breathing(_RAW_ARRAY.decode(array))]


def _breathing(values: list[T]) -> Iterable[T]:
    """Return the values, such that other threads have the interpreter now and then while they are gone through.

    Compiled code gives it up nowhere by itself.
    """
    return values if len(values) <= AT_A_STRETCH else chain.from_iterable(_stretches(values))


def _stretches(values: list[T]) -> Iterator[list[T]]:
    for at in range(0, len(values), AT_A_STRETCH):
        sleep(0)
        yield values[at : at + AT_A_STRETCH]


def _colons(payloads: list[Any]) -> int:
    """Return the colons that the values take to write, -1 for values that need a closer look."""
    texts: list[str] = []
    level, depth, count, keys = payloads, 1, 0, 0
    while level:
        count += len(level)
        if count > MAX_VALUES or depth > MAX_DEPTH:
            return -1
        below: list[Any] = []
        for value in _breathing(level):
            kind = value.__class__
            if kind is str:
                texts.append(value)
            elif kind is dict:
                if len(value) > MAX_KEYS:
                    return -1
                keys += len(value)
                texts += value
                below += value.values()
            elif kind is list:
                below += value
            elif kind is int and not -(2**63) <= value < 2**63:
                return -1
        level, depth = below, depth + 1
    return keys + "".join(texts).count(":")


def _values(text: str) -> list[Any]:
    try:
        value = _decode(text)
    except json.JSONDecodeError as error:
        lines = [line for line in text.split("\n") if line.strip()]
        if error.msg != "Extra data" or len(lines) < 2:  # noqa: PLR2004 - one line is no NDJSON
            raise PayloadFault("body-not-json", f"{error.msg} at character {error.pos}") from error
        if len(lines) > MAX_ITEMS:
            raise PayloadFault("too-many-items", f"{len(lines)} lines exceed {MAX_ITEMS}") from error
        return list(_lines(lines))
    return value if isinstance(value, list) else [value]


def _lines(lines: list[str]) -> Iterator[Any]:
    for number, line in enumerate(lines, start=1):
        try:
            yield _decode(line)
        except json.JSONDecodeError as error:
            raise PayloadFault("body-not-json", f"line {number}: {error.msg}") from error


def _decode(text: str) -> Any:
    try:
        return _decoder.decode(text)
    except RecursionError as error:
        raise PayloadFault("too-deep", f"nested deeper than {MAX_DEPTH}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_KEYS:
        raise PayloadFault("too-many-keys", f"an object has {len(pairs)} keys, at most {MAX_KEYS} are read")
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise PayloadFault("duplicate-key", f"key `{twice[:64]}` is given twice in one object")
    return found


def _integer(digits: str) -> int | float:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise PayloadFault("number-not-finite", f"a number has {len(digits)} digits")
    value = int(digits)
    return value if -(2**63) <= value < 2**63 else _float(digits)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise PayloadFault("number-not-finite", "a number is not finite")
    return value


def _constant(name: str) -> NoReturn:
    raise PayloadFault("number-not-finite", f"`{name}` is not JSON")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _check(payloads: list[Any]) -> None:
    """Refuse what is too deep, too much, or no text. The walk keeps its own stack."""
    level, depth, count = payloads, 1, 0
    while level:
        count += len(level)
        if count > MAX_VALUES:
            raise PayloadFault("too-many-values", f"more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise PayloadFault("too-deep", f"nested deeper than {MAX_DEPTH}")
        below: list[Any] = []
        for value in level:
            if isinstance(value, str):
                _check_text(value)
            elif isinstance(value, dict):
                for name in value:
                    _check_text(name)
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        level, depth = below, depth + 1


def _check_text(text: str) -> None:
    if not text.isascii() and _SURROGATE.search(text):
        raise PayloadFault("text-not-unicode", "a text has a lone surrogate")


# --- readings ------------------------------------------------------------------------------------


def parse_time(value: Any) -> datetime | None:
    """Return the instant in UTC, None when the value is no time or means *not set* (year 1, year 9999, 0).

    Reads RFC 3339 with any number of fraction digits up to picoseconds or without seconds, offsets with and without a
    colon, no offset (taken as UTC), the basic form of ISO 8601, dates with the name of the month, and unix time in
    seconds, milliseconds, microseconds or nanoseconds as a number or digits.

    Example:
    >>> parse_time("2024-02-14T22:06:37.782+0500").isoformat()
    '2024-02-14T17:06:37.782000+00:00'

    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return _from_epoch(float(value))
    if not isinstance(value, str) or len(value) > 64:  # noqa: PLR2004 - no time is that long
        return None
    text = value.strip()
    match = _TIME.fullmatch(text)
    if match is not None:
        return _from_text(match, match["date"])
    return _from_epoch(float(text)) if _EPOCH_TIME.fullmatch(text) else _with_words(text)


def _with_words(text: str) -> datetime | None:
    for pattern in _NAMED_TIMES:
        if (match := pattern.fullmatch(text)) is not None:
            month = _month(match["month"])
            return _from_text(match, f"{match['year']}-{month:02}-{int(match['day']):02}") if month else None
    basic = _BASIC_TIME.fullmatch(text)
    if basic is None:
        return None
    year, month_, day, hour, minute, second, fraction, zone = basic.groups()
    fraction = f".{fraction}" if fraction else ""
    return parse_time(f"{year}-{month_}-{day}T{hour}:{minute}:{second}{fraction}{zone or ''}")


def _month(name: str) -> int:
    """Return the number of a month by its English name or the first three letters of it, 0 for anything else."""
    given = name.lower()
    matching = (number for number, month in enumerate(_MONTHS, start=1) if given in (month, month[:3]))
    return next(matching, 0)


def _from_text(match: re.Match[str], date: str) -> datetime | None:
    try:
        at = datetime.fromisoformat(f"{date}T{match['clock']}+00:00")
        micros = int((match["fraction"] or "0").ljust(6, "0")[:6])
        at = at.replace(microsecond=micros) - _offset(match["zone"] or "Z")
    except (ValueError, OverflowError):
        return None
    return at if _is_plausible(at) else None


def _offset(zone: str) -> timedelta:
    if zone in {"Z", "z", "UTC", "GMT"}:
        return timedelta()
    hours, minutes = int(zone[1:3]), int(zone[-2:])
    offset = timedelta(hours=hours, minutes=minutes)
    if offset >= timedelta(days=1):
        raise ValueError(zone)
    return offset if zone[0] == "+" else -offset


def _from_epoch(number: float) -> datetime | None:
    if number >= _NANOSECONDS_FROM:
        seconds = number / 1e9
    elif number >= _MICROSECONDS_FROM:
        seconds = number / 1e6
    elif number >= _MILLISECONDS_FROM:
        seconds = number / 1e3
    else:
        seconds = number
    try:
        at = _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return None
    return at if _is_plausible(at) else None


def _is_plausible(at: datetime) -> bool:
    return 1970 < at.year < 9000  # noqa: PLR2004 - outside, products mean "not set"


def text_of(value: Any) -> str:
    """Return a JSON scalar as text, "" for null, objects and arrays."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else ""


def parse_number(text: str) -> int | float | None:
    """Return the finite number that the text is, None when it is none."""
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number) or abs(number) > MAX_NUMBER:
        return None
    return int(number) if number.is_integer() else number


def dig(value: Any, *names: str) -> Any:
    """Return what lies below by these keys, None when any of them is missing."""
    for name in names:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def text_at(value: Any, *names: str) -> str:
    """Return the scalar below by these keys as text without surrounding space, "" when there is none."""
    return text_of(dig(value, *names)).strip()


def object_at(value: Any, *names: str) -> dict[str, Any]:
    """Return the object below by these keys, an empty one when there is none."""
    found = dig(value, *names)
    return found if isinstance(found, dict) else {}


def list_at(value: Any, *names: str) -> list[Any]:
    """Return the array below by these keys, an empty one when there is none."""
    found = dig(value, *names)
    return found if isinstance(found, list) else []


def digest(*parts: Any) -> str:
    """Return a short text that is equal for equal parts: the message id where a product gives none."""
    written = json.dumps(parts, sort_keys=True, ensure_ascii=True, default=str, separators=(",", ":"))
    return hashlib.sha256(written.encode()).hexdigest()[:32]


# --- paths ---------------------------------------------------------------------------------------

Step = str | int | None
"""A key, an index (negative from the end), or None for every element."""

_STEP = re.compile(
    r"""\.?(?:(?P<name>[^.\[\]"']+)|\[(?P<index>-?\d+)\]|\[(?P<every>\*)\]|\[(?P<quoted>"[^"]*"|'[^']*')\])"""
)


@lru_cache(maxsize=4096)
def parse_path(text: str) -> tuple[Step, ...]:
    """Return the steps of a dotted path such as `alerts[*].host["os.name"]`. Raises `ValueError`.

    Example:
    >>> parse_path('a.b[0].c[*]["d.e"]')
    ('a', 'b', 0, 'c', None, 'd.e')

    """
    steps: list[Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or (at == 0 and text.startswith(".")):
            raise ValueError(f"path `{text}`: unreadable at `{text[at : at + 16]}`")
        if match["name"] is not None:
            steps.append(match["name"])
        elif match["index"] is not None:
            steps.append(int(match["index"]))
        else:
            steps.append(None if match["every"] else match["quoted"][1:-1])
        at = match.end()
    if not steps:
        raise ValueError("a path must not be empty")
    return tuple(steps)


def follow(value: Any, steps: tuple[Step, ...]) -> list[Any]:
    """Return everything the path leads to, at most `MAX_PATH_RESULTS`; what is missing leads nowhere.

    A key that itself has dots is found when it is there as a whole: `a.b` also reads `{"a.b": 1}`.
    """
    values = [value]
    for number, step in enumerate(steps):
        below: list[Any] = []
        for each in values:
            if isinstance(step, str) and isinstance(each, dict):
                if step in each:
                    below.append(each[step])
                elif (
                    number + 1 < len(steps)
                    and len(values) == 1
                    and (joined := _joined(steps[number:])) in each
                ):
                    return [each[joined]]
            elif isinstance(step, int) and isinstance(each, list) and -len(each) <= step < len(each):
                below.append(each[step])
            elif step is None and isinstance(each, list):
                below.extend(each)
        values = below[:MAX_PATH_RESULTS]
    return values


def _joined(steps: tuple[Step, ...]) -> str:
    return ".".join(step for step in steps if isinstance(step, str)) if all(steps) else ""
