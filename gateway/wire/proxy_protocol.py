"""The PROXY header that a load balancer sends before the first byte of a connection: who it accepted it from.

Bytes in, an address out, without I/O. What follows the header is not ours to read (a TLS handshake, for one), so the
parser says how many bytes surely still belong to it, and is never fed more.

Source: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, versions 1 and 2.
"""

import re
from ipaddress import IPv4Address, IPv6Address

from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import CRLF
from gateway.wire.forwarded import Address

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
"""How version 2 begins."""

MAX_LINE_BYTES = 107
"""Longest header of version 1, its CRLF included."""

MAX_BLOCK_BYTES = 4096
"""Most bytes of addresses and extensions of version 2 that we take."""

_BEGIN_1 = b"PROXY "
_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [\x20-\x7e]*)?|(TCP4|TCP6) ([0-9A-Fa-f.:]+) ([0-9A-Fa-f.:]+) (\d{1,5}) (\d{1,5}))"
)
_HEAD_2 = 16
_LOCAL, _PROXIED = 0x20, 0x21
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_ADDRESS_BYTES = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}
_MAX_PORT = 65535


class ProxyHeader:
    """One header as it comes. It is complete when `needs` is 0.

    `source` is then the client's address; None where the sender speaks for itself (a health check) or does not know.
    """

    __slots__ = ("_data", "needs", "source")

    def __init__(self) -> None:
        self._data = b""
        self.needs = len(SIGNATURE)
        self.source: Address | None = None

    def feed(self, data: bytes) -> None:
        """Take at most `needs` bytes. Raises `WireFault` as soon as they can be no header."""
        if len(data) > self.needs:
            raise ValueError("bytes that may not belong to the header")
        self._data += data
        if SIGNATURE.startswith(self._data[: len(SIGNATURE)]):
            self._feed_block()
        elif _BEGIN_1.startswith(self._data[: len(_BEGIN_1)]):
            self._feed_line()
        else:
            raise _fault("the connection does not begin with a PROXY header")

    def _feed_line(self) -> None:
        """Version 1: a line. An incomplete one lacks its LF, or both CR and LF."""
        data = self._data
        if data.endswith(CRLF):
            self.source = _parse_line(data[:-2])
            self.needs = 0
            return
        text = data.removesuffix(b"\r")
        if not text.isascii() or not text.decode().isprintable():
            raise _fault("the line has a control or non-ASCII character")
        least = max(len(SIGNATURE) - len(data), 2 if text is data else 1)
        if len(data) + least > MAX_LINE_BYTES:
            raise _fault("the line is too long")
        self.needs = least

    def _feed_block(self) -> None:
        """Version 2: sixteen bytes, the last two of which say how many follow."""
        data = self._data
        if len(data) < _HEAD_2:
            self.needs = _HEAD_2 - len(data)
            return
        length = int.from_bytes(data[14:16], "big")
        if length > MAX_BLOCK_BYTES:
            raise _fault("the header is too long")
        self.needs = _HEAD_2 + length - len(data)
        if not self.needs:
            self.source = _parse_block(data[12], data[13], data[_HEAD_2:])


def _parse_line(line: bytes) -> Address | None:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _fault("the line is malformed")
    if match[1] is None:
        return None
    kind = IPv4Address if match[1] == b"TCP4" else IPv6Address
    for port in (match[4], match[5]):
        if int(port) > _MAX_PORT or (port.startswith(b"0") and port != b"0"):
            raise _fault("a port is malformed")
    try:
        kind(match[3].decode())
        return _plain(kind(match[2].decode()))
    except ValueError:
        raise _fault("an address is malformed") from None


def _parse_block(command: int, family: int, block: bytes) -> Address | None:
    if command not in {_LOCAL, _PROXIED}:
        raise _fault("the version or command is unknown")
    if command == _LOCAL:
        return None
    size = _ADDRESS_BYTES.get(family)
    if size is None:
        raise _fault("the address family or protocol is none of a stream")
    if len(block) < size:
        raise _fault("the addresses are cut short")
    if family != _UNSPECIFIED:
        _check_extensions(block[size:])
    if family == _TCP4:
        return IPv4Address(block[:4])
    return _plain(IPv6Address(block[:16])) if family == _TCP6 else None


def _check_extensions(block: bytes) -> None:
    """Check that what follows the addresses is a row of extensions (type, length, value); none is of use here."""
    while block:
        length = int.from_bytes(block[1:3], "big")
        if len(block) < 3 + length:
            raise _fault("an extension is cut short")
        block = block[3 + length :]


def _plain(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one may stand for."""
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address


def _fault(detail: str) -> WireFault:
    return WireFault(FaultCode.PROXY_HEADER, detail)
