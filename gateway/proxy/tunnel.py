"""An upgraded connection: bytes both ways, nothing framed or read, and a proper end when access does.

Back-pressure is the links': each side is read only while the other one takes what was read.
"""

from gateway.proxy.links import ClientLink, UpstreamLink
from gateway.proxy.ports import CutReason
from gateway.wire.websocket import CloseCode, FrameTracker, close_frame

MAX_UNSENT_AT_CUT = 16384
"""With more than this written and not yet sent to the client, by us or by the kernel, a cut drops it instead of adding
a close frame behind."""

_CODE = {
    CutReason.ACCESS_ENDED: CloseCode.ACCESS_ENDED,
    CutReason.RESTRICTED: CloseCode.ACCESS_ENDED,
    CutReason.GOING_AWAY: CloseCode.GOING_AWAY,
}
_TEXT = {
    CutReason.ACCESS_ENDED: "access ended",
    CutReason.RESTRICTED: "access restricted",
    CutReason.GOING_AWAY: "going away",
}
_FRAME = {reason: close_frame(_CODE[reason], _TEXT[reason]) for reason in _CODE}


class Tunnel:
    """Both directions of one upgraded connection, without I/O of its own."""

    __slots__ = ("_client", "_tracker", "_upstream")

    def __init__(self, client: ClientLink, upstream: UpstreamLink, *, is_websocket: bool) -> None:
        self._client = client
        self._upstream = upstream
        self._tracker = FrameTracker() if is_websocket else None

    def from_client(self, data: bytes) -> None:
        """Pass bytes on to the upstream."""
        self._upstream.write(data)

    def from_upstream(self, data: bytes) -> None:
        """Pass bytes on to the client."""
        if self._tracker is not None:
            self._tracker.feed(data)
        self._client.write(data)

    def upstream_writable(self, *, is_writable: bool) -> None:
        """The upstream fell behind, or caught up: so must the client."""
        if is_writable:
            self._client.resume_reading()
        else:
            self._client.pause_reading()

    def cut(self, reason: CutReason) -> None:
        """End both sides. The client of a WebSocket is told why, if a frame of ours fits into the stream here.

        In the middle of a frame nothing fits, and when the client is far behind what it has not read yet must not reach
        it: then the connection is reset.
        """
        tracker = self._tracker
        self._upstream.drop_soon()
        is_speakable = (
            tracker is not None
            and tracker.is_at_boundary
            and not tracker.has_closed
            and self._client.unsent() <= MAX_UNSENT_AT_CUT
        )
        if is_speakable:
            self._client.write(_FRAME[reason])
            self._client.close()
        else:
            self._client.reset()
