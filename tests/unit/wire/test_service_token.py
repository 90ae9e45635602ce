"""A service token is found in every spelling, and nothing else is taken for one."""

import base64

import pytest

from gateway.wire.forward import upstream_head
from gateway.wire.request import HeadLimits, RequestHead, parse_request
from gateway.wire.service_token import holds_token, presented_token

ID, SECRET = "gst_abcdefgh2345", "s3cret-of_many"
WHOLE = f"{ID}.{SECRET}".encode()


def head(*lines: str) -> RequestHead:
    block = "\r\n".join(("GET / HTTP/1.1", "Host: app.example", *lines))
    return parse_request(block.encode(), HeadLimits())


def basic(name: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@pytest.mark.parametrize(
    "lines",
    [
        (f"Authorization: Bearer {ID}.{SECRET}",),
        (f"authorization: bearer   {ID}.{SECRET}",),
        (basic(ID, SECRET),),
        (f"X-Gate-Service-Id: {ID}", f"X-Gate-Service-Secret: {SECRET}"),
        (f"X-Gate-Service-Id: {ID}", f"X-Gate-Service-Secret: {SECRET}", "Authorization: Bearer of-the-app"),
        (f"Authorization: Bearer {ID}.{SECRET}", "Sec-Fetch-Site: cross-site"),
        (basic(ID, SECRET), "Sec-Fetch-Site: same-origin"),
    ],
)
def test_every_spelling_presents_the_same(lines: tuple[str, ...]) -> None:
    assert presented_token(head(*lines)) == WHOLE


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Authorization: Bearer eyJhbGciOiJFUzI1NiJ9.e30.c2ln",),
        ("Authorization: Bearer gst_short.x",),
        ("Authorization: Bearer GST_ABCDEFGH2345.x",),
        (f"Authorization: Digest {ID}.{SECRET}",),
        ("Authorization: Basic not-base64!",),
        (basic("gst_service", "password"),),
        (basic("alice", f"{ID}.{SECRET}"),),
        ("Authorization: Bearer " + "x" * 2000,),
        (basic(ID, SECRET), "Sec-Fetch-Site: cross-site"),
    ],
)
def test_nothing_else_is_taken_for_one(lines: tuple[str, ...]) -> None:
    assert presented_token(head(*lines)) is None


@pytest.mark.parametrize(
    "lines",
    [
        (f"X-Gate-Service-Id: {ID}",),
        (f"X-Gate-Service-Secret: {SECRET}", f"Authorization: Bearer {ID}.{SECRET}"),
        (f"Authorization: Bearer {ID}.{SECRET}", f"Authorization: Bearer {ID}.{SECRET}"),
    ],
)
def test_what_is_half_or_said_twice_is_a_token_that_nobody_has(lines: tuple[str, ...]) -> None:
    found = presented_token(head(*lines))
    assert found is not None
    assert found != WHOLE


@pytest.mark.parametrize("is_for_hub", [False, True])
@pytest.mark.parametrize(
    ("lines", "passes"),
    [
        ((f"Authorization: Bearer {ID}.{SECRET}",), None),
        ((basic(ID, "wrong"),), None),
        ((basic(ID, SECRET), "Sec-Fetch-Site: cross-site"), None),
        (("Authorization: Bearer of-the-app", f"Authorization: Bearer {ID}.{SECRET}"), None),
        (
            ("Authorization: Bearer of-the-app", f"X-Gate-Service-Secret: {SECRET}"),
            b"Authorization: Bearer of-the-app",
        ),
        (("Authorization: Bearer of-the-app",), b"Authorization: Bearer of-the-app"),
    ],
)
def test_no_upstream_reads_it(lines: tuple[str, ...], passes: bytes | None, *, is_for_hub: bool) -> None:
    request = head(*lines)
    assert holds_token(request) is (passes is None)
    sent = upstream_head(
        request, target=b"/", host=b"app", forwarding=b"X-Forwarded-For: ::1", extra=(),
        with_body=True, with_own_cookies=is_for_hub,
    )  # fmt: skip
    found = [
        line for line in sent.split(b"\r\n") if line.lower().startswith((b"authorization", b"x-gate-service"))
    ]
    assert found == ([] if passes is None else [passes])
