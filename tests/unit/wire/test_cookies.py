"""Our cookies among an app's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.cookies import cookie_name, find_cookie, is_own, without_own


@pytest.mark.parametrize(
    ("header", "value"),
    [
        (None, None),
        (b"", None),
        (b"gate=abc", b"abc"),
        (b"a=1; gate=abc; b=2", b"abc"),
        (b"a=1;gate=abc", b"abc"),
        (b"xgate=abc", None),
        (b"a=gate=abc", None),
        (b"gate", None),
        (b"gate=abc; gate=abc", b"abc"),
        (b"gate=abc; gate=evil", None),
    ],
)
def test_find(header: bytes | None, value: bytes | None) -> None:
    assert find_cookie(header, b"gate") == value


@pytest.mark.parametrize(
    ("header", "rest"),
    [
        (b"a=1; b=2", b"a=1; b=2"),
        (b"gate=x", b""),
        (b"__Host-gate=x; a=1", b"a=1"),
        (b"a=1; __Host-gate-login-abc=x; __Host-gate-start=y; b=2", b"a=1; b=2"),
        (b"a=1;gate=x;b=2", b"a=1; b=2"),
        (b"gateau=1; colgate=2", b"gateau=1; colgate=2"),
        (b"gate =x; a=1", b"a=1"),
        (b"gate", b""),
    ],
)
def test_without_own(header: bytes, rest: bytes) -> None:
    assert without_own(header) == rest


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"a=1; Path=/", b"a"),
        (b" __Host-gate = x", b"__Host-gate"),
        (b"=__Host-gate=x", b"__Host-gate"),
        (b"__Host-gate", b"__Host-gate"),
        (b"", b""),
    ],
)
def test_cookie_name(line: bytes, name: bytes) -> None:
    assert cookie_name(line) == name


@given(
    st.lists(
        st.sampled_from([b"gate=1", b"__Host-gate=2", b"a=3", b"gate-login-x=4", b"b=gate", b""]), max_size=8
    )
)
def test_nothing_of_ours_stays_and_nothing_else_goes(pairs: list[bytes]) -> None:
    rest = [pair for pair in without_own(b"; ".join(pairs)).split(b"; ") if pair]
    assert rest == [pair for pair in pairs if pair and not is_own(pair.partition(b"=")[0])]
