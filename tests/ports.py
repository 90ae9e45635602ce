"""Ports for servers under test that nobody else takes between the choice and the bind.

They lie below the ephemeral range, so that no outgoing connection gets one, and above those that browsers refuse to
open (the last is 10080); each worker of pytest-xdist has a block of its own.
"""

import itertools
import os
import random
import socket

FIRST, LAST = 11_000, 30_000
BLOCK = 1_000
BLOCKS = (LAST - FIRST) // BLOCK

_base = (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % BLOCKS) * BLOCK + FIRST
_numbers = itertools.count(random.randrange(BLOCK))  # noqa: S311 - a start, no secret


def free_ports(count: int) -> list[int]:
    """Return ports of 127.0.0.1 that nobody listens on, and that this process has not returned lately."""
    found: list[int] = []
    while len(found) < count:
        port = _base + next(_numbers) % BLOCK
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
