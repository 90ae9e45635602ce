"""Message bodies as they come: three framings, one interface.

`feed` takes the bytes that were read and returns the payload in them. When `is_complete`, `rest` is what followed the
body. A decoder holds at most one chunk-size line or the trailer section.

Source: RFC 9112 sections 6 and 7.
"""

import re
from typing import Protocol

from gateway.wire.faults import FaultCode, WireFault
from gateway.wire.fields import CRLF, END_OF_HEAD, Field, parse_fields, split_lines

MAX_CHUNK_LINE_BYTES = 1024
"""Longest chunk-size line, extensions included."""

MAX_EXTENSION_BYTES = 16384
"""Most bytes of chunk extensions in one body: each is dropped, so that they only cost (CVE-2023-39326)."""

MAX_TRAILER_BYTES = 8192
"""Most bytes of a trailer section."""

MAX_TRAILERS = 64
"""Most trailer fields."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"host"})
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*"'
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb"|" + _QUOTED + rb"))?)*"
)
_CHUNK_LINE_BEGIN = re.compile(rb"(?:[0-9A-Fa-f]{1,15}(?:;[\t\x20-\x7e\x80-\xff]*)?)?\r?")


class Body(Protocol):
    """The body of one message that is being read."""

    is_complete: bool
    rest: bytes
    trailers: list[Field]

    def feed(self, data: bytes) -> bytes:
        """Return the payload in `data`. Raises `WireFault`. Not called again once `is_complete`."""
        ...

    def end(self) -> bool:
        """The sender closed its side: return whether the body is whole."""
        ...


class SizedBody:
    """A body of known length."""

    __slots__ = ("is_complete", "left", "rest", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.is_complete = length == 0
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        """Return the payload in `data`, which is `data` itself unless more follows than belongs to the body."""
        left = self.left - len(data)
        if left >= 0:
            self.left = left
            self.is_complete = left == 0
            return data
        payload, self.rest = data[: self.left], data[self.left :]
        self.left = 0
        self.is_complete = True
        return payload

    def end(self) -> bool:
        """Return whether all bytes have come."""
        return self.is_complete


class UnsizedBody:
    """A response body that ends when the connection does."""

    __slots__ = ("is_complete", "rest", "trailers")

    def __init__(self) -> None:
        self.is_complete = False
        self.rest = b""
        self.trailers: list[Field] = []

    def feed(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def end(self) -> bool:
        """Return True: this end is the end of the body."""
        self.is_complete = True
        return True


class ChunkedBody:
    """A body in chunks. Extensions are checked and dropped; trailers are checked and kept."""

    __slots__ = (
        "_carry",
        "_extension_bytes",
        "_in_trailers",
        "_left",
        "_wants_crlf",
        "is_complete",
        "rest",
        "trailers",
    )

    def __init__(self) -> None:
        self.is_complete = False
        self.rest = b""
        self.trailers: list[Field] = []
        self._carry = b""
        self._extension_bytes = 0
        self._left = 0
        self._wants_crlf = False
        self._in_trailers = False

    def feed(self, data: bytes) -> bytes:
        """Return the payload in `data`. Raises `WireFault` for a chunk that is not exactly formed."""
        if self._carry:
            data, self._carry = self._carry + data, b""
        pieces = []
        at = 0
        while not self._in_trailers:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
            if self._wants_crlf:
                if not self._skip_crlf(data, at):
                    break
                at += 2
            line_end = self._find_line_end(data, at)
            if line_end < 0:
                break
            self._begin_chunk(data[at:line_end])
            at = line_end + 2
        if self._in_trailers:
            self._read_trailers(data[at:])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> bool:
        """Return whether the last chunk and the trailer section have come."""
        return self.is_complete

    def _skip_crlf(self, data: bytes, at: int) -> bool:
        """Return whether the CRLF after a chunk's data is there whole; keep a part of it for the next read."""
        mark = data[at : at + 2]
        if mark == CRLF:
            self._wants_crlf = False
            return True
        if not CRLF.startswith(mark):
            raise WireFault(FaultCode.CHUNK, "a chunk is longer than its size says")
        self._carry = mark
        return False

    def _find_line_end(self, data: bytes, at: int) -> int:
        """Return where the chunk-size line ends, or -1; keep an unfinished one for the next read."""
        line_end = data.find(CRLF, at, at + MAX_CHUNK_LINE_BYTES + 2)
        if line_end < 0:
            begun = data[at:]
            if len(begun) > MAX_CHUNK_LINE_BYTES + 1 or _CHUNK_LINE_BEGIN.fullmatch(begun) is None:
                raise WireFault(FaultCode.CHUNK, "a chunk-size line is malformed or too long")
            self._carry = begun
        return line_end

    def _begin_chunk(self, line: bytes) -> None:
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise WireFault(FaultCode.CHUNK, "a chunk-size line is malformed")
        self._extension_bytes += len(line) - match.end(1)
        if self._extension_bytes > MAX_EXTENSION_BYTES:
            raise WireFault(FaultCode.CHUNK, "the body has too many chunk extensions")
        self._left = int(match[1], 16)
        self._wants_crlf = self._left > 0
        self._in_trailers = self._left == 0

    def _read_trailers(self, data: bytes) -> None:
        """Complete the body when the trailer section is whole; keep what there is of it otherwise."""
        if data.startswith(CRLF):
            self.rest = data[2:]
            self.is_complete = True
            return
        section_end = data.find(END_OF_HEAD, 0, MAX_TRAILER_BYTES)
        if section_end < 0:
            if len(data) >= MAX_TRAILER_BYTES:
                raise WireFault(FaultCode.CHUNK, "the trailer section is too long")
            split_lines(data.removesuffix(b"\r").removesuffix(CRLF))
            self._carry = data
            return
        lines = split_lines(data[:section_end])
        if len(lines) > MAX_TRAILERS:
            raise WireFault(FaultCode.CHUNK, "the trailer section has too many fields")
        self.trailers = parse_fields(lines)
        if not _FRAMING.isdisjoint(name for name, _ in self.trailers):
            raise WireFault(FaultCode.CHUNK, "the trailer section states how the message is framed")
        self.rest = data[section_end + 4 :]
        self.is_complete = True


def encode_chunk(payload: bytes) -> bytes:
    r"""Return `payload`, which is not empty, as one chunk.

    >>> encode_chunk(b"hello")
    b'5\r\nhello\r\n'
    """
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def encode_last_chunk(trailers: list[Field]) -> bytes:
    r"""Return the last chunk with its trailer section.

    >>> encode_last_chunk([(b"x-sum", b"1")])
    b'0\r\nx-sum: 1\r\n\r\n'
    """
    if not trailers:
        return b"0\r\n\r\n"
    return b"0\r\n" + b"".join(b"%b: %b\r\n" % field for field in trailers) + CRLF
