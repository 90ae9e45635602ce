"""What all checks share: the decoder's sections, the names that can be referred to, faults."""

import ipaddress
import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from compliance.texts import duration_text
from gateway.config.checks.forms import cidr_hint, reason
from gateway.config.decode import Decoder
from gateway.config.errors import Code, KeyPath, did_you_mean, shown

Section = TypeVar("Section")

_AS_SENSORS = ("sensors", ("shared_signals", "receivers"))


class Checks:
    """The decoder's sections by type, the names that can be referred to, and one way to report a fault."""

    def __init__(self, decoder: Decoder, now: datetime) -> None:
        self.decoder = decoder
        self.now = now
        self.base = decoder.base
        self._of_kind: dict[type[Any], list[tuple[KeyPath, Any]]] = {}
        self._names: dict[str, list[str]] = {}

    def fault(self, code: Code, path: KeyPath, message: str, hint: str = "") -> None:
        """Report a fault, unless the value at its path is at fault already."""
        if self.decoder.is_sound(path):
            self.decoder.fault(code, path, message, hint)

    def passed(self, path: KeyPath, moment: datetime | None, message: str, hint: str) -> None:
        """Warn of a date that has passed; the message says what ended, or began, then."""
        if moment is not None and moment <= self.now:
            ago = duration_text((self.now - moment).total_seconds())
            self.fault(Code.PAST, path, f"{message} since {moment:%Y-%m-%d %H:%M} UTC, {ago} ago", hint)

    def all(self, kind: type[Section]) -> list[tuple[KeyPath, Section]]:
        """Return all decoded sections of a type."""
        if kind not in self._of_kind:
            self._of_kind[kind] = [each for each in self.decoder.sections if isinstance(each[1], kind)]
        return self._of_kind[kind]

    def names(self, section: str) -> list[str]:
        """Return the names in a top-level list, those of sections with other faults included.

        Transmitters of Shared Signals speak of devices as sensors do, so their names are sensors' names.
        """
        if section in self._names:
            return self._names[section]
        found = [
            str(node.value)
            for path, node in self.decoder.nodes.items()
            if path[-1:] == ("name",) and (path[:-2] == (section,) or (section, path[:-2]) == _AS_SENSORS)
        ]
        self._names[section] = list(dict.fromkeys(found))
        return self._names[section]

    def reference(self, path: KeyPath, name: str, section: str, noun: str) -> None:
        """Check that a name refers to an entry of a top-level list."""
        known = self.names(section)
        if name not in known:
            hint = did_you_mean(name, known) or f"no {section} are configured"
            self.fault(Code.UNKNOWN_NAME, path, f"no {noun} is named {shown(name)}", hint)

    def references(self, path: KeyPath, names: Iterable[str], section: str, noun: str) -> None:
        """Check a list of names."""
        for at, name in enumerate(names):
            self.reference((*path, at), name, section, noun)

    def not_empty(self, path: KeyPath, section: Any, code: Code, hint: str) -> None:
        """Check that no list of a section is written without an entry: it would mean the same as none at all."""
        for key in section.__struct_fields__:
            where = (*path, key)
            if getattr(section, key) == () and self.decoder.is_given(where):
                self.fault(code, where, f"`{key}` lists nothing", hint)

    def unique(self, entries: Iterable[tuple[KeyPath, str]], noun: str) -> None:
        """Check that no two entries have one name."""
        first: dict[str, KeyPath] = {}
        for path, name in entries:
            if name in first:
                line = self.decoder.places.get(first[name], (0, 0))[0]
                files = [self.decoder.files.get(each, self.decoder.file) for each in (first[name], path)]
                where = f"in line {line}" if files[0] == files[1] else f"at {files[0]}:{line}"
                message = f"two {noun} are named {shown(name)}, the first {where}"
                self.fault(Code.DUPLICATE_NAME, path, message, "give it a name of its own")
            first.setdefault(name, path)

    def readable(self, path: KeyPath, name: str | None) -> bool:
        """Check that a named file can be read, and return it; relative names are relative to the configuration."""
        if name is None:
            return False
        file = self.base / Path(name)
        try:
            with file.open("rb") as opened:
                opened.read(1)
        except OSError as error:
            self.fault(Code.FILE_NEEDED, path, f"file {shown(str(file))}: {error.strerror}")
            return False
        return True

    def bundle(self, path: KeyPath, name: str | None) -> None:
        """Check that a named file holds certificates of authorities."""
        if name is None or not self.readable(path, name):
            return
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(self.base / name)
        except (OSError, ValueError) as error:
            message = f"file {shown(name)} holds no certificate that can be read: {reason(error)}"
            self.fault(Code.FILE_NEEDED, path, message, "PEM: `-----BEGIN CERTIFICATE-----`")

    def positive(self, path: KeyPath, section: Any, *names: str) -> None:
        """Check that values which must not be zero are not."""
        for name in names:
            value = getattr(section, name)
            if isinstance(value, int | float) and value <= 0:
                self.fault(Code.RANGE, (*path, name), f"`{name}` must be more than zero")

    def networks(self, path: KeyPath, cidrs: Iterable[str]) -> None:
        """Check that each text is an address range without host bits."""
        for at, cidr in enumerate(cidrs):
            try:
                ipaddress.ip_network(cidr)
            except ValueError:
                self.fault(
                    Code.NETWORK, (*path, at), f"{shown(cidr)} is not an address range", cidr_hint(cidr)
                )
