"""Which kinds of sensor are installed, and the facade through which alone the core talks to a plugin.

The facade checks what goes in and what comes out: a plugin that raises, or returns what the contract forbids,
costs the payload in hand (rejected as `plugin-fault`), never the delivery or the process.
"""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec

from plugins.bounds import MAX_ID_CHARS, MAX_TEXT_CHARS, MAX_TITLE_CHARS, PluginFault, all_bounded, short
from plugins.contract import Collector, Handshake, Joining, Normalized, SensorV1
from plugins.payload import MAX_ITEMS, PayloadFault
from plugins.pulling import PullAccess, Pulling
from plugins.streams import Unreadable, opened
from risk.model import Rejection, Signal
from risk.values import KeyFault, Strict, parse_bytes, parse_duration, tagged

GROUP = "gateway.sensors"

DEFAULT_OVERLOAD_STATUS = 429
"""What a sender is told when it sends too much, unless its kind knows better."""

AT_A_STRETCH = 64
"""Most signals that are checked before other threads may have their turn: some 20 microseconds."""


class OptionsFault(Exception):
    """The operator's `options` are not what the kind takes; `path` is the key path below `options`."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(f"{path}: {text}" if path else text)
        self.path = path
        self.text = text


class SensorFacade:
    """One kind of sensor, as the core sees it."""

    def __init__(self, plugin: SensorV1) -> None:
        self._plugin = plugin
        self.kind = plugin.kind
        self.title = plugin.title
        self.options_type = plugin.options_type
        self.samples = plugin.samples
        self.overload_status: int = getattr(plugin, "overload_status", DEFAULT_OVERLOAD_STATUS)
        self.plugin = plugin
        self.joining: Joining | None = plugin if isinstance(plugin, Joining) else None
        self.pull_access: PullAccess | None = plugin.pull_access if isinstance(plugin, Pulling) else None
        self.identity_kinds: tuple[str, ...] = tuple(getattr(plugin, "identity_kinds", ()))
        self.headers: frozenset[str] = frozenset(getattr(plugin, "headers", ()))
        self.handshakes: frozenset[Handshake] = frozenset(getattr(plugin, "handshakes", ()))
        self._keeps_events: bool = getattr(plugin, "reads_events", False)

    def parse_options(self, raw: Mapping[str, Any]) -> Strict:
        """Return the kind's options from plain YAML values. Raises `OptionsFault`."""
        try:
            return msgspec.convert(_with_units(raw, self.options_type, ""), self.options_type)
        except msgspec.ValidationError as error:
            text, _, path = str(error).partition(" - at `$")
            path, told = path.rstrip("`").lstrip("."), error.__cause__
            if isinstance(told, KeyFault):
                path, text = _below(path, told.key), f"{told}: {told.hint}" if told.hint else str(told)
            raise OptionsFault(path, text + _nearest(text, self.options_type)) from error

    def opened(self, payloads: Sequence[Any]) -> list[Any]:
        """Return the payloads without what delivery services put around them. Raises `PayloadFault` for too many."""
        return opened(payloads, keeps_events=self._keeps_events)

    def normalize(
        self,
        payloads: Sequence[Any],
        options: Any,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return what the plugin makes of the payloads of one delivery; item numbers run through all of them.

        Never raises for what a sensor sent: a fault of the plugin becomes a rejection of that payload.
        """
        all_of_them = Collector()
        items = 0
        try:
            inner = self.opened(payloads)
        except PayloadFault as fault:
            return Normalized(rejections=(Rejection(index=0, code=fault.code, error=str(fault)),))
        if payloads and not inner:
            all_of_them.ignore()
        for payload in inner:
            if isinstance(payload, Unreadable):
                all_of_them.reject(items, payload.code, payload.error, payload.item)
                items += 1
                continue
            try:
                one = self._plugin.normalize(
                    payload, options, sensor=sensor, received_at=received_at, headers=headers
                )
                self._gather(all_of_them, one, items, sensor, received_at)
                items += max(1, one.items)
            except Exception as error:  # noqa: BLE001 - whatever a plugin raises is its own fault
                text = f"sensor kind `{self.kind}`: {type(error).__name__}: {error}"
                all_of_them.reject(items, "plugin-fault", text[:MAX_TITLE_CHARS], payload)
                items += 1
            if items > MAX_ITEMS:
                return _too_many(items)
        return all_of_them.done(items)

    def _gather(
        self, into: Collector, one: Normalized, first: int, sensor: str, received_at: datetime
    ) -> None:
        """Check a plugin's result and add it. Raises `PluginFault` before anything is added."""
        if not isinstance(one, Normalized) or len(one.origins) != len(one.signals):
            raise PluginFault("the result is not a whole `Normalized`")
        checked: list[Signal] = []
        # What is compiled holds the interpreter: of a large delivery, some at a stretch.
        for at in range(0, len(one.signals), AT_A_STRETCH):
            checked += all_bounded(one.signals[at : at + AT_A_STRETCH], sensor, received_at)
        sources = one.sources or tuple({} for _ in checked)
        if len(sources) != len(checked):
            raise PluginFault("`sources` does not match `signals`")
        into.extend(checked, [first + origin for origin in one.origins] if first else one.origins, sources)
        for each in one.rejections:
            into.reject(first + each.index, each.code, each.error[:MAX_TEXT_CHARS], each.item)
        into.ignore(one.ignored)
        for resource in one.pulls:
            into.pull(short(resource, MAX_ID_CHARS))


class Catalog:
    """The installed kinds of sensor by name."""

    def __init__(self, plugins: Iterable[SensorV1]) -> None:
        self._facades = {plugin.kind: SensorFacade(plugin) for plugin in plugins}

    @classmethod
    def discover(cls, entries: Iterable[EntryPoint] | None = None) -> "Catalog":
        """Return the catalog of all installed plugins. Raises `PluginFault`.

        `entries` default to the entry points of the group `gateway.sensors`.
        """
        found = list(entry_points(group=GROUP) if entries is None else entries)
        if not found:
            raise PluginFault(
                f"no sensor kinds are installed: entry-point group `{GROUP}` is empty"
                " (install the project: `pip install -e .`)"
            )
        return cls(_load(entry) for entry in found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all kinds, sorted."""
        return tuple(sorted(self._facades))

    def sensor(self, kind: str) -> SensorFacade:
        """Return the facade of a kind. Raises `PluginFault` with the nearest name."""
        facade = self._facades.get(kind)
        if facade is None:
            near = difflib.get_close_matches(kind, self.kinds, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"installed are {', '.join(self.kinds)}"
            raise PluginFault(f"sensor kind `{kind}`: not installed: {hint}")
        return facade


def _load(entry: EntryPoint) -> SensorV1:
    try:
        plugin = entry.load()()
    except Exception as error:
        raise PluginFault(f"sensor kind `{entry.name}`: {type(error).__name__}: {error}") from error
    if getattr(plugin, "kind", None) != entry.name:
        raise PluginFault(f"sensor kind `{entry.name}`: the plugin calls itself something else")
    if not isinstance(plugin, SensorV1):
        raise PluginFault(f"sensor kind `{entry.name}`: does not follow the contract `SensorV1`")
    return plugin


def _too_many(items: int) -> Normalized:
    error = f"{items} items exceed {MAX_ITEMS}: send them in smaller deliveries"
    return Normalized(rejections=(Rejection(index=0, code="too-many-items", error=error),), items=items)


def _below(path: str, key: tuple[str | int, ...]) -> str:
    """Return the key path of what stands at `key` below a path, as people write it."""
    return "".join([path, *(f"[{each}]" if isinstance(each, int) else f".{each}" for each in key)]).lstrip(
        "."
    )


def _nearest(text: str, options_type: type[Strict]) -> str:
    """Return a hint for a key that is unknown, "" for any other fault."""
    match = re.search(r"unknown field `([^`]*)`", text)
    if match is None:
        return ""
    near = difflib.get_close_matches(match[1], _known_keys(options_type), n=1)
    return f": did you mean `{near[0]}`?" if near else ""


def _known_keys(options_type: type[Strict]) -> set[str]:
    """Return every key of the options at any depth."""
    keys: set[str] = set()
    waiting: list[Any] = [options_type]
    while waiting:
        fields = _fields_of(waiting.pop())
        waiting.extend(each for name, each in fields.items() if name not in keys)
        keys.update(fields)
    return keys


# --- options -------------------------------------------------------------------------------------


def _with_units(value: Any, wanted: Any, path: str) -> Any:
    """Return plain YAML values with `15m` and `1MiB` turned into numbers where the type says so."""
    if get_origin(wanted) is Annotated:
        return _measure(value, wanted, path)
    if isinstance(value, Mapping):
        fields = _fields_of(wanted)
        return {name: _with_units(each, fields.get(name), f"{path}.{name}") for name, each in value.items()}
    parts = get_args(wanted)
    if isinstance(value, list | tuple):
        each_type = parts[0] if parts else None
        return [_with_units(each, each_type, f"{path}[{number}]") for number, each in enumerate(value)]
    measure = next((part for part in parts if get_origin(part) is Annotated), None)
    return value if measure is None or value is None else _measure(value, measure, path)


def _fields_of(wanted: Any) -> dict[str, Any]:
    for part in (wanted, *get_args(wanted)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return get_type_hints(part, include_extras=True)
    return {}


def _measure(value: Any, wanted: Any, path: str) -> Any:
    for meta in get_args(wanted)[1:]:
        extra = getattr(meta, "extra", None)
        for tag, parse in (("duration", parse_duration), ("bytes", parse_bytes)):
            if tagged(extra, tag):
                try:
                    return parse(value if isinstance(value, str) else str(value))
                except ValueError as error:
                    raise OptionsFault(path.lstrip("."), str(error)) from error
    return value
