"""Which page opened a WebSocket: browsers name its origin, and let every page open one to every host.

The request carries the cookies of the app's host, so that a page of any other host on the same site would speak to the
app as the person who looks at it. Only what the app's own pages open passes, and what its configuration lists.

Source: RFC 6455 section 10.2, RFC 6454 section 7.
"""

import re
from functools import lru_cache

from gateway.wire.faults import RequestFault
from gateway.wire.host import parse_host
from gateway.wire.request import RequestHead

_ORIGIN = re.compile(rb"(https?)://([^/]+)")
_DEFAULT_PORTS = (None, 80, 443)
_ASKED_METHOD = b"access-control-request-method"


@lru_cache(maxsize=1024)
def parse_origin(value: bytes) -> tuple[str, str, int | None] | None:
    """Return scheme, host and port of an origin, None for anything else (`null`, for one). A default port is None.

    >>> parse_origin(b"https://App.Example.org:443"), parse_origin(b"null")
    (('https', 'app.example.org', None), None)
    """
    match = _ORIGIN.fullmatch(value)
    if match is None:
        return None
    scheme, authority = match.groups()
    try:
        host, port = parse_host(authority)
    except RequestFault:
        return None
    return scheme.decode(), host, None if port == (443 if scheme == b"https" else 80) else port


def is_own_origin(origin: bytes, host: str, port: int | None, *, is_https: bool) -> bool:
    """Return whether `origin` is that of the pages of `host` and `port` (None: the default one).

    `is_https`: the gateway is reached by https alone, so that a page that came by http may be anybody's.
    """
    parsed = parse_origin(origin)
    if parsed is None:
        return False
    scheme, origin_host, origin_port = parsed
    if is_https and scheme != "https":
        return False
    # A load balancer in front may end TLS: the port of a plain `Host` is then that of the other scheme.
    return origin_host == host and origin_port == (None if port in _DEFAULT_PORTS else port)


def is_preflight(head: RequestHead) -> bool:
    """Return whether a browser asks if a page of another host may send a request.

    Never one by which a framework might do more than answer that: with a body, or with another method in a header or in
    the query. Source: Fetch, section "CORS-preflight fetch".
    """
    if head.method != "OPTIONS" or head.has_body or head.is_upgrade or head.header(b"origin") is None:
        return False
    if head.header(_ASKED_METHOD) is None or "method" in (head.target.query or "").lower():
        return False
    return all(b"method" not in name or name == _ASKED_METHOD for name, _ in head.headers)
