"""Named locations: address ranges written out or in files, and countries. Part of `gateway.config.schema`."""

from collections.abc import Iterator
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated

import msgspec

from risk.values import Strict

MAX_RANGES = 100_000
"""Most address ranges of one file."""
MAX_FILE_BYTES = 8 * 1024 * 1024

LocationName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")]


class Network(Strict, frozen=True):
    """A named location that access policies can name: address ranges, countries, or both.

    Field: name: how access policies call it.
    Field: cidrs: IPv4 and IPv6 networks.
    Field: files: files with one network a line, `#` begins a comment; read on every load.
    Field: countries: ISO 3166-1 codes of two capital letters, by `country_database`; `unknown` is every address whose
        country is not known.
    """

    name: LocationName
    cidrs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()


class WithoutCountries(StrEnum):
    """What a worker does that starts while the country database cannot be read."""

    REFUSE = "refuse"
    UNKNOWN = "unknown"


class RangeFault(Exception):
    """A file of address ranges cannot be used; the text says in which line."""


def read_ranges(file: Path) -> tuple[str, ...]:
    """Return the networks of a file. Raises `RangeFault`, and `OSError` when it cannot be read."""
    if file.stat().st_size > MAX_FILE_BYTES:
        raise RangeFault(f"is larger than {MAX_FILE_BYTES // 1024 // 1024} MiB")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RangeFault("is no text in UTF-8") from error
    found = tuple(_ranges(text))
    if not found:
        raise RangeFault("holds no address range")
    return found


def _ranges(text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        cidr = line.partition("#")[0].strip()
        if not cidr:
            continue
        try:
            ip_network(cidr)
        except ValueError as error:
            raise RangeFault(f"line {number}: {error}") from error
        if number > MAX_RANGES:
            raise RangeFault(f"has more than {MAX_RANGES:,} lines")
        yield cidr


def all_ranges(network: Network, base: Path) -> tuple[str, ...]:
    """Return the address ranges of a location, those of its files included. Raises as `read_ranges` does."""
    return (*network.cidrs, *(cidr for file in network.files for cidr in read_ranges(base / file)))
