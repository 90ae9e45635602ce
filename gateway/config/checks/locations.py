"""Checks of named locations and of the country database."""

import re

from compliance.model import AccessPolicy, Mode, Outcome
from gateway.config.checks.shared import Checks
from gateway.config.errors import Code, KeyPath, shown
from gateway.config.locations import MAX_RANGES, Network, RangeFault, all_ranges, read_ranges
from gateway.countries import UNKNOWN, CountryFault, open_countries

_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)


def check_network(checks: Checks, path: KeyPath, network: Network) -> None:
    """Check a named location."""
    checks.networks((*path, "cidrs"), network.cidrs)
    is_readable = all(checks.readable((*path, "files", at), file) for at, file in enumerate(network.files))
    for at, file in enumerate(network.files if is_readable else ()):
        try:
            read_ranges(checks.base / file)
        except (RangeFault, OSError) as fault:
            checks.fault(
                Code.NETWORK, (*path, "files", at), f"file {shown(file)} {fault}", "one network a line"
            )
    for at, country in enumerate(network.countries):
        if country != UNKNOWN and _COUNTRY.fullmatch(country) is None:
            is_near = _COUNTRY.fullmatch(country.upper()) is not None
            hint = f"did you mean `{country.upper()}`?" if is_near else "such as `DE`, or `unknown`"
            message = f"{shown(country)} is no code of a country"
            checks.fault(Code.FORM, (*path, "countries", at), message, hint)
    if network.countries and not checks.decoder.is_given(("country_database",)):
        message = "no country can be told: there is no country database"
        checks.fault(Code.NETWORK, (*path, "countries"), message, "set `country_database` to an `.mmdb` file")
    if not network.cidrs and not network.files and not network.countries:
        message = f"network `{network.name}` has no address range"
        checks.fault(Code.NETWORK, (*path, "cidrs"), message, "name `cidrs`, `files` or `countries`")


def check_locations(checks: Checks) -> None:
    """Check the country database, and that no policy lets pass whose country is not known by oversight."""
    _count_ranges(checks)
    where: KeyPath = ("country_database",)
    name = checks.decoder.leaves.get(where)
    if isinstance(name, str) and checks.readable(where, name):
        try:
            open_countries(checks.base / name)
        except CountryFault as fault:
            checks.fault(
                Code.FILE_NEEDED, where, f"file {shown(name)}: {fault}", "GeoLite2 Country, or the like"
            )
    networks = [network for _, network in checks.all(Network)]
    by_country = {each.name for each in networks if each.countries and UNKNOWN not in each.countries}
    for path, policy in checks.all(AccessPolicy):
        if policy.decision is Outcome.ALLOW or policy.mode is Mode.REPORT:
            continue
        for at, network in enumerate(policy.when.networks):
            if network in by_country:
                message = (
                    f"addresses whose country is not known are not in `{network}`, so the policy spares them"
                )
                hint = f"add `unknown` to the countries of `{network}`, or name where it does not hold: `not_networks`"
                checks.fault(Code.LENIENT, (*path, "when", "networks", at), message, hint)


def _count_ranges(checks: Checks) -> None:
    """Check that workers can be told all address ranges at once."""
    count = 0
    for path, network in checks.all(Network):
        try:
            count += len(all_ranges(network, checks.base))
        except (RangeFault, OSError):
            continue  # a fault of its own
        if count > MAX_RANGES:
            message = f"all networks together have more than {MAX_RANGES:,} address ranges"
            checks.fault(Code.NETWORK, path, message)
            return
