"""Devices that wait to be looked at again: how desks learn of changes without holding up whoever tells of them."""

import asyncio
import itertools
from collections.abc import Mapping
from typing import Generic, TypeVar

Wanted = TypeVar("Wanted")


class DeviceQueue(Generic[Wanted]):
    """Devices in the order in which they were named, each once, with what is wanted of it; never more than `most`.

    One task waits for `stirred()`, takes what there is, and calls `rest()`; everybody else waits for `settled()`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[str, Wanted] = {}
        self._stirred = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()

    def __len__(self) -> int:
        """Return how many devices wait."""
        return len(self._waiting)

    def wanted(self, device_id: str) -> Wanted | None:
        """Return what is wanted of a device that waits, None of any other."""
        return self._waiting.get(device_id)

    def put(self, device_id: str, wanted: Wanted) -> bool:
        """Have a device wait, with what is wanted of it now; False where there is no room for it."""
        if device_id not in self._waiting and len(self._waiting) >= self._most:
            return False
        self._waiting[device_id] = wanted
        return True

    def take(self, count: int) -> dict[str, Wanted]:
        """Return so many devices, those that wait longest first, which wait no more."""
        taken = dict(itertools.islice(self._waiting.items(), count))
        for device_id in taken:
            del self._waiting[device_id]
        return taken

    def put_back(self, taken: Mapping[str, Wanted]) -> None:
        """Have devices wait again that could not be looked at, however many wait."""
        self._waiting.update(taken)

    def stir(self) -> None:
        """Wake whoever looks at devices."""
        self._settled.clear()
        self._stirred.set()

    async def stirred(self) -> None:
        """Return once there is something to do."""
        await self._stirred.wait()
        self._stirred.clear()

    def rest(self) -> None:
        """Say that all is done, unless devices have come in the meantime."""
        if not self._waiting:
            self._settled.set()

    async def settled(self) -> None:
        """Return when everything that waited has been looked at."""
        await self._settled.wait()
