"""What waits, one lane per sender, taken in turn: a sender that sends too much fills its own lane and nobody else's."""

from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


LIGHT = 16
"""Most that a light item weighs."""


def is_light(weight: int) -> bool:
    """Return whether an item of this weight is light."""
    return weight <= LIGHT


class _Lane(Generic[T]):
    __slots__ = ("items", "weight")

    def __init__(self) -> None:
        self.items: deque[tuple[T, int, bool]] = deque()
        self.weight = 0

    @property
    def is_light(self) -> bool:
        """Whether its next item is light."""
        return is_light(self.items[0][1])


class Lanes(Generic[T]):
    """A fair queue."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane[T]] = {}
        """Only lanes with something in them, the next to be served first."""

    def __len__(self) -> int:
        return sum(len(lane.items) for lane in self._lanes.values())

    def waiting(self, sender: str) -> int:
        """Return how many items wait in the lane of a sender."""
        lane = self._lanes.get(sender)
        return 0 if lane is None else len(lane.items)

    def has_room(self, sender: str, weight: int, *, most: int, most_weight: int) -> bool:
        """Return whether an item of this weight may join a lane of at most `most` items that weigh `most_weight`.

        An empty lane takes any item: it could never be sent otherwise.
        """
        lane = self._lanes.get(sender)
        return lane is None or (len(lane.items) < most and lane.weight + weight <= most_weight)

    def add(self, sender: str, item: T, weight: int, *, is_last: bool = False) -> None:
        """Put an item at the end of its lane, whether there is room or not. One that `is_last` ends a group."""
        lane = self._lanes.setdefault(sender, _Lane())
        lane.items.append((item, weight, is_last))
        lane.weight += weight

    def take(self, most: int, most_weight: int, *, is_light: bool | None = None) -> list[T]:
        """Return up to `most` items, one of each lane in turn; none more once they weigh `most_weight` or one is last.

        The order within a lane is kept. Light items and others are never taken together, so that no light one waits
        for more than one lot of others: those whose turn it is, or those that `is_light` asks for. The next call goes
        on with the lane whose turn it is.
        """
        taken: list[T] = []
        weight = 0
        turns = deque(self._lanes)
        are_light = bool(turns) and self._lanes[turns[0]].is_light if is_light is None else is_light
        while turns and len(taken) < most and weight < most_weight:
            sender = turns.popleft()
            lane = self._lanes[sender]
            if lane.is_light is not are_light:
                continue
            item, its_weight, is_last = lane.items.popleft()
            lane.weight -= its_weight
            weight += most_weight if is_last else its_weight
            taken.append(item)
            del self._lanes[sender]
            if lane.items:
                self._lanes[sender] = lane
                turns.append(sender)
        return taken
