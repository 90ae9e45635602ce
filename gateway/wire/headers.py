"""Which header fields may pass from one side to the other. Everything else is removed, or set anew by us.

Names are compared in lower case. A name with an underscore never passes: CGI-like upstreams read `X_Gate_User` and
`X-Gate-User` as one (CVE-2025-64484, CVE-2026-39858).

Source: RFC 9110 section 7.6.1; the protected names are those by which the common gateways state identity.
"""

import re
from collections.abc import Iterable

from gateway.wire.fields import Field, connection_options

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    },
)
"""Fields of one connection; never passed on, framing and upgrades are set anew."""

_SET_BY_US = frozenset({b"host", b"cookie", b"content-length", b"expect", b"forwarded", b"via", b"x-real-ip"})
"""Fields of a request that we write ourselves from what we parsed. `Via` and `X-Real-IP` are claims of hops."""

PROTECTED_NAMES = frozenset(
    {
        b"client-cert",
        b"client-cert-chain",
        b"ssl-client-verify",
        b"ssl-client-cert",
        b"x-arr-clientcert",
        b"x-rewrite-url",
        b"x-verified-access-challenge",
        b"x-verified-access-challenge-response",
        b"x-true-client-ip",
        b"true-client-ip",
        b"x-client-ip",
        b"x-cluster-client-ip",
        b"cf-connecting-ip",
        b"fastly-client-ip",
    },
)
"""Names by which some app might believe an identity, an address or another target."""

PROTECTED_PREFIXES = (
    b"x-gate-",
    b"x-forwarded-",
    b"x-original-",
    b"x-ssl-",
    b"ssl-client-",
    b"x-client-cert",
    b"x-amzn-mtls-",
    b"x-amzn-oidc-",
    b"cloudfront-viewer-cert-",
    b"cf-client-cert-",
    b"cf-access-",
    b"x-goog-iap-",
    b"x-goog-authenticated-user-",
    b"x-ms-client-principal",
    b"x-ms-token-",
    b"x-auth-request-",
    b"x-pomerium-",
    b"x-authentik-",
    b"x-authelia-",
    b"x-vouch-",
    b"x-webauth-",
    b"x-remote-",
    b"x-device-",
    b"remote-",
    b"tailscale-user-",
)
"""Beginnings of such names."""

CONNECTION_MAY_NOT_NAME = frozenset(
    {
        b"host",
        b"cookie",
        b"content-length",
        b"content-type",
        b"authorization",
        b"cache-control",
        b"expect",
        b"range",
    },
)
"""Fields that a `Connection` header cannot have removed: without them an app would decide on another request."""

_NEVER_IN_TRAILERS = frozenset(
    {
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"date",
        b"expires",
        b"host",
        b"location",
        b"max-forwards",
        b"origin",
        b"pragma",
        b"range",
        b"set-cookie",
        b"vary",
        b"www-authenticate",
    },
)
_MAX_REMEMBERED = 4096


_FOLDED = re.compile(rb"[^a-z0-9]")


def is_protected(name: bytes) -> bool:
    """Return whether a lower-case `name` could carry an identity that only the gateway may state."""
    # Servers that make variables of header names fold more than `_`: whatever is no letter or digit becomes one sign.
    folded = _FOLDED.sub(b"-", name)
    return folded in PROTECTED_NAMES or folded.startswith(PROTECTED_PREFIXES)


class _Passing(dict[bytes, bool]):
    """Lower-case name of a request field ► whether it passes unchanged to the upstream; bounded."""

    def __missing__(self, name: bytes) -> bool:
        passes = not (name in HOP_BY_HOP or name in _SET_BY_US or b"_" in name or is_protected(name))
        if len(self) < _MAX_REMEMBERED:
            self[name] = passes
        return passes


PASSES_UPSTREAM = _Passing()
"""`PASSES_UPSTREAM[name]`: whether a client's field of this lower-case name goes to the upstream as it is."""


def nominated(connection: bytes | None) -> frozenset[bytes]:
    """Return the names that a `Connection` value lets us remove: never a protected or decisive one.

    >>> sorted(nominated(b"close, X-Hop, X-Gate-User, Cookie"))
    [b'close', b'x-hop']
    """
    if connection is None:
        return frozenset()
    return frozenset(
        name
        for name in connection_options(connection)
        if name not in CONNECTION_MAY_NOT_NAME and not is_protected(name)
    )


def passing_trailers(trailers: Iterable[Field]) -> list[Field]:
    """Return the trailer fields that may be passed on, in either direction. Source: RFC 9110 section 6.5.1."""
    return [field for field in trailers if PASSES_UPSTREAM[field[0]] and field[0] not in _NEVER_IN_TRAILERS]
