"""The notice in pages: where it goes, where it never goes, and that nothing else about a page changes."""

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.profiles import BannerMode, ResponseHardening
from gateway.controls.csp import StyleSource
from gateway.controls.guard import Guard
from gateway.controls.insertion import MAX_HELD_BYTES, Inserter
from gateway.controls.notice import NoticeTexts, hiding_key, make_notice
from gateway.proxy.ports import ResponseRules
from tests.unit.controls.limited_samples import DOCUMENT, answers, asks, limits

MARK = b"[NOTICE]"
ORIGIN = "https://wiki.test"
TEXTS = NoticeTexts("en", "ltr", "Limited access", "See how", "Hide", {"no-downloads": "Downloads are off"})


def passed(page: bytes, *cuts: int, may_stay: bool = True) -> bytes:
    """Return what comes out of a page that comes in pieces."""
    inserter = Inserter(lambda: MARK, lambda _: may_stay)
    edges = [0, *sorted(cuts), len(page)]
    pieces = [page[start:end] for start, end in itertools.pairwise(edges)]
    out = b"".join(inserter.feed(piece, is_last=False) for piece in pieces)
    return out + inserter.feed(b"", is_last=True)


PLAIN = b"<!doctype html><html><head><title>x</title></head><body><p>hi</p></body></html>"
PAGES = (
    PLAIN,
    b"<!DOCTYPE HTML>\n<title>x</title><h1>Hi</h1>",
    b"\xef\xbb\xbf<!doctype html><body class='a>b' data-x=\"<p>\">text",
    b"<!-- a <body> of -->\n<!doctype html><head><script>let x = '<body>';</script></head>\n<BODY\n>hi",
    b"<html><head><style>body > a{}</style><template><body></template><noscript><b></noscript></head><body>x</body>",
    b"<!doctype html><html><head><meta charset=latin1><link rel=x href=y></head>just text",
    b"<!doctype html><head><title>a <body> b</title></head><body>c",
    b"<!doctype html>",
    b"<!doctype html><html><head></head><frameset cols=1><frame src=x></frameset></html>",
    b"<!doctype html><script><!-- <script> </script> --></script><body>",
    b"<div>a fragment</div>",
    b'{"a": "<body>"}',
    b"<!doctype svg><svg><body>",
    b"<?xml version='1.0'?><!doctype html><body>",
    b"\xff\xfe<\0!\0d\0o\0c\0t\0y\0p\0e\0",
    b"<!doctype html><head><base href='/x",
    b"<!doctype html><b",
    b"",
)


@pytest.mark.parametrize("page", PAGES)
def test_every_split_gives_the_same_and_nothing_else_changes(page: bytes) -> None:
    whole = passed(page)
    assert whole.count(MARK) <= 1
    assert whole.replace(MARK, b"") == page
    for cut in range(len(page) + 1):
        assert passed(page, cut) == whole, cut
    assert passed(page, *range(len(page))) == whole


@pytest.mark.parametrize(
    ("page", "before"),
    [
        (PAGES[0], b"<body>"),
        (PAGES[1], b"<title>x</title>"),
        (PAGES[2], b'data-x="<p>">'),
        (PAGES[3], b"<BODY\n>"),
        (PAGES[4], b"</head><body>"),
        (PAGES[5], b"</head>"),
        (PAGES[6], b"</head><body>"),
    ],
)
def test_where_it_goes(page: bytes, before: bytes) -> None:
    assert before + MARK in passed(page)


@pytest.mark.parametrize("page", PAGES[7:])
def test_where_it_never_goes(page: bytes) -> None:
    assert MARK not in passed(page)


TOKENS = st.sampled_from(
    [b"<!doctype html>", b"<html>", b"<head>", b"<title>", b"</title>", b"<script>", b"</script>", b"<body", b">",
     b"<body>", b"<!--", b"-->", b"<p>", b"text", b" ", b"\n", b"'", b'"', b"=", b"</", b"<", b"\xef\xbb\xbf",
     b"<frameset>",
     b"<meta http-equiv=Content-Security-Policy content=\"style-src 'none'\">", b"<template>", b"</template>", b"\0"]
)  # fmt: skip


