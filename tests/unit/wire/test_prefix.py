"""Path prefixes that are taken off and put on: no spelling of a path gets out of the one or around the other."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decision.routing import is_below
from gateway.wire.faults import RequestFault
from gateway.wire.prefix import PathRewrite
from gateway.wire.target import canonical_path, parse_target

PIECES = [
    "/", "//", "a", "wiki", "x", ".", "..", "%2e", "%2E%2e", "%2f", "%5c", ";", ";v=1", "%252e", "%00", "\\", "?", "é",
    "%c3%a9", "%77iki",
]  # fmt: skip
RAW = st.lists(st.sampled_from(PIECES), max_size=8).map(lambda pieces: ("/wiki" + "".join(pieces)).encode())


@pytest.mark.parametrize(
    ("raw", "strip", "add", "sent"),
    [
        (b"/wiki", "/wiki", "", b"/"),
        (b"/wiki/", "/wiki", "", b"/"),
        (b"/wiki/a?b=c", "/wiki", "", b"/a?b=c"),
        (b"/wiki?", "/wiki", "", b"/?"),
        (b"/wiki/wiki/a", "/wiki", "", b"/wiki/a"),
        (b"/a", "", "/v2", b"/v2/a"),
        (b"/", "", "/v2", b"/v2/"),
        (b"/wiki", "/wiki", "/v2", b"/v2/"),
        (b"/wiki//x/../y", "/wiki", "/v2", b"/v2/y"),
        (b"/wiki/%77iki", "/wiki", "/v2", b"/v2/wiki"),
    ],
)
def test_rewrites(raw: bytes, strip: str, add: str, sent: bytes) -> None:
    assert PathRewrite(strip, add).apply(parse_target(raw, b"a")) == sent


@given(RAW)
def test_no_spelling_escapes(raw: bytes) -> None:
    """What is sent stays below the added prefix by every reading, and is the decided path but for the prefixes."""
    with contextlib.suppress(RequestFault):
        target = parse_target(raw, b"a")
        if not is_below(target.path, "/wiki"):
            return
        sent = PathRewrite("/wiki", "/v2").apply(target).partition(b"?")[0]
        assert sent.startswith(b"/v2/")
        assert canonical_path(sent) == sent
        assert b"/wiki" + sent.removeprefix(b"/v2") in {target.path.encode(), target.path.encode() + b"/"}
