"""Reading items of a payload by the mapping of sensor kind `generic`. Pure.

This is compiled (`gateway.compiled`), and so holds the interpreter until it returns: the loop over all items of a large
delivery is left to `plugins.sensors.generic`, which is not.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

import msgspec
from jmespath.exceptions import JMESPathError

from plugins.bounds import is_junk_identifier
from plugins.contract import Collector, after
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
from plugins.reading import ItemFault, is_nobody
from risk.model import Identifier, Severity, Signal, SignalType

MAX_COMPILED = 1000
"""Most mappings that are kept ready, those of former configurations included."""

MAX_SHOWN = 256
"""Most combinations of places that are kept ready for a mapping."""

DEFAULT_CONDITION = "condition"
"""Condition id where the mapping gives none: then each device has one condition of this sensor."""

_REMEDIATION: Final = SignalType.REMEDIATION
_JUDGED: Final = frozenset({SignalType.DETECTION, SignalType.EXPOSURE, SignalType.RISK_LEVEL})

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


class _Places:
    """Every place that a mapping may find something in, with a bit of its own: what was found where is one number.

    Nearly all items of a sensor find the same in the same places, so that what people are shown of it is made once.
    """

    def __init__(self) -> None:
        self._all: list[tuple[str, str]] = []
        self._shown: dict[int, dict[str, str]] = {}

    def bit(self, field: str, place: str) -> int:
        """Return the bit of a place where a field may be found."""
        self._all.append((field, place))
        return 1 << (len(self._all) - 1)

    def shown(self, used: int) -> dict[str, str]:
        """Return the place of each field that was found in these; not to be changed."""
        known = self._shown.get(used)
        if known is None:
            if len(self._shown) >= MAX_SHOWN:
                self._shown.clear()
            known = {field: place for at, (field, place) in enumerate(self._all) if used >> at & 1}
            self._shown[used] = known
        return known


class _Route:
    """A source ready to be followed: its paths with their steps, and the one key where it is no more than that."""

    __slots__ = ("field", "jmes", "jmes_bit", "key", "key_bit", "literal", "literal_bit", "paths")

    def __init__(self, field: str, source: Source, places: _Places) -> None:
        self.field = field
        self.paths = [(places.bit(field, path), *begun(path)) for path in paths(source)]
        self.jmes = source.jmes if isinstance(source, Lookup) else ""
        self.jmes_bit = places.bit(field, f"jmes {self.jmes}") if self.jmes else 0
        self.literal = source.value if isinstance(source, Lookup) else None
        self.literal_bit = 0 if self.literal is None else places.bit(field, f"literal {self.literal!r}")
        self.key: str | None = None
        self.key_bit = 0
        if len(self.paths) == 1:
            bit, begins, steps = self.paths[0]
            path = paths(source)[0]
            if not begins and steps == (path,):
                self.key, self.key_bit = path, bit


class _Reader:
    """Follows routes from one item, and takes note of the places where something was found."""

    def __init__(self, payload: Any, item: Any, enclosing: Sequence[Any] = ()) -> None:
        self._payload = payload
        self._item = item
        self._object: dict[str, Any] | None = item if isinstance(item, dict) else None
        self._enclosing = enclosing
        self.used = 0

    def values(self, route: _Route, is_meant: Callable[[Any], bool] | None = None) -> list[Any]:
        """Return all values of the first path that leads to one that is meant; a list at its end is its elements.

        Without `is_meant` all but null and an empty text is meant. Without such a path: the literal, else whatever any
        path leads to, null included.
        """
        rest: list[Any] = []
        if route.key is None or self._object is None or route.key in self._object:
            for bit, begins, steps in route.paths:
                found = _elements(follow(self._root(begins), steps))
                if _is_any_meant(found, is_meant):
                    self.used |= bit
                    return found
                rest += found
        if route.jmes:
            found = self._searched(route.field, route.jmes)
            if _is_any_meant(found, is_meant):
                self.used |= route.jmes_bit
                return found
            rest += found
        if route.literal is None:
            return rest
        self.used |= route.literal_bit
        return [route.literal]

    def alone(self, route: _Route) -> Any:
        """Return the one value that `values` would return, None where that has to be asked."""
        if route.key is None or self._object is None:
            return None
        value = self._object.get(route.key)
        if value is None or value.__class__ is list or (value.__class__ is str and not value):
            return None
        self.used |= route.key_bit
        return value

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

    def first(self, route: _Route | None) -> Any:
        """Return the first value that is not null, None without one."""
        if route is None:
            return None
        if route.key is not None and self._object is not None:
            value = self._object.get(route.key)
            if value.__class__ is list:
                value = next((each for each in value if each is not None), None)
            if (value is None or value == "") and route.literal is not None:
                value = route.literal
                self.used |= route.literal_bit
            elif value is not None:
                self.used |= route.key_bit
            return value
        return next((value for value in self.values(route) if value is not None), None)

    def text(self, route: _Route | None) -> str:
        """Return the first value as text, "" without one."""
        if route is None:
            return ""
        value = self.alone(route)
        if isinstance(value, str):
            return value
        value = self.first(route)
        return "" if value is None else _word(value)

    def time(self, route: _Route) -> datetime | None:
        """Return the time at a route of one key, None where more has to be asked."""
        if route.key is None or self._object is None:
            return None
        at = parse_time(self._object.get(route.key))
        if at is not None:
            self.used |= route.key_bit
        return at


def _is_any_meant(found: list[Any], is_meant: Callable[[Any], bool] | None) -> bool:
    if is_meant is None:
        return any(value is not None and value != "" for value in found)
    return any(is_meant(value) for value in found)


class _Name:
    """Where an identifier stands, its kind, and whether that is the sensor's own."""

    __slots__ = ("is_own", "kind", "route")

    def __init__(self, route: _Route, kind: str) -> None:
        self.route = route
        self.kind = kind
        self.is_own = kind.startswith("sensor-device-")


