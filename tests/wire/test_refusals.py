"""Hostile and broken requests as bytes: each has one defined answer, and nothing of it reaches an upstream."""

import pytest

from tests.wire.harness import Gate, Recorder

HOST = b"Host: app.test\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(line: bytes = b"GET / HTTP/1.1", headers: bytes = HOST) -> bytes:
    return line + b"\r\n" + headers + b"\r\n"


def post(headers: bytes, body: bytes = b"") -> bytes:
    return b"POST / HTTP/1.1\r\n" + HOST + headers + b"\r\n" + body


REFUSED = {
    # the request line
    "HTTP/0.9": (b"GET /\r\n", 400, "request-line-malformed"),
    "version 0.9": (get(b"GET / HTTP/0.9"), 505, "version-unsupported"),
    "version 2.0": (get(b"GET / HTTP/2.0"), 505, "version-unsupported"),
    "version 1.2": (get(b"GET / HTTP/1.2"), 505, "version-unsupported"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "version-unsupported"),
    "version in lower case": (get(b"GET / http/1.1"), 400, "request-line-malformed"),
    "version with two digits": (get(b"GET / HTTP/1.10"), 400, "request-line-malformed"),
    "two spaces": (get(b"GET  / HTTP/1.1"), 400, "request-line-malformed"),
    "tab instead of a space": (get(b"GET\t/ HTTP/1.1"), 400, "request-line-malformed"),
    "space at the end": (get(b"GET / HTTP/1.1 "), 400, "request-line-malformed"),
    "space in the target": (get(b"GET /a b HTTP/1.1"), 400, "request-line-malformed"),
    "no method": (get(b" / HTTP/1.1"), 400, "request-line-malformed"),
    "method with a separator": (get(b"GE(T / HTTP/1.1"), 400, "request-line-malformed"),
    "two empty lines first": (b"\r\n\r\n" + get(), 400, "request-line-malformed"),
    "TLS on a plain port": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "header-malformed"),
    "CONNECT": (get(b"CONNECT app.test:443 HTTP/1.1"), 405, "method-not-supported"),
    "TRACE": (get(b"TRACE / HTTP/1.1"), 405, "method-not-supported"),
    "TRACE with a body": (
        get(b"TRACE / HTTP/1.1", HOST + b"Content-Length: 1\r\n") + b"x",
        405,
        "method-not-supported",
    ),
    # the target
    "no leading slash": (get(b"GET a HTTP/1.1"), 400, "target-malformed"),
    "asterisk without OPTIONS": (get(b"GET * HTTP/1.1"), 400, "target-malformed"),
    "authority form": (get(b"GET app.test:80 HTTP/1.1"), 400, "target-malformed"),
    "absolute form of another host": (get(b"GET http://evil.test/ HTTP/1.1"), 400, "target-malformed"),
    "absolute form of another port": (get(b"GET http://app.test:81/ HTTP/1.1"), 400, "target-malformed"),
    "absolute form with user information": (get(b"GET http://a@app.test/ HTTP/1.1"), 400, "host-malformed"),
    "absolute form of another scheme": (get(b"GET ftp://app.test/ HTTP/1.1"), 400, "target-malformed"),
    "fragment": (get(b"GET /#a HTTP/1.1"), 400, "target-malformed"),
    "fragment in the query": (get(b"GET /?a#b HTTP/1.1"), 400, "target-malformed"),
    "backslash": (get(b"GET /a\\b HTTP/1.1"), 400, "target-malformed"),
    "raw non-ASCII": (get(b"GET /\xc3\xa9 HTTP/1.1"), 400, "target-malformed"),
    "NUL escaped": (get(b"GET /a%00 HTTP/1.1"), 400, "target-malformed"),
    "CRLF escaped in the path": (get(b"GET /a%0d%0ab HTTP/1.1"), 400, "target-malformed"),
    "broken escape": (get(b"GET /a%2 HTTP/1.1"), 400, "target-malformed"),
    "above the root": (get(b"GET /a/../../b HTTP/1.1"), 400, "target-malformed"),
    "above the root, escaped": (get(b"GET /%2e%2E/b HTTP/1.1"), 400, "target-malformed"),
    "dot segments behind an escaped slash": (
        get(b"GET /public/..%2fadmin HTTP/1.1"),
        400,
        "target-malformed",
    ),
    "dot segments behind an escaped backslash": (
        get(b"GET /public/..%5cadmin HTTP/1.1"),
        400,
        "target-malformed",
    ),
    "dot segments, escaped twice": (get(b"GET /public/%252e%252e/admin HTTP/1.1"), 400, "target-malformed"),
    "dot segments before an escaped question mark": (
        get(b"GET /public/..%3f/admin HTTP/1.1"),
        400,
        "target-malformed",
    ),
    "dot segments before an escaped hash": (
        get(b"GET /public/..%23/admin HTTP/1.1"),
        400,
        "target-malformed",
    ),
    "dot segments before an escaped space": (
        get(b"GET /public/..%20/admin HTTP/1.1"),
        400,
        "target-malformed",
    ),
    "dot in two bytes": (get(b"GET /public/%c0%ae%c0%ae/admin HTTP/1.1"), 400, "target-malformed"),
    "dot in three bytes": (get(b"GET /public/%e0%80%ae./admin HTTP/1.1"), 400, "target-malformed"),
    "slash in four bytes": (get(b"GET /public/..%f0%80%80%af HTTP/1.1"), 400, "target-malformed"),
    "an escape of another kind": (get(b"GET /public/%u002e%u002e/ HTTP/1.1"), 400, "target-malformed"),
    "dot segments with parameters": (get(b"GET /public/..;/admin HTTP/1.1"), 400, "target-malformed"),
    # Host
    "no Host": (get(headers=b""), 400, "host-malformed"),
    "no Host in 1.0": (get(b"GET / HTTP/1.0", b""), 400, "host-malformed"),
    "two Hosts": (get(headers=HOST + b"Host: evil.test\r\n"), 400, "host-malformed"),
    "two equal Hosts": (get(headers=HOST + HOST), 400, "host-malformed"),
    "empty Host": (get(headers=b"Host:\r\n"), 400, "host-malformed"),
    "Host with user information": (get(headers=b"Host: app.test@evil.test\r\n"), 400, "host-malformed"),
    "Host with a path": (get(headers=b"Host: app.test/x\r\n"), 400, "host-malformed"),
    "Host with a large port": (get(headers=b"Host: app.test:99999\r\n"), 400, "host-malformed"),
    "Host with a comma": (get(headers=b"Host: app.test,evil.test\r\n"), 400, "host-malformed"),
    "Host beyond ASCII": (get(headers=b"Host: \xc3\xa4pp.test\r\n"), 400, "host-malformed"),
    # header fields
    "bare LF after the request line": (b"GET / HTTP/1.1\nHost: app.test\r\n\r\n", 400, "header-malformed"),
    "bare LF after a field": (get(headers=HOST + b"A: b\nC: d\r\n"), 400, "header-malformed"),
    "bare LF everywhere": (b"GET / HTTP/1.1\nHost: app.test\n\n", 400, "header-malformed"),
    "bare CR in a value": (get(headers=HOST + b"A: b\rC: d\r\n"), 400, "header-malformed"),
    "CR CR LF": (get(headers=HOST + b"A: b\r\r\n"), 400, "header-malformed"),
    "NUL in a value": (get(headers=HOST + b"A: b\x00c\r\n"), 400, "header-malformed"),
    "escape character in a value": (get(headers=HOST + b"A: b\x1bc\r\n"), 400, "header-malformed"),
    "DEL in a value": (get(headers=HOST + b"A: b\x7fc\r\n"), 400, "header-malformed"),
    "folded line": (get(headers=HOST + b"A: b\r\n c\r\n"), 400, "header-malformed"),
    "folded with a colon": (get(headers=HOST + b"A: b\r\n c: d\r\n"), 400, "header-malformed"),
    "first field indented": (get(headers=b" " + HOST), 400, "header-malformed"),
    "space before the colon": (get(headers=b"Host : app.test\r\n"), 400, "header-malformed"),
    "no colon": (get(headers=HOST + b"Nonsense\r\n"), 400, "header-malformed"),
    "empty name": (get(headers=HOST + b": x\r\n"), 400, "header-malformed"),
    "separator in a name": (get(headers=HOST + b"A(b: x\r\n"), 400, "header-malformed"),
    "non-ASCII name": (get(headers=HOST + b"\xc3\xa4: x\r\n"), 400, "header-malformed"),
    "too many fields": (get(headers=HOST + b"A: b\r\n" * 100), 431, "too-many-headers"),
    "too long a header": (get(headers=HOST + b"A: " + b"b" * 33000 + b"\r\n"), 431, "headers-too-large"),
    "too long a request line": (get(b"GET /" + b"a" * 17000 + b" HTTP/1.1"), 414, "target-too-long"),
    "too long a name": (get(headers=HOST + b"A" * 129 + b": b\r\n"), 400, "header-malformed"),
    "Connection names Host": (
        get(headers=HOST + b"Connection: Host\r\n"),
        400,
        "connection-names-protected-field",
    ),
    "Connection names Cookie": (
        get(headers=HOST + b"Connection: close, cookie\r\n"),
        400,
        "connection-names-protected-field",
    ),
    "Connection names an identity": (
        get(headers=HOST + b"Connection: X-Gate-User\r\n"),
        400,
        "connection-names-protected-field",
    ),
    "Connection names an identity's twin": (
        get(headers=HOST + b"Connection: keep-alive\r\nConnection: X_Gate_User\r\n"),
        400,
        "connection-names-protected-field",
    ),
    "Connection names the length": (
        post(b"Connection: Content-Length\r\nContent-Length: 1\r\n", b"x"),
        400,
        "connection-names-protected-field",
    ),
    "another expectation": (
        post(b"Expect: 200-ok\r\nContent-Length: 1\r\n", b"x"),
        417,
        "expectation-unsupported",
    ),
    # framing
    "length and coding": (post(b"Content-Length: 4\r\n" + CHUNKED, b"0\r\n\r\n"), 400, "framing-ambiguous"),
    "coding and length": (post(CHUNKED + b"Content-Length: 4\r\n", b"0\r\n\r\n"), 400, "framing-ambiguous"),
    "two lengths": (post(b"Content-Length: 1\r\nContent-Length: 2\r\n", b"xy"), 400, "length-malformed"),
    "two equal lengths": (post(b"Content-Length: 1\r\nContent-Length: 1\r\n", b"x"), 400, "length-malformed"),
    "list of lengths": (post(b"Content-Length: 1, 1\r\n", b"x"), 400, "length-malformed"),
    "signed length": (post(b"Content-Length: +1\r\n", b"x"), 400, "length-malformed"),
    "negative length": (post(b"Content-Length: -1\r\n", b"x"), 400, "length-malformed"),
    "hexadecimal length": (post(b"Content-Length: 0x1\r\n", b"x"), 400, "length-malformed"),
    "length with an underscore": (post(b"Content-Length: 1_0\r\n", b"x"), 400, "length-malformed"),
    "length with a space": (post(b"Content-Length: 1 0\r\n", b"x"), 400, "length-malformed"),
    "empty length": (post(b"Content-Length:\r\n"), 400, "length-malformed"),
    "huge length": (post(b"Content-Length: 99999999999999999999\r\n"), 400, "length-malformed"),
    "non-ASCII digits": (post(b"Content-Length: \xb2\r\n"), 400, "length-malformed"),
    "two codings": (post(CHUNKED + CHUNKED, b"0\r\n\r\n"), 400, "transfer-coding-unsupported"),
    "coding gzip, chunked": (
        post(b"Transfer-Encoding: gzip, chunked\r\n"),
        400,
        "transfer-coding-unsupported",
    ),
    "coding chunked, identity": (
        post(b"Transfer-Encoding: chunked, identity\r\n"),
        400,
        "transfer-coding-unsupported",
    ),
    "coding identity": (post(b"Transfer-Encoding: identity\r\n"), 400, "transfer-coding-unsupported"),
    "coding xchunked": (post(b"Transfer-Encoding: xchunked\r\n"), 400, "transfer-coding-unsupported"),
    "coding with a parameter": (
        post(b"Transfer-Encoding: chunked;a=b\r\n"),
        400,
        "transfer-coding-unsupported",
    ),
    "coding quoted": (post(b'Transfer-Encoding: "chunked"\r\n'), 400, "transfer-coding-unsupported"),
    "empty coding": (post(b"Transfer-Encoding:\r\n"), 400, "transfer-coding-unsupported"),
    "coding after a vertical tab": (post(b"Transfer-Encoding:\x0bchunked\r\n"), 400, "header-malformed"),
    "coding in HTTP/1.0": (get(b"POST / HTTP/1.0", HOST + CHUNKED) + b"0\r\n\r\n", 400, "framing-ambiguous"),
}


