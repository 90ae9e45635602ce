"""Ids of deliveries, in the order of time: to find the newest record of an id costs the store no page of its own.

An id is no secret: it is in the answer to the sender, and only the administration socket gives anything for it.
"""

import secrets
import time
from collections.abc import Callable

_MS_BITS = 40
_COUNT_BITS = 24


class DeliveryIds:
    """Makes ids of 16 hexadecimal digits: milliseconds of the clock, then a count that begins anywhere."""

    def __init__(
        self,
        *,
        now_ns: Callable[[], int] = time.time_ns,
        first: Callable[[], int] = lambda: secrets.randbits(_COUNT_BITS),
    ) -> None:
        self._now_ns = now_ns
        self._count = first()

    def __call__(self) -> str:
        """Return an id that no delivery of this process had, nor one of another process in another millisecond."""
        self._count = (self._count + 1) % 2**_COUNT_BITS
        return f"{self._now_ns() // 1_000_000 % 2**_MS_BITS:010x}{self._count:06x}"


new_delivery_id = DeliveryIds()