class _Wanted:
    """A source, and the words of which one has to stand there."""

    __slots__ = ("route", "words")

    def __init__(self, route: _Route, equals: Sequence[str | int | bool]) -> None:
        self.route = route
        self.words = frozenset(_word(each).casefold() for each in equals)


class _Plan:
    """A mapping ready to be followed: a source that is not given is None, and what is asked of each item is here."""

    def __init__(self, options: GenericOptions) -> None:
        self.options = options
        self.places = _Places()
        self.device = [self._name("device", each.kind, each.path) for each in options.device]
        self.user = [self._name("user", each.kind, each.path) for each in options.user]
        self.type: _Type | None = None
        if options.type is None or isinstance(options.type, SignalType):
            self.kind = options.type or _kind(options)
        else:
            self.kind = _kind(options)
            self.type = _Type(options.type, self._given("type", options.type.path))
        self.level: _Level | None = None
        if options.level is not None:
            self.level = _Level(options.level, self._given("level", options.level.path))
        self.title = self._given("title", options.title)
        self.description = self._given("description", options.description)
        self.why = self._given("why", options.why)
        self.category = self._given("category", options.category)
        self.actions = [
            _Route(f"actions[{number}]", each, self.places)
            for number, each in enumerate(options.actions)
            if each != ""
        ]
        self.external_id = self._given("external_id", options.external_id)
        self.event_id = self._given("event_id", options.event_id)
        self.observed_at = self._given("observed_at", options.observed_at)
        self.resolves = self._wanted("resolves", options.resolves)
        self.ignore = self._wanted("ignore", options.ignore)
        self.only = self._wanted("only", options.only)
        self.facts = [
            (name, _Route(f"facts.{name}", each, self.places))
            for name, each in options.facts.items()
            if each != ""
        ]
        self.expires_after = options.expires_after

    def _given(self, field: str, source: Source) -> _Route | None:
        return None if source in ("", ()) else _Route(field, source, self.places)

    def _name(self, whose: str, kind: str, source: Source) -> _Name:
        return _Name(_Route(f"{whose}.{kind}", source, self.places), kind)

    def _wanted(self, field: str, source: ResolvesSource | None) -> _Wanted | None:
        return None if source is None else _Wanted(_Route(field, source.path, self.places), source.equals)


