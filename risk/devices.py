"""Which device record a set of typed identifiers names. Pure; new ids come from an injected maker.

The rules, in order:

1. Junk (`localhost`, all zeros, container ids, ...) names nothing.
2. Strong identifiers are tried from the strongest kind down. The first that a record owns decides, unless the
   record has another value of an `EXCLUSIVE` kind of the set (a recycled agent id on another serial).
3. Every other record that owns a strong identifier of the set is the same device: it is *merged* into the first,
   whatever came first. Two records that have two values of an `EXCLUSIVE` kind, or that an operator keeps apart, are
   NEVER merged: the identifier that both claim becomes a *case*, and all that claim it are contested until an operator
   has settled it.
4. Hostnames join only with `JoinRules.joins_hostnames`: a record joins the one other record that has the name, if none
   of its strong identifiers has another value there. A name that several such records have joins nobody.
5. Identifiers of the set that nobody owns are added to the record. A weak one that another record owns stays there.
6. A record without strong identifiers is *parked*. It becomes part of the first record with strong identifiers that is
   alone in having its name (with `joins_hostnames`) or another weak identifier of it. There are `max_parked` at most.

Which records are one, and which are contested, does not depend on the order in which the sets arrive as far as strong
identifiers decide, and hostnames that one device alone has. Where a name belongs to several devices, what came by the
name alone while one of them was known stays with that one.

Hostnames are compared without case and whole, except that the domains of `JoinRules.domains` are left out:
`LT-014.corp.example` is `lt-014` only where `corp.example` is listed.
"""

import re
import secrets
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

from risk.joining import Case, Conflict, Join, JoinRules
from risk.model import JUNK_VALUES, STRONG_KINDS, DeviceId, Identifier

MAX_VALUE_CHARS = 256
"""Longest identifier value; a longer one names nothing."""

MAX_IDENTIFIERS = 64
"""Most identifiers of one record; more are recorded as conflicts."""

MAX_CONFLICTS = 1000
"""Most conflicts that are remembered; the oldest is forgotten first."""

MAX_MERGED_IDENTIFIERS = 256
"""Most identifiers of a record that others were merged into."""

MAX_CLAIMANTS = 16
"""Most records that are remembered as claiming one identifier."""

EXCLUSIVE: frozenset[str] = frozenset({"serial", "udid"})
"""Kinds of which a device has one value as long as it lives: they come with the hardware."""

MAX_SHARED = 1000
"""Most records remembered under one hostname; a name that common identifies nobody."""

SENSOR_SCOPED: frozenset[str] = frozenset({"sensor-device-id", "sensor-device-uuid"})
"""Kinds whose values a sensor hands out itself: they mean nothing without its name."""

_UNSCOPED: Final = frozenset({"hostname", "serial"})
_STRENGTH: dict[str, int] = {kind: rank for rank, kind in enumerate(STRONG_KINDS)}
_SEPARATOR: Final = "\x1f"
_STRONG = tuple(f"{kind}{_SEPARATOR}" for kind in STRONG_KINDS)
_HOSTNAME = f"hostname{_SEPARATOR}"
_CLAIM, _APART = "!", "~"
"""How lines of a stored record begin that are no identifier of it: no kind of identifier begins so."""
_MEANINGLESS = re.compile(r"[0\-:. ]*|[f\-:. ]+|x+|\?+|.*[\x00-\x1f\x7f].*", re.DOTALL)
_CONTAINER = re.compile(r"[0-9a-f]{12}|[0-9a-f]{64}")
_ADDRESS = re.compile(r"[0-9.]+|[0-9a-f]*:[0-9a-f:.]*")
_HEX_KINDS = frozenset({"certificate-sha256"})
_SURROUNDING: Final = frozenset(" {")
_MEANINGLESS_CHARS: Final = frozenset("0-:. fFxX?")
"""What a value is made of that `_MEANINGLESS` finds, unless it has control characters."""

