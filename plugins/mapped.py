"""Reading one item of a payload by the mapping of sensor kind `generic`. Pure.

This is compiled (`gateway.compiled`), and so holds the interpreter until it returns: the loop over all items of a large
delivery is left to `plugins.sensors.generic`, which is not.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

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

MAX_COMPILED = 1000
"""Most mappings that are kept ready, those of former configurations included."""

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


class _Plans:
    """What is made of each mapping, once: `of` knows a mapping by its identity, for it stays as it is."""

    def __init__(self) -> None:
        self._made: dict[int, _Plan] = {}
        """With the mapping itself: while it is here, nothing else has its identity."""

    def of(self, options: GenericOptions) -> "_Plan":
        """Return what is made of a mapping."""
        known = self._made.get(id(options))
        if known is None:
            if len(self._made) >= MAX_COMPILED:
                self._made.clear()
            known = self._made[id(options)] = _Plan(options)
        return known


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

    def values(self, field: str, route: _Route, is_meant: Callable[[Any], bool] | None = None) -> list[Any]:
        """Return all values of the first path that leads to one that is meant; a list at its end is its elements.

        Without `is_meant` all but null and an empty text is meant. Without such a path: the literal, else whatever any
        path leads to, null included.
        """
        if route.key is not None and is_meant is None and isinstance(self._item, dict):
            value = self._item.get(route.key)
            if value is not None and value != "" and value.__class__ is not list:
                self.used[field] = route.key
                return [value]
        rest: list[Any] = []
        for path, begins, steps in route.paths:
            found = _elements(follow(self._root(begins), steps))
            if _is_any_meant(found, is_meant):
                self.used[field] = path
                return found
            rest += found
        if route.jmes:
            found = self._searched(field, route.jmes)
            if _is_any_meant(found, is_meant):
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

    def first(self, field: str, route: _Route | None) -> Any:
        """Return the first value that is not null, None without one."""
        if route is None:
            return None
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
        return next((value for value in self.values(field, route) if value is not None), None)

    def text(self, field: str, route: _Route | None) -> str:
        """Return the first value as text, "" without one."""
        return "" if route is None else _word(self.first(field, route))


def _is_any_meant(found: list[Any], is_meant: Callable[[Any], bool] | None) -> bool:
    if is_meant is None:
        return any(value is not None and value != "" for value in found)
    return any(is_meant(value) for value in found)


class _Field:
    """A source with the name of what it is for; for an identifier, its kind, and whether that is the sensor's own."""

    __slots__ = ("is_own", "kind", "name", "route")

    def __init__(self, name: str, source: Source, kind: str = "") -> None:
        self.name = name
        self.route = _Route(source)
        self.kind = kind
        self.is_own = kind.startswith("sensor-device-")


class _Wanted:
    """A source, and the words of which one has to stand there."""

    __slots__ = ("name", "route", "words")

    def __init__(self, name: str, source: ResolvesSource) -> None:
        self.name = name
        self.route = _Route(source.path)
        self.words = frozenset(_word(each).casefold() for each in source.equals)


class _Plan:
    """A mapping ready to be followed: a source that is not given is None, and what is asked of each item is here."""

    def __init__(self, options: GenericOptions) -> None:
        self.device = [_Field(f"device.{each.kind}", each.path, each.kind) for each in options.device]
        self.user = [_Field(f"user.{each.kind}", each.path, each.kind) for each in options.user]
        self.type = (
            None if options.type is None or isinstance(options.type, SignalType) else _Type(options.type)
        )
        self.kind = options.type if isinstance(options.type, SignalType) else _kind(options)
        self.level = None if options.level is None else _Level(options.level)
        self.title = _given(options.title)
        self.description = _given(options.description)
        self.why = _given(options.why)
        self.category = _given(options.category)
        self.actions = [
            _Field(f"actions[{number}]", each) for number, each in enumerate(options.actions) if each != ""
        ]
        self.external_id = _given(options.external_id)
        self.event_id = _given(options.event_id)
        self.observed_at = _given(options.observed_at)
        self.resolves = None if options.resolves is None else _Wanted("resolves", options.resolves)
        self.ignore = None if options.ignore is None else _Wanted("ignore", options.ignore)
        self.only = None if options.only is None else _Wanted("only", options.only)
        self.facts = [
            (name, _Field(f"facts.{name}", each)) for name, each in options.facts.items() if each != ""
        ]
        self.expires_after = options.expires_after
        self.options = options


