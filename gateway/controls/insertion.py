"""Where a notice can stand in an HTML document that is on its way, found without holding the document back. Pure.

The place is right behind the `<body>` tag, or before the first content where the tag is left out, as HTML allows. The
scanner knows just enough of the syntax to find it; where a document is in any way unusual, it gives up, and the
document passes as it is.

Source: HTML, sections "The HTML syntax" and "Tree construction" (initial, before html, in head, after head).
"""

import re
from collections.abc import Callable

MAX_HELD_BYTES = 65536
"""Longest tag, comment, script or style in the head; behind a longer one there is no notice."""
MAX_SCANNED_BYTES = 1 << 20
"""How far into a document the place is looked for."""

_MARK = b"\xef\xbb\xbf"
_SPACE = b" \t\n\r\f"
_TAG = re.compile(rb"""<(/?)([A-Za-z][^\s/<>"'=]*)((?:[^<>"']|"[^"]*"|'[^']*')*)>""")
_TAG_BEGIN = re.compile(rb"<(?:/?[A-Za-z]|/?\Z)")
_QUOTED = re.compile(rb"\"[^\"]*\"|'[^']*'")
_HEAD_TAGS = frozenset(
    {b"html", b"head", b"title", b"meta", b"link", b"script", b"style", b"base", b"noscript", b"template"}
)
_RAW = frozenset({b"title", b"script", b"style", b"noscript", b"template"})
"""Elements in the head whose content is no content of the page."""
_CSP_META = re.compile(rb"""http-equiv\s*=\s*["']?\s*content-security-policy""", re.IGNORECASE)


class Inserter:
    """Puts a notice into one document.

    `may_stay(attributes)` says whether the policy of a `<meta>` tag lets it stand; `notice` is asked for it at
    its place, when all policies before are known.
    """

    __slots__ = (
        "_held",
        "_is_document",
        "_is_done",
        "_may_stay",
        "_notice",
        "_raw",
        "_scanned",
        "is_inserted",
    )

    def __init__(self, notice: Callable[[], bytes], may_stay: Callable[[bytes], bool]) -> None:
        self._notice = notice
        self._may_stay = may_stay
        self._held = b""
        self._raw = b""
        self._scanned = 0
        self._is_document = False
        self._is_done = False
        self.is_inserted = False

    def feed(self, payload: bytes, *, is_last: bool) -> bytes:
        """Return what may go on to the client now: all but the beginning of a tag that is not whole yet."""
        if self._is_done:
            return payload
        data, self._held = self._held + payload, b""
        at = self._scan(data)
        if self._has_decided():
            return data if at < 0 else data[:at] + self._notice() + data[at:]
        if is_last or len(data) - at > MAX_HELD_BYTES or self._scanned > MAX_SCANNED_BYTES:
            self._is_done = True
            return data
        self._held = data[at:]
        self._scanned += at
        return data[:at]

    def _has_decided(self) -> bool:
        return self._is_done

    def _scan(self, data: bytes) -> int:
        """Return how far `data` is understood; once done, where the notice goes, or -1 for nowhere."""
        at = 0
        while True:
            if self._raw:
                end = self._end_of_raw(data, at)
                if end < 0 or self._is_done:
                    return -1 if self._is_done else at
                at = end
            at = _skip_space(data, at, is_start=not self._is_document)
            if at >= len(data):
                return at
            step = self._step(data, at)
            if self._is_done or step == at:
                return step
            at = step

    def _step(self, data: bytes, at: int) -> int:
        """Take one comment, declaration or tag; return the place behind it, or `at` where more has to come."""
        if data.startswith(b"<!--", at):
            end = data.find(b"-->", at + 4)
            if data[at + 4 : at + 5] == b">" or data[at + 4 : at + 6] == b"->":
                return self._give_up()
            return at if end < 0 else end + 3
        if data.startswith(b"<!", at):
            return self._declaration(data, at)
        if not data.startswith(b"<", at):
            is_mark = not self._is_document and _MARK.startswith(data[at:])
            return at if is_mark else self._content(at)
        tag = _TAG.match(data, at)
        if tag is not None:
            return self._tag(tag)
        return at if _may_become_tag(data[at:]) else self._give_up()

    def _declaration(self, data: bytes, at: int) -> int:
        end = data.find(b">", at)
        if end < 0:
            begun = data[at : at + 9].lower()
            is_possible = b"<!doctype".startswith(begun) or b"<!--".startswith(data[at : at + 4])
            return at if is_possible else self._give_up()
        words = data[at + 2 : end].lower().split()
        if self._is_document or words[:2] != [b"doctype", b"html"]:
            return self._give_up()
        self._is_document = True
        return end + 1

    def _tag(self, tag: re.Match[bytes]) -> int:  # noqa: PLR0911 - one line a kind of tag
        is_closing, name = bool(tag[1]), tag[2].lower()
        if not self._is_document:
            if name != b"html" or is_closing:
                return self._give_up()
            self._is_document = True
            return tag.end()
        if name == b"body" and not is_closing:
            return self._here(tag.end())
        if name == b"frameset" or (is_closing and name not in _HEAD_TAGS):
            return self._give_up()
        if name not in _HEAD_TAGS:
            return self._here(tag.start())
        if is_closing:
            return self._give_up() if name == b"html" else tag.end()
        if name == b"meta" and _CSP_META.search(tag[3]) is not None and not self._may_stay(tag[3]):
            return self._give_up()
        if name in _RAW:
            self._raw = name
        return tag.end()

    def _content(self, at: int) -> int:
        return self._here(at) if self._is_document else self._give_up()

    def _end_of_raw(self, data: bytes, at: int) -> int:
        """Return the place behind the end tag of a raw element; -1 where it has not come."""
        match = re.compile(rb"</" + self._raw + rb"\s*>", re.IGNORECASE).search(data, at)
        if match is None:
            return -1
        inside = data[at : match.start()].lower()
        if (self._raw == b"script" and b"<!--" in inside) or (
            self._raw == b"template" and b"<template" in inside
        ):
            self._give_up()
            return -1
        self._raw = b""
        return match.end()

    def _here(self, at: int) -> int:
        self._is_done = self.is_inserted = True
        return at

    def _give_up(self) -> int:
        self._is_done = True
        return -1


def _skip_space(data: bytes, at: int, *, is_start: bool) -> int:
    if is_start and data.startswith(_MARK, at):
        at += 3
    while at < len(data) and data[at] in _SPACE:
        at += 1
    return at


def _may_become_tag(begun: bytes) -> bool:
    """Return whether what stands there is the beginning of a tag that is not whole yet."""
    outside = _QUOTED.sub(b"", begun)
    is_named = _TAG_BEGIN.match(begun) is not None
    return is_named and (b'"' in outside or b"'" in outside or not {60, 62} & set(outside[1:]))
