"""Work on what products answer, beside the event loop: a page may have 10,000 devices, and others want their turn.

The loop waits for the interpreter no longer than it takes to switch, or than one piece of such work keeps it.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_aside = ThreadPoolExecutor(1, "pulled-page")
"""One page at a time, whichever product it is of; apart from the deliveries of sensors, which do not wait for it."""


async def beside(work: Callable[[], T]) -> T:
    """Return what `work` gives. It shares nothing with the loop but what is never changed."""
    return await asyncio.get_running_loop().run_in_executor(_aside, work)