class _Type:
    """Where the word for the type stands, and what words mean."""

    __slots__ = ("default", "route", "table")

    def __init__(self, source: TypeSource, route: _Route | None) -> None:
        self.route = route
        self.table = {kind.value: kind for kind in SignalType} | {
            name.casefold(): kind for name, kind in source.table.items()
        }
        self.default = source.default


class _Level:
    """Where the severity stands, and what words and numbers mean."""

    __slots__ = ("default", "ranges", "route", "table")

    def __init__(self, source: LevelSource, route: _Route | None) -> None:
        self.route = route
        self.table = {name.casefold(): severity for name, severity in source.table.items()}
        self.ranges = source.ranges
        self.default = source.default


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


def read_items(
    into: Collector,
    payload: Any,
    items: Sequence[Item],
    options: GenericOptions,
    *,
    first: int,
    sensor: str,
    received_at: datetime,
    headers: Mapping[str, str],
) -> None:
    """Read items of a payload, the first of which has the number `first` there.

    What is rightly no news counts as ignored, an item that cannot be used is rejected.
    """
    plan = _plans.of(options)
    number = first
    numbers: list[int] = []
    signals: list[Signal] = []
    sources: list[dict[str, str]] = []
    for item in items:
        reader = _Reader(payload, item[0], item[1])
        try:
            if _is_news(reader, plan):
                signal = _signal(reader, plan, sensor, received_at)
                if not signal.event_id:
                    event_id = _event_id(headers, number, item[0], signal)
                    signal = msgspec.structs.replace(signal, event_id=event_id)
                signals.append(signal)
                numbers.append(number)
                sources.append(plan.places.shown(reader.used))
            else:
                into.ignore()
        except ItemFault as error:
            into.reject(number, error.code, str(error), item[0])
        number += 1
    into.extend(signals, numbers, sources)


def _is_news(reader: _Reader, plan: _Plan) -> bool:
    if plan.ignore is not None and _is_one_of(reader, plan.ignore):
        return False
    return plan.only is None or _is_one_of(reader, plan.only)


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
    values = _Reader(payload, payload).values(_Route("items", options.items, _Places()))
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
    kind = _REMEDIATION if is_closing else _type(reader, plan)
    observed_at = (
        received_at if plan.observed_at is None else _observed_at(reader, plan.observed_at, received_at)
    )
    external_id = _external_id(reader, plan)
    devices, junk = _devices(reader, plan, sensor)
    users = _users(reader, plan) if plan.user else ()
    if not devices and not users:
        raise _nobody(plan.options, junk)
    return Signal(
        sensor=sensor,
        type=kind,
        observed_at=observed_at,
        received_at=received_at,
        external_id=external_id,
        event_id=reader.text(plan.event_id),
        device_ids=devices,
        user_ids=users,
        level=None if is_closing else _level(reader, plan.level, kind),
        title=reader.text(plan.title) or _title(kind, sensor),
        description=reader.text(plan.description),
        recommended_actions=_actions(reader, plan) if plan.actions else (),
        rationale=reader.text(plan.why),
        category=reader.text(plan.category),
        facts=_facts(reader, plan),
        resolves=is_closing,
        expires_at=(
            None if is_closing or plan.expires_after is None else after(observed_at, plan.expires_after)
        ),
    )


@lru_cache(maxsize=1024)
def _title(kind: SignalType, sensor: str) -> str:
    """Return what people read where the product gives no title."""
    return f"{kind.value} reported by {sensor}"