_ADDRESS_CHARS: Final = frozenset("0123456789abcdefABCDEF:.")
"""What an address, or the id of a container, is made of."""

_NO_END_OF_JUNK: Final = frozenset("123456789")
"""None of `JUNK_VALUES` ends so."""


class ParkingFull(Exception):
    """A set names nobody that is known, by nothing strong, and no further such record is kept."""


def random_device_id() -> DeviceId:
    """Return a fresh random id of a device record."""
    return DeviceId(f"dev_{secrets.token_hex(10)}")


def normalise_identifier(identifier: Identifier) -> Identifier | None:
    """Return the identifier in the form that is compared, None when it is junk that many devices share.

    Example:
    >>> normalise_identifier(Identifier("hostname", " LT-014.Example.org. "))
    Identifier(kind='hostname', value='lt-014.example.org', issuer='')
    >>> normalise_identifier(Identifier("serial", "0000-0000")) is None
    True

    """
    # Worked out anew, not looked up: there may be more devices than are remembered.
    if not _is_plain(identifier.kind, identifier.value):
        return _normalised(identifier)
    plain = identifier.value.lower()
    return identifier if plain == identifier.value else Identifier(identifier.kind, plain, identifier.issuer)


def names_nothing(identifier: Identifier) -> bool:
    """Return whether `normalise_identifier` returns None."""
    return not _is_plain(identifier.kind, identifier.value) and _normalised(identifier) is None


def _is_plain(kind: str, value: str) -> bool:
    """Return whether a value is surely no junk, and in its normal form but for the case of its letters."""
    if not kind or not 0 < len(value) <= MAX_VALUE_CHARS or not value.isascii() or not value.isprintable():
        return False
    first, last = value[0], value[-1]
    if first in _SURROUNDING or last == " " or (first in _MEANINGLESS_CHARS and last in _MEANINGLESS_CHARS):
        return False
    if kind == "hostname":
        is_address = first in _ADDRESS_CHARS and last in _ADDRESS_CHARS
        if is_address or last == "." or value[:10].lower() == "localhost.":
            return False
    elif kind in _HEX_KINDS:
        return False
    return last in _NO_END_OF_JUNK or value.lower() not in JUNK_VALUES


