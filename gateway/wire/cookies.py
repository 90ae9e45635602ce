"""Our cookies among an app's: found by scanning, removed before an app sees the header, reserved in its answers.

Foreign cookies are never parsed: what is between our semicolons is passed on byte for byte.
"""

import re

_OWN = re.compile(rb"(?:__Host-)?gate(?:-[A-Za-z0-9_-]*)?")
_OWN_BEGINNINGS = (b"gate", b"__Host-gate")


def is_own(name: bytes) -> bool:
    """Return whether the gateway uses cookies of this name: the session, a pending login, or a sign-in's start.

    >>> is_own(b"__Host-gate"), is_own(b"gate-login-x1"), is_own(b"gateau")
    (True, True, False)
    """
    return _OWN.fullmatch(name) is not None


def find_cookie(header: bytes | None, name: bytes) -> bytes | None:
    """Return the value of the cookie `name`, or None: absent, or sent more than once with different values.

    Different values mean that somebody else could plant a cookie; then none of them is believed.
    """
    if header is None or name not in header:
        return None
    found: bytes | None = None
    for pair in header.split(b";"):
        key, equals, value = pair.strip().partition(b"=")
        if equals and key == name:
            if found is not None and found != value:
                return None
            found = value
    return found


def without_own(header: bytes) -> bytes:
    """Return a `Cookie` value without our cookies; empty when nothing is left.

    >>> without_own(b"a=1; __Host-gate=x; b=2")
    b'a=1; b=2'
    """
    if b"gate" not in header:
        return header
    pairs = [pair.strip() for pair in header.split(b";")]
    kept = [
        pair
        for pair in pairs
        if not (pair.startswith(_OWN_BEGINNINGS) and is_own(pair.partition(b"=")[0].rstrip()))
    ]
    return b"; ".join(kept)


def cookie_name(set_cookie: bytes) -> bytes:
    """Return the name that a `Set-Cookie` value sets. A value without `=` sets a nameless cookie.

    A nameless cookie `=__Host-gate=x` would be sent back as `__Host-gate=x`: its value counts as the name.
    """
    name, equals, rest = set_cookie.partition(b";")[0].partition(b"=")
    if not equals or not name.strip():
        return (rest or name).partition(b"=")[0].strip()
    return name.strip()
