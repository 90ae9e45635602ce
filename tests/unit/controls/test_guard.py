"""What becomes of responses to a limited session: passed, changed or withheld."""

import gzip
import zlib

import pytest

from gateway.config.profiles import NoDownloads, ResponseHardening
from gateway.controls.effective import Effective, Limit
from gateway.controls.guard import SANDBOX, Guard
from gateway.proxy.ports import ResponseRules
from tests.unit.controls.limited_samples import DOCUMENT, answers, asks, limits

HTML = "Content-Type: text/html"
LIMITED = limits(no_downloads=NoDownloads(hosts=("sso.test", "*.cdn.test"), allow=("/free",)))
GUARDED = {"wiki.test", "mail.test"}


def guard(effective: Effective = LIMITED, **options: object) -> Guard:
    return Guard(effective, ResponseRules(), is_own_host=GUARDED.__contains__, **options)


def outcome(
    fields: list[str], *pieces: bytes, status: int = 200, path: str = "/", effective=LIMITED
) -> bytes | None:
    """Return what reaches the client of a response in chunks, None when it is withheld."""
    head = asks(path)
    response = answers(*fields, status=status, length=None)
    made = guard(effective)
    if made.withholds(head, response):
        return None
    _, body_filter = made.treat(head, response)
    assert body_filter is not None
    out = b""
    for at, piece in enumerate(pieces):
        passed = body_filter.feed(piece, is_last=at == len(pieces) - 1)
        if passed is None:
            assert body_filter.limit == "no-downloads"
            return None
        out += passed
    return out


@pytest.mark.parametrize(
    "disposition",
    [
        "attachment",
        "ATTACHMENT",
        " attachment",
        "attachment;filename=a",
        "Attachment ; filename*=UTF-8''a.zip",
        '"attachment"',
        "filename=a.zip",
        "form-data",
        "inline, attachment",
        "save",
        "att\tachment",
    ],
)
def test_every_disposition_but_inline_is_a_download(disposition: str) -> None:
    field = f"Content-Disposition: {disposition}"
    assert guard().withholds(asks(), answers(HTML, field)) == "no-downloads"
    assert guard().withholds(asks("/", "HEAD"), answers(HTML, field, method="HEAD")) == "no-downloads"
    assert guard().withholds(asks("/free/a"), answers(HTML, field)) == ""
    assert guard().withholds(asks(), answers(HTML, "Content-Disposition: Inline; filename=a.html")) == ""


@pytest.mark.parametrize(
    ("media", "is_shown"),
    [
        ("text/html", True),
        ("Text/HTML; charset=utf-8", True),
        ("application/problem+json", True),
        ("image/png", True),
        ("text/event-stream", True),
        ("video/mp4", True),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("binary/octet-stream", False),
        ("text/csv", False),
        ("text/calendar", False),
        ("application/pdf", False),
        ("application/vnd.ms-excel", False),
        ("application/x-msdownload", False),
        ("application/force-download", False),
        ("image/tiff", False),
        ("multipart/byteranges; boundary=b", False),
        ("multipart/x-mixed-replace", False),
        ("", False),
        ("text", False),
        ("text/html, application/zip", False),
        ("*/*", False),
        ("message/rfc822", False),
        ("application/x-unknown", False),
        ("text/plainx", False),
    ],
)
def test_types(media: str, is_shown: bool) -> None:
    assert (guard().withholds(asks(), answers(f"Content-Type: {media}")) == "") is is_shown


def test_pdf_and_listed_types_may_be_shown() -> None:
    pdf = answers("Content-Type: application/pdf")
    assert guard(limits(no_downloads=NoDownloads(pdf=True))).withholds(asks(), pdf) == ""
    only = guard(limits(no_downloads=NoDownloads(display=("text/*", "application/pdf"))))
    assert only.withholds(asks(), pdf) == ""
    assert only.withholds(asks(), answers("Content-Type: text/csv")) == ""
    assert only.withholds(asks(), answers("Content-Type: image/png")) == "no-downloads"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([HTML], 206),
        ([HTML, "Content-Range: bytes 0-4/9"], 200),
        ([HTML, "Content-Encoding: br"], 200),
        ([HTML, "Content-Encoding: zstd"], 200),
        ([HTML, "Content-Encoding: gzip, gzip"], 200),
        ([HTML, "Content-Encoding: x"], 200),
        (["Content-Type: application/zip"], 404),
    ],
)
def test_what_cannot_be_looked_into(fields: list[str], status: int) -> None:
    assert guard().withholds(asks(), answers(*fields, status=status)) == "no-downloads"


ZIP = b"PK\x03\x04" + b"secret" * 200
PAGE = b"<!doctype html><p>" + b"words " * 200