@lru_cache(maxsize=16_384)
def _normalised(identifier: Identifier) -> Identifier | None:
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
        self.rules = JoinRules()
        self._identifiers_of = identifiers_of
        self._make_id = make_id
        self._owners: dict[str, DeviceId] = {}
        self._shared: dict[str, tuple[DeviceId, ...]] = {}
        self._claims: dict[str, tuple[DeviceId, ...]] = {}
        self._contested: dict[DeviceId, tuple[str, ...]] = {}
        self._apart: dict[DeviceId, frozenset[DeviceId]] = {}
        self._merged: dict[DeviceId, DeviceId] = {}
        self._parked: set[DeviceId] = set()
        self._newly_parked = 0
        self._base: DeviceIndex | None = None
        self._changed: dict[DeviceId, tuple[Identifier, ...]] = {}
        self._conflicts: dict[Conflict, None] = {}
        self.affected: list[DeviceId] = []
        """Records that a draft merged away or whose cases it changed, in the order in which it did."""
        self.joins: list[Join] = []
        """What a draft merged, in the order in which it did."""
        self.opened: list[Case] = []
        """Cases that a draft opened."""

    def draft(self) -> "DeviceIndex":
        """Return an empty layer over this index; `commit` writes it down."""
        layer = DeviceIndex(self._identifiers_of, self._make_id)
        layer.rules = self.rules
        layer._base = self
        return layer

    def commit(self) -> None:
        """Apply a draft to the index it was drawn from. A draft is used once."""
        base = self._base
        if base is None:
            return
        for name in ("_owners", "_shared", "_claims", "_contested", "_apart", "_merged", "_conflicts"):
            getattr(base, name).update(getattr(self, name))
        for key in [key for key in self._claims if not self._claims[key]]:
            del base._claims[key]  # noqa: SLF001 - the same class
        for device_id in [each for each in self._contested if not self._contested[each]]:
            del base._contested[device_id]  # noqa: SLF001 - the same class
        base._parked.difference_update(self._changed, self._merged)  # noqa: SLF001 - the same class
        base._parked.update(each for each in self._changed if self.is_parked(each))  # noqa: SLF001 - the same class
        while len(base._conflicts) > MAX_CONFLICTS:  # noqa: SLF001 - the same class
            del base._conflicts[next(iter(base._conflicts))]  # noqa: SLF001 - the same class

    @property
    def is_untouched(self) -> bool:
        """Whether this draft changes nothing."""
        return not (
            self._owners
            or self._shared
            or self._claims
            or self._contested
            or self._apart
            or self._merged
            or self._changed
            or self._conflicts
            or self.affected
        )

    @property
    def conflicts(self) -> tuple[Conflict, ...]:
        """Every conflict met, each once, oldest first."""
        return tuple(self._conflicts)

    @property
    def cases(self) -> tuple[Case, ...]:
        """Every open case of a committed index."""
        return tuple(
            Case(identifier=_identifier(key), owner=self._owner(key), claimants=tuple(sorted(claimants)))
            for key, claimants in self._claims.items()
            if claimants
        )

    @property
    def changed(self) -> dict[DeviceId, tuple[Identifier, ...]]:
        """Every record whose identifiers or cases this draft changed, with all of its identifiers."""
        return self._changed

    @property
    def merged(self) -> dict[DeviceId, DeviceId]:
        """Every record that this draft merged into another (of a committed index: that ever was)."""
        return self._merged

    @property
    def parked(self) -> int:
        """How many records wait for a device that shows itself under their name; a draft may count one too many."""
        below = 0 if self._base is None else self._base.parked
        return below + len(self._parked) + self._newly_parked

    def is_parked(self, device_id: DeviceId) -> bool:
        """Return whether the record has no strong identifier."""
        drawn = self._changed.get(device_id)
        if drawn is not None:
            return not any(each.kind in _STRENGTH for each in drawn)
        return device_id in self._parked if self._base is None else self._base.is_parked(device_id)

    def waiting(self, device_ids: Iterable[DeviceId]) -> frozenset[DeviceId]:
        """Return those of the records that are parked. As long as nothing is, none is looked at."""
        if not self.parked:
            return frozenset()
        return frozenset(each for each in device_ids if self._into(each) is None and self.is_parked(each))

    def key_of(self, identifier: Identifier) -> str | None:
        """Return the text under which the identifier is indexed, None when it is junk."""
        normal = normalise_identifier(identifier)
        return None if normal is None else self._key(normal)

    def survivor(self, device_id: DeviceId) -> DeviceId:
        """Return the record that a record was merged into at last, itself when it was not."""
        for _ in range(MAX_SHARED):
            into = self._into(device_id)
            if into is None:
                return device_id
            device_id = into
        return device_id

    def contested(self, device_id: DeviceId) -> tuple[Identifier, ...]:
        """Return the identifiers of open cases that the record is part of."""
        return tuple(_identifier(key) for key in self._contested_keys(device_id))

    def kept_apart(self, device_id: DeviceId) -> frozenset[DeviceId]:
        """Return the records that an operator keeps apart from this one."""
        kept = self._apart.get(device_id)
        if kept is None and self._base is not None:
            return self._base.kept_apart(device_id)
        return kept or frozenset()

    def load(self, stored: Iterable[tuple[DeviceId, str | None]]) -> None:
        """Take over stored records with their keys, as `record_keys` gave them."""
        own, has_domains = self._owners.setdefault, bool(self.rules.domains)
        for device_id, lines_of_it in stored:
            keys = lines_of_it or ""
            lines = keys.split("\n")
            if not keys.startswith(_STRONG) and not any(line.startswith(_STRONG) for line in lines):
                self._parked.add(device_id)
            # Nearly every line is a new key: a million of them have to go in within moments.
            is_plain = keys and _CLAIM not in keys and _APART not in keys
            is_plain = is_plain and not (has_domains and _HOSTNAME in keys)
            for key in lines:
                if not is_plain or own(key, device_id) != device_id:
                    self._load_line(device_id, key)

    def _load_line(self, device_id: DeviceId, line: str) -> None:
        key = self._bare(line) if self.rules.domains and line.startswith(_HOSTNAME) else line
        if key.startswith(_HOSTNAME) and key in self._owners:
            named = self._named(key)
            if device_id not in named:
                self._shared[key] = (*named, device_id)[:MAX_SHARED]
        elif key.startswith(_CLAIM):
            self._claims[key[1:]] = (*self._claims.get(key[1:], ()), device_id)
            self._contested[device_id] = (*self._contested.get(device_id, ()), key[1:])
        elif key.startswith(_APART):
            self._apart[device_id] = self.kept_apart(device_id) | {DeviceId(key[1:])}
        elif key:
            # Most names are alone; a tuple for each would be a quarter of the index.
            self._owners[key] = device_id

    def load_merged(self, merged: Iterable[tuple[DeviceId, DeviceId]]) -> None:
        """Take over which records were merged into which."""
        self._merged.update(merged)

    def record_keys(self, device_id: DeviceId, identifiers: Iterable[Identifier]) -> str:
        """Return what the store keeps of a record beside its posture, for `load`."""
        # Whole names are kept, so that other domains can be left out one day.
        lines = [keys_text(identifiers)]
        lines += [f"{_CLAIM}{key}" for key in self._contested_keys(device_id)]
        lines += [f"{_APART}{other}" for other in sorted(self.kept_apart(device_id))]
        return "\n".join(line for line in lines if line)

    def resolve(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the record that somebody asks for, None without one or when a hostname is ambiguous.

        Asking by a name that one device has is no joining: `JoinRules.joins_hostnames` does not matter.
        """
        normals = _normal(identifiers)
        found = self._match(normals, by_names=True)
        if found is None or not self.is_parked(found):
            return found
        # What waits under the name of several devices is none of them for sure.
        names = (self._named(self._key(each)) for each in normals if each.kind == "hostname")
        return found if all(self.is_parked(each) for named in names for each in named) else None

    def attributed(self, identifiers: Iterable[Identifier]) -> DeviceId | None:
        """Return the record that a statement with these identifiers is about, None without one yet."""
        return self._match(_normal(identifiers), by_names=self.rules.joins_hostnames)

    def resolve_or_create(self, identifiers: Sequence[Identifier]) -> DeviceId | None:
        """Return the record that the identifiers name, a new one without one; None when all are junk.

        Other records that the set shows to be the same device are merged into it. Raises `ParkingFull`.
        """
        if len(identifiers) == 1 and (owner := self._owner_alone(identifiers[0])) is not None:
            return owner
        spelled = [
            (each, normal) for each in identifiers if (normal := normalise_identifier(each)) is not None
        ]
        if not spelled:
            return None
        normals = [normal for _, normal in spelled]
        device_id = self._match(normals, by_names=self.rules.joins_hostnames) or self._made(normals)
        if len(normals) > 1:
            for owner, by in self._strong_owners(normals).items():
                if owner != device_id and self._may_merge(device_id, owner, normals):
                    self.merge(device_id, owner, rule="strong", by=by)
        self._attach(device_id, spelled)
        self._join_by_weak(device_id, normals)
        return device_id

    def join_by_names(self, device_id: DeviceId) -> None:
        """Let the record take in what waits for its names: one of them may be its own alone by now."""
        self._join_by_weak(device_id, _normal(self.identifiers_of(device_id)))

    def adopt(self, device_id: DeviceId, identifiers: Iterable[Identifier]) -> None:
        """Give the record every identifier that nobody else owns; conflicts are recorded."""
        spelled = [
            (each, normal) for each in identifiers if (normal := normalise_identifier(each)) is not None
        ]
        self._attach(device_id, spelled)

    def merge(
        self, kept: DeviceId, dropped: DeviceId, *, rule: str = "operator", by: Identifier | None = None
    ) -> None:
        """Make two records one, which is `kept`: its identifiers are those of both, cases between them are over."""
        owned = {self.key_of(each): each for each in self.identifiers_of(kept)}
        for each in self.identifiers_of(dropped):
            key = self.key_of(each)
            if key is None:
                continue
            owned.setdefault(key, each)
            if key.startswith(_HOSTNAME):
                self._shared[key] = _replaced(self._named(key), dropped, kept)
            else:
                self._owners[key] = kept
        for key in self._contested_keys(dropped):
            self._set_claims(key, _replaced(self._claimants(key), dropped, kept))
        self._set_contested(dropped, ())
        for other in self.kept_apart(dropped):
            self.keep_apart(kept, other)
        self._merged[dropped] = kept
        self.joins.append(Join(kept=kept, dropped=dropped, rule=rule, identifier=by))
        self.affected += (dropped, kept)
        self._changed.pop(dropped, None)
        self._changed[kept] = tuple(owned.values())[:MAX_MERGED_IDENTIFIERS]

    def move(self, identifier: Identifier, owner: DeviceId) -> None:
        """Give an identifier to a record, which alone has it from now on: its case is settled."""
        key = self.key_of(identifier)
        if key is None:
            return
        before = (*self._named(key), *self._claimants(key))
        for device_id in dict.fromkeys(before):
            if device_id != owner:
                rest = [each for each in self.identifiers_of(device_id) if self.key_of(each) != key]
                self._changed[device_id] = tuple(rest)
                if not key.startswith(_HOSTNAME):
                    self.keep_apart(owner, device_id)
        self._set_claims(key, ())
        if key.startswith(_HOSTNAME):
            self._shared[key] = (owner,)
        self._owners[key] = owner
        owned = self.identifiers_of(owner)
        if all(self.key_of(each) != key for each in owned):
            owned = (*owned, identifier)
        self._changed[owner] = owned

    def keep_apart(self, one: DeviceId, other: DeviceId) -> None:
        """Never merge these two records of itself again."""
        for device_id, apart in ((one, other), (other, one)):
            self._apart[device_id] = self.kept_apart(device_id) | {apart}
            self._changed.setdefault(device_id, self.identifiers_of(device_id))

    def new_record(self) -> DeviceId:
        """Return the id of a new record without identifiers."""
        device_id = self._make_id()
        self._changed[device_id] = ()
        return device_id

    def identifiers_of(self, device_id: DeviceId) -> tuple[Identifier, ...]:
        """Return all identifiers of a record as this layer sees them."""
        drawn = self._changed.get(device_id)
        return tuple(self._identifiers_of(device_id)) if drawn is None else drawn

    def _made(self, identifiers: Sequence[Identifier]) -> DeviceId:
        """Return the id of a new record for a set that names none. Raises `ParkingFull`."""
        if not _strong(identifiers):
            if self.parked >= self.rules.max_parked:
                raise ParkingFull(f"{self.rules.max_parked} names of devices that nobody knows are waiting")
            self._newly_parked += 1
        return self._make_id()

    def _owner_alone(self, identifier: Identifier) -> DeviceId | None:
        """Return the owner of a strong identifier: alone, nothing contradicts it or follows from it."""
        kind, value = identifier.kind, identifier.value
        if kind not in _STRENGTH:
            return None
        if _is_plain(kind, value):
            return self._owner(_key_text(kind, identifier.issuer, value.lower()))
        normal = _normalised(identifier)
        return None if normal is None else self._owner(_key(normal))

    def _match(self, identifiers: Sequence[Identifier], *, by_names: bool) -> DeviceId | None:
        strong = sorted(_strong(identifiers), key=_rank)
        lasting = [each for each in strong if each.kind in EXCLUSIVE]
        for each in strong:
            owner = self._owner(self._key(each))
            # Who owns it has this value of it: only the others can contradict.
            others = [other for other in lasting if other is not each]
            if owner is not None and not self._contradicts(owner, others):
                return owner
        for each in identifiers:
            if each.kind in _STRENGTH:
                continue
            found = self._by_weak(each, strong, by_names=by_names)
            if found is not None:
                return found
        return None

    def _strong_owners(self, identifiers: Sequence[Identifier]) -> dict[DeviceId, Identifier]:
        """Return the records that own a strong identifier of the set, with that, strongest first."""
        found: dict[DeviceId, Identifier] = {}
        for each in sorted(_strong(identifiers), key=_rank):
            owner = self._owner(self._key(each))
            if owner is not None:
                found.setdefault(owner, each)
        return found

    def _may_merge(self, one: DeviceId, other: DeviceId, named: Sequence[Identifier]) -> bool:
        """Return whether nothing speaks against two records being one device."""
        if other in self.kept_apart(one):
            return False
        mine = _lasting((*named, *_normal(self.identifiers_of(one))))
        theirs = _lasting(_normal(self.identifiers_of(other)))
        return all(values & mine[kind] for kind, values in theirs.items() if kind in mine)

    def _by_weak(
        self, identifier: Identifier, strong: Sequence[Identifier], *, by_names: bool
    ) -> DeviceId | None:
        """Return the one record with this weak identifier that fits the strong ones."""
        if identifier.kind != "hostname":
            owner = self._owner(self._key(identifier))
            return None if owner is None or self._contradicts(owner, strong) else owner
        named = self._named(self._key(identifier))
        waiting = [each for each in named if self.is_parked(each)]
        known = [each for each in named if each not in waiting] if by_names else []
        if len(known) == 1:
            return None if self._contradicts(known[0], strong) else known[0]
        if strong and (len(named) != 1 or not by_names):
            return None
        return waiting[0] if len(waiting) == 1 else None

    def _join_by_weak(self, device_id: DeviceId, identifiers: Iterable[Identifier]) -> None:
        """Merge what rules 4 and 6 say is this device, which has just been named by these identifiers."""
        for each in identifiers:
            if each.kind in _STRENGTH or self.is_parked(device_id):
                continue
            key = self._key(each)
            if each.kind != "hostname":
                owner = self._owner(key)
                if owner is not None and owner != device_id and self.is_parked(owner):
                    self._take_in(device_id, owner, "parked", each)
                continue
            if self.rules.joins_hostnames:
                self._join_namesakes(device_id, key, each)

    def _join_namesakes(self, device_id: DeviceId, key: str, name: Identifier) -> None:
        """Merge the one other device of this name, if it fits, and then what waits under a name that one device has."""
        others = [other for other in self._named(key) if other != device_id]
        if not others:
            return
        waiting = [other for other in others if self.is_parked(other)]
        known = [other for other in others if other not in waiting]
        if len(known) == 1:
            strong = _strong(_normal(self.identifiers_of(device_id)))
            if not self._contradicts(known[0], strong) and self._take_in(
                device_id, known[0], "hostname", name
            ):
                known = []
        for other in () if known else waiting:
            self._take_in(device_id, other, "parked", name)

    def _take_in(self, device_id: DeviceId, other: DeviceId, rule: str, by: Identifier) -> bool:
        """Merge another record unless an operator keeps the two apart; return whether it was merged."""
        if other in self.kept_apart(device_id):
            return False
        self.merge(device_id, other, rule=rule, by=by)
        return True

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
            key = self._key(normal)
            if normal.kind == "hostname":
                self._share(device_id, key, identifier)
                continue
            owner = self._owner(key)
            if owner is None:
                if self._add(device_id, identifier):
                    self._owners[key] = device_id
            elif owner != device_id:
                self._conflict(device_id, identifier, owner, "another record owns it")
                if normal.kind in _STRENGTH and owner not in self.kept_apart(device_id):
                    self._set_claims(key, (*(self._claimants(key) or (owner,)), device_id))

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

    # --- cases -----------------------------------------------------------------------------------

    def _set_claims(self, key: str, claimants: Sequence[DeviceId]) -> None:
        """Replace who claims an identifier; fewer than two claim nothing."""
        before = self._claimants(key)
        after = tuple(dict.fromkeys(claimants))[:MAX_CLAIMANTS]
        after = after if len(after) > 1 else ()
        if before == after:
            return
        self._claims[key] = after
        if not before:
            self.opened.append(Case(identifier=_identifier(key), owner=self._owner(key), claimants=after))
        for device_id in dict.fromkeys((*before, *after)):
            rest = tuple(each for each in self._contested_keys(device_id) if each != key)
            self._set_contested(device_id, (*rest, key) if device_id in after else rest)

    def _set_contested(self, device_id: DeviceId, keys: tuple[str, ...]) -> None:
        if keys == self._contested_keys(device_id):
            return
        self._contested[device_id] = tuple(sorted(keys))
        self.affected.append(device_id)
        if self._into(device_id) is None:
            self._changed.setdefault(device_id, self.identifiers_of(device_id))

    def _contested_keys(self, device_id: DeviceId) -> tuple[str, ...]:
        known = self._contested.get(device_id)
        if known is None and self._base is not None:
            return self._base._contested_keys(device_id)  # noqa: SLF001 - the same class
        return known or ()

    def _claimants(self, key: str) -> tuple[DeviceId, ...]:
        known = self._claims.get(key)
        if known is None and self._base is not None:
            return self._base._claimants(key)  # noqa: SLF001 - the same class
        return known or ()

    # --- names ---------------------------------------------------------------------------------------------------

    def _key(self, normal: Identifier) -> str:
        return self._bare(_key(normal)) if normal.kind == "hostname" and self.rules.domains else _key(normal)

    def _bare(self, key: str) -> str:
        """Return the key of a hostname without a domain of ours."""
        for domain in self.rules.domains:
            bare = key.removesuffix(f".{domain}")
            if bare != key:
                return bare
        return key

    # --- layers ----------------------------------------------------------------------------------

    def _into(self, device_id: DeviceId) -> DeviceId | None:
        into = self._merged.get(device_id)
        return self._base._into(device_id) if into is None and self._base is not None else into  # noqa: SLF001

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


def _lasting(identifiers: Iterable[Identifier]) -> dict[tuple[str, str], set[str]]:
    """Return the values of the `EXCLUSIVE` kinds by kind and issuer."""
    values: dict[tuple[str, str], set[str]] = {}
    for each in identifiers:
        if each.kind in EXCLUSIVE:
            values.setdefault((each.kind, _issuer(each)), set()).add(each.value)
    return values


def _replaced(records: Iterable[DeviceId], dropped: DeviceId, kept: DeviceId) -> tuple[DeviceId, ...]:
    return tuple(dict.fromkeys(kept if each == dropped else each for each in records))


def _identifier(key: str) -> Identifier:
    kind, issuer, value = key.split(_SEPARATOR, 2)
    return Identifier(kind, value, issuer)


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
    return "" if identifier.kind in _UNSCOPED else identifier.issuer


def _key(normal: Identifier) -> str:
    return _key_text(normal.kind, normal.issuer, normal.value)


def _key_text(kind: str, issuer: str, value: str) -> str:
    issuer = "" if kind in _UNSCOPED else issuer
    return f"{kind}{_SEPARATOR}{issuer}{_SEPARATOR}{value}"
