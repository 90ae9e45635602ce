"""Sensor kind `generic`: any JSON, by a mapping that is written in the configuration.

Every field of a signal is looked up by a *source*: a path below the item (`host.name`, `alerts[0].id`), below what the
list of items stands in (`^.host`), below the whole payload (`$.tenant`), several paths of which the first that leads
somewhere counts, a JMESPath expression (`{jmes: …}`), or a literal (`{value: …}`). What is missing is missing; what is
there but unreadable is reported, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar, Generic, TypeVar

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from plugins.contract import Collector, Normalized, Sample, after
from plugins.levels import Range
from plugins.payload import MAX_ITEMS, Step, digest, follow, parse_path, parse_time, text_of
from plugins.reading import is_junk, is_nobody
from plugins.samples.generic import SAMPLES
from risk.model import Identifier, Severity, Signal, SignalType
from risk.values import Duration, Strict

K = TypeVar("K")
T = TypeVar("T")

WHOLE = -1
"""Where a path begins that looks at the whole payload."""

MAX_EXPRESSION = 1024

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


class Lookup(Strict, frozen=True):
    """Where a value comes from.

    Field: path: one path, or several of which the first that leads to a value counts.
    Field: jmes: a JMESPath expression instead of a path; one that begins with `$.` looks at the whole payload.
    Field: value: a literal instead of a path, or for when no path leads anywhere.
    """

    path: str | tuple[str, ...] = ()
    jmes: str = ""
    value: str | int | float | bool | None = None

    def __post_init__(self) -> None:
        _check(self)


Source = str | tuple[str, ...] | Lookup


class DeviceSource(Strict, frozen=True):
    """One identifier of the device or user.

    Field: kind: `serial`, `hostname`, `sensor-device-id`, ... ; it decides how strongly the value names a
    device. Field: path: where the value stands.
    """

    kind: str
    path: Source

    def __post_init__(self) -> None:
        _check(self.path)


class UserSource(Strict, frozen=True):
    """One identifier of the user.

    Field: kind: `email`, `upn`, `entra-user-id`, ...; any other means something only together with this sensor.
    Field: path: where the value stands.
    """

    kind: str
    path: Source

    def __post_init__(self) -> None:
        _check(self.path)


class LevelSource(Strict, frozen=True):
    """The severity.

    Field: path: where it stands.
    Field: table: the product's words or numbers as text (case does not matter), and what they mean.
    Field: ranges: for a score: the entry with the highest `at_least` that the number reaches counts.
    Field: default: what a missing or unlisted value means; without it the severity is `unknown`.
    """

    path: Source
    table: dict[str, Severity] = msgspec.field(default_factory=dict)
    ranges: tuple[Range, ...] = ()
    default: Severity | None = None

    def __post_init__(self) -> None:
        _check(self.path)


class ResolvesSource(Strict, frozen=True):
    """When an item closes its condition.

    Field: path: where the state stands.
    Field: equals: the values, without case, that mean that the condition is over.
    """

    path: Source
    equals: tuple[str | int | bool, ...]

    def __post_init__(self) -> None:
        _check(self.path)


class TypeSource(Strict, frozen=True):
    """The type of signal by a word of the payload.

    Field: path: where the word stands.
    Field: table: the product's words, and the type of signal that each means; our own words mean themselves.
    Field: default: what any other word means; without it such an item is rejected.
    """

    path: Source
    table: dict[str, SignalType] = msgspec.field(default_factory=dict)
    default: SignalType | None = None

    def __post_init__(self) -> None:
        _check(self.path)


class GenericOptions(Strict, frozen=True):
    """The mapping. `device`, `user` or both are required.

    Field: items: path to the list of items (`alerts`, `hosts[*].findings`); without it the payload is the one item.
    Field: device: identifiers of the device, at least one of which must be there unless the item names a user.
    Field: user: identifiers of the person (`sub`, `email`, `upn`, ...) or of the session (`session`, the `sid` that
        apps are told); an item that names no device is about them.
    Field: type: `detection`, `exposure`, `risk-level`, `posture-fact`, `heartbeat`; or a path with a table.
    Field: level: severity; without it an item is a posture fact.
    Field: title: what people read; `description`, `why` and `actions` likewise.
    Field: external_id: id of the condition, equal for open, update and close.
    Field: event_id: id of the message; default: the sender's `webhook-id`, else the content.
    Field: observed_at: when the product saw it; default: when it was received.
    Field: resolves: when an item closes its condition.
    Field: facts: names of posture facts, and where their values stand.
    Field: expires_after: after this an open condition or a fact no longer counts.
    Field: ignore: items for which this holds are no news of a device (test messages, ...).
    Field: only: items for which this does not hold are none either (other types of events, ...).
    """

    device: tuple[DeviceSource, ...] = ()
    user: tuple[UserSource, ...] = ()
    items: Source | None = None
    type: SignalType | TypeSource | None = None
    level: LevelSource | None = None
    title: Source = ""
    description: Source = ""
    why: Source = ""
    category: Source = ""
    actions: tuple[Source, ...] = ()
    external_id: Source = ""
    event_id: Source = ""
    observed_at: Source = ""
    resolves: ResolvesSource | None = None
    ignore: ResolvesSource | None = None
    only: ResolvesSource | None = None
    facts: dict[str, Source] = msgspec.field(default_factory=dict)
    expires_after: Duration | None = None

    def __post_init__(self) -> None:
        if not self.device and not self.user:
            raise ValueError("`device` or `user` needs at least one identifier")
        if self.items is not None:
            _check(self.items)
        ids = (self.external_id, self.event_id, self.observed_at)
        texts = (self.title, self.description, self.why, self.category)
        for source in (*ids, *texts, *self.actions, *self.facts.values()):
            _check(source)


class _ItemFault(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


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
        self.paths = tuple((path, *_begun(path)) for path in _paths(source))
        self.jmes = source.jmes if isinstance(source, Lookup) else ""
        self.literal = source.value if isinstance(source, Lookup) else None
        self.key: str | None = None
        if len(self.paths) == 1:
            path, begins, steps = self.paths[0]
            self.key = path if not begins and steps == (path,) else None


def _begun(path: str) -> tuple[int, tuple[Step, ...]]:
    """Return where a path begins (`WHOLE`, or how many objects around the item) and its steps. Raises `ValueError`."""
    if path.startswith("$."):
        return WHOLE, parse_path(path[2:])
    up = len(path) - len(path.lstrip("^"))
    return up, parse_path(path[up:].removeprefix(".") if up else path)


class _Reader:
    """Follows sources from one item, and takes note of the paths that led somewhere."""

    def __init__(self, payload: Any, item: Any, enclosing: Sequence[Any] = ()) -> None:
        self._payload = payload
        self._item = item
        self._enclosing = enclosing
        self.used: dict[str, str] = {}

    def values(
        self, field: str, source: Source, is_meant: Callable[[Any], bool] = lambda value: value is not None
    ) -> list[Any]:
        """Return all values of the first path that leads to one that is meant.

        Without one: the literal, else whatever any path leads to, null included.
        """
        if source == "":
            return []
        route = _routes.of(source)
        rest: list[Any] = []
        for path, begins, steps in route.paths:
            found = follow(self._root(begins), steps)
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
            raise _ItemFault("expression-fails", f"`{field}`: `{inner[:64]}`: {error}") from error
        return found if isinstance(found, list) else [found]

    def first(self, field: str, source: Source) -> Any:
        """Return the first value that is not null, None without one."""
        if source == "":
            return None
        route = _routes.of(source)
        if route.key is not None and isinstance(self._item, dict):
            value = self._item.get(route.key)
            if value is not None:
                self.used[field] = route.key
            elif route.literal is not None:
                value = route.literal
                self.used[field] = f"literal {value!r}"
            return value
        return next((value for value in self.values(field, source) if value is not None), None)

    def text(self, field: str, source: Source) -> str:
        """Return the first value as text, "" without one."""
        return _word(self.first(field, source))


class GenericSensor:
    """Reads any JSON by the mapping of its options."""

    kind: ClassVar[str] = "generic"
    title: ClassVar[str] = "Any JSON, by a mapping in the configuration"
    options_type: ClassVar[type[Strict]] = GenericOptions

    def normalize(
        self,
        payload: Any,
        options: GenericOptions,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return one signal per item of the payload."""
        gathered = Collector()
        try:
            items = _items(payload, options)
        except _ItemFault as error:
            gathered.reject(0, error.code, str(error), payload)
            return gathered.done(1)
        if items is None:
            wanted = ", ".join(_spelled(options.items or ""))
            gathered.reject(0, "no-items", f"`{wanted}` leads to no list of items", payload)
        elif not items:
            gathered.ignore()
        for number, (item, enclosing) in enumerate(items or ()):
            reader = _Reader(payload, item, enclosing)
            try:
                if _is_one_of(reader, "ignore", options.ignore) or (
                    options.only is not None and not _is_one_of(reader, "only", options.only)
                ):
                    gathered.ignore()
                    continue
                signal = _signal(reader, options, sensor, received_at)
            except _ItemFault as error:
                gathered.reject(number, error.code, str(error), item)
                continue
            if not signal.event_id:
                event_id = _event_id(headers, number, item, signal)
                signal = msgspec.structs.replace(signal, event_id=event_id)
            gathered.add(number, signal, reader.used)
        return gathered.done(max(1, len(items or ())))

    samples: ClassVar[tuple[Sample, ...]] = SAMPLES


