"""Contradicting identifiers in every order: which devices are contested never depends on it.

Chains of contradictions have several readings, and which identifier becomes the case may differ between orders; that
its devices are unknown does not.
"""

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from risk.devices import DeviceIndex
from risk.model import DeviceId, Identifier

KINDS = ("serial", "udid", "entra-device-id", "sensor-device-id")


@st.composite
def statements(draw: st.DrawFn) -> tuple[Identifier, ...]:
    """Return one or two identifiers of two devices, mixed up at will."""
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2, unique=True))
    return tuple(Identifier(kind, draw(st.sampled_from(["one", "two"])), "edr") for kind in kinds)


def contested_after(history: Sequence[tuple[Identifier, ...]]) -> frozenset[Identifier]:
    """Return every identifier of a contested device."""
    numbers = itertools.count(1)
    known: dict[DeviceId, tuple[Identifier, ...]] = {}
    index = DeviceIndex(lambda device: known.get(device, ()), lambda: DeviceId(f"d{next(numbers)}"))
    for identifiers in history:
        draft = index.draft()
        draft.resolve_or_create(identifiers)
        known.update(draft.changed)
        for gone in draft.merged:
            known.pop(gone, None)
        draft.commit()
    found = {each.identifier for each in index.cases}
    return frozenset(found.union(*(ids for device, ids in known.items() if index.contested(device))))


def bare(identifiers: frozenset[Identifier]) -> set[tuple[str, str]]:
    return {(each.kind, each.value) for each in identifiers}


@settings(max_examples=100, deadline=None)
@given(st.lists(statements(), min_size=2, max_size=4))
def test_who_is_contested_is_the_same_in_every_order(history: list[tuple[Identifier, ...]]) -> None:
    first, *others = (bare(contested_after(order)) for order in itertools.permutations(history))
    assert all(other == first for other in others)


def test_a_chain_of_contradictions_has_a_case_in_every_order() -> None:
    """Two hardware ids each, held together by one number of a directory."""
    udid, other_udid = Identifier("udid", "one"), Identifier("udid", "two")
    serial, entra = Identifier("serial", "one"), Identifier("entra-device-id", "one")
    chain = [(udid, serial), (entra, other_udid), (entra, serial)]
    for order in itertools.permutations(chain):
        assert bare(contested_after(order)) == bare(frozenset({udid, other_udid, serial, entra}))
