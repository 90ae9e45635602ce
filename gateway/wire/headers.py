"""Which header fields may pass from one side to the other. Everything else is removed, or set anew by us.

Names are compared in lower case. A name with an underscore never passes: CGI-like upstreams read `X_Gate_User` and
`X-Gate-User` as one (CVE-2025-64484, CVE-2026-39858).

Source: RFC 9110 section 7.6.1; the protected names are those by which the common gateways state identity.
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import Field, list_members

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
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"host",
        b"location",
        b"origin",
        b"range",
        b"set-cookie",
    },
)
"""Fields that no `Connection` header may have removed: the other side would read another message without them."""

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


@lru_cache(maxsize=256)
def connection_options(value: bytes) -> frozenset[bytes]:
    """Return the lower-case options of a `Connection` value; those that are names of fields have them removed.

    Raises `WireFault` when it names a protected or decisive field: no honest client or app does, and to remove one
    makes somebody else's message of it. Remembered, since few values are ever used. Source: RFC 9110 section 7.6.1.

    >>> sorted(connection_options(b"Close, X-Hop"))
    [b'close', b'x-hop']
    """
    options = frozenset(list_members(value))
    if any(option in CONNECTION_MAY_NOT_NAME or is_protected(option) for option in options):
        raise WireFault(FaultCode.NOMINATION, "the Connection header names a field that it may not remove")
    return options


def passing_trailers(trailers: Iterable[Field]) -> list[Field]:
    """Return the trailer fields that may be passed on, in either direction. Source: RFC 9110 section 6.5.1."""
    return [field for field in trailers if PASSES_UPSTREAM[field[0]] and field[0] not in _NEVER_IN_TRAILERS]
