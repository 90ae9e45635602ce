"""Which app a request is for: by host, then by the longest path prefix. Pure."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from gateway.countries import UNKNOWN, CountryOf, nowhere
from gateway.feed.settings import WorkerApp


def is_below(path: str, prefix: str) -> bool:
    """Return whether a canonical path is `prefix` or lies below it.

    >>> is_below("/admin/x", "/admin"), is_below("/administrator", "/admin"), is_below("/a", "/")
    (True, False, True)
    """
    if prefix.endswith("/"):
        return path.startswith(prefix) or path == prefix[:-1]
    return path == prefix or path.startswith(prefix + "/")


class RouteTable:
    """Finds the app of a host and path: exact hosts first, then wildcards of one label."""

    def __init__(self, apps: Iterable[WorkerApp]) -> None:
        self._exact: dict[str, list[WorkerApp]] = {}
        self._wildcard: dict[str, list[WorkerApp]] = {}
        for app in apps:
            table, key = (
                (self._wildcard, app.host[2:]) if app.host.startswith("*.") else (self._exact, app.host)
            )
            table.setdefault(key, []).append(app)
        for routes in (*self._exact.values(), *self._wildcard.values()):
            routes.sort(key=lambda app: -len(app.path_prefix))

    def find(self, host: str, path: str) -> WorkerApp | None:
        """Return the app, or None. `host` is lower-case and without port; `path` is canonical."""
        routes = self._exact.get(host)
        if routes is None:
            routes = self._wildcard.get(host.partition(".")[2], [])
        for app in routes:
            if is_below(path, app.path_prefix):
                return app
        return None


class NamedNetworks:
    """Tells which of the named locations contain an address, in logarithmic time however many ranges there are."""

    def __init__(
        self,
        networks: Mapping[str, Sequence[str]],
        countries: Mapping[str, Sequence[str]] | None = None,
        country_of: CountryOf = nowhere,
    ) -> None:
        """`networks` are address ranges by name, `countries` codes of countries by name."""
        self._spans = {version: _spans(networks, version) for version in (4, 6)}
        self._by_country: dict[str, frozenset[str]] = {}
        for name, codes in (countries or {}).items():
            for code in codes:
                self._by_country[code] = self._by_country.get(code, frozenset()) | {name}
        self._country_of = country_of

    def containing(
        self, address: IPv4Address | IPv6Address | None, country: str | None = None
    ) -> frozenset[str]:
        """Return the names of all locations that contain `address`; of an unknown address those of unknown countries.

        `country` is where it is, in place of what the database says.
        """
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        inside = frozenset[str]()
        if address is not None:
            starts, names = self._spans[address.version]
            inside = names[bisect_right(starts, int(address)) - 1]
        if not self._by_country:
            return inside
        if country is None:
            country = UNKNOWN if address is None else self._country_of(address)
        return inside | self._by_country.get(country, frozenset())

    def containing_text(self, address: str, country: str | None = None) -> frozenset[str]:
        """Return what `containing` returns for the address written as `address`; any other text is unknown."""
        try:
            return self.containing(ip_address(address), country)
        except ValueError:
            return self.containing(None, country)


def _spans(networks: Mapping[str, Sequence[str]], version: int) -> tuple[list[int], list[frozenset[str]]]:
    """Return where the set of networks that hold an address changes, and the sets from there on; the first from 0."""
    changes: dict[int, Counter[str]] = {}
    for name, cidrs in networks.items():
        for cidr in cidrs:
            net = ip_network(cidr)
            if net.version == version:
                changes.setdefault(int(net.network_address), Counter())[name] += 1
                changes.setdefault(int(net.broadcast_address) + 1, Counter())[name] -= 1
    starts, names = [0], [frozenset[str]()]
    open_: Counter[str] = Counter()
    for start in sorted(changes):
        open_.update(changes[start])
        inside = frozenset(name for name, count in open_.items() if count > 0)
        if start == starts[-1]:
            names[-1] = inside
        elif inside != names[-1]:
            starts.append(start)
            names.append(inside)
    return starts, names