Item = tuple[Any, tuple[Any, ...]]
"""An item, and the objects that it stands in, the innermost last."""


def _items(payload: Any, options: GenericOptions) -> list[Item] | None:
    """Return the items of a payload, None where no list is. Raises `_ItemFault` for an expression that fails."""
    if options.items is None:
        return [(payload, ())]
    for path in _paths(options.items):
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
        title=reader.text("title", options.title) or f"{kind.value} reported by {sensor}",
        description=reader.text("description", options.description),
        recommended_actions=_actions(reader, options),
        rationale=reader.text("why", options.why),
        category=reader.text("category", options.category),
        facts=_facts(reader, options),
        resolves=is_closing,
        expires_at=None if is_closing else after(observed_at, options.expires_after),
    )


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
        raise _ItemFault("type-unknown", f"`{word[:64]}` is no type of the table")
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
        raise _ItemFault(
            "time-unreadable", f"`observed_at`: `{_word(sent)[:64]}` is no time that is understood"
        )
    return received_at


def _external_id(reader: _Reader, options: GenericOptions) -> str:
    if not options.external_id:
        return DEFAULT_CONDITION
    external_id = reader.text("external_id", options.external_id)
    if not external_id:
        raise _ItemFault("condition-missing", "`external_id` leads to no value")
    return external_id


