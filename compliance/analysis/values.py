"""Values that stand for all: of findings, facts, networks, instants and paths. Pure.

Each function returns enough of them that every combination of answers, which conditions can give, occurs.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address
from itertools import pairwise, product
from string import ascii_uppercase
from typing import Any

import msgspec

from compliance.comparison import FAILED, Verdict, compare
from compliance.comparison import given as comparisons_of
from compliance.conditions.times import spans
from compliance.model import FactCondition, FactRule, FactStateCondition, FindingCondition, TimeWindow
from compliance.versions import parse_version
from risk.model import Severity

Network = IPv4Network | IPv6Network

MOMENT = datetime(2025, 1, 15, 12, tzinfo=UTC)
_YEAR_DAYS = 366
_SEVERITIES = ("none", "informational", "low", "medium", "high", "critical")


def unique(values: Iterable[Any]) -> list[Any]:
    """Return values without repetition, in their order."""
    return list(dict.fromkeys(values))


def fact_key(asked: FactCondition | FactStateCondition) -> str:
    """Return what tells conditions on facts apart; by value they would not be: `true` equals 1."""
    return repr(asked)


# --- findings ------------------------------------------------------------------------------------------


def sorts_of_findings(asked: Sequence[FindingCondition], sensors: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield findings as a `Given` describes them."""
    categories = unique(["", *(each.category.casefold() for each in asked)])
    named = unique(each.sensor for each in asked if each.sensor in sensors)
    others = [each for each in sensors if each not in named][:1] if named or sensors else [None]
    voices: list[str | None] = [*others, *named]
    ages = sorted({0.0, *(each.older_than for each in asked if each.older_than is not None)})
    for category, severity, sensor, age in product(categories, _SEVERITIES, voices, ages):
        yield {"category": category, "severity": severity, "sensor": sensor, "age": age}


def finding_matches(asked: FindingCondition, sort: Mapping[str, Any]) -> bool:
    """Return whether a finding of this sort is meant."""
    if asked.sensor and sort["sensor"] != asked.sensor:
        return False
    if asked.category and sort["category"] != asked.category.casefold():
        return False
    lowest = asked.at_least
    if lowest is None or lowest is Severity.UNKNOWN:
        lowest = Severity.NONE
    if _SEVERITIES.index(sort["severity"]) < _SEVERITIES.index(lowest):
        return False
    return asked.older_than is None or sort["age"] >= asked.older_than


# --- facts ---------------------------------------------------------------------------------------------

FactAsked = FactCondition | FactRule


class Ago(msgspec.Struct, frozen=True):
    """A date that lies so many seconds before the request, whenever that is."""

    seconds: float

    def before(self, now: datetime) -> str:
        """Return the date as a text."""
        return (now - timedelta(seconds=self.seconds)).isoformat()


def fact_verdict(asked: FactAsked, value: Any, age: float) -> bool | None:
    """Return whether a comparison holds of a value that was observed `age` seconds ago; None: not known."""
    if asked.max_age is not None and age >= asked.max_age:
        return None
    stated = value.before(MOMENT) if isinstance(value, Ago) else value
    verdict = compare(asked, stated, MOMENT)
    if verdict is Verdict.MET:
        return True
    return False if verdict in FAILED else None


def fact_ages(asked: Sequence[FactAsked | FactStateCondition]) -> list[float]:
    """Return ages of an observation, in seconds."""
    return sorted({0.0, *(each.max_age for each in asked if each.max_age is not None)})


def fact_values(asked: Sequence[FactAsked]) -> list[Any]:
    """Return values that reach every combination of verdicts: each bound, what lies beside it, and other types."""
    values: list[Any] = [True, False, "another value", 0]
    for each in asked:
        for key in comparisons_of(each):
            values += _beside(key, getattr(each, key))
    numbers = sorted(
        {value for value in values if isinstance(value, int | float) and not isinstance(value, bool)}
    )
    values += [(low + high) / 2 for low, high in pairwise(numbers)]
    return values


def _beside(key: str, bound: Any) -> list[Any]:
    match key:
        case "one_of" | "not_one_of":
            return list(bound)
        case "at_least" | "below":
            product_name = getattr(parse_version(bound), "product", "")
            return [bound, f"{bound}.0.0.1", f"{product_name} 0".strip(), f"{product_name} 99999999".strip()]
        case "newer_than":
            return [Ago(bound - 1), Ago(bound)]
        case "min" | "max":
            return [bound, bound - 1, bound + 1]
        case _:
            return [bound, bound + 1] if isinstance(bound, float) and not isinstance(bound, bool) else [bound]


# --- networks, times, paths ----------------------------------------------------------------------------


def places(networks: Mapping[str, Sequence[Network]]) -> dict[frozenset[str], dict[str, Any]]:
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


@lru_cache(maxsize=64)
def moments(windows: tuple[TimeWindow, ...]) -> dict[frozenset[TimeWindow], datetime]:
    """Return every set of windows that can be open at once, with such an instant of a whole year."""
    open_in = {window: list(spans(window, MOMENT, range(-1, _YEAR_DAYS))) for window in windows}
    edges = {edge for each in open_in.values() for span in each for edge in span if edge >= MOMENT}
    found: dict[frozenset[TimeWindow], datetime] = {}
    for now in (MOMENT, *sorted(edges)):
        inside = frozenset(window for window, each in open_in.items() if _is_inside(each, now))
        found.setdefault(inside, now)
    return found


def _is_inside(spans_of_window: list[tuple[datetime, datetime]], now: datetime) -> bool:
    at = bisect_right(spans_of_window, now, key=lambda span: span[0])
    return any(start <= now < end for start, end in spans_of_window[max(0, at - 2) : at])


def pattern_of(prefix: str) -> str:
    """Return the path pattern that means a path prefix."""
    return prefix.rstrip("/") or "/"


def is_below(path: str, prefix: str) -> bool:
    """Return whether a path is a prefix or lies below it."""
    wanted = pattern_of(prefix)
    return wanted in {"/", path} or path.startswith(wanted + "/")


def with_countries(
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
