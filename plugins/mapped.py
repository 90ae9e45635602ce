"""Reading one item of a payload by the mapping of sensor kind `generic`. Pure.

This is compiled (`gateway.compiled`), and so holds the interpreter until it returns: the loop over all items of a large
delivery is left to `plugins.sensors.generic`, which is not.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from jmespath.exceptions import JMESPathError

from plugins.contract import after
from plugins.levels import Range
from plugins.mapping import (
    WHOLE,
    GenericOptions,
    LevelSource,
    Lookup,
    ResolvesSource,
    Source,
    TypeSource,
    begun,
    compiled_expression,
    paths,
)
from plugins.payload import MAX_ITEMS, MAX_PATH_RESULTS, Step, digest, follow, parse_path, parse_time, text_of
from plugins.reading import ItemFault, is_junk_identifier, is_nobody
from risk.model import Identifier, Severity, Signal, SignalType

K = TypeVar("K")
T = TypeVar("T")

MAX_COMPILED = 10_000
"""Most parts of mappings that are kept ready, those of former configurations included."""

DEFAULT_CONDITION = "condition"
"""Condition id where the mapping gives none: then each device has one condition of this sensor."""

SYNONYMS: dict[str, Severity] = {
    "info": Severity.INFORMATIONAL,
    "notice": Severity.LOW,
    "minor": Severity.LOW,
    "moderate": Severity.MEDIUM,
    "warning": Severity.MEDIUM,
    "error": Severity.HIGH,
    "important": Severity.HIGH,
    "major": Severity.HIGH,
    "severe": Severity.HIGH,
    "fatal": Severity.CRITICAL,
    "emergency": Severity.CRITICAL,
    "clear": Severity.NONE,
    "ok": Severity.NONE,
} | {severity.value: severity for severity in Severity}
"""Words that are understood without a table, in lower case."""


class _Compiled(Generic[K, T]):
    """What is made of each part of a mapping, once: `of` knows a part by its identity, for it stays as it is."""

    def __init__(self, make: Callable[[K], T]) -> None:
        self._make = make
        self._made: dict[int, tuple[K, T]] = {}
        """With the part itself: while it is here, nothing else has its identity."""

    def of(self, part: K) -> T:
        """Return what is made of a part."""
        known = self._made.get(id(part))
        if known is None:
            if len(self._made) >= MAX_COMPILED:
                self._made.clear()
            known = self._made[id(part)] = (part, self._make(part))
        return known[1]


class _Route:
    """A source ready to be followed: its paths with their steps, and the one key where it is no more than that."""

    __slots__ = ("jmes", "key", "literal", "paths")

    def __init__(self, source: Source) -> None:
        self.paths = tuple((path, *begun(path)) for path in paths(source))
        self.jmes = source.jmes if isinstance(source, Lookup) else ""
        self.literal = source.value if isinstance(source, Lookup) else None
        self.key: str | None = None
        if len(self.paths) == 1:
            path, begins, steps = self.paths[0]
            self.key = path if not begins and steps == (path,) else None


class _Reader:
    """Follows sources from one item, and takes note of the paths that led somewhere."""

    def __init__(self, payload: Any, item: Any, enclosing: Sequence[Any] = ()) -> None:
        self._payload = payload
        self._item = item
        self._enclosing = enclosing
        self.used: dict[str, str] = {}

    def values(
        self,
        field: str,
        source: Source,
        is_meant: Callable[[Any], bool] = lambda value: value is not None and value != "",
    ) -> list[Any]:
        """Return all values of the first path that leads to one that is meant; a list at its end is its elements.

        Without one: the literal, else whatever any path leads to, null included.
        """
        if source == "":
            return []
        route = _routes.of(source)
        rest: list[Any] = []
        for path, begins, steps in route.paths:
            found = _elements(follow(self._root(begins), steps))
            if any(is_meant(value) for value in found):
                self.used[field] = path
                return found
            rest += found
        if route.jmes:
            found = self._searched(field, route.jmes)
            if any(is_meant(value) for value in found):
                self.used[field] = f"jmes {route.jmes}"
                return found
            rest += found
        if route.literal is None:
            return rest
        self.used[field] = f"literal {route.literal!r}"
        return [route.literal]

    def _root(self, begins: int) -> Any:
        """Return what a path begins at: `WHOLE` the payload, 0 the item, n the n-th object around the item."""
        if begins == WHOLE:
            return self._payload
        if not begins:
            return self._item
        return self._enclosing[-begins] if begins <= len(self._enclosing) else None

    def _searched(self, field: str, expression: str) -> list[Any]:
        """Return what an expression finds: the values of a list, or the one value."""
        inner = expression.removeprefix("$.")
        root = self._payload if inner != expression else self._item
        try:
            found = compiled_expression(inner).search(root)
        except (JMESPathError, ArithmeticError, TypeError, ValueError, RecursionError) as error:
            raise ItemFault("expression-fails", f"`{field}`: `{inner[:64]}`: {error}") from error
        return found if isinstance(found, list) else [found]

    def first(self, field: str, source: Source) -> Any:
        """Return the first value that is not null, None without one."""
        if source == "":
            return None
        route = _routes.of(source)
        if route.key is not None and isinstance(self._item, dict):
            value = self._item.get(route.key)
            if value.__class__ is list:
                value = next((each for each in value if each is not None), None)
            if (value is None or value == "") and route.literal is not None:
                value = route.literal
                self.used[field] = f"literal {value!r}"
            elif value is not None:
                self.used[field] = route.key
            return value
        return next((value for value in self.values(field, source) if value is not None), None)

    def text(self, field: str, source: Source) -> str:
        """Return the first value as text, "" without one."""
        return _word(self.first(field, source))


def _elements(found: list[Any]) -> list[Any]:
    """Return what a path leads to, with the elements of lists in their place."""
    if not any(value.__class__ is list for value in found):
        return found
    lists = (value if value.__class__ is list else (value,) for value in found)
    return [each for values in lists for each in values][:MAX_PATH_RESULTS]


Item = tuple[Any, tuple[Any, ...]]
"""An item, and the objects that it stands in, the innermost last."""


def read_item(
    payload: Any,
    item: Item,
    options: GenericOptions,
    *,
    number: int,
    sensor: str,
    received_at: datetime,
    headers: Mapping[str, str],
) -> tuple[Signal, dict[str, str]] | None:
    """Return the signal of an item with where each field of it stood; None for one that is rightly no news.

    `number` is the item's within the payload. Raises `ItemFault`.
    """
    reader = _Reader(payload, item[0], item[1])
    if _is_one_of(reader, "ignore", options.ignore):
        return None
    if options.only is not None and not _is_one_of(reader, "only", options.only):
        return None
    signal = _signal(reader, options, sensor, received_at)
    if not signal.event_id:
        signal = msgspec.structs.replace(signal, event_id=_event_id(headers, number, item[0], signal))
    return signal, reader.used


def items_of(payload: Any, options: GenericOptions) -> list[Item] | None:
    """Return the items of a payload, None where no list is. Raises `ItemFault` for an expression that fails."""
    if options.items is None:
        return [(payload, ())]
    for path in paths(options.items):
        found = _placed(payload, parse_path(path.removeprefix("$.")))
        if found is not None:
            return found
    if not isinstance(options.items, Lookup) or not options.items.jmes:
        return None
    values = _Reader(payload, payload).values("items", options.items)
    if len(values) == 1 and isinstance(values[0], list):
        values = values[0]
    return [(each, ()) for each in values if each is not None][: MAX_ITEMS + 1] or None


def _placed(payload: Any, steps: tuple[Step, ...]) -> list[Item] | None:
    """Return the items at a path with what they stand in, at most one above the limit; None where it leads nowhere.

    What stands before a `[*]` encloses what comes after it; a list at the end of the path is the list of items.
    """
    parts: list[list[Step]] = [[]]
    for step in steps:
        if step is None:
            parts.append([])
        else:
            parts[-1].append(step)
    level: list[Item] = [(payload, ())]
    is_there = False
    for part in parts:
        below: list[Item] = []
        for value, enclosing in level:
            for found in follow(value, tuple(part)) if part else [value]:
                around = (*enclosing, value) if part else enclosing
                is_there = is_there or isinstance(found, list)
                each_of = found if isinstance(found, list) else [found]
                below += [(each, around) for each in each_of if each is not None]
                if len(below) > MAX_ITEMS:
                    break
        level = below[: MAX_ITEMS + 1]
    return level if level or is_there else None


def _signal(reader: _Reader, options: GenericOptions, sensor: str, received_at: datetime) -> Signal:
    """Return the signal of one item, without a message id when the mapping gives none."""
    is_closing = _is_one_of(reader, "resolves", options.resolves)
    kind = SignalType.REMEDIATION if is_closing else _type(reader, options)
    observed_at = _observed_at(reader, options, received_at)
    external_id = _external_id(reader, options)
    device_ids, user_ids = _subject(reader, options, sensor)
    return Signal(
        sensor=sensor,
        type=kind,
        observed_at=observed_at,
        received_at=received_at,
        external_id=external_id,
        event_id=reader.text("event_id", options.event_id),
        device_ids=device_ids,
        user_ids=user_ids,
        level=None if is_closing else _level(reader, options, kind),
        title=reader.text("title", options.title) or _title(kind, sensor),
        description=reader.text("description", options.description),
        recommended_actions=_actions(reader, options),
        rationale=reader.text("why", options.why),
        category=reader.text("category", options.category),
        facts=_facts(reader, options),
        resolves=is_closing,
        expires_at=None if is_closing else after(observed_at, options.expires_after),
    )


@lru_cache(maxsize=1024)
def _title(kind: SignalType, sensor: str) -> str:
    """Return what people read where the product gives no title."""
    return f"{kind.value} reported by {sensor}"


def _type(reader: _Reader, options: GenericOptions) -> SignalType:
    if isinstance(options.type, SignalType):
        return options.type
    if options.type is None:
        if options.level is not None:
            return SignalType.DETECTION
        return SignalType.POSTURE_FACT if options.facts else SignalType.HEARTBEAT
    word = reader.text("type", options.type.path)
    kind = _types.of(options.type).get(word.casefold(), options.type.default)
    if kind is None:
        raise ItemFault("type-unknown", f"`{word[:64]}` is no type of the table")
    return kind


def _level(reader: _Reader, options: GenericOptions, kind: SignalType) -> Severity | None:
    is_judged = kind in (SignalType.DETECTION, SignalType.EXPOSURE, SignalType.RISK_LEVEL)
    if options.level is None:
        return Severity.UNKNOWN if is_judged else None
    value = reader.first("level", options.level.path)
    if value is None and options.level.default is None and not is_judged:
        # A report of facts without a severity says that nothing is wrong; it opens no finding.
        return None
    found = _from_ranges(value, options.level.ranges)
    if found is None:
        word = _word(value).strip().casefold()
        table = _levels.of(options.level)
        found = table.get(word) or (None if table else SYNONYMS.get(word))
    return found or options.level.default or Severity.UNKNOWN


def _from_ranges(value: Any, ranges: Sequence[Range]) -> Severity | None:
    if not ranges:
        return None
    try:
        number = float(_word(value))
    except ValueError:
        return None
    reached = [each for each in ranges if number >= each.at_least]
    return max(reached, key=lambda each: each.at_least).level if reached else None


def _observed_at(reader: _Reader, options: GenericOptions, received_at: datetime) -> datetime:
    if not options.observed_at:
        return received_at
    found = reader.values(
        "observed_at", options.observed_at, is_meant=lambda value: parse_time(value) is not None
    )
    times = [at for value in found if (at := parse_time(value)) is not None]
    if times:
        return times[0]
    sent = next((value for value in found if value not in (None, "")), None)
    if sent is not None:
        raise ItemFault(
            "time-unreadable", f"`observed_at`: `{_word(sent)[:64]}` is no time that is understood"
        )
    return received_at


def _external_id(reader: _Reader, options: GenericOptions) -> str:
    if not options.external_id:
        return DEFAULT_CONDITION
    external_id = reader.text("external_id", options.external_id)
    if not external_id:
        raise ItemFault("condition-missing", "`external_id` leads to no value")
    return external_id


def _subject(
    reader: _Reader, options: GenericOptions, sensor: str
) -> tuple[tuple[Identifier, ...], tuple[Identifier, ...]]:
    """Return the identifiers of device and user. Raises `ItemFault` without any that names one."""
    named = [
        Identifier(source.kind, value, sensor if source.kind.startswith("sensor-device-") else "")
        for source in options.device
        if (value := reader.text(f"device.{source.kind}", source.path).strip())
    ]
    devices = [each for each in named if not is_junk_identifier(each)]
    users = [
        Identifier(source.kind, value)
        for source in options.user
        if (value := reader.text(f"user.{source.kind}", source.path).strip()) and not is_nobody(value)
    ]
    if not devices and not users:
        sources = [*(each.path for each in options.device), *(each.path for each in options.user)]
        wanted = ", ".join(f"`{each}`" for source in sources for each in spelled(source))
        code = "no-device" if options.device else "no-user"
        whom = "device or user" if options.device and options.user else code.removeprefix("no-")
        junk = ", ".join(f"`{each.value[:64]}`" for each in named)
        told = f" (junk: {junk})" if junk else ""
        raise ItemFault(code, f"no identifier of the {whom} at {wanted}{told}")
    return tuple(devices), tuple(users)


def _actions(reader: _Reader, options: GenericOptions) -> tuple[str, ...]:
    texts = (
        _word(value)
        for number, source in enumerate(options.actions)
        for value in reader.values(f"actions[{number}]", source)
    )
    return tuple(text for text in texts if text)


def _facts(reader: _Reader, options: GenericOptions) -> dict[str, str | int | float | bool | None]:
    """Return the facts whose path leads to a scalar or to null; null says that the product does not know."""
    facts: dict[str, str | int | float | bool | None] = {}
    for name, source in options.facts.items():
        values = reader.values(f"facts.{name}", source)
        if values and not isinstance(values[0], dict | list):
            facts[name] = values[0]
    return facts


def _is_one_of(reader: _Reader, field: str, source: ResolvesSource | None) -> bool:
    if source is None:
        return False
    wanted = _wanted.of(source)
    return any(_word(value).strip().casefold() in wanted for value in reader.values(field, source.path))


def _event_id(headers: Mapping[str, str], number: int, item: Any, signal: Signal) -> str:
    """Return the id of a message whose sender gives none in the payload.

    A statement without a time of its own is new each time it is received, so its content alone is no id.
    """
    message_id = headers.get("webhook-id")
    if message_id:
        return f"{message_id}#{number}"
    if signal.observed_at == signal.received_at:
        return digest(item, number, signal.received_at.isoformat())
    return digest(item)


def _word(value: Any) -> str:
    """Return a scalar as the text that a table is searched for; whole numbers have no fraction."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return text_of(value)


def spelled(source: Source) -> tuple[str, ...]:
    """Return the paths and the expression of a source as they are written."""
    jmes = source.jmes if isinstance(source, Lookup) else ""
    return (*paths(source), jmes) if jmes else paths(source)


_routes: _Compiled[Source, _Route] = _Compiled(_Route)
_types: _Compiled[TypeSource, dict[str, SignalType]] = _Compiled(
    lambda source: (
        {kind.value: kind for kind in SignalType}
        | {name.casefold(): kind for name, kind in source.table.items()}
    )
)
_levels: _Compiled[LevelSource, dict[str, Severity]] = _Compiled(
    lambda source: {name.casefold(): severity for name, severity in source.table.items()}
)
_wanted: _Compiled[ResolvesSource, frozenset[str]] = _Compiled(
    lambda source: frozenset(_word(each).casefold() for each in source.equals)
)
