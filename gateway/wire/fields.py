"""The grammar of header fields, shared by requests, responses and trailers.

Stricter than RFC 9112 lets a recipient be: every line ends in CRLF, no folding, no space before the colon, no control
characters but the tab. The work per field is one table lookup, so that strictness costs nothing on the hot path.

Source: RFC 9110 section 5, RFC 9112 sections 2.2 and 5.
"""

import re

from gateway.wire.faults import FaultCode, WireFault

Field = tuple[bytes, bytes]
"""A field's lower-case name and its value without surrounding space."""

CRLF = b"\r\n"
END_OF_HEAD = b"\r\n\r\n"

_MAX_KNOWN_NAMES = 4096
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_CONTROLS = frozenset({*range(0x20), 0x7F}) - {ord("\t")}
_PRINTABLE = bytes(byte for byte in range(256) if byte not in _CONTROLS)


class _Names(dict[bytes, bytes]):
    """Spelling of a field name ► its lower-case form. Only valid names ever enter; bounded by `_MAX_KNOWN_NAMES`."""

    def __missing__(self, spelling: bytes) -> bytes:
        if _NAME.fullmatch(spelling) is None:
            raise WireFault(FaultCode.HEADER, "a header name has characters that no name may have")
        lower = spelling.lower()
        if len(self) < _MAX_KNOWN_NAMES:
            self[spelling] = lower
        return lower


_NAMES = _Names()


def split_lines(block: bytes) -> list[bytes]:
    """Return the lines of `block` without their CRLF; `block` ends before its last CRLF.

    Raises `WireFault` for a CR or LF on its own and for any other control character but the tab.
    """
    lines = block.split(CRLF)
    if block.translate(None, _PRINTABLE) != CRLF * (len(lines) - 1):
        raise WireFault(FaultCode.HEADER, "a control character, or a line that does not end in CRLF")
    return lines


def is_printable(line: bytes) -> bool:
    """Return whether `line` is free of control characters but the tab."""
    return not line.translate(None, _PRINTABLE)


def parse_fields(lines: list[bytes]) -> list[Field]:
    """Return the fields of `lines` in their order. Raises `WireFault` for a line that is not `name: value`.

    A folded line begins with a space, an indented or space-separated name contains one: neither is a name.
    """
    fields = []
    names = _NAMES
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon:
            raise WireFault(FaultCode.HEADER, "a header line without a colon")
        fields.append((names[name], value.strip()))
    return fields


def index_fields(fields: list[Field]) -> dict[bytes, bytes]:
    """Return the value of each name; values of a repeated name are joined by a comma, cookies by a semicolon.

    A repeated `Host`, `Content-Length` or `Transfer-Encoding` so becomes a value that their own grammar refuses.
    Source: RFC 9110 section 5.3, RFC 6265 section 5.4.
    """
    index = dict(fields)
    if len(index) == len(fields):
        return index
    index.clear()
    for name, value in fields:
        held = index.get(name)
        if held is None:
            index[name] = value
        else:
            index[name] = held + (b"; " if name == b"cookie" else b", ") + value
    return index


def list_members(value: bytes) -> list[bytes]:
    """Return the lower-case members of a comma-separated list, empty ones left out.

    >>> list_members(b"Keep-Alive, , TE")
    [b'keep-alive', b'te']
    """
    return [member for part in value.lower().split(b",") if (member := part.strip())]
