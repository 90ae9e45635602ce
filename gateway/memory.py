"""How the collector of reference cycles is run in a process that answers people and sensors.

A full collection walks all objects and stops the process meanwhile: hundreds of milliseconds in a hub that knows many
devices, in which nobody's access changes. What a process is made of when it begins to serve is therefore left
out, and the rest is walked seldom. Most of what is freed is freed by counting references, without any of this.
"""

import gc

YOUNG = 2_000
"""Objects, more than were freed, after which the newest are looked at: less than half a millisecond."""

MIDDLE = 5
OLD = 250
"""Collections of one generation after which the next older one is looked at: after 10,000 new objects those that are
not quite new, two milliseconds, and after 2,500,000 all of them."""


def collect_nothing_yet() -> None:
    """Walk nothing while a process imports and loads what stays, until `leave_out_what_stays`."""
    gc.disable()


def collect_seldom() -> None:
    """Walk new objects in small groups, and old ones seldom. To be called first thing."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def leave_out_what_stays() -> None:
    """Walk none of the objects that there are now, but those to come. To be called once, when all is loaded."""
    gc.freeze()
    gc.enable()
