"""PROXY headers, both versions: what is accepted, what is not, and that not a byte behind them is taken."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.proxy_protocol import MAX_BLOCK_BYTES, MAX_LINE_BYTES, SIGNATURE, ProxyHeader


def block(command: int, family: int, body: bytes, length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return SIGNATURE + bytes((command, family)) + size.to_bytes(2, "big") + body


def tcp(source: str) -> bytes:
    packed = ip_address(source).packed
    return packed + packed + b"\x12\x34\x01\xbb"


V4, V6 = "192.0.2.7", "2001:db8::7"
GOOD = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", IPv4Address(V4)),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 65535\r\n", IPv4Address(V4)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", IPv6Address(V6)),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n", IPv4Address(V4)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ffff:f...f:ffff whatever 1 2\r\n", None),
    (b"PROXY UNKNOWN " + b"x" * (MAX_LINE_BYTES - 16) + b"\r\n", None),
    (block(0x21, 0x11, tcp(V4)), IPv4Address(V4)),
    (block(0x21, 0x21, tcp(V6)), IPv6Address(V6)),
    (block(0x21, 0x21, tcp("::ffff:192.0.2.7")), IPv4Address(V4)),
    (block(0x21, 0x11, tcp(V4) + b"\x04\x00\x02hi\x20\x00\x00"), IPv4Address(V4)),
    (block(0x21, 0x31, b"\0" * 216), None),
    (block(0x21, 0x00, b"anything"), None),
    (block(0x20, 0x00, b""), None),
    (block(0x20, 0x11, tcp(V4)), None),
    (block(0x20, 0x00, b"x" * MAX_BLOCK_BYTES), None),
]
BAD = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00",
    b"\r\n\r\nGET / HTTP/1.1\r\n",
    b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\nGET / HTTP/1.1\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\r\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    b"PROXY TCP4 192.0.2.07 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 192.0.2.7 nobody 1 2\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY UNKNOWN \x00\r\n",
    b"PROXY UNKNOWN \xe9\r\n",
    b"PROXY\r\n",
    b"PROXY UNKNOWN " + b"x" * (MAX_LINE_BYTES - 15) + b"\r\n",
    b"PROXY " + b"x" * 200,
    block(0x11, 0x11, tcp(V4)),
    block(0x22, 0x11, tcp(V4)),
    block(0x21, 0x12, tcp(V4)),
    block(0x21, 0x22, tcp(V6)),
    block(0x21, 0x41, tcp(V4)),
    block(0x21, 0x11, tcp(V4)[:-1]),
    block(0x21, 0x21, tcp(V4)),
    block(0x21, 0x31, b"\0" * 215),
    block(0x21, 0x11, tcp(V4) + b"\x04"),
    block(0x21, 0x11, tcp(V4) + b"\x04\x00\x03hi"),
    block(0x20, 0x00, b"", length=MAX_BLOCK_BYTES + 1),
    block(0x20, 0x00, b"", length=0xFFFF),
    SIGNATURE[:-1] + b"\r\x21\x11\x00\x00",
]


def read(stream: bytes, sizes: list[int]) -> tuple[ProxyHeader, int]:
    """Feed `stream` in reads of at most these sizes and at most what is needed; return how much was taken."""
    header, at = ProxyHeader(), 0
    waiting = iter(sizes)
    while header.needs and at < len(stream):
        size = min(header.needs, next(waiting, header.needs), len(stream) - at)
        header.feed(stream[at : at + size])
        at += size
    return header, at


@pytest.mark.parametrize(("data", "source"), GOOD)
@given(
    sizes=st.lists(st.integers(1, 40), max_size=60),
    rest=st.sampled_from([b"", b"\r\n", b"GET / HTTP/1.1\r\n"]),
)
def test_any_split_of_a_good_header(data: bytes, source: object, sizes: list[int], rest: bytes) -> None:
    header, taken = read(data + rest, sizes)
    assert header.needs == 0
    assert taken == len(data)
    assert header.source == source


@pytest.mark.parametrize("data", BAD)
@given(sizes=st.lists(st.integers(1, 40), max_size=60))
def test_any_split_of_a_bad_header(data: bytes, sizes: list[int]) -> None:
    with pytest.raises(WireFault) as caught:
        read(data + b"\r\n" * 60, sizes)
    assert caught.value.code is FaultCode.PROXY_HEADER


@pytest.mark.parametrize(("data", "source"), GOOD)
def test_a_part_of_a_header_is_none(data: bytes, source: object) -> None:
    for end in range(len(data)):
        header, _ = read(data[:end], [])
        assert header.needs > 0
        assert header.source is None


@given(st.binary(max_size=300))
def test_any_bytes_are_bounded(data: bytes) -> None:
    """Whatever comes is refused, or accepted within the bound; nothing else is ever raised."""
    for begin in (b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"):
        try:
            header, taken = read(begin + data, [])
        except WireFault:
            continue
        assert taken + header.needs <= 16 + MAX_BLOCK_BYTES


def test_more_than_needed_is_a_bug_of_the_caller() -> None:
    with pytest.raises(ValueError, match="may not belong"):
        ProxyHeader().feed(b"PROXY UNKNOWN")
