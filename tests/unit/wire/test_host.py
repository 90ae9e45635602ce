"""The grammar of `Host`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.faults import RequestFault
from gateway.wire.host import parse_host


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        (b"app.test", "app.test", None),
        (b"APP.Test", "app.test", None),
        (b"app.test.", "app.test", None),
        (b"app.test.:80", "app.test", 80),
        (b"localhost:1", "localhost", 1),
        (b"my_host-1.test:65535", "my_host-1.test", 65535),
        (b"192.0.2.1:8080", "192.0.2.1", 8080),
        (b"[::1]", "[::1]", None),
        (b"[2001:DB8:0:0::1]:443", "[2001:db8::1]", 443),
    ],
)
def test_good(value: bytes, host: str, port: int | None) -> None:
    assert parse_host(value) == (host, port)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b".",
        b".app.test",
        b"app..test",
        b"-app.test",
        b"app-.test",
        b"app.test:",
        b"app.test:0",
        b"app.test:65536",
        b"app.test:+80",
        b"app.test:80:81",
        b"app.test/x",
        b"app.test?x",
        b"app.test#x",
        b"user@app.test",
        b"app.test, evil.test",
        b"app test",
        b"app\\.test",
        b"app%2etest",
        b"\xc3\xa4.test",
        b"[::1",
        b"[::g]",
        b"[::1%eth0]",
        b"::1",
        b"[1.2.3.4]",
        b"a" * 256,
    ],
)
def test_refused(value: bytes) -> None:
    with pytest.raises(RequestFault) as refusal:
        parse_host(value)
    assert refusal.value.code.status == 400


@given(st.binary(max_size=40))
def test_any_bytes_are_a_host_or_a_fault(value: bytes) -> None:
    try:
        host, port = parse_host(value)
    except RequestFault:
        return
    again = host if port is None else f"{host}:{port}"
    assert parse_host(again.encode()) == (host, port)
