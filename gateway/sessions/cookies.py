"""Our cookies: their names, their attributes, and finding one among whatever else a browser sends. Pure.

Over https every name has the prefix `__Host-`, so that a browser accepts it only with Secure, Path=/ and no
Domain. Plain http is for loopback only; there the names are plain.
"""

from collections.abc import Iterable
from enum import StrEnum

MAX_HEADER = 65536
MAX_SCANNED = 300


class CookieName(StrEnum):
    """The cookies of the gateway, without prefix.

    `LOGIN` is followed by the first characters of the state. `SIGN_OUT` is a sign-out that is at the provider,
    `SIGNED_OUT` stands on the login host while nobody may be signed in again without asking for it.
    `LAST` names the login host's last session; it opens nothing.
    """

    SESSION = "gate"
    START = "gate-start"
    LOGIN = "gate-login-"
    LOOP = "gate-loop"
    SIGN_OUT = "gate-out"
    SIGNED_OUT = "gate-out-mark"
    LAST = "gate-last"


RESERVED_PREFIX = "__Host-"


def full_name(name: str, *, is_secure: bool) -> str:
    """Return the name on the wire.

    >>> full_name("gate", is_secure=True), full_name("gate", is_secure=False)
    ('__Host-gate', 'gate')
    """
    return RESERVED_PREFIX + name if is_secure else name


def set_cookie(name: str, value: str, *, is_secure: bool, max_age_s: int | None = None) -> str:
    """Return a `Set-Cookie` value. `max_age_s` None keeps the cookie until the browser closes, 0 deletes it.

    >>> set_cookie("gate", "v", is_secure=True)
    '__Host-gate=v; Path=/; HttpOnly; SameSite=Lax; Secure'
    """
    parts = [f"{full_name(name, is_secure=is_secure)}={value}", "Path=/", "HttpOnly", "SameSite=Lax"]
    if is_secure:
        parts.append("Secure")
    if max_age_s is not None:
        parts.append(f"Max-Age={max_age_s}")
    return "; ".join(parts)


def delete_cookie(name: str, *, is_secure: bool) -> str:
    """Return a `Set-Cookie` value that makes the browser forget the cookie."""
    return set_cookie(name, "", is_secure=is_secure, max_age_s=0)


def find(headers: Iterable[str], name: str, *, is_secure: bool) -> str | None:
    """Return the value of the first cookie of this name, None without one. Other cookies are never parsed."""
    wanted = full_name(name, is_secure=is_secure)
    for found, value in _scan(headers):
        if found == wanted:
            return value
    return None


def find_below(headers: Iterable[str], prefix: str, *, is_secure: bool) -> dict[str, str]:
    """Return the cookies whose names begin with `prefix`, by the rest of the name."""
    wanted = full_name(prefix, is_secure=is_secure)
    return {found[len(wanted) :]: value for found, value in _scan(headers) if found.startswith(wanted)}


def _scan(headers: Iterable[str]) -> Iterable[tuple[str, str]]:
    left = MAX_SCANNED
    for header in headers:
        for pair in header[:MAX_HEADER].split(";", left):
            name, is_pair, value = pair.partition("=")
            if is_pair:
                yield name.strip(" \t"), value.strip(' \t"')
            left -= 1
            if left <= 0:
                return