@pytest.mark.parametrize(
    ("fields", "body", "passes"),
    [
        ([HTML], PAGE, True),
        ([HTML], b"x", True),
        ([HTML], ZIP, False),
        ([HTML], b"PK\x03\x04", False),
        ([HTML], b"text\0" + PAGE, False),
        (["Content-Type: application/json"], ZIP, False),
        (["Content-Type: text/plain"], b"%PDF-1.7 secret secret", False),
        (["Content-Type: image/png"], ZIP, False),
        (["Content-Type: image/png"], b"\x89PNG\r\n\x1a\n" + b"\0" * 600, True),
        (["Content-Type: font/woff2"], b"wOF2" + b"\0" * 600, True),
        (["Content-Type: video/mp4"], ZIP, False),
        ([HTML, "Content-Encoding: gzip"], gzip.compress(PAGE, mtime=0), True),
        ([HTML, "Content-Encoding: gzip"], gzip.compress(ZIP, mtime=0), False),
        ([HTML, "Content-Encoding: gzip"], ZIP, False),
        ([HTML, "Content-Encoding: deflate"], zlib.compress(PAGE), True),
        ([HTML, "Content-Encoding: deflate"], zlib.compress(ZIP), False),
        ([], b"", True),
        ([], b"s", False),
    ],
)
def test_bytes_have_to_look_like_their_type_however_they_come(
    fields: list[str], body: bytes, passes: bool
) -> None:
    expected = body if passes else None
    assert outcome(fields, body) == expected
    assert outcome(fields, *(body[at : at + 1] for at in range(len(body))), b"") == expected


def test_the_longest_response() -> None:
    effective = limits(no_downloads=NoDownloads(max_bytes=100))
    assert guard(effective).withholds(asks(), answers(HTML, length=101)) == "no-downloads"
    assert outcome([HTML], b"a" * 60, b"b" * 40, effective=effective) is not None
    assert outcome([HTML], b"a" * 60, b"b" * 41, effective=effective) is None


@pytest.mark.parametrize(
    ("location", "passes"),
    [
        ("/a", True),
        ("a?x=https://evil.test", True),
        ("https://wiki.test/a", True),
        ("//wiki.test/a", True),
        ("https://mail.test/", True),
        ("https://sso.test/auth", True),
        ("https://a.b.cdn.test/x", True),
        ("https://evil.test/a.zip", False),
        ("//evil.test/a", False),
        ("\\\\evil.test/a", False),
        ("/\\evil.test", False),
        ("///evil.test/a", False),
        ("https:evil.test", False),
        ("https:///evil.test", False),
        ("HTTPS://EVIL.TEST", False),
        ("https://wiki.test@evil.test/", False),
        ("https://wiki.test:8443/a", False),
        ("data:application/zip,x", False),
        ("blob:https://wiki.test/x", False),
        ("ftp://wiki.test/a", False),
        ("https://cdn.test/x", False),
        ("https://xcdn.test/x", False),
        ("https://[::1/", False),
        ("ht\ttps://evil.test", False),
        ("file:///etc/passwd", False),
    ],
)
def test_where_responses_may_lead(location: str, passes: bool) -> None:
    expected = "" if passes else "no-downloads"
    for fields in ([f"Location: {location}"], [f"Refresh: 0; url={location}"]):
        assert guard().withholds(asks(), answers(HTML, *fields, status=302)) == expected, fields
    assert guard().withholds(asks("/free/a"), answers(HTML, f"Location: {location}", status=302)) == ""


def test_pages_come_in_a_sandbox_that_saves_nothing() -> None:
    assert b"allow-downloads" not in SANDBOX[1]
    assert b"escape" not in SANDBOX[1]
    head = asks(headers=DOCUMENT)
    rules, _ = guard().treat(head, answers(HTML))
    assert SANDBOX in rules.extra_headers
    assert b"cross-origin-opener-policy" in rules.dropped
    assert (b"X-Content-Type-Options", b"nosniff") in rules.extra_headers
    svg, _ = guard().treat(head, answers("Content-Type: image/svg+xml"))
    assert SANDBOX in svg.extra_headers
    free, _ = guard().treat(asks("/free/a", headers=DOCUMENT), answers(HTML))
    assert SANDBOX not in free.extra_headers
    off, _ = guard(limits(no_downloads=NoDownloads(sandbox=False))).treat(head, answers(HTML))
    assert SANDBOX not in off.extra_headers


def test_no_store_drops_what_validates_and_has_browsers_forget() -> None:
    rules, _ = guard(limits(no_store=True)).treat(asks(headers=DOCUMENT), answers(HTML, 'ETag: "a"'))
    assert rules.no_store
    assert rules.dropped >= {b"etag", b"last-modified"}
    assert (b"Clear-Site-Data", b'"cache"') in rules.extra_headers
    part, _ = guard(limits(no_store=True)).treat(asks(), answers(HTML))
    assert b"Clear-Site-Data" not in dict(part.extra_headers)


def test_hardened_headers_stand_beside_those_of_the_app() -> None:
    effective = limits(
        headers=ResponseHardening(csp="img-src 'none'", nosniff=True, deny_frames=True, referrer="origin")
    )
    rules = guard(effective).rules
    assert rules.extra_headers.count((b"Content-Security-Policy", b"img-src 'none'")) == 1
    assert (b"Content-Security-Policy", b"frame-ancestors 'none'") in rules.extra_headers
    assert b"content-security-policy" not in rules.dropped
    assert rules.dropped == {b"x-content-type-options", b"x-frame-options", b"referrer-policy"}


def test_bytes_are_counted_and_no_more_pass_than_may() -> None:
    left = [100]

    def count(amount: int) -> bool:
        left[0] -= amount
        return left[0] >= 0

    _, body_filter = guard(limits(bytes_per_hour=100), count=count).treat(asks(), answers(HTML, length=200))
    assert body_filter is not None
    assert body_filter.feed(b"a" * 100, is_last=False) == b"a" * 100
    assert body_filter.feed(b"b", is_last=False) is None
    assert body_filter.limit == Limit.RATE