class _Type:
    """Where the word for the type stands, and what words mean."""

    __slots__ = ("default", "route", "table")

    def __init__(self, source: TypeSource) -> None:
        self.route = _given(source.path)
        self.table = {kind.value: kind for kind in SignalType} | {
            name.casefold(): kind for name, kind in source.table.items()
        }
        self.default = source.default


class _Level:
    """Where the severity stands, and what words and numbers mean."""

    __slots__ = ("default", "ranges", "route", "table")

    def __init__(self, source: LevelSource) -> None:
        self.route = _given(source.path)
        self.table = {name.casefold(): severity for name, severity in source.table.items()}
        self.ranges = source.ranges
        self.default = source.default


def _given(source: Source) -> _Route | None:
    return None if source in ("", ()) else _Route(source)


def _kind(options: GenericOptions) -> SignalType:
    """Return the type of signals where the mapping names none."""
    if options.level is not None:
        return SignalType.DETECTION
    return SignalType.POSTURE_FACT if options.facts else SignalType.HEARTBEAT


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
    plan = _plans.of(options)
    if plan.ignore is not None and _is_one_of(reader, plan.ignore):
        return None
    if plan.only is not None and not _is_one_of(reader, plan.only):
        return None
    signal = _signal(reader, plan, sensor, received_at)
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
    values = _Reader(payload, payload).values("items", _Route(options.items))
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


def _signal(reader: _Reader, plan: _Plan, sensor: str, received_at: datetime) -> Signal:
    """Return the signal of one item, without a message id when the mapping gives none."""
    is_closing = plan.resolves is not None and _is_one_of(reader, plan.resolves)
    kind = SignalType.REMEDIATION if is_closing else _type(reader, plan)
    observed_at = (
        received_at if plan.observed_at is None else _observed_at(reader, plan.observed_at, received_at)
    )
    external_id = _external_id(reader, plan)
    device_ids, user_ids = _subject(reader, plan, sensor)
    return Signal(
        sensor=sensor,
        type=kind,
        observed_at=observed_at,
        received_at=received_at,
        external_id=external_id,
        event_id=reader.text("event_id", plan.event_id),
        device_ids=device_ids,
        user_ids=user_ids,
        level=None if is_closing else _level(reader, plan.level, kind),
        title=reader.text("title", plan.title) or _title(kind, sensor),
        description=reader.text("description", plan.description),
        recommended_actions=_actions(reader, plan) if plan.actions else (),
        rationale=reader.text("why", plan.why),
        category=reader.text("category", plan.category),
        facts=_facts(reader, plan),
        resolves=is_closing,
        expires_at=None if is_closing else after(observed_at, plan.expires_after),
    )


@lru_cache(maxsize=1024)
def _title(kind: SignalType, sensor: str) -> str:
    """Return what people read where the product gives no title."""
    return f"{kind.value} reported by {sensor}"


def _type(reader: _Reader, plan: _Plan) -> SignalType:
    if plan.type is None:
        return plan.kind
    word = reader.text("type", plan.type.route)
    kind = plan.type.table.get(word.casefold(), plan.type.default)
    if kind is None:
        raise ItemFault("type-unknown", f"`{word[:64]}` is no type of the table")
    return kind


