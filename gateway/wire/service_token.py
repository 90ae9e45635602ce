"""A service token as a program sends it: found among the header fields of a request, and kept from every app. Pure.

Three spellings mean the same: `Authorization: Bearer ID.SECRET`, HTTP Basic with the id as name and the secret as
password (git, curl), and the pair `X-Gate-Service-Id` and `X-Gate-Service-Secret`, which leaves `Authorization` to the
app. An id looks like nothing else, so that an app's own `Authorization` is never mistaken for one of ours.

Source: RFC 6750 section 2.1; RFC 7617 section 2.
"""

import base64
import binascii
import hashlib
import re

from gateway.wire.request import RequestHead

AUTHORIZATION = b"authorization"
ID_FIELD, SECRET_FIELD = b"x-gate-service-id", b"x-gate-service-secret"
DIGEST_PREFIX = "service:"
"""How the digest of a service token begins, so that it is never taken for one of a cookie."""

MAX_AUTHORIZATION = 1024
"""Longest `Authorization` that is looked into: no token of ours is as long."""

_ID = re.compile(rb"gst_[a-z2-7]{12}")
_SCHEME = re.compile(rb"(basic|bearer) +", re.IGNORECASE)


def presented_token(head: RequestHead) -> bytes | None:
    """Return `ID.SECRET` as a request presents it, whether or not such a token exists; None when it presents none.

    The pair counts before `Authorization`, and half a pair is a token that nobody has. HTTP Basic of a page of another
    site is no word of whoever it names: browsers add it by themselves.
    """
    token_id, secret = head.header(ID_FIELD), head.header(SECRET_FIELD)
    if token_id is not None or secret is not None:
        return b"%b.%b" % (token_id or b"", secret or b"")
    value = head.header(AUTHORIZATION)
    if value is None:
        return None
    if head.header(b"sec-fetch-site") == b"cross-site" and value[:6].lower() == b"basic ":
        return None
    return token_in(value)


def token_digest(token: bytes) -> str:
    """Return what stands for a token between worker and hub, and in the store: nobody gets the token from it.

    A secret has 256 random bits, so that a plain SHA-256 is as good as a slow hash, and costs no request anything.
    """
    return DIGEST_PREFIX + hashlib.sha256(token).hexdigest()


def token_in(authorization: bytes) -> bytes | None:
    """Return `ID.SECRET` of an `Authorization` value, None when it is the app's own.

    >>> token_in(b"Bearer gst_abcdefghijkl.secret"), token_in(b"Bearer eyJhbGciOi.e30.sig")
    (b'gst_abcdefghijkl.secret', None)
    """
    scheme = _SCHEME.match(authorization)
    if scheme is None or len(authorization) > MAX_AUTHORIZATION:
        return None
    credentials = authorization[scheme.end() :].strip()
    if scheme.group(1).lower() == b"basic":
        return _token_of_basic(credentials)
    return credentials if _ID.fullmatch(credentials.partition(b".")[0]) else None


def _token_of_basic(credentials: bytes) -> bytes | None:
    try:
        name, colon, password = base64.b64decode(credentials, validate=True).partition(b":")
    except binascii.Error:
        return None
    return b"%b.%b" % (name, password) if colon and _ID.fullmatch(name) else None


def holds_token(head: RequestHead) -> bool:
    """Return whether some `Authorization` line of a request is a token of ours, which no app may read."""
    if head.header(AUTHORIZATION) is None:
        return False
    return any(name == AUTHORIZATION and token_in(value) is not None for name, value in head.headers)
