"""Subject identifiers: from a transmitter's JSON to what they name here. Pure.

Source: RFC 9493; SSF 1.0 section 3 (complex subjects, `jwt_id`, `saml_assertion_id`, `ip-addresses`).
"""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

MAX_TEXT = 1024
MAX_ALIASES = 32
MAX_ADDRESSES = 64


_OLD_MEMBERS: Mapping[tuple[str, str], str] = {
    ("did", "url"): "did",
    ("phone_number", "phone_number"): "phone",
    ("iss_sub", "iss"): "issuer",
}
"""Members by other names, as drafts and some transmitters write them."""


class SubjectFault(ValueError):
    """The subject cannot be read; the text says why and holds nothing of the transmitter's."""


class Member(StrEnum):
    """What a part of a subject denotes. `ANY` is a simple subject, of which only the event tells what it is."""

    ANY = "subject"
    USER = "user"
    DEVICE = "device"
    SESSION = "session"
    APPLICATION = "application"
    TENANT = "tenant"
    ORG_UNIT = "org_unit"
    GROUP = "group"


COMPLEX_MEMBERS: tuple[Member, ...] = tuple(each for each in Member if each is not Member.ANY)


class Simple(msgspec.Struct, frozen=True):
    """One simple subject. `values` are its members in the order of `FORMATS`, compared exactly but for case rules."""

    format: str
    values: tuple[str, ...]

    @property
    def key(self) -> str:
        """One text that equal subjects share: the format and its values, domains of addresses in lower case."""
        values = self.values
        if self.format in ("email", "account"):
            local, at, domain = values[0].rpartition("@")
            values = (f"{local}{at}{domain.lower()}",)
        return "\x1f".join((self.format, *values))


class Subject(msgspec.Struct, frozen=True):
    """A subject: by member, the simple subjects that all denote it (several only with `aliases`).

    `unread` are members whose identifier could not be understood; `is_complex` tells `{user: ...}` from a bare one.
    """

    members: dict[Member, tuple[Simple, ...]] = {}
    unread: tuple[str, ...] = ()
    is_complex: bool = False

    def of(self, member: Member) -> tuple[Simple, ...]:
        """Return what names this member; empty when the subject says nothing of it."""
        return self.members.get(member, ())


FORMATS: Mapping[str, tuple[str, ...]] = {
    "account": ("uri",),
    "email": ("email",),
    "iss_sub": ("iss", "sub"),
    "opaque": ("id",),
    "phone_number": ("phone_number",),
    "did": ("url",),
    "uri": ("uri",),
    "jwt_id": ("iss", "jti"),
    "saml_assertion_id": ("issuer", "assertion_id"),
}
"""Members of each simple format, beside `format`; all of them texts."""

_OLD_NAMES: Mapping[str, str] = {
    "iss-sub": "iss_sub",
    "iss_sub": "iss_sub",
    "phone": "phone_number",
    "phone-number": "phone_number",
    "id_token_claims": "iss_sub",
    "jwt-id": "jwt_id",
    "saml-assertion-id": "saml_assertion_id",
}
"""Spellings of drafts, which `subject_type` still has at some transmitters."""


def parse_subject(untrusted: Any) -> Subject:
    """Return the subject of a `sub_id`. Raises `SubjectFault` when it names nothing that could be read.

    A member of a complex subject that cannot be read is listed in `unread`, the others count (SSF 1.0 section 3.1).
    """
    if not isinstance(untrusted, dict):
        raise SubjectFault("the subject is no object")
    name = _format_of(untrusted)
    if name == "complex" or (name is None and any(each.value in untrusted for each in COMPLEX_MEMBERS)):
        return _complex(untrusted)
    return Subject(members={Member.ANY: _simple(untrusted)})


def old_subject(claims: Mapping[str, Any], event: Mapping[str, Any]) -> Any:
    """Return the subject where a transmitter puts it: `sub_id`, else `subject` inside the event (drafts of 2021)."""
    if "sub_id" in claims:
        return claims["sub_id"]
    return event.get("subject")


def _format_of(untrusted: Mapping[str, Any]) -> str | None:
    name = untrusted.get("format", untrusted.get("subject_type"))
    if name is None:
        return None
    if not isinstance(name, str):
        raise SubjectFault("the format of the subject is no text")
    return _OLD_NAMES.get(name, name)


