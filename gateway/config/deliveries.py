"""The section `deliveries`: what is kept of what sensors sent."""

from risk.values import ByteSize, Duration, Strict


class Deliveries(Strict, frozen=True):
    """What is kept of deliveries of sensors, so that one can see what became of them and run them again.

    Field: keep: records older than this are removed.
    Field: most: most records that are kept; of those whose sender was not verified a tenth of that.
    Field: keep_bodies: how long bodies are kept, to be run again; `0s` keeps none.
    Field: bodies_bytes: most bytes of all kept bodies together; the oldest go first.
    """

    keep: Duration = 604800.0
    most: int = 100000
    keep_bodies: Duration = 259200.0
    bodies_bytes: ByteSize = 67108864
