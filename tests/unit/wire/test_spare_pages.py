"""Pages that workers have ready: packed, found by language, and sent to people only."""

from pathlib import Path

import pytest

from gateway.config.remediation import PageSettings
from gateway.hub.ambience import load_ambience
from gateway.hub.pages import Pages
from gateway.hub.spare import CODES, spare_pages
from gateway.wire.faults import FaultCode
from gateway.wire.spare import SparePages, accepted_by_person, page_response, unpack
from tests.unit.hub.page_samples import NOW

PAGES = unpack(spare_pages(Pages(), load_ambience(PageSettings(), Path()), NOW))
HEAD = b"GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html\r\nAccept-Language: %b\r\nCookie: a=b\r\n"


def test_every_fault_of_the_wire_has_a_page():
    statuses = {code.status for code in FaultCode} - {403}
    assert statuses <= set(CODES)
    assert all(set(by_language) == set(PAGES.languages) for by_language in PAGES.pages.values())


@pytest.mark.parametrize(
    ("accepted", "language"),
    [(b"de-CH, en;q=0.3", "de"), (b"ar", "ar"), (b"", "en"), (b"\xff\x00;q=x", "en")],
)
def test_the_page_speaks_the_readers_language(accepted, language):
    page = PAGES.find(413, accepted)
    assert page is not None
    assert f'<html lang="{language}"' in page.html
    answer = page_response(413, page, date=b"now", closes=True)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 413 Request Entity Too Large\r\nDate: now\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head
    assert b"\r\nContent-Security-Policy: default-src 'none'" in head
    assert b"\r\nContent-Type: text/html; charset=utf-8\r\n" in head


def test_only_people_get_a_page():
    assert accepted_by_person(HEAD % b"fr;q=1") == b"fr;q=1"
    assert accepted_by_person(b"GET / HTTP/1.1\r\nAccept: text/html") == b""
    assert accepted_by_person(b"GET /x HTTP/1.1\r\nAccept: application/json\r\n") is None
    assert accepted_by_person(b"GET /" + b"a" * 20_000) == b""
    assert accepted_by_person(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nAccept: */*\r\n") is None
    assert accepted_by_person(b"POST /" + b"a" * 20_000) is None
    assert accepted_by_person(b"\x16\x03\x01garbage") is None


def test_without_pages_there_is_none():
    assert unpack(b"") == SparePages()
    assert SparePages().find(413, b"en") is None
    for broken in (b"x", b"x\x9c", PAGES.languages[0].encode() * 10):
        with pytest.raises(ValueError, match=r"\w"):
            unpack(broken)
