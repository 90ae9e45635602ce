"""Reading an item of a payload into signals, with the path that each field came from. Pure.

A kind that follows fixed field sets needs three things: `rows` finds the items, a `Reader` takes values out
of one and remembers where they stood, and `gather` walks over all, so that one bad item costs only itself.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from plugins.bounds import is_junk_identifier
from plugins.contract import NO_SUBJECT, Collector, Normalized
from plugins.payload import MAX_ITEMS, digest, parse_time, text_of
from risk.model import JUNK_VALUES, Identifier, Severity, Signal, SignalType

Facts = dict[str, str | int | float | bool | None]

Made = tuple[Signal, Mapping[str, str]]
"""A signal, and the payload path that each field of it came from."""

MAX_ACTIONS = 20

_SENSOR_SCOPED = frozenset({"sensor-device-id", "sensor-device-uuid"})
_UNSET_TIME = re.compile(r"(0001|1601|9999)-\d\d-\d\d.*|0|null|none", re.IGNORECASE | re.DOTALL)
_ADDRESS = re.compile(r"[^\s@\\]{1,128}@[^\s@\\]{1,190}")
_BUILT_IN_ACCOUNTS = frozenset({"system", "local service", "network service", "root", "administrator"})
_NOBODY = JUNK_VALUES | _BUILT_IN_ACCOUNTS
_BUILT_IN_DOMAINS = ("nt authority\\", "nt service\\", "window manager\\", "font driver host\\", "builtin\\")


class ItemFault(Exception):
    """One item cannot be used; `code` is stable, the text says what was found."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Frame(msgspec.Struct, frozen=True):
    """What all signals of one payload share."""

    sensor: str
    received_at: datetime


