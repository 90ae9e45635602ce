"""Who the client is, and the headers that tell the upstream so.

Only what a trusted proxy vouches for is believed; everything a client may have written itself is dropped.

Source: RFC 7239; `X-Forwarded-*` as nginx, HAProxy and Envoy write them.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS = 32
"""Most hops that are walked; a longer chain ends there."""

_FORWARDED_FOR = re.compile(rb'(?:^|;)\s*for="?([^";]+)"?', re.IGNORECASE)
_WITH_PORT = re.compile(rb"\[([^\]]+)\](?::\d+)?|(\d+\.\d+\.\d+\.\d+):\d+")


@lru_cache(maxsize=4096)
def parse_address(text: bytes) -> Address | None:
    """Return the address of a hop as proxies write it (with port, in brackets), or None. IPv4-mapped becomes IPv4.

    >>> parse_address(b"[2001:db8::1]:443"), parse_address(b"::ffff:192.0.2.1"), parse_address(b"unknown")
    (IPv6Address('2001:db8::1'), IPv4Address('192.0.2.1'), None)
    """
    match = _WITH_PORT.fullmatch(text)
    if match is not None:
        text = match[1] or match[2]
    try:
        address = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


class TrustedNetworks:
    """The networks whose forwarding headers are believed."""

    def __init__(self, networks: Sequence[Network] = ()) -> None:
        self._networks = tuple(networks)
        self._known: dict[Address, bool] = {}

    def __contains__(self, address: Address) -> bool:
        known = self._known.get(address)
        if known is None:
            known = any(
                network.version == address.version and address in network for network in self._networks
            )
            if len(self._known) < 4096:  # noqa: PLR2004 - bounds the memory, nothing depends on it
                self._known[address] = known
        return known


def untrusted_hops(forwarded_for: bytes | None, forwarded: bytes | None) -> list[bytes]:
    """Return the hops that the headers claim, the client first. `X-Forwarded-For` wins over `Forwarded`."""
    if forwarded_for is not None:
        return [hop.strip() for hop in forwarded_for.split(b",")]
    if forwarded is None:
        return []
    matches = (_FORWARDED_FOR.search(element) for element in forwarded.split(b","))
    return [match[1] if match else b"" for match in matches]


def client_chain(peer: Address, untrusted: Sequence[bytes], trusted: TrustedNetworks) -> list[Address]:
    """Return the believed hops: the client first, then each proxy that vouches for the one before, `peer` last.

    Walks `untrusted` from the right, stopping at the first hop not in `trusted`; an unparsable hop ends the walk at the
    hop before it. Never raises. Source: RFC 7239 section 5.2.
    """
    chain = [peer]
    for hop in reversed(untrusted[-MAX_HOPS:]):
        if chain[0] not in trusted:
            break
        address = parse_address(hop)
        if address is None:
            break
        chain.insert(0, address)
    return chain


def forwarding_lines(chain: Sequence[Address], scheme: bytes, authority: bytes) -> bytes:
    """Return the `X-Forwarded-*` and `Forwarded` lines for an upstream, each but the last ending in CRLF.

    `authority` is the valid `Host` value of the client; the port is the one that the client used.
    """
    hops = [str(address) for address in chain]
    _, colon, port = authority.rpartition(b":")
    if not colon or b"]" in port:
        port = b"443" if scheme == b"https" else b"80"
    elements = [f'for="[{hop}]"' if ":" in hop else f"for={hop}" for hop in hops]
    elements[0] += f';host="{authority.decode()}";proto={scheme.decode()}'
    return b"\r\n".join(
        (
            b"X-Forwarded-For: " + ", ".join(hops).encode(),
            b"X-Forwarded-Proto: " + scheme,
            b"X-Forwarded-Host: " + authority,
            b"X-Forwarded-Port: " + port,
            b"Forwarded: " + ", ".join(elements).encode(),
        ),
    )