def _subject(
    reader: _Reader, options: GenericOptions, sensor: str
) -> tuple[tuple[Identifier, ...], tuple[Identifier, ...]]:
    """Return the identifiers of device and user. Raises `_ItemFault` without any that names one."""
    named = [
        Identifier(source.kind, value, sensor if source.kind.startswith("sensor-device-") else "")
        for source in options.device
        if (value := reader.text(f"device.{source.kind}", source.path).strip())
    ]
    devices = [each for each in named if not is_junk(each.kind, each.value)]
    users = [
        Identifier(source.kind, value)
        for source in options.user
        if (value := reader.text(f"user.{source.kind}", source.path).strip()) and not is_nobody(value)
    ]
    if not devices and not users:
        sources = [*(each.path for each in options.device), *(each.path for each in options.user)]
        wanted = ", ".join(f"`{each}`" for source in sources for each in _spelled(source))
        code = "no-device" if options.device else "no-user"
        whom = "device or user" if options.device and options.user else code.removeprefix("no-")
        junk = ", ".join(f"`{each.value[:64]}`" for each in named)
        told = f" (junk: {junk})" if junk else ""
        raise _ItemFault(code, f"no identifier of the {whom} at {wanted}{told}")
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


def _paths(source: Source) -> tuple[str, ...]:
    path: str | tuple[str, ...] = source.path if isinstance(source, Lookup) else source
    return path if isinstance(path, tuple) else (path,) if path else ()


def _spelled(source: Source) -> tuple[str, ...]:
    """Return the paths and the expression of a source as they are written."""
    jmes = source.jmes if isinstance(source, Lookup) else ""
    return (*_paths(source), jmes) if jmes else _paths(source)


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


@lru_cache(maxsize=1024)
def compiled_expression(expression: str) -> ParsedResult:
    """Return a JMESPath expression ready to be searched with. Raises `ValueError` for one that cannot be read."""
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION} characters")
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        raise ValueError(f"`{expression[:64]}` is no JMESPath expression: {error}") from error


def _check(source: Source) -> None:
    """Raise `ValueError` when a path or an expression of the source is unreadable."""
    for path in _paths(source):
        _begun(path)
    if isinstance(source, Lookup) and source.jmes:
        if source.path:
            raise ValueError("a `path` and a `jmes` expression are two sources: give one")
        compiled_expression(source.jmes.removeprefix("$."))