class Reader:
    """Takes values out of one item. Paths are dotted; a key that itself has dots is found as well.

    `prefix` stands before every path that is remembered; `used` holds them by field.
    """

    def __init__(self, frame: Frame, item: Any, prefix: str = "") -> None:
        self.frame = frame
        self.item = item
        self.prefix = prefix
        self.used: dict[str, str] = {}
        self.device_ids: list[Identifier] = []
        self.user_ids: list[Identifier] = []

    def get(self, *paths: str) -> Any:
        """Return the value at the first path that leads to one, None without; nothing is remembered."""
        return next((found for path in paths if (found := look(self.item, path)) is not None), None)

    def text(self, field: str, *paths: str) -> str:
        """Return the first text or number that is not empty, "" without one."""
        for path in paths:
            found = text_of(first_of(look(self.item, path))).strip()
            if found:
                self.used.setdefault(field, self.prefix + path)
                return found
        return ""

    def time(self, *paths: str) -> datetime:
        """Return the first readable time; the time of receipt when none of the paths is set.

        Raises `ItemFault` when what stands there is no time.
        """
        unreadable = ""
        for path in paths:
            value = first_of(look(self.item, path))
            at = parse_time(value)
            if at is not None:
                self.used.setdefault("observed_at", self.prefix + path)
                return at
            text = text_of(value).strip()
            if text and not _UNSET_TIME.fullmatch(text):
                unreadable = unreadable or f"`{path}`: `{text[:64]}` is no time"
        if unreadable:
            raise ItemFault("time-unreadable", unreadable)
        return self.frame.received_at

    def device(self, kind: str, *paths: str) -> str:
        """Take an identifier of the device unless it is junk; return it, "" without one."""
        field = f"device.{kind}"
        value = self.text(field, *paths)
        if value and not self.add_device(kind, value):
            self.used.pop(field, None)
            return ""
        return value

    def add_device(self, kind: str, value: str) -> bool:
        """Take an identifier of the device; return False for one that names nothing."""
        if is_junk(kind, value):
            return False
        identifier = Identifier(kind, value, self.frame.sensor if kind in _SENSOR_SCOPED else "")
        if identifier not in self.device_ids:
            self.device_ids.append(identifier)
        return True

    def user(self, kind: str, *paths: str) -> None:
        """Take an identifier of the user unless it names a local or built-in account."""
        field = f"user.{kind}"
        value = self.text(field, *paths)
        if value and not self.add_user(kind, value):
            self.used.pop(field, None)

    def add_user(self, kind: str, value: str) -> bool:
        """Take an identifier of the user; return False for one that names nobody."""
        value = value.strip()
        if is_nobody(value):
            return False
        if kind == "upn" and not _ADDRESS.fullmatch(value):
            return False
        identifier = Identifier(kind, value)
        if identifier not in self.user_ids:
            self.user_ids.append(identifier)
        return True

    def need_device(self, wanted: str) -> None:
        """Raise `ItemFault` unless an identifier of the device was taken."""
        if not self.device_ids:
            raise ItemFault("no-device", f"no identifier of a device at {wanted}")

    def need_subject(self, wanted: str, *others: str) -> None:
        """Raise `ItemFault` unless an identifier of a device or person was taken.

        `others` are paths of what an item may name instead; one that names only these has no subject here.
        """
        if self.device_ids or self.user_ids:
            return
        named = [
            f"`{path}` {text}"
            for path in others
            if (text := text_of(first_of(look(self.item, path))).strip())
        ]
        if not named:
            self.need_device(wanted)
        shown = ", ".join(each[:128] for each in named[:3])
        raise ItemFault(NO_SUBJECT, f"names no device and no person ({wanted}), only {shown}")

    def signal(
        self,
        kind: SignalType,
        *,
        external_id: str,
        observed_at: datetime,
        event_id: str = "",
        level: Severity | None = None,
        title: str = "",
        description: str = "",
        actions: Sequence[str] = (),
        rationale: str = "",
        category: str = "",
        facts: Facts | None = None,
        resolves: bool = False,
        expires_at: datetime | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> Made:
        """Return a signal about the device that was read.

        Without `event_id` the item names the message; an item without a time of its own is new each time.
        """
        timed = "" if "observed_at" in self.used else self.frame.received_at.isoformat()
        named = [f"{each.kind}:{each.value}" for each in self.device_ids]
        made = Signal(
            sensor=self.frame.sensor,
            type=kind,
            observed_at=observed_at,
            received_at=self.frame.received_at,
            external_id=external_id,
            event_id=event_id or digest(self.item, kind.value, external_id, named, timed),
            device_ids=tuple(self.device_ids),
            user_ids=tuple(self.user_ids),
            level=level,
            title=title,
            description=description,
            recommended_actions=tuple(each for each in actions if each)[:MAX_ACTIONS],
            rationale=rationale,
            category=category,
            facts=facts or {},
            resolves=resolves,
            expires_at=None if resolves else expires_at,
        )
        placed = {field: self.prefix + path for field, path in (sources or {}).items()}
        return made, {**self.used, **placed}


def gather(
    frame: Frame,
    items: Sequence[Any],
    read: Callable[[Reader], Sequence[Made]],
    prefix: str = "",
) -> Normalized:
    """Return what `read` makes of every item; nothing made means that the item is no news of a device.

    `prefix` stands before the paths that are remembered; `{n}` in it is the number of the item.
    """
    gathered = Collector()
    for number, item in enumerate(items):
        reader = Reader(frame, item, prefix.replace("{n}", str(number)))
        try:
            made = read(reader)
        except ItemFault as fault:
            gathered.reject(number, fault.code, str(fault), item)
            continue
        for signal, sources in made:
            gathered.add(number, signal, sources)
        if not made:
            gathered.ignore()
    if not items:
        gathered.ignore()
    return gathered.done(max(1, len(items)))


def rows(payload: Any, *paths: str) -> tuple[list[Any], str]:
    """Return the items of a payload and where they stand: the list at the first path that leads to one.

    Without such a list the payload is the one item. At most one item above the limit is returned.
    """
    for path in paths:
        found = look(payload, path)
        if isinstance(found, list):
            return found[: MAX_ITEMS + 1], f"{path}[{{n}}]."
    return [payload], ""


def look(value: Any, path: str) -> Any:
    """Return what the dotted path leads to, None for nothing; keys may themselves have dots.

    Example:
    >>> look({"kibana.alert": {"rule.name": "x"}}, "kibana.alert.rule.name")
    'x'

    """
    return _look(value, tuple(path.split(".")))


def _look(value: Any, names: tuple[str, ...]) -> Any:
    if not names:
        return value
    if not isinstance(value, dict):
        return None
    for size in range(len(names), 0, -1):
        below = value.get(".".join(names[:size]))
        if below is not None and (found := _look(below, names[size:])) is not None:
            return found
    return None


def first_of(value: Any) -> Any:
    """Return the first element of a list, anything else as it is."""
    return (value[0] if value else None) if isinstance(value, list) else value


def is_junk(kind: str, value: str) -> bool:
    """Return whether an identifier of this kind names nothing, as `is_junk_identifier` does."""
    return is_junk_identifier(Identifier(kind, value))


def is_nobody(value: str) -> bool:
    r"""Return whether a name is that of no person: nothing, or an account that every machine has.

    Example:
    >>> is_nobody("NT AUTHORITY\\SYSTEM"), is_nobody("robin@example.com")
    (True, False)

    """
    name = value.strip().casefold()
    return name in _NOBODY or name.startswith(_BUILT_IN_DOMAINS) or name.endswith("$")


def truth(value: Any) -> bool | None:
    """Return what a product means by true and false, also as a word; None for anything else."""
    if isinstance(value, bool):
        return value
    word = text_of(value).strip().casefold()
    if word in {"true", "yes", "on", "enabled", "1"}:
        return True
    return False if word in {"false", "no", "off", "disabled", "0"} else None


def known(**facts: str | float | bool | None) -> Facts:
    """Return the facts that have a value: what a product does not say is left out."""
    return {name: value for name, value in facts.items() if value is not None and value != ""}
