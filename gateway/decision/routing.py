"""Which app a request is for: by host, then by the longest path prefix. Pure."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

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
    """Tells which of the configured networks contain an address."""

    def __init__(self, networks: dict[str, tuple[str, ...]]) -> None:
        self._networks = [(name, [ip_network(cidr) for cidr in cidrs]) for name, cidrs in networks.items()]

    def containing(self, address: IPv4Address | IPv6Address | None) -> frozenset[str]:
        """Return the names of all networks that contain `address`; none for an unknown address."""
        if address is None:
            return frozenset()
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return frozenset(
            name
            for name, nets in self._networks
            if any(net.version == address.version and address in net for net in nets)
        )

    def containing_text(self, address: str) -> frozenset[str]:
        """Return the names of all networks that contain the address written as `address`; none for any other text."""
        try:
            return self.containing(ip_address(address))
        except ValueError:
            return frozenset()
