"""`networks`, `not_networks`: the named networks that hold the client address."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import ip_address
from string import ascii_uppercase
from typing import Any

from compliance.analysis.inputs import Change, Here, Inputs, Network, Variable, place_where, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, RequestKind, saying
from compliance.model import RequestFacts
from compliance.reasons import AccessReason


def _holds(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return not request.networks.isdisjoint(wanted)


def _does_not_hold(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return request.networks.isdisjoint(wanted)


def _compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    networks = frozenset(wanted)
    return lambda request: not networks.isdisjoint(request.networks)


def _not_compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    networks = frozenset(wanted)
    return lambda request: networks.isdisjoint(request.networks)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("network", lambda names: not names.isdisjoint(wanted)),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("network", lambda names: names.isdisjoint(wanted)),)


def _seen(request: RequestFacts) -> str:
    return ", ".join(sorted(request.networks)) or "none"


KIND = RequestKind(
    holds=_holds,
    compiled=_compiled,
    clauses=_clauses,
    reason=AccessReason.PLACE_NOT_ACCEPTED,
    seen=_seen,
)
NOT_KIND = RequestKind(
    holds=_does_not_hold,
    compiled=_not_compiled,
    clauses=_not_clauses,
    reason=AccessReason.PLACE_NOT_ACCEPTED,
    seen=_seen,
)


# --- for the analysis: every set of networks that an address can be in --------------------------------------


def _add(inputs: Inputs) -> None:
    used = set(inputs.asked("networks", "not_networks"))
    ranges = _places({name: nets for name, nets in inputs.around.networks.items() if name in used})
    by_country = {name: codes for name, codes in inputs.around.countries.items() if name in used}
    inputs.add("network", _with_countries(ranges, by_country).items())


def _places(networks: Mapping[str, Sequence[Network]]) -> dict[frozenset[str], dict[str, Any]]:
    """Return every set of networks that an address can be in, with such an address; first: in none, or the like."""
    found: dict[frozenset[str], dict[str, Any]] = {}
    edges: dict[int, set[int]] = {4: {0}, 6: {0}}
    for nets in networks.values():
        for net in nets:
            last = int(net.broadcast_address) + 1
            edges[net.version] |= {int(net.network_address), last} if last < 1 << net.max_prefixlen else {
                int(net.network_address)
            }  # fmt: skip
    for version, starts in edges.items():
        for start in sorted(starts):
            address = ip_address(start) if version == 4 else ip_address(start.to_bytes(16, "big"))  # noqa: PLR2004
            inside = frozenset(
                name
                for name, nets in networks.items()
                if any(net.version == version and address in net for net in nets)
            )
            if not _is_mapped(address):
                found.setdefault(inside, {"address": str(address)})
    return found


def _is_mapped(address: Any) -> bool:
    return getattr(address, "ipv4_mapped", None) is not None


def _with_countries(
    ranges: Mapping[frozenset[str], dict[str, Any]], countries: Mapping[str, Sequence[str]]
) -> dict[frozenset[str], dict[str, Any]]:
    """Return every set of locations when some are told by country, too: any address may be in any country."""
    if not countries:
        return dict(ranges)
    named = unique(code for codes in countries.values() for code in codes)
    elsewhere = next(code for code in ("XX", "ZZ", "QQ", "XA", *_codes()) if code not in named)
    found: dict[frozenset[str], dict[str, Any]] = {}
    for code in unique([elsewhere, "unknown", *named]):
        within = frozenset(name for name, codes in countries.items() if code in codes)
        for inside, says in ranges.items():
            found.setdefault(inside | within, {**says, "country": code})
    return found


def _codes() -> Iterator[str]:
    return (f"{first}{second}" for first in ascii_uppercase for second in ascii_uppercase)


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    told = {name for value in variable.values for name in value.key}
    return place_where(variable, lambda key: key == here.request.networks & told)


def _say(change: Change, _rest: str) -> Iterator[str]:
    now, then = frozenset(change.now or ()), frozenset(change.then or ())
    yield from (f"the request comes from network {name}" for name in sorted(then - now))
    yield from (f"the request does not come from network {name}" for name in sorted(now - then))


INPUT = Input(word="network", add=_add, place=_place, say=saying(_say))
