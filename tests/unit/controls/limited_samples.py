"""Heads and limits for the tests of session controls."""

from gateway.config.profiles import SessionProfile
from gateway.controls.effective import Effective, combined
from gateway.wire.reader import RequestReader
from gateway.wire.request import HeadLimits, RequestHead
from gateway.wire.response import ResponseHead, parse_response

DOCUMENT = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Accept": "text/html"}


def limits(**controls: object) -> Effective:
    """Return what a profile with these controls means."""
    return combined((SessionProfile(name="p", **controls),))


def asks(
    target: str = "/", method: str = "GET", headers: dict[str, str] | None = None, body: bytes = b""
) -> RequestHead:
    """Return the head of a request, as the gateway parses it."""
    fields = {"Host": "wiki.test"} | (headers or {})
    if body:
        fields |= {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    reader = RequestReader(HeadLimits())
    reader.feed(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    head = reader.next_head()
    assert head is not None
    return head


def answers(*fields: str, status: int = 200, method: str = "GET", length: int | None = 5) -> ResponseHead:
    """Return the head of a response; `length` None: in chunks."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return parse_response("\r\n".join((f"HTTP/1.1 {status} X", *fields, framing)).encode(), method)
