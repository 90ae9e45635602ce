"""What is known of people: one record per identifier of a user, joined when somebody asks. Pure.

A statement about a user is folded into the record of EVERY identifier that it names, by the same folding as for
devices, and each record remembers the identifiers it was named beside. A session names the identifiers that its
provider vouches for; its user is what the records of these say together, and those that they lead to. Nothing is ever
merged, so the order of arrival cannot matter and no wrong join has to be undone.

Rules of comparison, by kind:

| kind | compared |
|---|---|
| `iss-sub` (also `sub` with an issuer) | issuer and subject exactly |
| `sub` without an issuer | exactly, with every provider's subject |
| `email`, `upn` | without case; one is as good as the other |
| `entra-user-id` | without case, with or without braces |
| `okta-user-id` | exactly |
| `session` (`sid` of the assertion that apps get) | without case |
| any other | without case, within the sensor that gave it |

INVARIANT: a record that names somebody else than the one asked for (another value of an `EXCLUSIVE` kind) is not
followed: a shared mailbox makes no two people one.
"""

import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NewType

import msgspec

from risk.folding import join
from risk.model import JUNK_VALUES, DeviceId, Identifier, Posture

UserId = NewType("UserId", DeviceId)
"""Our id of the record of one identifier of a user: ``usr_`` and 20 characters, made from the identifier itself."""

EXCLUSIVE: frozenset[str] = frozenset({"iss-sub", "entra-user-id", "okta-user-id", "session"})
"""Kinds of which a person has one value per issuer."""

USER_KINDS: frozenset[str] = frozenset(
    {"iss-sub", "sub", "email", "upn", "entra-user-id", "okta-user-id", "session"}
)
"""Kinds whose values mean the same whoever states them; any other is its sensor's own."""

MAX_VALUE_CHARS = 512
MAX_LINKED = 32
"""Most identifiers that a record remembers beside its own; more lead nowhere."""

MAX_REACHED = 32
"""Most records that are looked at for one user."""

PREFIX = "usr_"

_BUILT_IN = frozenset(
    {
        "system",
        "root",
        "administrator",
        "local service",
        "network service",
        "nt authority\\system",
        "nt authority\\local service",
        "nt authority\\network service",
    }
)


MAX_SPELLED = 32_768
"""Most identifiers of users whose record is remembered, some 300 bytes each; a session has two or three."""


def normalise_user(identifier: Identifier) -> Identifier | None:
    r"""Return the identifier in the form that is compared, None when it names nobody.

    Example:
    >>> normalise_user(Identifier("upn", " Ana@Example.org"))
    Identifier(kind='email', value='ana@example.org', issuer='')
    >>> normalise_user(Identifier("user-name", "NT AUTHORITY\\SYSTEM")) is None
    True

    """
    value = unicodedata.normalize("NFKC", identifier.value).strip()
    folded = value.casefold()
    if not identifier.kind or not 0 < len(value) <= MAX_VALUE_CHARS or not value.isprintable():
        return None
    match identifier.kind:
        case "iss-sub" | "sub":
            # A subject is whatever its provider made it, "0" included.
            return (
                Identifier("iss-sub", value, identifier.issuer)
                if identifier.issuer
                else Identifier("sub", value)
            )
        case "email" | "upn":
            local, _, domain = folded.rpartition("@")
            return Identifier("email", folded) if local and domain else None
        case "entra-user-id":
            bare = folded.strip("{}")
            return None if bare in JUNK_VALUES else Identifier("entra-user-id", bare)
        case "okta-user-id":
            return None if folded in JUNK_VALUES else Identifier("okta-user-id", value)
        case kind:
            is_nobody = folded in JUNK_VALUES or folded in _BUILT_IN
            return None if is_nobody else Identifier(kind, folded, identifier.issuer)


def user_record_id(identifier: Identifier) -> UserId | None:
    """Return the id of the record that the identifier names, None when it names nobody."""
    found = _spelled(identifier)
    return None if found is None else found[0]


def is_user_id(subject_id: str) -> bool:
    """Return whether a subject id is that of a user's record."""
    return subject_id.startswith(PREFIX)


@lru_cache(maxsize=MAX_SPELLED)
def _spelled(identifier: Identifier) -> tuple[UserId, Identifier] | None:
    normal = normalise_user(identifier)
    if normal is None:
        return None
    text = f"{normal.kind}\x1f{normal.issuer}\x1f{normal.value}"
    record = UserId(DeviceId(PREFIX + blake2b(text.encode(), digest_size=10).hexdigest()))
    return record, identifier if identifier == normal else normal


def spelled(identifiers: Iterable[Identifier]) -> dict[UserId, Identifier]:
    """Return the records that the identifiers name, each with the form of its identifier that is compared."""
    return dict(found for each in identifiers if (found := _spelled(each)) is not None)


def linked(record: Posture, beside: Iterable[Identifier]) -> Posture:
    """Return the record that also remembers the identifiers it was named beside, the smallest where there are too many.

    Which ones are kept does not depend on the order of arrival.
    """
    own, *others = (*record.identifiers,)
    known = sorted({*others, *beside} - {own})[:MAX_LINKED]
    identifiers = (own, *known)
    if identifiers == record.identifiers:
        return record
    return msgspec.structs.replace(record, identifiers=identifiers)


def new_record(record: UserId, identifier: Identifier) -> Posture:
    """Return the empty record of an identifier, which is in the form that is compared."""
    return Posture(device_id=record, name=identifier.value, identifiers=(identifier,))


def reach(
    identifiers: Iterable[Identifier], record_of: Callable[[UserId], Posture | None]
) -> tuple[tuple[UserId, ...], tuple[Posture, ...]]:
    """Return every record id that decides about this user, whether it exists or not, and the records that exist."""
    start = spelled(identifiers)
    exclusive: dict[tuple[str, str], set[str]] = {}
    for each in start.values():
        if each.kind in EXCLUSIVE:
            exclusive.setdefault((each.kind, each.issuer), set()).add(each.value)
    ids = dict.fromkeys(start)
    waiting = deque(start)
    found: list[Posture] = []
    while waiting and len(found) < MAX_REACHED:
        record = record_of(waiting.popleft())
        if record is None:
            continue
        found.append(record)
        named = [each for each in record.identifiers[1:] if _may_be(each, exclusive)]
        if len(named) < len(record.identifiers) - 1:
            # It names somebody else as well: what it says counts, where it leads to does not.
            continue
        for linked_id in spelled(named):
            if linked_id not in ids and len(ids) < MAX_REACHED:
                ids[linked_id] = None
                waiting.append(linked_id)
    return tuple(ids), tuple(found)


def together(records: Sequence[Posture]) -> Posture | None:
    """Return what the records say together, None without any."""
    if not records:
        return None
    whole = records[0]
    for other in records[1:]:
        whole = join(whole, other)
    return whole


def _may_be(identifier: Identifier, exclusive: dict[tuple[str, str], set[str]]) -> bool:
    values = exclusive.get((identifier.kind, identifier.issuer))
    return values is None or identifier.value in values