def _complex(untrusted: Mapping[str, Any]) -> Subject:
    members: dict[Member, tuple[Simple, ...]] = {}
    unread: list[str] = []
    for member in COMPLEX_MEMBERS:
        if member.value not in untrusted:
            continue
        try:
            members[member] = _simple(untrusted[member.value])
        except SubjectFault:
            unread.append(member.value)
    if not members and not unread:
        raise SubjectFault("the complex subject has no member that is known")
    return Subject(members=members, unread=tuple(unread), is_complex=True)


def _simple(untrusted: Any) -> tuple[Simple, ...]:
    """Return the simple subjects that one member is: one, or several with `aliases`."""
    if not isinstance(untrusted, dict):
        raise SubjectFault("the subject is no object")
    name = _format_of(untrusted)
    if name == "aliases":
        return _aliases(untrusted)
    if name == "ip-addresses":
        return _addresses(untrusted)
    wanted = FORMATS.get(name or "")
    if wanted is None or name is None:
        raise SubjectFault("the format of the subject is not known here")
    return (Simple(name, tuple(_text(untrusted, each, name) for each in wanted)),)


def _aliases(untrusted: Mapping[str, Any]) -> tuple[Simple, ...]:
    """Return what the aliases name; those that cannot be read are left out, nesting is refused (RFC 9493 3.2.8)."""
    listed = untrusted.get("identifiers")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_ALIASES:
        raise SubjectFault(f"`identifiers` is a list of 1 to {MAX_ALIASES} subjects")
    found: list[Simple] = []
    for each in listed:
        if isinstance(each, dict) and _format_of(each) in ("aliases", "complex"):
            raise SubjectFault("aliases are nested")
        try:
            found += _simple(each)
        except SubjectFault:
            continue
    if not found:
        raise SubjectFault("no alias could be read")
    return tuple(dict.fromkeys(found))


def _addresses(untrusted: Mapping[str, Any]) -> tuple[Simple, ...]:
    listed = untrusted.get("ip-addresses")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_ADDRESSES:
        raise SubjectFault(f"`ip-addresses` is a list of 1 to {MAX_ADDRESSES} addresses")
    return tuple(Simple("ip-addresses", (each,)) for each in listed if isinstance(each, str) and _fits(each))


def _text(untrusted: Mapping[str, Any], member: str, name: str) -> str:
    value = untrusted.get(member)
    if value is None and (name, member) in _OLD_MEMBERS:
        value = untrusted.get(_OLD_MEMBERS[name, member])
    if not isinstance(value, str) or not _fits(value):
        raise SubjectFault(f"`{member}` of `{name}` is a printable text of 1 to {MAX_TEXT} characters")
    return value


def _fits(text: str) -> bool:
    return 0 < len(text) <= MAX_TEXT and text.isprintable()


# --- writing -------------------------------------------------------------------------------------


def simple_json(simple: Simple) -> dict[str, Any]:
    """Return a simple subject as RFC 9493 writes it."""
    return {"format": simple.format, **dict(zip(FORMATS[simple.format], simple.values, strict=True))}


def subject_json(members: Mapping[Member, Simple]) -> dict[str, Any]:
    """Return a complex subject of these members; one with the member `ANY` alone is a simple subject."""
    if Member.ANY in members:
        return simple_json(members[Member.ANY])
    return {"format": "complex", **{member.value: simple_json(each) for member, each in members.items()}}


def subject_keys(subject: Subject) -> dict[Member, frozenset[str]]:
    """Return, by member, the keys by which the subject can be compared."""
    return {member: frozenset(each.key for each in found) for member, found in subject.members.items()}


def is_match(one: Mapping[Member, Iterable[str]], other: Mapping[Member, Iterable[str]]) -> bool:
    """Return whether two subjects match: every member that both have is equal, and they have one in common.

    `ANY` matches an equal key of any member. A member that one of them lacks is a wildcard (SSF 1.0 section 3.1.1); but
    two subjects without any member in common say nothing of each other, so they do not match here.
    """
    if Member.ANY in one or Member.ANY in other:
        keys_of_one = {key for keys in one.values() for key in keys}
        return any(key in keys_of_one for keys in other.values() for key in keys)
    shared = [member for member in one if member in other]
    return bool(shared) and all(set(one[member]) & set(other[member]) for member in shared)
