"""Which device record a set of typed identifiers names. Pure; new ids come from an injected maker.

The rules, in order:

1. Junk (`localhost`, all zeros, container ids, ...) names nothing.
2. Strong identifiers are tried from the strongest kind down. The first that a record owns decides, unless the
   record contradicts a stronger identifier of the set (a recycled agent id on another serial).
3. A hostname joins only when one record alone has it and that record contradicts no strong identifier of the
   set. A set with nothing but an ambiguous hostname names the one record without strong identifiers, if any.
4. Identifiers of the set that nobody owns are added to the record. One that another record owns is a
   *conflict*: it is recorded and stays where it is. Records are never merged.

Hostnames are compared whole, without case: `lt-014` and `lt-014.example.org` are two names.
"""

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import msgspec

from risk.model import JUNK_VALUES, STRONG_KINDS, DeviceId, Identifier

MAX_VALUE_CHARS = 256
"""Longest identifier value; a longer one names nothing."""

MAX_IDENTIFIERS = 64
"""Most identifiers of one record; more are recorded as conflicts."""

MAX_CONFLICTS = 1000
"""Most conflicts that are remembered; the oldest is forgotten first."""

MAX_SHARED = 1000
"""Most records remembered under one hostname; a name that common identifies nobody."""

SENSOR_SCOPED: frozenset[str] = frozenset({"sensor-device-id", "sensor-device-uuid"})
"""Kinds whose values a sensor hands out itself: they mean nothing without its name."""