def _level(reader: _Reader, level: _Level | None, kind: SignalType) -> Severity | None:
    is_judged = kind in (SignalType.DETECTION, SignalType.EXPOSURE, SignalType.RISK_LEVEL)
    if level is None:
        return Severity.UNKNOWN if is_judged else None
    value = reader.first("level", level.route)
    if value is None and level.default is None and not is_judged:
        # A report of facts without a severity says that nothing is wrong; it opens no finding.
        return None
    found = _from_ranges(value, level.ranges)
    if found is None:
        word = _word(value).strip().casefold()
        found = level.table.get(word) or (None if level.table else SYNONYMS.get(word))
    return found or level.default or Severity.UNKNOWN


def _from_ranges(value: Any, ranges: Sequence[Range]) -> Severity | None:
    if not ranges:
        return None
    try:
        number = float(_word(value))
    except ValueError:
        return None
    reached = [each for each in ranges if number >= each.at_least]
    return max(reached, key=lambda each: each.at_least).level if reached else None


def _observed_at(reader: _Reader, route: _Route, received_at: datetime) -> datetime:
    found = reader.values("observed_at", route, is_meant=lambda value: parse_time(value) is not None)
    times = [at for value in found if (at := parse_time(value)) is not None]
    if times:
        return times[0]
    sent = next((value for value in found if value not in (None, "")), None)
    if sent is not None:
        raise ItemFault(
            "time-unreadable", f"`observed_at`: `{_word(sent)[:64]}` is no time that is understood"
        )
    return received_at


def _external_id(reader: _Reader, plan: _Plan) -> str:
    if plan.external_id is None:
        return DEFAULT_CONDITION
    external_id = reader.text("external_id", plan.external_id)
    if not external_id:
        raise ItemFault("condition-missing", "`external_id` leads to no value")
    return external_id


def _subject(
    reader: _Reader, plan: _Plan, sensor: str
) -> tuple[tuple[Identifier, ...], tuple[Identifier, ...]]:
    """Return the identifiers of device and user. Raises `ItemFault` without any that names one."""
    devices: list[Identifier] = []
    junk: list[Identifier] = []
    for each in plan.device:
        value = reader.text(each.name, each.route).strip()
        if value:
            identifier = Identifier(each.kind, value, sensor if each.is_own else "")
            (junk if is_junk_identifier(identifier) else devices).append(identifier)
    users: list[Identifier] = []
    for each in plan.user:
        value = reader.text(each.name, each.route).strip()
        if value and not is_nobody(value):
            users.append(Identifier(each.kind, value))
    if not devices and not users:
        raise _nobody(plan.options, junk)
    return tuple(devices), tuple(users)


def _nobody(options: GenericOptions, junk: Sequence[Identifier]) -> ItemFault:
    sources = [*(each.path for each in options.device), *(each.path for each in options.user)]
    wanted = ", ".join(f"`{each}`" for source in sources for each in spelled(source))
    code = "no-device" if options.device else "no-user"
    whom = "device or user" if options.device and options.user else code.removeprefix("no-")
    told = ", ".join(f"`{each.value[:64]}`" for each in junk)
    return ItemFault(code, f"no identifier of the {whom} at {wanted}{f' (junk: {told})' if told else ''}")


def _actions(reader: _Reader, plan: _Plan) -> tuple[str, ...]:
    texts = (_word(value) for each in plan.actions for value in reader.values(each.name, each.route))
    return tuple(text for text in texts if text)


def _facts(reader: _Reader, plan: _Plan) -> dict[str, str | int | float | bool | None]:
    """Return the facts whose path leads to a scalar or to null; null says that the product does not know."""
    facts: dict[str, str | int | float | bool | None] = {}
    for name, each in plan.facts:
        values = reader.values(each.name, each.route)
        if values and not isinstance(values[0], dict | list):
            facts[name] = values[0]
    return facts


def _is_one_of(reader: _Reader, wanted: _Wanted) -> bool:
    values = reader.values(wanted.name, wanted.route)
    return any(_word(value).strip().casefold() in wanted.words for value in values)


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


_plans = _Plans()
