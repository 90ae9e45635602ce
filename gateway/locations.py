"""Makes the named locations of a configuration ready to be asked."""

from collections.abc import Iterable
from pathlib import Path

from gateway.config.locations import Network
from gateway.countries import CountryFault, nowhere, open_countries
from gateway.decision.routing import NamedNetworks


def named_networks(networks: Iterable[Network], country_database: str | None) -> NamedNetworks:
    """Return what tells the named locations of an address. Raises `OSError` for a database that went away."""
    networks = tuple(networks)
    try:
        country_of = nowhere if country_database is None else open_countries(Path(country_database))
    except CountryFault as fault:
        raise OSError(f"country database `{country_database}`: {fault}") from fault
    return NamedNetworks(
        {network.name: network.cidrs for network in networks},
        {network.name: network.countries for network in networks if network.countries},
        country_of,
    )
