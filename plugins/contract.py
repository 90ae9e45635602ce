"""The contract between Posturegate and a sensor plugin, version 1.

A plugin is a class without state that a package names under the entry-point group `gateway.sensors`. It turns
one verified payload into signals. It does not fetch, store, score, wait or read a clock: the same payload and
options give the same signals. Written for plugin authors: `docs/sensors.md`.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Protocol, runtime_checkable

import msgspec

from risk.model import Identifier, Rejection, Severity, Signal, SignalType
from risk.values import Strict

NO_SUBJECT = "no-subject"
"""Code of a rejection: the item is understood, and names only what is neither a device nor a person.

Sending it again cannot help, so its sender is told of no error."""


class Normalized(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin made of one payload.

    `items` counts the items of the payload; `origins` holds the item of each signal, `sources` the payload
    path that each field of it came from (for people). `ignored` counts items that are rightly no news of a
    device. `pulls` names resources that the product says have changed, to be fetched from it: such an item is
    no news by itself, and is counted as ignored too.
    """

    signals: tuple[Signal, ...] = ()
    origins: tuple[int, ...] = ()
    sources: tuple[Mapping[str, str], ...] = ()
    rejections: tuple[Rejection, ...] = ()
    ignored: int = 0
    items: int = 1
    pulls: tuple[str, ...] = ()


class Handshake(StrEnum):
    """How a product asks, before it sends anything, whether the address is willing.

    An answer proves nothing: every delivery still has to be verified.
    """

    GRAPH = "graph"
    OKTA = "okta"
    CLOUDEVENTS = "cloudevents"


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a sample payload must become: the contract tests compare every field that is set."""

    type: SignalType
    device_ids: tuple[Identifier, ...] = ()
    level: Severity | None = None
    external_id: str | None = None
    title: str | None = None
    observed_at: datetime | None = None
    expires_at: datetime | None = None
    resolves: bool = False
    facts: Mapping[str, str | int | float | bool | None] | None = None
    actions: Sequence[str] | None = None
    user_ids: tuple[Identifier, ...] | None = None


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A payload, written by the plugin's author on the product's documented fields, and what it becomes."""

    name: str
    payload: Any
    expected: tuple[Expected, ...] = ()
    rejected: tuple[str, ...] = ()
    ignored: int = 0
    options: Mapping[str, Any] = {}
    headers: Mapping[str, str] = {}
    pulls: tuple[str, ...] = ()


@runtime_checkable
class SensorV1(Protocol):
    """One kind of sensor.

    `options_type` is the plugin's own configuration section, checked before `normalize` ever sees it. A plugin
    may also have `overload_status` (429 or 503: what its sender must be told when there is too much; default
    429), `identity_kinds` (kinds of the identifiers that it takes from its product; default: whatever its options
    say), `handshakes` (those that are answered; default none), `headers` (lower-case names of headers that it reads
    beside `webhook-id`, `content-type`, `user-agent` and those named `ce-…`; never one with a credential) and
    `reads_events` (whether it opens CloudEvents with `data_base64` itself; default: they are opened before it).
    """

    kind: ClassVar[str]
    title: ClassVar[str]
    options_type: ClassVar[type[Strict]]
    samples: ClassVar[tuple[Sample, ...]]

    def normalize(
        self,
        payload: Any,
        options: Any,
        *,
        sensor: str,
        received_at: datetime,
        headers: Mapping[str, str],
    ) -> Normalized:
        """Return the signals of one payload, and a rejection for each item that makes none.

        `payload` is any JSON value. `headers` have lower-case names; see `headers` of the class. Pure; should not
        raise, and when it does the payload is rejected as `plugin-fault`.
        """


class Fragment(msgspec.Struct, frozen=True):
    """A part of a statement whose other parts may come in other messages. `key` is equal for all of them."""

    key: str
    content: Any


@runtime_checkable
class Joining(Protocol):
    """A plugin whose product tells one thing in several messages. Both methods are pure."""

    def fragments(self, payload: Any) -> Sequence[Fragment]:
        """Return the parts of a payload that mean more beside others of the same key; JSON values."""
        ...

    def joined(self, payload: Any, earlier: Sequence[Any]) -> Any:
        """Return a payload for `normalize` with the contents of earlier fragments in it, its own items first."""
        ...


class Collector:
    """Gathers signals, rejections and ignored items of one payload while a plugin walks over it."""

    def __init__(self) -> None:
        self._signals: list[Signal] = []
        self._origins: list[int] = []
        self._sources: list[Mapping[str, str]] = []
        self._rejections: list[Rejection] = []
        self._ignored = 0
        self._pulls: list[str] = []

    def add(self, item: int, signal: Signal, sources: Mapping[str, str]) -> None:
        """Take a signal that came from this item."""
        self._signals.append(signal)
        self._origins.append(item)
        self._sources.append(sources)

    def extend(
        self, signals: Iterable[Signal], items: Iterable[int], sources: Iterable[Mapping[str, str]]
    ) -> None:
        """Take several signals with the item that each came from."""
        self._signals += signals
        self._origins += items
        self._sources += sources

    def reject(self, item: int, code: str, error: str, content: Any = None) -> None:
        """Take note that this item makes no signal, and why."""
        self._rejections.append(Rejection(index=item, code=code, error=error, item=content))

    def ignore(self, count: int = 1) -> None:
        """Take note of items that are rightly no news of a device."""
        self._ignored += count

    def pull(self, resource: str) -> None:
        """Take note of a resource of the product that has changed and has to be fetched."""
        self._pulls.append(resource)

    def done(self, items: int = 1) -> Normalized:
        """Return what was gathered."""
        return Normalized(
            signals=tuple(self._signals),
            origins=tuple(self._origins),
            sources=tuple(self._sources),
            rejections=tuple(self._rejections),
            ignored=self._ignored,
            items=items,
            pulls=tuple(dict.fromkeys(self._pulls)),
        )


def after(at: datetime, seconds: float | None) -> datetime | None:
    """Return the instant that lies `seconds` after `at`, None for None."""
    return None if seconds is None else at + timedelta(seconds=seconds)
