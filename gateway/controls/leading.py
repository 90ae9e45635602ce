"""Where a response leads a browser, read as browsers read it. Pure. Source: URL, section "URL parsing"."""

from typing import NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORTS = (None, 80, 443)


class Place(NamedTuple):
    """A host in lower case, "" for what no host is known of; the port where one is given."""

    host: str
    port: int | None = None


NOWHERE = Place("")


def place(address: str) -> Place | None:
    """Return the place that an address names; None when it stays where it is said.

    >>> place("/a"), place("//Files.test:81/a"), place("https:a") == NOWHERE
    (None, Place(host='files.test', port=81), True)
    """
    # Browsers take a backslash for a slash, and leave out tabs and line breaks.
    plain = "".join(sign for sign in address if sign not in "\t\r\n").strip(" ").replace("\\", "/")
    try:
        parts = urlsplit(plain)
        if not parts.netloc:
            return NOWHERE if parts.scheme or plain.startswith("//") else None
        is_known = parts.scheme in {"http", "https", ""} and parts.hostname
        return Place(parts.hostname or "", parts.port) if is_known else NOWHERE
    except ValueError:
        return NOWHERE


def refresh_address(refresh: bytes | None) -> bytes:
    """Return the address in a `Refresh` header, empty for none. Source: HTML, "shared declarative refresh steps".

    >>> refresh_address(b"0; URL='https://a.test/'"), refresh_address(b"5")
    (b'https://a.test/', b'')
    """
    if refresh is None:
        return b""
    rest = refresh.replace(b",", b";").partition(b";")[2].strip()
    if rest[:3].lower() == b"url":
        rest = rest[3:].lstrip().removeprefix(b"=")
    return rest.strip(b" \t\"'")


def is_listed(host: str, hosts: frozenset[str]) -> bool:
    """Return whether a host is among `hosts`, where `*.example.org` means all below.

    >>> is_listed("a.b.test", frozenset({"*.b.test"})), is_listed("b.test", frozenset({"*.b.test"}))
    (True, False)
    """
    labels = host.split(".")
    return host in hosts or any("*." + ".".join(labels[at:]) in hosts for at in range(1, len(labels)))
