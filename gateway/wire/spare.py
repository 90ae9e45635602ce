"""Pages that a worker has ready for people when the hub cannot be asked: it is away, or a request is unreadable. Pure.

The hub makes them with the settings, one for each status and language, and sends them packed.
"""

import re
import zlib
from http import HTTPStatus

import msgspec

from gateway.wire.languages import best
from gateway.wire.problem import RETRY_AFTER_S

PACKED_MAX_BYTES = 1 << 20
UNPACKED_MAX_BYTES = 16 << 20
READ_MAX_BYTES = 65536
"""How much of an unreadable request is looked at to tell a person from a program."""

LONG_BYTES = 8192
"""An address that is longer hides what would tell: then a person is assumed."""

_ACCEPTED = re.compile(rb"\r\naccept-language:[ \t]*([^\r\n]{0,1000})", re.IGNORECASE)


class SparePage(msgspec.Struct, frozen=True):
    """A whole page: its header fields and its document."""

    headers: tuple[tuple[str, str], ...]
    html: str


class SparePages(msgspec.Struct, frozen=True):
    """The pages by status and language; `languages` are all that there are, the default first."""

    languages: tuple[str, ...] = ()
    pages: dict[int, dict[str, SparePage]] = {}

    def find(self, status: int, untrusted_accepted: bytes) -> SparePage | None:
        """Return the page of a status in the best language of an `Accept-Language` value, None when there is none."""
        by_language = self.pages.get(status)
        if not by_language:
            return None
        language = best(untrusted_accepted.decode("latin-1"), self.languages) or self.languages[0]
        return by_language.get(language)


def pack(pages: SparePages) -> bytes:
    """Return the pages as few bytes: they are much alike."""
    return zlib.compress(msgspec.json.encode(pages))


def unpack(packed: bytes) -> SparePages:
    """Return what was packed, nothing for no bytes. Raises `ValueError`."""
    if not packed:
        return SparePages()
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed[:PACKED_MAX_BYTES], UNPACKED_MAX_BYTES)
        return msgspec.json.decode(unpacked, type=SparePages)
    except (zlib.error, msgspec.MsgspecError) as error:
        raise ValueError(str(error)) from error


def accepted_by_person(untrusted: bytes) -> bytes | None:
    r"""Return the `Accept-Language` of an unreadable request ("" without one), None when a program seems to ask.

    >>> accepted_by_person(b"GET / HTTP/1.1\r\nAccept: text/html\r\nAccept-Language: de\r\n")
    b'de'
    >>> accepted_by_person(b"GET / HTTP/1.1\r\nAccept: */*\r\n") is None
    True
    """
    read = untrusted[:READ_MAX_BYTES]
    if len(read) >= LONG_BYTES and read.startswith(b"GET ") and b"\r\n" not in read:
        return b""
    if b"text/html" not in read:
        return None
    found = _ACCEPTED.search(read)
    return b"" if found is None else found[1]


def page_response(status: int, page: SparePage, *, date: bytes, closes: bool, is_head: bool = False) -> bytes:
    """Return a whole response, as `gateway.wire.problem.problem_response` does."""
    body = page.html.encode()
    lines = [
        b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode()),
        b"Date: " + date,
        b"Content-Length: %d" % len(body),
        *(f"{name}: {value}".encode() for name, value in page.headers),
    ]
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        lines.append(b"Retry-After: %d" % RETRY_AFTER_S)
    if closes:
        lines.append(b"Connection: close")
    lines.append(b"\r\n")
    return b"\r\n".join(lines) + (b"" if is_head else body)
