"""Sensor kind `generic`: any JSON, by a mapping that is written in the configuration.

Every field of a signal is looked up by a *source*: a path below the item (`host.name`, `alerts[0].id`), a
path below the whole payload (`$.tenant`), several paths of which the first that leads somewhere counts, or a
literal (`{value: …}`). What is missing is missing; what is there but unreadable is reported, never guessed.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

import msgspec

from plugins.contract import Collector, Normalized, Sample, after
from plugins.levels import Range
from plugins.payload import MAX_ITEMS, digest, follow, parse_path, parse_time, text_of
from plugins.samples.generic import SAMPLES
from risk.model import Identifier, Severity, Signal, SignalType
from risk.values import Duration, Strict

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
    Field: value: a literal instead of a path, or for when no path leads anywhere.
    """

    path: str | tuple[str, ...] = ()
    value: str | int | float | bool | None = None

    def __post_init__(self) -> None:
        _check(self)


Source = str | Lookup


class DeviceSource(Strict, frozen=True):
    """One identifier of the device.

    Field: kind: `serial`, `hostname`, `sensor-device-id`, ... ; it decides how strongly the value names a
    device. Field: path: where the value stands.
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
    """The mapping. Only `device` is required.

    Field: items: path to the list of items (`alerts`, `data.rows`); without it the payload is the one item.
    Field: device: identifiers of the device, at least one of which must be there.
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
    """

    device: tuple[DeviceSource, ...]
    items: str | None = None
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
    facts: dict[str, Source] = msgspec.field(default_factory=dict)
    expires_after: Duration | None = None

    def __post_init__(self) -> None:
        if not self.device:
            raise ValueError("`device` needs at least one identifier")
        if self.items is not None:
            parse_path(self.items.removeprefix("$."))
        ids = (self.external_id, self.event_id, self.observed_at)
        texts = (self.title, self.description, self.why, self.category)
        for source in (*ids, *texts, *self.actions, *self.facts.values()):
            _check(source)


class _ItemFault(Exception):
    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class _Reader:
    """Follows sources from one item, and takes note of the paths that led somewhere."""

    def __init__(self, payload: Any, item: Any) -> None:
        self._payload = payload
        self._item = item
        self.used: dict[str, str] = {}

    def values(
        self, field: str, source: Source, is_meant: Callable[[Any], bool] = lambda value: value is not None
    ) -> list[Any]:
        """Return all values of the first path that leads to one that is meant.

        Without one: the literal, else whatever any path leads to, null included.
        """
        rest: list[Any] = []
        for path in _paths(source):
            inner = path.removeprefix("$.")
            root = self._payload if path != inner else self._item
            found = follow(root, parse_path(inner))
            if any(is_meant(value) for value in found):
                self.used[field] = path
                return found
            rest += found
        literal = source.value if isinstance(source, Lookup) else None
        if literal is None:
            return rest
        self.used[field] = f"literal {literal!r}"
        return [literal]

    def first(self, field: str, source: Source) -> Any:
        """Return the first value that is not null, None without one."""
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
        items = _items(payload, options)
        if not items:
            gathered.reject(0, "no-items", f"`{options.items}` leads to no list with items", payload)
        for number, item in enumerate(items):
            reader = _Reader(payload, item)
            try:
                if _is_one_of(reader, "ignore", options.ignore):
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
        return gathered.done(max(1, len(items)))

    samples: ClassVar[tuple[Sample, ...]] = SAMPLES


def _items(payload: Any, options: GenericOptions) -> list[Any]:
    if options.items is None:
        return [payload]
    found = follow(payload, parse_path(options.items.removeprefix("$.")))
    if len(found) == 1 and isinstance(found[0], list):
        found = found[0]
    return found[: MAX_ITEMS + 1]


def _signal(reader: _Reader, options: GenericOptions, sensor: str, received_at: datetime) -> Signal:
    """Return the signal of one item, without a message id when the mapping gives none."""
    is_closing = _is_one_of(reader, "resolves", options.resolves)
    kind = SignalType.REMEDIATION if is_closing else _type(reader, options)
    observed_at = _observed_at(reader, options, received_at)
    external_id = _external_id(reader, options)
    return Signal(
        sensor=sensor,
        type=kind,
        observed_at=observed_at,
        received_at=received_at,
        external_id=external_id,
        event_id=reader.text("event_id", options.event_id),
        device_ids=_device_ids(reader, options, sensor),
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
    own = {kind.value: kind for kind in SignalType}
    table = own | {name.casefold(): kind for name, kind in options.type.table.items()}
    kind = table.get(word.casefold(), options.type.default)
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
        table = {name.casefold(): severity for name, severity in options.level.table.items()}
        found = table.get(word) or (None if table else SYNONYMS.get(word))
    return found or options.level.default or Severity.UNKNOWN


def _from_ranges(value: Any, ranges: Sequence[Range]) -> Severity | None:
    try:
        number = float(_word(value))
    except ValueError:
        return None
    reached = [each for each in ranges if number >= each.at_least]
    return max(reached, key=lambda each: each.at_least).level if reached else None


def _observed_at(reader: _Reader, options: GenericOptions, received_at: datetime) -> datetime:
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


def _device_ids(reader: _Reader, options: GenericOptions, sensor: str) -> tuple[Identifier, ...]:
    found = [
        Identifier(source.kind, value, sensor if source.kind.startswith("sensor-device-") else "")
        for source in options.device
        if (value := reader.text(f"device.{source.kind}", source.path).strip())
    ]
    if not found:
        wanted = ", ".join(f"`{path}`" for source in options.device for path in _paths(source.path))
        raise _ItemFault("no-device", f"no identifier of the device at {wanted}")
    return tuple(found)


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
    wanted = {_word(each).casefold() for each in source.equals}
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
    path = source if isinstance(source, str) else source.path
    return path if isinstance(path, tuple) else (path,) if path else ()


def _check(source: Source) -> None:
    """Raise `ValueError` when a path of the source is unreadable."""
    for path in _paths(source):
        parse_path(path.removeprefix("$."))
