"""The smaller parts: kinds of clients, problem documents, WebSocket frames, the head for an upstream, doctests."""

import doctest
import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.model import ClientKind
from gateway.wire import body, cookies, fields, forward, forwarded, headers, host, target, websocket
from gateway.wire.client_kind import client_kind
from gateway.wire.faults import FaultCode
from gateway.wire.forward import upstream_head
from gateway.wire.problem import problem_response
from gateway.wire.request import HeadLimits, RequestHead, parse_request
from gateway.wire.websocket import CloseCode, FrameTracker, close_frame


def request(fields: bytes, line: bytes = b"GET / HTTP/1.1") -> RequestHead:
    return parse_request((line + b"\r\nHost: app.test\r\n" + fields).removesuffix(b"\r\n"), HeadLimits())


@pytest.mark.parametrize(
    "module", [body, cookies, fields, forward, forwarded, headers, host, target, websocket]
)
def test_examples_in_docstrings(module: object) -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        (b"", ClientKind.API),
        (b"Accept: text/html,*/*\r\n", ClientKind.BROWSER),
        (b"Accept: */*\r\n", ClientKind.API),
        (b"Accept: text/html\r\nX-Requested-With: XMLHttpRequest\r\n", ClientKind.API),
        (b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n", ClientKind.BROWSER),
        (b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n", ClientKind.BROWSER),
        (b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: empty\r\n", ClientKind.BROWSER),
        (b"Sec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: object\r\n", ClientKind.API),
        (b"Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nAccept: text/html\r\n", ClientKind.API),
        (b"Sec-Fetch-Mode: cors\r\nAccept: text/html\r\n", ClientKind.API),
        (b"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\nAccept: text/html\r\n", ClientKind.API),
        (b"Connection: Upgrade\r\nUpgrade: WebSocket\r\n", ClientKind.WEBSOCKET),
        (b"Upgrade: websocket\r\n", ClientKind.API),
    ],
)
def test_client_kind(fields: bytes, kind: ClientKind) -> None:
    assert client_kind(request(fields)) is kind


@pytest.mark.parametrize("code", list(FaultCode))
def test_every_fault_has_a_whole_problem_document(code: FaultCode) -> None:
    response = problem_response(code.status, code.value, "why", date=b"now", closes=True)
    head, _, body_ = response.partition(b"\r\n\r\n")
    document = json.loads(body_)
    assert head.startswith(b"HTTP/1.1 %d " % code.status)
    assert b"Content-Length: %d" % len(body_) in head
    assert b"Connection: close" in head
    assert document["code"] == code.value
    assert document["status"] == code.status
    assert document["type"] == f"urn:posturegate:problem:{code.value}"
    assert 400 <= code.status < 600
    assert problem_response(400, "x", date=b"now", closes=False, is_head=True).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("fields", "upgrade"),
    [
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\n", b"websocket"),
        (b"Connection: keep-alive, upgrade\r\nUpgrade: WebSocket\r\n", b"websocket"),
        (b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", b""),
        (b"Connection: Upgrade\r\nUpgrade: websocket, h2c\r\n", b""),
        (b"Connection: Upgrade\r\nUpgrade: HTTP/2.0\r\n", b""),
        (b"Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n", b""),
        (b"Connection: Upgrade\r\n", b""),
        (b"Upgrade: websocket\r\n", b""),
        (b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n", b""),
    ],
)
def test_which_upgrades_are_passed_on(fields: bytes, upgrade: bytes) -> None:
    head = request(fields)
    assert head.upgrade == upgrade
    sent = forwarded_head(head)
    assert (b"\r\nUpgrade: " in sent) is bool(upgrade)
    assert b"http2-settings" not in sent.lower()


def forwarded_head(head: RequestHead, **options: object) -> bytes:
    arguments = {
        "target": head.target.canonical,
        "host": head.authority,
        "forwarding": b"X-Forwarded-For: 192.0.2.1",
        "extra": (),
        "with_body": True,
        "with_own_cookies": False,
    }
    return upstream_head(head, **(arguments | options))


def test_the_head_for_an_upstream() -> None:
    head = request(
        b"X-Gate-User: eve\r\nX_Gate_User: eve\r\nAccept: */*\r\nCookie: a=1; gate=secret\r\n"
        b"Connection: X-Hop, Accept\r\n"
        b"X-Hop: 1\r\nTE: trailers, deflate\r\nForwarded: for=evil\r\nX-Custom: theirs\r\nCookie: b=2\r\n",
        b"GET /a//b HTTP/1.1",
    )
    assert forwarded_head(head, extra=((b"X-Gate-User", b"ana"), (b"x-custom", b"ours"))) == (
        b"GET /a/b HTTP/1.1\r\nHost: app.test\r\nCookie: a=1; b=2\r\nConnection: TE\r\nTE: trailers\r\n"
        b"X-Forwarded-For: 192.0.2.1\r\nX-Gate-User: ana\r\nx-custom: ours\r\n\r\n"
    )
    assert b"Cookie: a=1; gate=secret; b=2" in forwarded_head(head, with_own_cookies=True)


@pytest.mark.parametrize(
    ("line", "fields", "with_body", "framing"),
    [
        (b"GET / HTTP/1.1", b"", True, b""),
        (b"POST / HTTP/1.1", b"", True, b"Content-Length: 0"),
        (b"POST / HTTP/1.1", b"Content-Length: 5\r\n", True, b"Content-Length: 5"),
        (b"POST / HTTP/1.1", b"Content-Length: 005\r\n", True, b"Content-Length: 5"),
        (b"POST / HTTP/1.1", b"Content-Length: 5\r\n", False, b"Content-Length: 0"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n", True, b"Transfer-Encoding: chunked"),
        (b"POST / HTTP/1.1", b"Transfer-Encoding: chunked\r\n", False, b"Content-Length: 0"),
        (b"GET / HTTP/1.1", b"Content-Length: 5\r\n", False, b"Content-Length: 0"),
    ],
)
def test_the_body_is_framed_in_one_way(line: bytes, fields: bytes, with_body: bool, framing: bytes) -> None:
    lines = forwarded_head(request(fields, line), with_body=with_body).split(b"\r\n")
    framed = [each for each in lines if each.startswith((b"Content-Length", b"Transfer-Encoding"))]
    assert framed == ([framing] if framing else [])


def test_our_own_headers_cannot_break_a_line() -> None:
    with pytest.raises(ValueError, match="would break its line"):
        forwarded_head(request(b""), extra=((b"X-Gate-Name", b"Ana\r\nX-Gate-Groups: admin"),))


def frame(payload: bytes, *, opcode: int = 2, masked: bool = False) -> bytes:
    length, mask = len(payload), 0x80 if masked else 0
    if length < 126:
        size = bytes((mask | length,))
    elif length < 65536:
        size = bytes((mask | 126,)) + length.to_bytes(2)
    else:
        size = bytes((mask | 127,)) + length.to_bytes(8)
    return bytes((0x80 | opcode,)) + size + (b"mask" if masked else b"") + payload


FRAMES = st.builds(
    frame, st.sampled_from([b"", b"x", b"y" * 125, b"z" * 126, b"w" * 70000]), masked=st.booleans()
)


@given(st.lists(FRAMES, max_size=4), st.lists(st.integers(0, 80000), max_size=6))
def test_boundaries_are_found_in_any_split(frames: list[bytes], cuts: list[int]) -> None:
    data = b"".join(frames)
    ends = {0}
    for each in frames:
        ends.add(max(ends) + len(each))
    tracker = FrameTracker()
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in pairwise(edges):
        tracker.feed(data[begin:end])
        assert tracker.is_at_boundary is (end in ends)


def test_no_frame_after_a_close_frame() -> None:
    tracker = FrameTracker()
    tracker.feed(frame(b"x") + frame(b"\x03\xe8", opcode=8))
    assert tracker.has_closed


def test_close_frame_fits_a_control_frame() -> None:
    sent = close_frame(CloseCode.ACCESS_ENDED, "ü" * 100)
    assert len(sent) <= 127
    assert sent[4:].decode()
