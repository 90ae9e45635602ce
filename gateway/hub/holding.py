"""Bytes of unanswered deliveries in memory, however slowly they come in.

Who is not verified yet counts against their network, so that nobody without its secret uses up what a sensor may hold;
the sensor's own share counts what is verified. Both are bounded, and so is all that strangers hold together.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

from gateway.hub.signin_addresses import client_share

MAX_SENSOR_BYTES = 64 * 1024 * 1024
MAX_NETWORK_BYTES = 32 * 1024 * 1024
MIN_BODIES = 4
"""Most bytes that are held of one sensor, verified, and of one client network, not verified yet; of either at least so
many whole bodies.
"""

MAX_NETWORKS = 8
"""All networks together hold at most this many times the bound of one."""


_network_of = lru_cache(4096)(client_share)


class HeldFull(Exception):
    """More is held than may be; the text says of whom."""


class Held:
    """What all deliveries hold. For one event loop."""

    def __init__(self) -> None:
        self.by_sensor: Counter[str] = Counter()
        self.by_network: Counter[str] = Counter()
        self.of_strangers = 0

    @contextmanager
    def delivery(self, sensor: str, untrusted_address: str, body_bytes: int) -> Iterator["Holding"]:
        """Give what counts the bytes of one delivery, until it is answered.

        `body_bytes` is the most that the sensor takes in one.
        """
        holding = Holding(self, sensor, _network_of(untrusted_address), MIN_BODIES * body_bytes)
        try:
            yield holding
        finally:
            holding.release()

    def add(self, counter: Counter[str], name: str, count: int) -> int:
        """Count bytes (or take them back) under a name; return how many there are now. 0 leaves no trace."""
        held = counter[name] + count
        if held:
            counter[name] = held
        else:
            counter.pop(name, None)
        return held


class Holding:
    """The bytes of one delivery. `hold` may raise `HeldFull`; they count all the same until it is released."""

    def __init__(self, held: Held, sensor: str, network: str, least: int) -> None:
        self._held = held
        self._sensor = sensor
        self._network = network
        self._least = least
        self._bytes = 0
        self._is_verified = False

    def hold(self, count: int) -> None:
        """Count bytes that are in memory now. Raises `HeldFull`."""
        self._bytes += count
        if self._is_verified:
            most = max(MAX_SENSOR_BYTES, self._least)
            if self._held.add(self._held.by_sensor, self._sensor, count) > most:
                raise HeldFull(f"other deliveries of this sensor hold {most} bytes already; send this again")
            return
        most = max(MAX_NETWORK_BYTES, self._least)
        self._held.of_strangers += count
        if self._held.add(self._held.by_network, self._network, count) > most:
            raise HeldFull(
                f"unfinished deliveries from this network hold {most} bytes already; send this again"
            )
        if self._held.of_strangers > MAX_NETWORKS * most:
            raise HeldFull("unfinished deliveries hold more than may be held now; send this again")

    def verified(self) -> None:
        """Count from now on, what is held already included, against the sensor. Raises `HeldFull`."""
        count = self._bytes
        self.release()
        self._is_verified = True
        self.hold(count)

    def release(self) -> None:
        """Hold nothing any more."""
        if self._is_verified:
            self._held.add(self._held.by_sensor, self._sensor, -self._bytes)
        else:
            self._held.of_strangers -= self._bytes
            self._held.add(self._held.by_network, self._network, -self._bytes)
        self._bytes = 0
