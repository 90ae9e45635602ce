"""One canonical path: what is made canonical, what is ambiguous, what is refused."""

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.wire.faults import FaultCode, RequestFault
from gateway.wire.target import canonical_path, is_ambiguous, parse_target, plain_signs, readings

HOST = b"app.test"


@pytest.mark.parametrize(
    ("raw", "path", "query"),
    [
        (b"/", "/", None),
        (b"/a/b.html", "/a/b.html", None),
        (b"/a?", "/a", ""),
        (b"/a?b=c%20d&e=%zz", "/a", "b=c%20d&e=%zz"),
        (b"/%41%2d%2E%5f%7e", "/A-._~", None),
        (b"/%c3%a9", "/%C3%A9", None),
        (b"/a/./b", "/a/b", None),
        (b"/a/../b", "/b", None),
        (b"/a/%2e%2e/b", "/b", None),
        (b"/a/..", "/", None),
        (b"/a/b/.", "/a/b/", None),
        (b"/a/b/..", "/a/", None),
        (b"/...", "/...", None),
        (b"/.hidden", "/.hidden", None),
        (b"//a///b//", "/a/b/", None),
        (b"//evil.test/x", "/evil.test/x", None),
        (b"/a//../b", "/b", None),
        (b"http://app.test", "/", None),
        (b"http://app.test?x", "/", "x"),
        (b"HTTP://App.Test:80/x", "/x", None),
        (b"https://app.test:443//x", "/x", None),
        (b"/@:!$&'()*+,=", "/@:!$&'()*+,=", None),
    ],
)
def test_canonical(raw: bytes, path: str, query: str | None) -> None:
    host = b"app.test:443" if raw.startswith(b"https") else HOST
    target = parse_target(raw, host)
    assert (target.path, target.query, target.is_ambiguous) == (path, query, False)
    assert target.raw == raw
    assert target.canonical == path.encode() + (b"" if query is None else b"?" + query.encode())


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"/group%2fproject", "/group%2Fproject"),
        (b"/a%5Cb", "/a%5Cb"),
        (b"/a;v=1/b", "/a;v=1/b"),
        (b"/a%3bb", "/a%3Bb"),
        (b"/a%252fb", "/a%252fb"),
        (b"/caf%e9", "/caf%E9"),
        (b"/%ef%bc%8f", "/%EF%BC%8F"),
        (b"/a/%ef%bc%8e%ef%bc%8e/b", "/a/%EF%BC%8E%EF%BC%8E/b"),
    ],
)
def test_ambiguous(raw: bytes, path: str) -> None:
    """Honest clients use these spellings, but upstreams may disagree about their meaning."""
    target = parse_target(raw, HOST)
    assert (target.path, target.is_ambiguous) == (path, True)


@pytest.mark.parametrize(
    ("path", "also"),
    [
        ("/office;v=1/a", "/office/a"),
        ("/a%2Fb", "/a/b"),
        ("/a%5Cb", "/a/b"),
        ("/a%252Fb", "/a/b"),
        ("/open%EF%BC%8Fadmin", "/open/admin"),
        ("/a/%EF%BC%8E%EF%BC%8E/admin", "/admin"),
        ("/b%C3%BCro%2Fadmin", "/b%C3%BCro/admin"),
        ("/my%20files%2Fadmin", "/my%20files/admin"),
        ("/100%25%2Fadmin", "/100%25/admin"),
        ("/c%2B%2B%2Fadmin", "/c++/admin"),
        ("/office%253Bv/a", "/office/a"),
        ("/office;v/a%253Bb", "/office/a%3Bb"),
        ("/office%EF%BC%9Bv/a%2Fb", "/office/a/b"),
    ],
)
def test_readings(path: str, also: str) -> None:
    """A policy judges an ambiguous path by the strictest of these."""
    assert is_ambiguous(path.encode())
    assert readings(path)[0] == path
    assert also in readings(path)