@pytest.mark.parametrize(("data", "status", "code"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_broken_head_is_refused(
    gate: Gate, recorder: Recorder, data: bytes, status: int, code: str
) -> None:
    answer = await gate.talk(data)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b'"code":"%b"' % code.encode() in answer
    assert answer.count(b"Content-Type: application/problem+json") == 1
    assert recorder.raw == b""
    assert gate.exchanges == []


BAD_CHUNKS = {
    "size with a sign": b"+5\r\nhello\r\n0\r\n\r\n",
    "size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "size with a space": b"5 \r\nhello\r\n0\r\n\r\n",
    "size after a space": b" 5\r\nhello\r\n0\r\n\r\n",
    "size with an underscore": b"1_0\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "size not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
    "enormous size": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "extension only": b";a=b\r\nhello\r\n0\r\n\r\n",
    "extension with a bare LF": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension with a bare CR": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "extension without bound": b"5;" + b"a" * 2000 + b"\r\nhello\r\n0\r\n\r\n",
    "extensions without bound": b"1;a=b\r\nx\r\n" * 4200 + b"0\r\n\r\n",
    "line ends in LF": b"5\nhello\r\n0\r\n\r\n",
    "data longer than its size": b"4\r\nhello\r\n0\r\n\r\n",
    "data ends in LF": b"5\r\nhello\n0\r\n\r\n",
    "last chunk ends in LF": b"5\r\nhello\r\n0\n\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nA: b\r\n c\r\n\r\n",
    "trailer with LF": b"5\r\nhello\r\n0\r\nA: b\n\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nAb\r\n\r\n",
    "trailer with a length": b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "trailer with a coding": b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailers without bound": b"5\r\nhello\r\n0\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_a_broken_chunk_ends_the_request(gate: Gate, recorder: Recorder, body: bytes) -> None:
    """The head may have gone on already; the request is never completed, and nothing behind it is another request."""
    smuggled = b"GET /smuggled HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await gate.talk(post(CHUNKED, body + smuggled))
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"Content-Type: application/problem+json") == 1
    assert not any(request.is_complete for request in recorder.requests)
    assert b"smuggled" not in recorder.raw


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_a_chunk_that_is_known_to_be_broken_reaches_nobody(
    gate: Gate, recorder: Recorder, body: bytes
) -> None:
    """Behind another request, so that all of it is there when its head is read."""
    first = b"GET /first HTTP/1.1\r\n" + HOST + b"\r\n"
    answer = await gate.talk(first + post(CHUNKED, body))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.count(b'"code":"chunk-malformed"') + answer.count(b'"code":"header-malformed"') == 1
    assert [request.target for request in recorder.requests] == [b"/first"]
    assert b"POST" not in recorder.raw


PASSED = {
    "plain": (get(headers=HOST + b"Connection: close\r\n"), b"/"),
    "one empty line first": (b"\r\n" + get(headers=HOST + b"Connection: close\r\n"), b"/"),
    "absolute form": (get(b"GET http://APP.test:80/x?y HTTP/1.1", HOST + b"Connection: close\r\n"), b"/x?y"),
    "absolute form without a path": (
        get(b"GET http://app.test HTTP/1.1", HOST + b"Connection: close\r\n"),
        b"/",
    ),
    "unreserved escapes": (get(b"GET /%61%7Eb HTTP/1.1", HOST + b"Connection: close\r\n"), b"/a~b"),
    "dot segments": (get(b"GET /a/./b/%2e%2e/c HTTP/1.1", HOST + b"Connection: close\r\n"), b"/a/c"),
    "slashes": (get(b"GET //a///b/ HTTP/1.1", HOST + b"Connection: close\r\n"), b"/a/b/"),
    "escaped slash": (
        get(b"GET /group%2fproject HTTP/1.1", HOST + b"Connection: close\r\n"),
        b"/group%2Fproject",
    ),
    "query untouched": (
        get(b"GET /?a=%zz&b=//../%2e HTTP/1.1", HOST + b"Connection: close\r\n"),
        b"/?a=%zz&b=//../%2e",
    ),
    "HTTP/1.0": (get(b"GET /old HTTP/1.0"), b"/old"),
    "unknown method": (get(b"FROB / HTTP/1.1", HOST + b"Connection: close\r\n"), b"/"),
    "sized body": (post(b"Connection: close\r\nContent-Length: 5\r\n", b"hello"), b"/"),
    "chunk extension": (
        post(b"Connection: close\r\n" + CHUNKED, b'5;a;b=c;d="e\\"f"\r\nhello\r\n0\r\n\r\n'),
        b"/",
    ),
    "zeros before a size": (post(b"Connection: close\r\n" + CHUNKED, b"0005\r\nhello\r\n000\r\n\r\n"), b"/"),
}


@pytest.mark.parametrize(("data", "target"), PASSED.values(), ids=PASSED.keys())
async def test_a_good_request_passes(gate: Gate, recorder: Recorder, data: bytes, target: bytes) -> None:
    if data.startswith(b"FROB"):  # llhttp, which the recorder reads with, knows no such method
        recorder.connections.clear()
        answer = await gate.talk(data.replace(b"FROB", b"PROPFIND"))
    else:
        answer = await gate.talk(data)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nok")
    assert [request.target for request in recorder.requests] == [target]
    assert recorder.requests[0].body == (b"hello" if b"hello" in data else b"")


async def test_options_asterisk_is_answered_here(gate: Gate, recorder: Recorder) -> None:
    """It asks about the server as a whole, which is the gateway."""
    answer = await gate.talk(
        get(b"OPTIONS * HTTP/1.1") + get(b"GET / HTTP/1.1", HOST + b"Connection: close\r\n")
    )
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"HTTP/1.1 200 OK" in answer
    assert len(recorder.requests) == 1
    answer = await gate.talk(get(b"OPTIONS * HTTP/1.1", HOST + b"Connection: close\r\n"))
    assert answer.endswith(b"Connection: close\r\n\r\n")
