"""Makes the named locations of a configuration ready to be asked."""

from collections.abc import Iterable
from pathlib import Path

from gateway.config.locations import Network
from gateway.countries import CountryFault, CountryOf, nowhere, open_countries
from gateway.decision.routing import NamedNetworks


def named_networks(networks: Iterable[Network], country_database: str | None) -> NamedNetworks:
    """Return what tells the named locations of an address. Raises `OSError` for a database that went away."""
    try:
        country_of = nowhere if country_database is None else open_countries(Path(country_database))
    except CountryFault as fault:
        raise OSError(f"country database `{country_database}`: {fault}") from fault
    return _named(networks, country_of)


def _named(networks: Iterable[Network], country_of: CountryOf) -> NamedNetworks:
    networks = tuple(networks)
    return NamedNetworks(
        {network.name: network.cidrs for network in networks},
        {network.name: network.countries for network in networks if network.countries},
        country_of,
    )


class Locations:
    """The named locations as a worker knows them, by the country database as it could be read last.

    `fault` says why the database cannot be read now, "" while it can or none is needed. `is_told` is false while it has
    never been read: then no country is known.
    """

    def __init__(self) -> None:
        self.networks = NamedNetworks({})
        self.fault = ""
        self.is_told = True
        self._given: tuple[Network, ...] = ()
        self._database: str | None = None
        self._country_of: CountryOf = nowhere

    def configure(self, networks: tuple[Network, ...], country_database: str | None) -> None:
        """Take new locations; the database is read only where one of them names a country."""
        self._given = networks
        self._database = country_database if any(each.countries for each in networks) else None
        if self._database is None:
            self._country_of = nowhere
        self.read()

    def read(self) -> None:
        """Read the database. One that cannot be read leaves what was read before in force."""
        self.fault = ""
        if self._database is not None:
            try:
                self._country_of = open_countries(Path(self._database))
            except CountryFault as fault:
                self.fault = f"country database `{self._database}`: {fault}"
        self.is_told = self._database is None or self._country_of is not nowhere
        self.networks = _named(self._given, self._country_of)