@pytest.mark.parametrize(
    ("raw", "readings_"),
    [
        (b"/c++/x", ("/c++/x",)),
        (b"/c%2b%2B/x", ("/c%2B%2B/x", "/c++/x")),
        (b"/%40me/%5Ba%5D", ("/%40me/%5Ba%5D", "/@me/[a]")),
        (b"/a%20b/%C3%BC/%3F/%23", ("/a%20b/%C3%BC/%3F/%23",)),
        (b"/100%25", ("/100%25",)),
    ],
)
def test_signs_are_read_alike_with_or_without_escapes(raw: bytes, readings_: tuple[str, ...]) -> None:
    """The app is sent what the client wrote; a policy that names the sign means both."""
    target = parse_target(raw, HOST)
    assert (target.readings, target.is_ambiguous) == (readings_, False)
    assert target.canonical.decode() == target.path == readings_[0]


def escaped(byte: int) -> bytes:
    return b"%%%02X" % byte


@given(
    st.text(
        st.characters(min_codepoint=0x20, exclude_characters="/;\\\x7f", exclude_categories=("Cs", "Cc")),
        min_size=1,
    ),
    st.data(),
)
def test_however_a_path_is_spelt_the_one_of_policies_is_among_its_readings(
    text: str, data: st.DataObject
) -> None:
    """Whatever is escaped, slashes too: nothing that a policy says of the path can be got round by a spelling."""
    whole = f"/open/{text}/x"
    named = plain_signs(canonical_path(quote(whole, safe="/").encode()).decode())
    if is_ambiguous(named.encode()):
        return
    spelt = b"/open"
    for byte in whole.encode()[len("/open") :]:
        is_free = byte in b"!$&'()*+,:=@" or chr(byte).isalnum() or byte in b"/-._~"
        may_stand = byte < 0x80 and is_free
        spelt += bytes((byte,)) if may_stand and data.draw(st.booleans()) else escaped(byte)
    try:
        target = parse_target(spelt, HOST)
    except RequestFault:
        return
    assert named in target.readings


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"a",
        b"/a b",
        b"/a#b",
        b"/a?b#c",
        b"/a\\b",
        b"/a\x80",
        b"/a?\x80",
        b"/%",
        b"/%2",
        b"/%2x",
        b"/%00",
        b"/%1f",
        b"/%7f",
        b"/..",
        b"/a/../..",
        b"/%2e%2e",
        b"/a/..%2fb",
        b"/a/%2e%2e%2fb",
        b"/a/..%5cb",
        b"/a%2f..%2fb",
        b"/a/..;/b",
        b"/a/.;x/b",
        b"/a/%2e%2e;x/b",
        b"/a/%252e%252e/b",
        b"/a/%25252e%25252e/b",
        b"/%2525252525",
        b"/%c0%ae",
        b"/%e0%80%ae",
        b"/%f0%80%80%ae",
        b"/a/..%3fb",
        b"/a/..%23",
        b"/a/..%20/b",
        b"http://evil.test/",
        b"http://app.test:8080/",
        b"http://user@app.test/",
        b"http:///x",
        b"http:/x",
        b"ftp://app.test/",
        b"//",
    ][:-1],
)
def test_refused(raw: bytes) -> None:
    with pytest.raises(RequestFault) as refusal:
        parse_target(raw, HOST)
    assert refusal.value.code.status == 400
    assert refusal.value.code in {FaultCode.TARGET, FaultCode.HOST}


PIECES = st.sampled_from(
    [
        "/",
        "a",
        "B",
        ".",
        "..",
        "%2e",
        "%2F",
        "%5c",
        ";",
        "%3b",
        "%25",
        "%252e",
        "%41",
        "%c3%a9",
        "%00",
        "~",
        "admin",
    ],
)


@given(st.lists(PIECES, max_size=12).map(lambda pieces: ("/" + "".join(pieces)).encode()))
@example(b"/a/%2e%2e/%2e%2e")
def test_canonicalising_is_idempotent_and_leaves_nothing_to_resolve(raw: bytes) -> None:
    """However often it is done, and whatever the spelling: no dot or empty segment is left in a canonical path."""
    try:
        path = canonical_path(raw)
    except RequestFault:
        return
    assert canonical_path(path) == path
    assert parse_target(path, HOST).path.encode() == path
    segments = path.split(b"/")[1:]
    assert b"." not in segments
    assert b".." not in segments
    assert b"" not in segments[:-1]
    if not is_ambiguous(path):
        assert b";" not in path
        assert b"%2F" not in path
