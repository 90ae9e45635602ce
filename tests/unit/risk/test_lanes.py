"""The fair queue of the intake."""

from risk.lanes import LIGHT, Lanes

BOUNDS = {"most": 3, "most_weight": 10}


def lanes(**senders: list[str]) -> Lanes[str]:
    made: Lanes[str] = Lanes()
    for sender, items in senders.items():
        for item in items:
            made.add(sender, item, 1)
    return made


def test_lanes_are_served_in_turn_and_keep_their_order() -> None:
    made = lanes(noisy=["n1", "n2", "n3", "n4"], quiet=["q1"])
    assert made.take(3, 100) == ["n1", "q1", "n2"]
    made.add("quiet", "q2", 1)
    assert made.take(10, 100) == ["n3", "q2", "n4"]
    assert len(made) == 0


def test_a_full_lane_leaves_room_in_the_others() -> None:
    made = lanes(noisy=["n1", "n2", "n3"])
    assert not made.has_room("noisy", 1, **BOUNDS)
    assert made.has_room("quiet", 1, **BOUNDS)
    assert (made.waiting("noisy"), made.waiting("quiet")) == (3, 0)


def test_a_group_ends_with_the_item_that_makes_it_heavy() -> None:
    made: Lanes[str] = Lanes()
    for name, weight in (("a", 1), ("b", 5), ("c", 1)):
        made.add(name, name, weight)
    assert made.take(9, 4) == ["a", "b"]
    assert made.take(9, 4) == ["c"]


def test_a_group_ends_with_an_item_that_is_last() -> None:
    made: Lanes[str] = Lanes()
    for name in ("a", "b", "c"):
        made.add(name, name, LIGHT + 1, is_last=name == "b")
    assert made.take(9, 1000) == ["a", "b"]
    assert made.take(9, 1000) == ["c"]


def test_weight_fills_a_lane_but_never_an_empty_one() -> None:
    made = lanes()
    assert made.has_room("noisy", 1000, **BOUNDS)
    made.add("noisy", "n1", 8)
    assert made.has_room("noisy", 2, **BOUNDS)
    assert not made.has_room("noisy", 3, **BOUNDS)


def heavy(*names: str) -> list[tuple[str, int]]:
    return [(name, LIGHT + 1) for name in names]


def test_light_items_and_others_are_taken_in_turn_but_never_together() -> None:
    made = lanes(quiet=["q1"], calm=["c1", "c2"])
    for item, weight in heavy("b1", "b2"):
        made.add("bulk", item, weight)
    assert made.take(9, 100) == ["q1", "c1", "c2"]
    made.add("quiet", "q2", 1)
    assert made.take(9, LIGHT + 1) == ["b1"]
    assert made.take(9, 100) == ["q2"]
    assert made.take(9, 100) == ["b2"]
    assert len(made) == 0


def test_no_item_overtakes_another_of_its_lane() -> None:
    """A light one behind a heavy one waits for it, and the other way round."""
    made: Lanes[str] = Lanes()
    for item, weight in (("a", 1), *heavy("b"), ("c", 1), *heavy("d")):
        made.add("one", item, weight)
    made.add("other", "x", 1)
    taken = [made.take(9, 1000) for _ in range(4)]
    assert [item for lot in taken for item in lot if item != "x"] == ["a", "b", "c", "d"]
    assert taken[0] == ["a", "x"]


def test_heavy_lanes_share_a_lot() -> None:
    made: Lanes[str] = Lanes()
    for item, weight in heavy("a", "b", "c"):
        made.add(item, item, weight)
    assert made.take(9, 2 * LIGHT) == ["a", "b"]
    assert made.take(9, 2 * LIGHT) == ["c"]
