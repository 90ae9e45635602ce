"""How the collector of reference cycles is run in a process that answers people and sensors.

A full collection walks all objects and stops the process meanwhile: hundreds of milliseconds in a hub that knows many
devices, in which nobody's access changes. What a process is made of when it begins to serve is therefore left
out, and the rest is walked seldom. Most of what is freed is freed by counting references, without any of this.
"""

import gc

YOUNG = 10_000
"""Objects, more than were freed, after which the newest are looked at: a millisecond or two."""

MIDDLE = 5
OLD = 50
"""Collections of one generation after which the next older one is looked at."""


def collect_seldom() -> None:
    """Walk new objects in larger groups, and old ones seldom. To be called first thing."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def leave_out_what_stays() -> None:
    """Walk none of the objects that there are now. To be called once, when all is loaded."""
    gc.freeze()
