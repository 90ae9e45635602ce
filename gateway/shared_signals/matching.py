"""Which live sessions, and which device identifiers, a subject names. Pure but for reading what it is given.

Events that end sessions restrict, so what is ambiguous counts: an e-mail address that two providers share names the
sessions of both, and a member that cannot be compared with a session is a wildcard, as long as another one names it.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

import msgspec

from gateway.oidc.faults import TokenRefused
from gateway.oidc.tokens import untrusted_claims
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from gateway.shared_signals.subjects import Member, Simple, Subject
from risk.model import Identifier

SKEW = timedelta(seconds=60)
"""A session that began this long after an event is none that the event is about."""

SLICE = 2000
"""Sessions looked at between two turns of the event loop."""

USER_NAMES = ("phone_number", "preferred_username", "upn")
"""Claims compared with `account` and `phone_number` subjects, where the provider's `keep_claims` keeps them."""


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a transmitter may speak about. `providers` are names of providers, none for all of them.

    `sessions_on` returns the ids of the sessions on the device that a text names.
    """

    providers: frozenset[str]
    device_kind: str
    sessions_on: Callable[[str], frozenset[str]]


def device_identifiers(subject: Subject, kind: str) -> tuple[Identifier, ...]:
    """Return the identifiers of the device that the subject names; formats that name no device give none."""
    return tuple(
        Identifier(kind=kind, value=simple.values[-1])
        for simple in subject.of(Member.DEVICE)
        if simple.format in ("opaque", "uri", "did", "iss_sub")
    )


def user_identifiers(subject: Subject) -> tuple[Identifier, ...]:
    """Return the identifiers of the user that the subject names."""
    found: list[Identifier] = []
    for simple in subject.of(Member.USER):
        match simple.format:
            case "iss_sub":
                found += [
                    Identifier(kind="iss-sub", value=simple.values[1], issuer=issuer)
                    for issuer in issuers(simple.values[0])
                ]
            case "email":
                found.append(Identifier(kind="email", value=simple.values[0]))
            case "account":
                found.append(Identifier(kind="upn", value=simple.values[0].removeprefix("acct:")))
            case "opaque" | "did" | "uri":
                found.append(Identifier(kind="sub", value=simple.values[0]))
            case _:
                continue
    return tuple(found)


async def sessions_named(
    subject: Subject, registry: SessionRegistry, scope: Scope, happened_at: datetime
) -> tuple[Session, ...]:
    """Return the live sessions that every member of the subject names and that had begun when it happened."""
    named = Named(subject, registry, scope)
    found: list[Session] = []
    for at, session in enumerate(named.candidates(), start=1):
        is_older = session.created_at <= happened_at + SKEW
        is_ours = not scope.providers or session.user.provider in scope.providers
        if is_older and is_ours and named.names(session):
            found.append(session)
        if at % SLICE == 0:
            await asyncio.sleep(0)
    return tuple(found)


class Named:
    """One subject, asked about many sessions."""

    def __init__(self, subject: Subject, registry: SessionRegistry, scope: Scope) -> None:
        self._subject = subject
        self._registry = registry
        self._on_device = frozenset[str]().union(
            *(scope.sessions_on(each.value) for each in device_identifiers(subject, scope.device_kind))
        )

    def candidates(self) -> Iterator[Session]:
        """Yield every session that the subject could name; by index where the subject has one."""
        users = self._subject.of(Member.USER)
        if users and all(each.format == "iss_sub" for each in users):
            for simple in users:
                for issuer in issuers(simple.values[0]):
                    yield from self._registry.by_subject(issuer, simple.values[1])
            return
        yield from self._registry

    def names(self, session: Session) -> bool:
        """Return whether no member speaks against the session, and at least one for it."""
        answers = [self._answer(member, found, session) for member, found in self._subject.members.items()]
        return False not in answers and True in answers

    def _answer(self, member: Member, found: Iterable[Simple], session: Session) -> bool | None:
        """Return whether a member names the session; None when the two cannot be compared."""
        if member is Member.DEVICE:
            return session.id in self._on_device
        compare = {
            Member.USER: is_user,
            Member.SESSION: self._is_session,
            Member.GROUP: _is_in_group,
        }.get(member)
        if compare is None:
            return None
        answers = [compare(simple, session) for simple in found]
        comparable = [answer for answer in answers if answer is not None]
        return any(comparable) if comparable else None

    def _is_session(self, simple: Simple, session: Session) -> bool | None:
        match simple.format:
            case "opaque":
                return simple.values[0] in (session.provider_sid, session.id)
            case "iss_sub":
                return is_issuer(simple, session) and simple.values[1] == session.provider_sid
            case "jwt_id":
                return is_issuer(simple, session) and simple.values[1] == self._token_id(session)
            case _:
                return None

    def _token_id(self, session: Session) -> str:
        """Return the `jti` of the ID token of a session, "" when it has none."""
        raw = self._registry.id_token(session)
        try:
            return "" if raw is None else str(untrusted_claims(raw).get("jti", ""))
        except TokenRefused:
            return ""


def issuers(issuer: str) -> tuple[str, str]:
    """Return an issuer and its other spelling: some transmitters write a final slash more, or less, than tokens do."""
    return issuer, issuer.removesuffix("/") if issuer.endswith("/") else f"{issuer}/"


def is_issuer(simple: Simple, session: Session) -> bool:
    """Return whether the issuer of a simple subject is the provider of a session."""
    return session.user.issuer in issuers(simple.values[0])


def is_user(simple: Simple, session: Session) -> bool | None:
    """Return whether a simple subject names the user of a session; None for a format that names no user."""
    user = session.user
    value = simple.values[0]
    names = {name.casefold() for name in (*user.names, user.email, user.subject) if name}
    kept = {text.casefold() for claim in USER_NAMES for text in user.claims.get(claim, ())}
    match simple.format:
        case "iss_sub":
            return is_issuer(simple, session) and simple.values[1] == user.subject
        case "email":
            return value.casefold() in names
        case "account":
            return value.removeprefix("acct:").casefold() in names | kept
        case "phone_number":
            return value.casefold() in kept
        case "opaque" | "did" | "uri":
            return value == user.subject
        case _:
            return None


def _is_in_group(simple: Simple, session: Session) -> bool | None:
    if not session.user.are_groups_known:
        return None
    return simple.values[-1] in session.user.groups
