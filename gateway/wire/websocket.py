"""Just enough of RFC 6455 to end a tunnelled WebSocket properly: where frames end, and what a close frame looks like.

Nothing is unmasked, inflated or copied; a frame of any size costs one step.
"""

from enum import IntEnum

_CONTROL_PAYLOAD_BYTES = 125
_CLOSE_OPCODE = 0x8


class CloseCode(IntEnum):
    """Close codes that we send."""

    GOING_AWAY = 1001
    ACCESS_ENDED = 4403


class FrameTracker:
    """Follows the frames that an upstream sends, to know when the byte stream is between two of them.

    `is_at_boundary` is True before the first byte. `has_closed`: a close frame has passed, no frame may follow it.
    """

    __slots__ = ("_header", "_left", "has_closed")

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self.has_closed = False

    @property
    def is_at_boundary(self) -> bool:
        """Whether a frame of ours may follow the bytes fed so far."""
        return self._left == 0 and not self._header

    def feed(self, data: bytes) -> None:
        """Account for `data`. Frames from a server are not masked; a masked one is followed all the same."""
        if self._left > len(data):
            self._left -= len(data)
            return
        at = self._left
        self._left = 0
        if self._header:
            data, at, self._header = self._header + data[at:], 0, b""
        while at < len(data):
            size = _frame_size(data, at)
            if size < 0:
                self._header = data[at:]
                return
            if data[at] & 0x0F == _CLOSE_OPCODE:
                self.has_closed = True
            at += size
        self._left = at - len(data)


def _frame_size(data: bytes, at: int) -> int:
    """Return the length of the frame that begins at `at`, header included, or -1 when its header is not whole."""
    there = len(data) - at
    if there < 2:  # noqa: PLR2004 - RFC 6455 section 5.2
        return -1
    length = data[at + 1] & 0x7F
    mask = 4 if data[at + 1] & 0x80 else 0
    if length <= _CONTROL_PAYLOAD_BYTES:
        return 2 + mask + length
    width = 2 if length == 126 else 8  # noqa: PLR2004 - RFC 6455 section 5.2
    if there < 2 + width:
        return -1
    return 2 + width + mask + int.from_bytes(data[at + 2 : at + 2 + width])


def close_frame(code: CloseCode, reason: str) -> bytes:
    """Return the close frame of a server. `reason` is cut to what fits a control frame.

    >>> close_frame(CloseCode.ACCESS_ENDED, "no").hex()
    '880411336e6f'
    """
    text = reason.encode()[: _CONTROL_PAYLOAD_BYTES - 2].decode(errors="ignore").encode()
    return bytes((0x88, 2 + len(text))) + int(code).to_bytes(2) + text