@given(st.lists(TOKENS, max_size=14).map(b"".join), st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_in_any_pieces(page: bytes, cuts: list[int]) -> None:
    """A property of all pages: the pieces do not matter, and without the notice the page is what the app sent."""
    whole = passed(page)
    assert whole.replace(MARK, b"") == page
    assert passed(page, *(min(cut, len(page)) for cut in cuts)) == whole


def test_nothing_endless_is_held_back() -> None:
    inserter = Inserter(lambda: MARK, lambda _: True)
    out = inserter.feed(b"<!doctype html><!--" + b"x" * MAX_HELD_BYTES, is_last=False)
    out += inserter.feed(b"x", is_last=False)
    assert len(out) >= MAX_HELD_BYTES
    assert MARK not in out + inserter.feed(b"--><body>", is_last=True)


@pytest.mark.parametrize(
    ("policy", "nonce"),
    [
        ("", ""),
        ("img-src 'none'", ""),
        ("default-src 'self'", ""),
        ("default-src 'none'; style-src 'self'", ""),
        ("style-src https:", ""),
        ("style-src *", ""),
        ("style-src HTTPS://WIKI.TEST", ""),
        ("style-src 'nonce-Ab1+/_-=='", "Ab1+/_-=="),
        ("style-src-elem 'nonce-a'; style-src 'none'", "a"),
        ("default-src 'self', style-src 'nonce-a', style-src 'nonce-b' 'nonce-a'", "a"),
        ("script-src 'strict-dynamic' 'nonce-s'; require-trusted-types-for 'script'; style-src 'self'", ""),
        ("default-src 'none'", None),
        ("style-src 'unsafe-inline'", None),
        ("style-src 'nonce-a', style-src 'nonce-b'", None),
        ("style-src https://cdn.test", None),
        ("style-src https://wiki.test/assets/", None),
        ("style-src 'sha256-abc='", None),
        ("style-src 'nonce-\"><script>'", None),
        ("style-src", None),
    ],
)
def test_the_policy_of_a_page_is_kept(policy: str, nonce: str | None) -> None:
    style = StyleSource(ORIGIN)
    stands = all(style.lets_stand(each) for each in [policy])
    assert (style.nonce if stands else None) == nonce


def guard(**controls: object) -> Guard:
    effective = limits(banner=BannerMode.GATEWAY, **controls)
    notice = make_notice(TEXTS, origin=ORIGIN, names=effective.names, reason="")
    return Guard(effective, ResponseRules(), notice=notice, origin=ORIGIN)


HTML = "Content-Type: text/html; charset=utf-8"


def page_of(*fields: str, page: bytes = PLAIN, head=None, status: int = 200, **controls: object) -> bytes:
    """Return what becomes of a page."""
    response = answers(*fields, status=status, length=len(page))
    _, body_filter = guard(**controls).treat(head or asks(headers=DOCUMENT), response)
    return page if body_filter is None else body_filter.feed(page, is_last=True) or b""


@pytest.mark.parametrize(
    "charset",
    [
        "utf-8",
        "UTF-8",
        '"utf-8"',
        "windows-1252",
        "iso-8859-1",
        "shift_jis",
        "euc-jp",
        "gbk",
        "gb18030",
        "big5",
        "koi8-r",
    ],
)
def test_charsets_that_build_on_ascii(charset: str) -> None:
    assert b"gate-notice" in page_of(f"Content-Type: text/html; charset={charset}")
    assert b"gate-notice" in page_of("Content-Type: TEXT/HTML")


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        (["Content-Type: text/html; charset=utf-16"], {}),
        (["Content-Type: text/html; charset=utf-16le"], {}),
        (["Content-Type: text/html; charset=iso-2022-jp"], {}),
        (["Content-Type: text/html; charset=utf-7"], {}),
        (["Content-Type: text/html; charset=x"], {}),
        (["Content-Type: text/html, text/plain"], {}),
        (["Content-Type: application/xhtml+xml"], {}),
        (["Content-Type: application/json"], {}),
        (["Content-Type: text/plain"], {}),
        (["Content-Type: message/rfc822"], {}),
        ([HTML, "Content-Encoding: gzip"], {}),
        ([HTML, "Content-Encoding: br"], {}),
        ([HTML, "Content-Disposition: inline; filename=mail.html"], {}),
        ([HTML, "Cache-Control: private, No-Transform"], {}),
        ([HTML, "Content-Security-Policy: default-src 'none'"], {}),
        ([HTML, "Content-Security-Policy: default-src 'self'", "Content-Security-Policy: style-src 'none'"], {}),
        ([HTML], {"status": 404}),
        ([HTML], {"status": 206}),
        ([HTML], {"head": asks()}),
        ([HTML], {"head": asks(headers=DOCUMENT | {"Sec-Fetch-Dest": "iframe"})}),
        ([HTML], {"head": asks(headers={"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "HX-Request": "true"})}),
        ([HTML], {"head": asks(headers=DOCUMENT, method="POST")}),
        ([HTML], {"headers": ResponseHardening(csp="style-src 'none'")}),
    ],
)  # fmt: skip
def test_on_any_doubt_it_is_left_out(fields: list[str], options: dict[str, object]) -> None:
    assert page_of(*fields, **options) == PLAIN


def test_a_policy_in_the_page_itself_is_kept_too() -> None:
    meta = b'<!doctype html><meta http-equiv="Content-Security-Policy" content="%b"><body>x'
    assert b'nonce="n1"' in page_of(HTML, page=meta % b"style-src &#39;nonce-n1&#39;")
    assert b"gate-notice" in page_of(HTML, page=meta % b"style-src 'self'")
    assert b"gate-notice" not in page_of(HTML, page=meta % b"style-src 'none'")
    both = page_of(HTML, "Content-Security-Policy: style-src 'nonce-n1'", page=meta % b"style-src 'nonce-n2'")
    assert b"gate-notice" not in both


def test_what_speaks_of_the_bytes_of_a_page_goes_when_they_change() -> None:
    response = answers(HTML, 'ETag: "a"', "Content-MD5: x", "Repr-Digest: sha-256=:x:", length=len(PLAIN))
    rules, body_filter = guard().treat(asks(headers=DOCUMENT), response)
    assert body_filter is not None
    assert rules.is_resized
    assert rules.no_store
    assert rules.dropped >= {b"etag", b"content-md5", b"repr-digest", b"content-length", b"last-modified"}


def test_the_notice_itself() -> None:
    reason = '<script>alert("x")</script> ' + "y" * 500
    made = make_notice(TEXTS, origin=ORIGIN, names=("no-downloads",), reason=reason, watermark="ana")
    assert made is not None
    html = made.html("n")
    assert b"<script" not in html
    assert b" style=" not in html
    assert re.search(rb" on\w+=", html) is None
    assert b'role="region" aria-label="Limited access"' in html
    assert b'href="https://wiki.test/.gate/fix"' in html
    assert b'nonce="n"' in html
    assert len(html) < 2500
    assert b"Downloads are off." in make_notice(
        TEXTS, origin=ORIGIN, names=("no-downloads",), reason=""
    ).html("")


def test_a_hidden_notice_leaves_its_watermark() -> None:
    options = {"origin": ORIGIN, "names": ("no-downloads",), "reason": "", "is_hidden": True}
    assert make_notice(TEXTS, **options) is None
    html = make_notice(TEXTS, watermark="ana@corp.example", **options).html("")
    assert b"ana@corp.example" in html
    assert b"gate-notice" not in html.replace(b"/.gate/static/notice.css", b"")
    assert hiding_key(("a",), "x") != hiding_key(("a", "b"), "x") != hiding_key(("a", "b"), "y")
