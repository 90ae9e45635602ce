"""The country of an address, by a database in MaxMind's format that the operator brings.

The file is read whole: one that is replaced while it is open changes nothing and breaks nothing until the next reload.
Source: MaxMind DB File Format Specification 2.0; records of GeoIP2 Country and those that imitate it.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import maxminddb

UNKNOWN = "unknown"
"""The country of an address that the database does not know, such as a private one."""

MAX_BYTES = 512 * 1024 * 1024

Address = IPv4Address | IPv6Address
CountryOf = Callable[[Address], str]


class CountryFault(Exception):
    """The database cannot be used; the operator is at fault."""


def nowhere(_address: Address) -> str:
    """Return that no country is known: there is no database."""
    return UNKNOWN


def open_countries(path: Path) -> CountryOf:
    """Return what tells the country of an address by the database at `path`. Raises `CountryFault`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CountryFault(f"larger than {MAX_BYTES // 1024 // 1024} MiB")
        reader = maxminddb.open_database(path, maxminddb.MODE_MEMORY)
    except OSError as error:
        raise CountryFault(error.strerror or str(error)) from error
    except (maxminddb.InvalidDatabaseError, ValueError) as error:
        raise CountryFault("no database in MaxMind's format") from error

    def country_of(address: Address) -> str:
        if address.version == 6 and reader.metadata().ip_version == 4:  # noqa: PLR2004 - versions of IP
            return UNKNOWN
        try:
            return _code(reader.get(address))
        except (maxminddb.InvalidDatabaseError, ValueError, UnicodeDecodeError):
            return UNKNOWN

    return country_of


def _code(record: Any) -> str:
    """Return the country that a record names."""
    if not isinstance(record, dict):
        return UNKNOWN
    country = record.get("country", record.get("country_code"))
    code = country.get("iso_code") if isinstance(country, dict) else country
    return code.upper() if isinstance(code, str) and len(code) == 2 else UNKNOWN  # noqa: PLR2004 - ISO 3166-1
