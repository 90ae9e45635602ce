"""What browsers show, and how the first bytes of such content look. Pure.

Source: WHATWG MIME Sniffing sections 6 and 7 (signatures, binary data bytes); HTML, "Navigating".
"""

import zlib

SNIFFED_BYTES = 512
"""How much of a body is looked at."""

_TEXTS = frozenset(
    {
        b"text/html", b"text/plain", b"text/css", b"text/javascript", b"text/xml", b"text/event-stream", b"text/vtt",
        b"application/javascript", b"application/x-javascript", b"application/ecmascript", b"application/json",
        b"application/xml", b"application/xhtml+xml", b"application/rss+xml", b"application/atom+xml",
        b"application/vnd.apple.mpegurl", b"application/x-mpegurl", b"application/dash+xml", b"image/svg+xml",
    }
)  # fmt: skip
_IMAGES = frozenset(
    b"image/" + name
    for name in (
        b"png", b"apng", b"jpeg", b"jpg", b"pjpeg", b"gif", b"webp", b"avif", b"bmp", b"x-icon", b"vnd.microsoft.icon",
    )
)  # fmt: skip
_SOUNDS = frozenset(
    {
        b"audio/mpeg", b"audio/mp3", b"audio/mp4", b"audio/aac", b"audio/ogg", b"audio/wav", b"audio/x-wav",
        b"audio/webm", b"audio/flac", b"video/mp4", b"video/webm", b"video/ogg", b"video/mp2t", b"video/quicktime",
        b"application/ogg",
    }
)  # fmt: skip
_FONTS = frozenset(
    {
        b"font/woff", b"font/woff2", b"font/ttf", b"font/otf", b"font/collection", b"application/font-woff",
        b"application/font-woff2", b"application/x-font-woff", b"application/x-font-ttf", b"application/font-sfnt",
    }
)  # fmt: skip
PDF = b"application/pdf"
_WASM = b"application/wasm"

_IMAGE_SIGNS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"BM", b"\0\0\1\0", b"\0\0\2\0")
_SOUND_SIGNS = (b"ID3", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"G", b"ADIF", b"#EXTM3U")
_FONT_SIGNS = (b"wOFF", b"wOF2", b"OTTO", b"\0\1\0\0", b"true", b"ttcf")
_FILE_SIGNS = (
    b"PK\3\4", b"PK\5\6", b"PK\7\x08", b"%PDF-", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"MZ\x90",
    b"\x7fELF", b"\xd0\xcf\x11\xe0", b"SQLite format 3", b"{\\rtf", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18",
    b"\xca\xfe\xba\xbe", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"PAR1", b"Obj\x01", b"!<arch>", b"BEGIN:VCARD",
    b"-----BEGIN ", b"%!PS",
)  # fmt: skip
"""How files begin that no browser shows as a page."""

_BINARY = frozenset({*range(0x09), 0x0B, *range(0x0E, 0x1B), *range(0x1C, 0x20)})
_WIDE_MARKS = (b"\xff\xfe", b"\xfe\xff")


def media_type(content_type: bytes) -> bytes:
    """Return the media type of a `Content-Type` in lower case; empty for one that is none, or several."""
    media = content_type.partition(b";")[0].strip().lower()
    return b"" if b"," in content_type or media.count(b"/") != 1 else media


def is_shown(media: bytes, display: frozenset[str]) -> bool:
    """Return whether a type may be passed on. `display` empty means what browsers show, or use for what they show.

    PDF is apart: what shows it has a button that saves it.
    """
    if display:
        family = media.partition(b"/")[0].decode("latin-1") + "/*"
        return media.decode("latin-1") in display or family in display
    return _is_text(media) or media in _IMAGES | _SOUNDS | _FONTS or media == _WASM


def is_saved_when_opened(media: bytes) -> bool:
    """Return whether a browser that is led to such content saves it: it serves pages, and is none."""
    return media in _FONTS or media == _WASM


def _is_text(media: bytes) -> bool:
    return media in _TEXTS or media.endswith((b"+json", b"+xml"))


def sniffed_bytes_needed(media: bytes) -> int:
    """Return how many bytes must be there before the first may pass; streams of events may be short and slow."""
    return 1 if media == b"text/event-stream" else 16


def contradicts(media: bytes, begin: bytes) -> bool:  # noqa: PLR0911 - one line a kind
    """Return whether the first bytes of a body are not what the type says. Unknown types contradict nothing."""
    if not begin:
        return False
    if _is_text(media):
        return _is_file(begin) or (not begin.startswith(_WIDE_MARKS) and not _BINARY.isdisjoint(begin))
    if media in _IMAGES:
        is_riff = begin.startswith(b"RIFF") and begin[8:12] == b"WEBP"
        return not (begin.startswith(_IMAGE_SIGNS) or is_riff or begin[4:8] == b"ftyp")
    if media in _SOUNDS:
        return not (_is_sound(begin) or begin[4:8] == b"ftyp")
    if media in _FONTS:
        return not begin.startswith(_FONT_SIGNS)
    if media == PDF:
        return b"%PDF-" not in begin
    return media == _WASM and not begin.startswith(b"\0asm")


def _is_sound(begin: bytes) -> bool:
    is_frame = begin[0] == 0xFF and len(begin) > 1 and begin[1] & 0xE0 == 0xE0  # noqa: PLR2004 - MPEG sync
    is_riff = begin.startswith(b"RIFF") and begin[8:12] in {b"WAVE", b"AVI "}
    return begin.startswith(_SOUND_SIGNS) or is_frame or is_riff or begin[4:8] in {b"moov", b"mdat", b"wide"}


def _is_file(begin: bytes) -> bool:
    return begin.startswith(_FILE_SIGNS) or begin[257:262] == b"ustar"


class Unpacker:
    """Unpacks the beginning of a body that is packed with gzip or deflate, to look at it."""

    CODINGS = frozenset({b"gzip", b"x-gzip", b"deflate"})

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 32)

    def feed(self, payload: bytes) -> bytes | None:
        """Return what comes out, at most `SNIFFED_BYTES`; None for what cannot be unpacked."""
        try:
            return self._inflate.decompress(payload, SNIFFED_BYTES)
        except zlib.error:
            return None
