"""Who the client is, and what upstreams are told."""

from ipaddress import ip_address, ip_network

import pytest

from gateway.wire.forwarded import (
    TrustedNetworks,
    client_chain,
    forwarding_lines,
    parse_address,
    untrusted_hops,
)

TRUSTED = TrustedNetworks([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("192.0.2.1", b"198.51.100.9", "192.0.2.1"),
        ("10.0.0.1", b"198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", b"198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", b"127.0.0.1, 198.51.100.9, 10.0.0.2", "198.51.100.9"),
        ("10.0.0.1", b"10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", b"198.51.100.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("10.0.0.1", b"", "10.0.0.1"),
        ("10.0.0.1", b"198.51.100.9:1234", "198.51.100.9"),
        ("10.0.0.1", b"[2001:db8::1]:1234", "2001:db8::1"),
        ("10.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("fd00::1", b"::ffff:198.51.100.9", "198.51.100.9"),
        ("10.0.0.1", b"fe80::1%eth0", "10.0.0.1"),
    ],
)
def test_client_is_the_nearest_that_nobody_vouches_for(peer: str, header: bytes, client: str) -> None:
    chain = client_chain(ip_address(peer), untrusted_hops(header, None), TRUSTED)
    assert chain[0] == ip_address(client)
    assert chain[-1] == ip_address(peer)


@pytest.mark.parametrize(
    ("header", "hops"),
    [
        (b"for=192.0.2.1", [b"192.0.2.1"]),
        (b'for=192.0.2.1;proto=https, For="[2001:db8::1]:80";by=x', [b"192.0.2.1", b"[2001:db8::1]:80"]),
        (b"proto=https", [b""]),
    ],
)
def test_forwarded_header(header: bytes, hops: list[bytes]) -> None:
    assert untrusted_hops(None, header) == hops
    assert untrusted_hops(b"198.51.100.1", header) == [b"198.51.100.1"]


def test_a_long_chain_is_walked_in_part() -> None:
    header = b", ".join([b"198.51.100.9"] + [b"10.0.0.2"] * 100)
    assert client_chain(ip_address("10.0.0.1"), untrusted_hops(header, None), TRUSTED)[0] == ip_address(
        "10.0.0.2"
    )


@pytest.mark.parametrize(
    "text", [b"", b"unknown", b"_hidden", b"1.2.3", b"1.2.3.4.5", b"\xff", b"[::1", b"010.0.0.1"]
)
def test_not_an_address(text: bytes) -> None:
    assert parse_address(text) is None


def test_lines() -> None:
    chain = [ip_address("2001:db8::1"), ip_address("10.0.0.1")]
    assert forwarding_lines(chain, b"https", b"app.test:8443").split(b"\r\n") == [
        b"X-Forwarded-For: 2001:db8::1, 10.0.0.1",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: app.test:8443",
        b"X-Forwarded-Port: 8443",
        b'Forwarded: for="[2001:db8::1]";host="app.test:8443";proto=https, for=10.0.0.1',
    ]
    assert b"X-Forwarded-Port: 80\r\n" in forwarding_lines(chain[1:], b"http", b"[::1]")
