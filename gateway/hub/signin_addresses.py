"""Addresses too long for a cookie, kept here until their sign-in ends: bounded in bytes, in time and per client.

Whoever asks for a page can fill this, so nobody may fill it at the cost of others: a client beyond its own share
loses its own oldest addresses; when the whole is full, the client that holds most makes room for one that holds
less, and one that holds no less is not kept at all.
"""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

import msgspec
from cachetools import TTLCache

from gateway.oidc.authorize import random_text

KEPT_S = 3600.0
"""As long as a sign-in knows where it leads to: `gateway.sessions.pending.PENDING_COOKIE_S`."""

MOST_BYTES = 32 * 1024 * 1024
CLIENT_BYTES = 1024 * 1024
"""Share of one client: sixty addresses of the greatest length, for a whole office behind one address."""

ENTRY_BYTES = 400
"""What an entry costs beside its text."""

IPV6_CLIENT_PREFIX = 64


class _Kept(msgspec.Struct, frozen=True):
    client: str
    path: str

    @property
    def size(self) -> int:
        return len(self.path) + ENTRY_BYTES


class KeptAddresses:
    """Paths with query by random id. `mono` is a monotonic clock, `random_bytes` a CSPRNG."""

    def __init__(
        self,
        *,
        mono: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        most_bytes: int = MOST_BYTES,
        client_bytes: int = CLIENT_BYTES,
    ) -> None:
        self._random_bytes = random_bytes
        self._most = most_bytes
        self._client_most = client_bytes
        self._kept: TTLCache[str, _Kept] = TTLCache(
            most_bytes, KEPT_S, timer=mono, getsizeof=lambda kept: kept.size
        )
        self._held_bytes = 0
        self._held: dict[str, int] = {}
        self._ids_of: dict[str, dict[str, None]] = {}

    def keep(self, untrusted_client: str, path: str) -> str:
        """Return the id under which `path` is kept; "" when there is no room for this client."""
        kept = _Kept(client_share(untrusted_client), path)
        if kept.size > self._client_most:
            return ""
        # The clock stands still in here: what expires is accounted for, and nothing expires unseen.
        with self._kept.timer:
            for key, gone in self._kept.expire():
                self._forget(key, gone)
            if not self._make_room(kept):
                return ""
            key = random_text(self._random_bytes)
            self._kept[key] = kept
            self._held_bytes += kept.size
            self._held[kept.client] = self._held.get(kept.client, 0) + kept.size
            self._ids_of.setdefault(kept.client, {})[key] = None
            return key

    def find(self, key: str) -> str | None:
        """Return the path again, None when it is unknown, expired or was given up for others."""
        kept = self._kept.get(key)
        return None if kept is None else kept.path

    @property
    def held_bytes(self) -> int:
        """Bytes held now, what has expired but was not yet noticed included."""
        return self._held_bytes

    def _make_room(self, kept: _Kept) -> bool:
        while self._held.get(kept.client, 0) + kept.size > self._client_most:
            self._drop_oldest(kept.client)
        while self._held_bytes + kept.size > self._most:
            greatest = max(self._held, key=self._held.__getitem__)
            if self._held[greatest] <= self._held.get(kept.client, 0) + kept.size:
                return False
            self._drop_oldest(greatest)
        return True

    def _drop_oldest(self, client: str) -> None:
        key = next(iter(self._ids_of[client]))
        self._forget(key, self._kept.pop(key))

    def _forget(self, key: str, gone: _Kept) -> None:
        self._ids_of[gone.client].pop(key, None)
        self._held_bytes -= gone.size
        self._held[gone.client] -= gone.size
        if not self._ids_of[gone.client]:
            del self._ids_of[gone.client], self._held[gone.client]


def client_share(untrusted_address: str) -> str:
    """Return whose share an address counts against: of IPv6 the network, because one machine has all of it.

    >>> client_share("192.0.2.7"), client_share("2001:db8:1:2:3::4"), client_share("::ffff:192.0.2.7")
    ('192.0.2.7', '2001:db8:1:2::', '192.0.2.7')
    """
    try:
        address = ip_address(untrusted_address.partition("%")[0])
    except ValueError:
        return ""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, IPV6_CLIENT_PREFIX), strict=False).network_address)
    return str(address)