_STRENGTH: dict[str, int] = {kind: rank for rank, kind in enumerate(STRONG_KINDS)}
_SEPARATOR = "\x1f"
_HOSTNAME = f"hostname{_SEPARATOR}"
_MEANINGLESS = re.compile(r"[0\-:. ]*|[f\-:. ]+|x+|\?+|.*[\x00-\x1f\x7f].*", re.DOTALL)
_CONTAINER = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f]*:[0-9a-f:.]*")
_HEX_KINDS = frozenset({"certificate-sha256"})


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that could not be attached to the record it was sent with, for a person to look at."""

    device_id: DeviceId
    identifier: Identifier
    owner: DeviceId | None
    reason: str


def random_device_id() -> DeviceId:
    """Return a fresh random id of a device record."""
    return DeviceId(f"dev_{secrets.token_hex(10)}")


@lru_cache(maxsize=16_384)
def normalise_identifier(identifier: Identifier) -> Identifier | None:
    """Return the identifier in the form that is compared, None when it is junk that many devices share.

    Example:
    >>> normalise_identifier(Identifier("hostname", " LT-014.Example.org. "))
    Identifier(kind='hostname', value='lt-014.example.org', issuer='')
    >>> normalise_identifier(Identifier("serial", "0000-0000")) is None
    True

    """
    value = unicodedata.normalize("NFKC", identifier.value).strip().casefold()
    if identifier.kind == "hostname":
        value = value.rstrip(".")
        if _CONTAINER.fullmatch(value) or _ADDRESS.fullmatch(value) or value.startswith("localhost."):
            return None
    elif identifier.kind in _HEX_KINDS:
        value = value.replace(":", "")
    elif value.startswith("{") and value.endswith("}"):
        value = value[1:-1]
    if identifier.kind == "sensor-device-id":
        # A sensor may count its devices from 0: only emptiness is junk among numbers that it gave out itself.
        is_junk = not value or _SEPARATOR in value
    else:
        is_junk = value in JUNK_VALUES or _MEANINGLESS.fullmatch(value) is not None
    if is_junk or not identifier.kind or len(value) > MAX_VALUE_CHARS:
        return None
    return Identifier(identifier.kind, value, identifier.issuer)


def identifier_key(identifier: Identifier) -> str | None:
    """Return the text under which the identifier is indexed, None when it is junk."""
    normal = normalise_identifier(identifier)
    return None if normal is None else _key(normal)


def name_of(identifiers: Iterable[Identifier]) -> str:
    """Return what people call a device: its hostname, else its strongest identifier, "" without any."""
    ranked = sorted(identifiers, key=lambda each: (each.kind != "hostname", _rank(each), each.value))
    return ranked[0].value if ranked else ""


class DeviceIndex:
    """Identifiers to device records.

    `identifiers_of` tells what a record owns; `make_id` makes a new record's id.
    `draft` gives a layer on top that can be committed or thrown away, so that what is not durable is not
    visible.
    """

    def __init__(
        self,
        identifiers_of: Callable[[DeviceId], Sequence[Identifier]],
        make_id: Callable[[], DeviceId] = random_device_id,
    ) -> None:
        self._identifiers_of = identifiers_of
        self._make_id = make_id
        self._owners: dict[str, DeviceId] = {}
        self._shared: dict[str, tuple[DeviceId, ...]] = {}
        self._base: DeviceIndex | None = None
        self._changed: dict[DeviceId, tuple[Identifier, ...]] = {}
        self._conflicts: dict[Conflict, None] = {}

    def draft(self) -> "DeviceIndex":
        """Return an empty layer over this index; `commit` writes it down."""
        layer = DeviceIndex(self._identifiers_of, self._make_id)
        layer._base = self
        return layer

    def commit(self) -> None:
        """Apply a draft to the index it was drawn from. A draft is used once."""
        base = self._base
        if base is None:
            return
        base._owners.update(self._owners)  # noqa: SLF001 - the same class
        base._shared.update(self._shared)  # noqa: SLF001 - the same class
        base._conflicts.update(self._conflicts)  # noqa: SLF001 - the same class
        while len(base._conflicts) > MAX_CONFLICTS:  # noqa: SLF001 - the same class
            del base._conflicts[next(iter(base._conflicts))]  # noqa: SLF001 - the same class

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Every conflict met, each once, oldest first."""
        return tuple(self._conflicts)

    @property
    def changed(self) -> dict[DeviceId, tuple[Identifier, ...]]:
        """Every record whose identifiers this draft changed, with all of its identifiers."""
        return self._changed

    def load(self, device_id: DeviceId, keys: str) -> None:
        """Take over a stored record: `keys` as `keys_text` gave them."""
        for key in keys.split("\n"):
            if not key.startswith(_HOSTNAME):
                self._owners[key] = device_id
            elif key not in self._owners:
                # Most names are alone; a tuple for each would be a quarter of the index.
                self._owners[key] = device_id
            else:
                shared = self._named(key)
                self._shared[key] = (*shared, device_id)[:MAX_SHARED]
        self._owners.pop("", None)

    def resolve(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the record that the identifiers name, None without one or when a hostname is ambiguous."""
        return self._match(_normal(identifiers))

    def resolve_or_create(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the record that the identifiers name, a new one without one; None when all are junk."""
        spelled = [
            (each, normal) for each in identifiers if (normal := normalise_identifier(each)) is not None
        ]
        if not spelled:
            return None
        device_id = self._match([normal for _, normal in spelled]) or self._make_id()
        self._attach(device_id, spelled)
        return device_id

    def adopt(self, device_id: DeviceId, identifiers: Iterable[Identifier]) -> None:
        """Give the record every identifier that nobody else owns; conflicts are recorded."""
        spelled = [
            (each, normal) for each in identifiers if (normal := normalise_identifier(each)) is not None
        ]
        self._attach(device_id, spelled)

    def identifiers_of(self, device_id: DeviceId) -> tuple[Identifier, ...]:
        """Return all identifiers of a record as this layer sees them."""
        drawn = self._changed.get(device_id)
        return tuple(self._identifiers_of(device_id)) if drawn is None else drawn

    def _match(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        strong = sorted((each for each in identifiers if each.kind in _STRENGTH), key=_rank)
        for each in strong:
            owner = self._owner(_key(each))
            if owner is not None and not self._contradicts(
                owner, [x for x in strong if _rank(x) < _rank(each)]
            ):
                return owner
        for each in identifiers:
            if each.kind not in _STRENGTH and (found := self._by_weak(each, strong)) is not None:
                return found
        return None

    def _by_weak(self, identifier: Identifier, strong: Sequence[Identifier]) -> DeviceId | None:
        """Return the one record with this weak identifier that fits the strong ones."""
        if identifier.kind != "hostname":
            owner = self._owner(_key(identifier))
            return None if owner is None or self._contradicts(owner, strong) else owner
        named = self._named(_key(identifier))
        if len(named) == 1:
            return None if self._contradicts(named[0], strong) else named[0]
        if strong:
            return None
        nameless = [device_id for device_id in named if not _strong(self.identifiers_of(device_id))]
        return nameless[0] if len(nameless) == 1 else None

    def _contradicts(self, device_id: DeviceId, strong: Iterable[Identifier]) -> bool:
        """Return whether the record has another value for the kind and issuer of any of `strong`."""
        asked = list(strong)
        if not asked:
            return False
        values: dict[tuple[str, str], set[str]] = {}
        for each in _normal(self.identifiers_of(device_id)):
            values.setdefault((each.kind, _issuer(each)), set()).add(each.value)
        return any(
            (known := values.get((each.kind, _issuer(each)))) is not None and each.value not in known
            for each in asked
        )

    def _attach(self, device_id: DeviceId, spelled: Iterable[tuple[Identifier, Identifier]]) -> None:
        """Give the record every identifier that nobody else owns."""
        for identifier, normal in spelled:
            key = _key(normal)
            if normal.kind == "hostname":
                self._share(device_id, key, identifier)
                continue
            owner = self._owner(key)
            if owner is None:
                if self._add(device_id, identifier):
                    self._owners[key] = device_id
            elif owner != device_id:
                self._conflict(device_id, identifier, owner, "another record owns it")

    def _share(self, device_id: DeviceId, key: str, identifier: Identifier) -> None:
        named = self._named(key)
        if device_id in named:
            return
        if len(named) >= MAX_SHARED:
            self._conflict(device_id, identifier, None, "too many records have this name")
        elif self._add(device_id, identifier):
            if not named:
                self._owners[key] = device_id
            else:
                self._shared[key] = (*named, device_id)
                self._conflict(device_id, identifier, named[0], "another record has this name")

    def _add(self, device_id: DeviceId, identifier: Identifier) -> bool:
        owned = self.identifiers_of(device_id)
        if len(owned) >= MAX_IDENTIFIERS:
            self._conflict(device_id, identifier, None, "the record has too many identifiers")
            return False
        self._changed[device_id] = (*owned, identifier)
        return True

    def _conflict(
        self, device_id: DeviceId, identifier: Identifier, owner: DeviceId | None, reason: str
    ) -> None:
        conflict = Conflict(device_id=device_id, identifier=identifier, owner=owner, reason=reason)
        self._conflicts[conflict] = None

    def _owner(self, key: str) -> DeviceId | None:
        owner = self._owners.get(key)
        return self._base._owner(key) if owner is None and self._base is not None else owner  # noqa: SLF001

    def _named(self, key: str) -> tuple[DeviceId, ...]:
        """Return every record that has this hostname: the one that had it first, or all of them."""
        named = self._shared.get(key)
        if named is not None:
            return named
        alone = self._owners.get(key)
        if alone is not None:
            return (alone,)
        return self._base._named(key) if self._base is not None else ()  # noqa: SLF001 - the same class


def keys_text(identifiers: Iterable[Identifier]) -> str:
    """Return the index keys of a record's identifiers, one a line, for the store."""
    return "\n".join(key for each in identifiers if (key := identifier_key(each)) is not None)


def _normal(identifiers: Iterable[Identifier]) -> list[Identifier]:
    return [normal for each in identifiers if (normal := normalise_identifier(each)) is not None]


def _strong(identifiers: Iterable[Identifier]) -> list[Identifier]:
    return [each for each in identifiers if each.kind in _STRENGTH]


def _rank(identifier: Identifier) -> int:
    return _STRENGTH.get(identifier.kind, len(_STRENGTH))


def _issuer(identifier: Identifier) -> str:
    """Return the issuer where it scopes the value; a hostname or serial means the same from everyone."""
    return "" if identifier.kind in {"hostname", "serial"} else identifier.issuer


def _key(normal: Identifier) -> str:
    return f"{normal.kind}{_SEPARATOR}{_issuer(normal)}{_SEPARATOR}{normal.value}"
