"""Fields that a client repeats are parsed once; nothing else about the second request is taken on trust."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.faults import FaultCode, RequestFault
from gateway.wire.forward import upstream_head
from gateway.wire.reader import RequestReader
from gateway.wire.request import HeadLimits, RequestHead, parse_request

FIELDS = b"Host: app.example\r\nAccept: */*\r\nCookie: a=1; __Host-gate=x\r\nX_Evil: 1\r\nX-Gate-User: root"


def heads(*blocks: bytes, limits: HeadLimits | None = None) -> list[RequestHead]:
    """Return the heads of requests without body that come on one connection."""
    reader = RequestReader(limits or HeadLimits())
    found = []
    for block in blocks:
        reader.feed(block + b"\r\n\r\n")
        head = reader.next_head()
        assert head is not None
        found.append(head)
    return found


def sent(head: RequestHead, extra=((b"X-Gate-User", b"ana"),)) -> bytes:
    return upstream_head(
        head,
        target=head.target.canonical,
        host=head.authority,
        forwarding=b"Forwarded: for=x",
        extra=extra,
        with_body=False,
        with_own_cookies=False,
    )


def test_the_second_request_is_what_it_would_be_alone() -> None:
    line = b"DELETE /b?q=1 HTTP/1.1\r\n"
    _, second = heads(b"GET /a HTTP/1.1\r\n" + FIELDS, line + FIELDS)
    alone = parse_request(line + FIELDS, HeadLimits())
    assert sent(second) == sent(alone)
    assert second.method == "DELETE"
    assert second.target == alone.target
    assert b"root" not in sent(second)
    assert b"__Host-gate" not in sent(second)


def test_what_is_sent_for_one_request_does_not_leak_into_the_next() -> None:
    first, second = heads(b"GET /a HTTP/1.1\r\n" + FIELDS, b"GET /b HTTP/1.1\r\n" + FIELDS)
    before = sent(first)
    assert sent(second, extra=((b"Accept", b"none"),)).count(b"Accept:") == 1
    assert sent(first) == before


@pytest.mark.parametrize(
    "line",
    [
        b"GET  /two-spaces HTTP/1.1",
        b"GET /\x01 HTTP/1.1",
        b"GET /a\nX: 1 HTTP/1.1",
        b"GET /a\rb HTTP/1.1",
        b"GET /a#b HTTP/1.1",
        b"GET http://other.example/ HTTP/1.1",
        b"TRACE / HTTP/1.1",
        b"GET /a%2e%2e%2fb%00 HTTP/1.1",
    ],
)
def test_a_bad_request_line_is_refused_as_ever(line: bytes) -> None:
    with pytest.raises(RequestFault) as alone:
        parse_request(line + b"\r\n" + FIELDS, HeadLimits())
    with pytest.raises(RequestFault) as repeated:
        heads(b"GET /a HTTP/1.1\r\n" + FIELDS, line + b"\r\n" + FIELDS)
    assert repeated.value.code.status == alone.value.code.status


def test_an_older_version_is_parsed_anew() -> None:
    _, second = heads(b"GET /a HTTP/1.1\r\n" + FIELDS, b"GET /b HTTP/1.0\r\n" + FIELDS)
    assert second.version == (1, 0)
    assert not second.keeps_alive


def test_limits_hold_for_a_repeated_head() -> None:
    limits = HeadLimits(request_line_bytes=40)
    with pytest.raises(RequestFault) as fault:
        heads(
            b"GET /a HTTP/1.1\r\n" + FIELDS, b"GET /" + b"a" * 60 + b" HTTP/1.1\r\n" + FIELDS, limits=limits
        )
    assert fault.value.code is FaultCode.TARGET_LENGTH


@given(
    st.lists(
        st.sampled_from([b"GET /a", b"GET /b?x", b"HEAD /%41", b"OPTIONS /c/../d"]), min_size=2, max_size=6
    )
)
def test_any_sequence_equals_fresh_parsing(lines: list[bytes]) -> None:
    blocks = [line + b" HTTP/1.1\r\n" + FIELDS for line in lines]
    for head, block in zip(heads(*blocks), blocks, strict=True):
        alone = parse_request(block, HeadLimits())
        assert (head.method, head.target, sent(head)) == (alone.method, alone.target, sent(alone))
