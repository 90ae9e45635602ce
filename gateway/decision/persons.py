"""By which identifiers sensors may speak of the person of a session. Pure.

Only what the provider vouches for joins: issuer and subject always, the e-mail address when the provider says that it
is verified, and the claims of `CLAIMS` where the provider's `keep_claims` keeps them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import urlsplit

from compliance.model import User
from risk.model import Identifier, Posture
from risk.users import UserId

CLAIMS: tuple[tuple[str, str], ...] = (("upn", "upn"), ("oid", "entra-user-id"))
"""Claims of an ID token, and which identifier each is. Source: Microsoft identity platform, ID token claims."""

OKTA_DOMAINS: tuple[str, ...] = (".okta.com", ".oktapreview.com", ".okta-emea.com", ".okta-gov.com")
"""Issuers whose `sub` is the id of the user at Okta."""


SID_CHARACTERS = 16
"""Characters of a session's id that apps and sensors are told: enough to name it, too few to use it."""


class UserSource(Protocol):
    """Where the records of users come from."""

    def user(self, identifiers: Sequence[Identifier]) -> tuple[tuple[UserId, ...], Posture | None]:
        """Return the records that decide about the user, and what they say together."""
        ...


def person_identifiers(user: User) -> tuple[Identifier, ...]:
    """Return every identifier by which a sensor may name this person.

    >>> person_identifiers(User(provider="p", issuer="https://op.example", subject="7"))
    (Identifier(kind='iss-sub', value='7', issuer='https://op.example'), Identifier(kind='sub', value='7', issuer=''))
    """
    if user.is_service:
        # A person may have the same subject: what is told of either must not decide about the other.
        return (Identifier("iss-sub", user.subject, user.issuer),)
    found = [Identifier("iss-sub", user.subject, user.issuer), Identifier("sub", user.subject)]
    if user.email and user.email in user.names:
        found.append(Identifier("email", user.email))
    for claim, kind in CLAIMS:
        found += [Identifier(kind, value) for value in user.claims.get(claim, ())]
    if _is_okta(user.issuer):
        found.append(Identifier("okta-user-id", user.subject))
    return tuple(found)


def session_identifiers(session_id: str) -> tuple[Identifier, ...]:
    """Return the identifier by which a sensor may name a session: `sid` of the assertion that apps get.

    >>> session_identifiers("ses_0123456789abcdef-secret")
    (Identifier(kind='session', value='ses_0123456789ab', issuer=''),)
    """
    return (Identifier("session", session_id[:SID_CHARACTERS]),) if session_id else ()


@lru_cache(maxsize=64)
def _is_okta(issuer: str) -> bool:
    return (urlsplit(issuer).hostname or "").endswith(OKTA_DOMAINS)
