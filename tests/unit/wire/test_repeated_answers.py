"""A response head that an upstream repeats is read as it was the first time, and only then."""

import pytest

from gateway.proxy.answer import Framing, plan_answer
from gateway.proxy.ports import ResponseRules
from gateway.wire.reader import MAX_REPEATED, ResponseReader
from gateway.wire.response import ResponseHead

DATE = b"Mon, 23 Nov 2026 03:00:00 GMT"
HEAD = b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: 2\r\n\r\n" % DATE
RULES = ResponseRules()


def read(reader: ResponseReader, head: bytes, body: bytes = b"ok", method: str = "GET") -> ResponseHead:
    reader.expect(method)
    reader.feed(head + body)
    found = reader.next_head()
    assert found is not None
    assert reader.next_body() == body
    assert not reader.in_body
    return found


def plan(
    head: ResponseHead, rules: ResponseRules = RULES, *, method: str = "GET", keeps_alive: bool = True
) -> bytes:
    return plan_answer(
        head, method=method, client_version=(1, 1), keeps_alive=keeps_alive, rules=rules, date=b"now"
    ).head


def test_the_very_same_head_is_used_again() -> None:
    reader = ResponseReader()
    first = read(reader, HEAD)
    assert read(reader, HEAD) is first
    assert plan(first) is plan(first)


@pytest.mark.parametrize(
    "other",
    [
        HEAD.replace(b"200 OK", b"404 Not Found"),
        HEAD.replace(b"03:00:00", b"03:00:01"),
        HEAD.replace(b"Content-Length: 2", b"content-length: 2"),
        HEAD.replace(b"\r\n\r\n", b"\r\nX-More: 1\r\n\r\n"),
    ],
)
def test_any_other_byte_makes_another_head(other: bytes) -> None:
    reader, alone = ResponseReader(), ResponseReader()
    first = read(reader, HEAD)
    second, expected = read(reader, other), read(alone, other)
    assert second is not first
    assert (second.status, second.lines, plan(second)) == (expected.status, expected.lines, plan(expected))
    assert plan(read(reader, HEAD)) == plan(first)


def test_the_answer_to_head_has_no_body_and_the_next_one_has() -> None:
    reader = ResponseReader()
    assert read(reader, HEAD, b"", "HEAD").length == 0
    assert read(reader, HEAD).length == 2
    assert read(reader, HEAD, b"", "HEAD").length == 0


def test_what_is_sent_depends_on_more_than_the_head() -> None:
    head = read(ResponseReader(), HEAD)
    usual = plan(head)
    assert plan(head, ResponseRules(no_store=True)) != usual
    assert plan(head, keeps_alive=False).endswith(b"Connection: close\r\n\r\n")
    assert (
        plan_answer(
            head, method="HEAD", client_version=(1, 1), keeps_alive=True, rules=RULES, date=b""
        ).framing
        is Framing.NONE
    )
    assert plan(head) == usual


def test_a_head_without_date_gets_the_present_one() -> None:
    head = read(ResponseReader(), HEAD.replace(b"Date: %b\r\n" % DATE, b""))
    for date in (b"then", b"now"):
        sent = plan_answer(
            head, method="GET", client_version=(1, 1), keeps_alive=True, rules=RULES, date=date
        ).head
        assert b"Date: " + date in sent


@pytest.mark.parametrize("field", [b"Set-Cookie: a=1", b"X-Long: " + b"x" * MAX_REPEATED])
def test_cookies_and_long_heads_are_not_kept(field: bytes) -> None:
    reader = ResponseReader()
    head = HEAD.replace(b"\r\n\r\n", b"\r\n" + field + b"\r\n\r\n")
    first = read(reader, head)
    assert read(reader, head) is not first


def test_interim_heads_are_not_mistaken_for_the_answer() -> None:
    reader = ResponseReader()
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
    first = read(reader, HEAD)
    reader.expect("GET")
    reader.feed(early + HEAD + b"ok")
    assert (interim := reader.next_head()) is not None
    assert interim.status == 103
    assert reader.next_head() is first