def _type(reader: _Reader, plan: _Plan) -> SignalType:
    if plan.type is None:
        return plan.kind
    word = reader.text(plan.type.route)
    kind = plan.type.table.get(word.casefold(), plan.type.default)
    if kind is None:
        raise ItemFault("type-unknown", f"`{word[:64]}` is no type of the table")
    return kind


def _level(reader: _Reader, level: _Level | None, kind: SignalType) -> Severity | None:
    is_judged = kind in _JUDGED
    if level is None:
        return Severity.UNKNOWN if is_judged else None
    value = reader.first(level.route)
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
    at = reader.time(route)
    if at is not None:
        return at
    found = reader.values(route, _is_time)
    for value in found:
        at = parse_time(value)
        if at is not None:
            return at
    sent = next((value for value in found if value not in (None, "")), None)
    if sent is not None:
        raise ItemFault(
            "time-unreadable", f"`observed_at`: `{_word(sent)[:64]}` is no time that is understood"
        )
    return received_at


def _is_time(value: Any) -> bool:
    return parse_time(value) is not None


def _external_id(reader: _Reader, plan: _Plan) -> str:
    if plan.external_id is None:
        return DEFAULT_CONDITION
    external_id = reader.text(plan.external_id)
    if not external_id:
        raise ItemFault("condition-missing", "`external_id` leads to no value")
    return external_id


def _devices(
    reader: _Reader, plan: _Plan, sensor: str
) -> tuple[tuple[Identifier, ...], tuple[Identifier, ...]]:
    """Return the identifiers of the device, and those that are junk."""
    named: tuple[Identifier, ...] = ()
    junk: tuple[Identifier, ...] = ()
    for each in plan.device:
        value = reader.text(each.route).strip()
        if value:
            identifier = Identifier(each.kind, value, sensor if each.is_own else "")
            if is_junk_identifier(identifier):
                junk = (*junk, identifier)
            else:
                named = (*named, identifier)
    return named, junk


def _users(reader: _Reader, plan: _Plan) -> tuple[Identifier, ...]:
    """Return the identifiers of the user."""
    users: list[Identifier] = []
    for each in plan.user:
        value = reader.text(each.route).strip()
        if value and not is_nobody(value):
            users.append(Identifier(each.kind, value))
    return tuple(users)


def _nobody(options: GenericOptions, junk: Sequence[Identifier]) -> ItemFault:
    sources = [*(each.path for each in options.device), *(each.path for each in options.user)]
    wanted = ", ".join(f"`{each}`" for source in sources for each in spelled(source))
    code = "no-device" if options.device else "no-user"
    whom = "device or user" if options.device and options.user else code.removeprefix("no-")
    told = ", ".join(f"`{each.value[:64]}`" for each in junk)
    return ItemFault(code, f"no identifier of the {whom} at {wanted}{f' (junk: {told})' if told else ''}")


def _actions(reader: _Reader, plan: _Plan) -> tuple[str, ...]:
    texts = (_word(value) for each in plan.actions for value in reader.values(each))
    return tuple(text for text in texts if text)


def _facts(reader: _Reader, plan: _Plan) -> dict[str, str | int | float | bool | None]:
    """Return the facts whose path leads to a scalar or to null; null says that the product does not know."""
    facts: dict[str, str | int | float | bool | None] = {}
    for name, route in plan.facts:
        value = reader.alone(route)
        if value is None:
            values = reader.values(route)
            if values and not isinstance(values[0], (dict, list)):
                facts[name] = values[0]
        elif not isinstance(value, dict):
            facts[name] = value
    return facts


def _is_one_of(reader: _Reader, wanted: _Wanted) -> bool:
    alone = reader.alone(wanted.route)
    if alone is not None:
        return _word(alone).strip().casefold() in wanted.words
    return any(_word(value).strip().casefold() in wanted.words for value in reader.values(wanted.route))


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
