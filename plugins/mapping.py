"""The mapping of sensor kind `generic`, as it is written in the configuration, and how its sources are spelled."""

from functools import lru_cache

import jmespath
import msgspec
from jmespath.exceptions import JMESPathError
from jmespath.parser import ParsedResult

from plugins.levels import Range
from plugins.payload import Step, parse_path
from risk.model import Severity, SignalType
from risk.values import Duration, KeyFault, Strict

WHOLE = -1
"""Where a path begins that looks at the whole payload."""

MAX_EXPRESSION = 1024


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
        _check(self, ())


Source = str | tuple[str, ...] | Lookup


class DeviceSource(Strict, frozen=True):
    """One identifier of the device or user.

    Field: kind: `serial`, `hostname`, `sensor-device-id`, ... ; it decides how strongly the value names a
    device. Field: path: where the value stands.
    """

    kind: str
    path: Source

    def __post_init__(self) -> None:
        _check(self.path, ("path",))


class UserSource(Strict, frozen=True):
    """One identifier of the user.

    Field: kind: `email`, `upn`, `entra-user-id`, ...; any other means something only together with this sensor.
    Field: path: where the value stands.
    """

    kind: str
    path: Source

    def __post_init__(self) -> None:
        _check(self.path, ("path",))


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
        _check(self.path, ("path",))


class ResolvesSource(Strict, frozen=True):
    """When an item closes its condition.

    Field: path: where the state stands.
    Field: equals: the values, without case, that mean that the condition is over.
    """

    path: Source
    equals: tuple[str | int | bool, ...]

    def __post_init__(self) -> None:
        _check(self.path, ("path",))


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
        _check(self.path, ("path",))


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
        for name in (
            "items",
            "external_id",
            "event_id",
            "observed_at",
            "title",
            "description",
            "why",
            "category",
        ):
            _check(getattr(self, name) or "", (name,))
        for number, source in enumerate(self.actions):
            _check(source, ("actions", number))
        for name, source in self.facts.items():
            _check(source, ("facts", name))


def begun(path: str) -> tuple[int, tuple[Step, ...]]:
    """Return where a path begins (`WHOLE`, or how many objects around the item) and its steps. Raises `ValueError`."""
    if path.startswith("$."):
        return WHOLE, parse_path(path[2:])
    up = len(path) - len(path.lstrip("^"))
    return up, parse_path(path[up:].removeprefix(".") if up else path)


def paths(source: Source) -> tuple[str, ...]:
    """Return the paths of a source as they are written."""
    path: str | tuple[str, ...] = source.path if isinstance(source, Lookup) else source
    return path if isinstance(path, tuple) else (path,) if path else ()


@lru_cache(maxsize=1024)
def compiled_expression(expression: str) -> ParsedResult:
    """Return a JMESPath expression ready to be searched with. Raises `ValueError` for one that cannot be read."""
    if len(expression) > MAX_EXPRESSION:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION} characters")
    try:
        return jmespath.compile(expression)
    except (JMESPathError, RecursionError) as error:
        raise ValueError(
            f"`{expression[:64]}` is no JMESPath expression{_reason(expression, error)}"
        ) from error


def _reason(expression: str, error: Exception) -> str:
    """Return where an expression stops being one, on one line."""
    at = getattr(error, "lex_position", None)
    if not isinstance(at, int):
        return ""
    return (
        f": it ends too early, after {at} characters"
        if at >= len(expression)
        else f" at `{expression[at : at + 16]}`"
    )


_PATH_HINT = (
    'a path is keys and positions, such as `host.name`, `alerts[0].id`, `hosts[*].ip`, `labels["os.name"]`'
)


def _check(source: Source, key: tuple[str | int, ...]) -> None:
    """Raise `KeyFault` when a path or an expression of the source, which stands at `key`, is unreadable."""
    is_lookup = isinstance(source, Lookup)
    path = source.path if isinstance(source, Lookup) else source
    for number, each in enumerate(paths(source)):
        try:
            begun(each)
        except ValueError as error:
            where = (*key, *(("path",) if is_lookup else ()), *((number,) if isinstance(path, tuple) else ()))
            hint = f"{_PATH_HINT}{'; write an expression as `{jmes: …}`' if _is_expression(each) else ''}"
            raise KeyFault(where, str(error), hint) from error
    if isinstance(source, Lookup) and source.jmes:
        if source.path:
            raise KeyFault(key, "a `path` and a `jmes` expression are two sources: give one")
        try:
            compiled_expression(source.jmes.removeprefix("$."))
        except ValueError as error:
            raise KeyFault((*key, "jmes"), str(error), "https://jmespath.org has the language") from error


def _is_expression(path: str) -> bool:
    """Return whether a path that cannot be read is an expression of JMESPath."""
    try:
        compiled_expression(path.removeprefix("$."))
    except ValueError:
        return False
    return True
