"""The strict grammar of `Host`: who the client thinks it talks to, or a refusal.

Source: RFC 9110 section 7.2, RFC 3986 section 3.2.2; host names as in RFC 1123 with underscores, which real internal
names have.
"""

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from gateway.wire.faults import FaultCode, RequestFault

MAX_HOST_BYTES = 255

_NAME = re.compile(
    rb"([a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*)\.?(?::([0-9]{1,5}))?"
)
_IPV6 = re.compile(rb"\[([0-9a-f:.]{2,45})\](?::([0-9]{1,5}))?")


@lru_cache(maxsize=1024)
def parse_host(value: bytes) -> tuple[str, int | None]:
    """Return the lower-case host, without a final dot, and the port, None when the value has none.

    An IPv6 address keeps its brackets and gets its one short spelling. Raises `RequestFault` for anything else: an
    empty value, user information, several values, a port outside 1-65535, non-ASCII.

    >>> parse_host(b"App.Example.org:8443"), parse_host(b"[0:0::1]")
    (('app.example.org', 8443), ('[::1]', None))
    """
    lower = value.lower()
    match = _NAME.fullmatch(lower)
    if match is not None and len(value) <= MAX_HOST_BYTES:
        return match[1].decode(), _port(match[2])
    match = _IPV6.fullmatch(lower)
    if match is None:
        raise RequestFault(FaultCode.HOST, "the Host header is not one host name with an optional port")
    try:
        return f"[{IPv6Address(match[1].decode())}]", _port(match[2])
    except AddressValueError:
        raise RequestFault(FaultCode.HOST, "the Host header has a malformed IPv6 address") from None


def _port(digits: bytes | None) -> int | None:
    if digits is None:
        return None
    port = int(digits)
    if not 0 < port < 1 << 16:
        raise RequestFault(FaultCode.HOST, "the Host header has a port outside 1-65535")
    return port
