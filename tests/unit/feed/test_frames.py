"""Frames of the feed that leave together."""

from gateway.feed.protocol import FRAMES_AT_ONCE, FrameWriter


class Transport:
    """Remembers each write, which on a real one is a call to the system."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_gone = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def is_closing(self) -> bool:
        return self.is_gone


def writer_to(transport: Transport) -> FrameWriter:
    writer = FrameWriter()
    writer.connect(transport)
    return writer


def test_a_frame_leaves_at_once_unless_it_is_held() -> None:
    transport = Transport()
    writer = writer_to(transport)
    writer.send(b"a")
    writer.hold()
    writer.send(b"b")
    writer.send(b"c")
    assert transport.writes == [b"a"]
    writer.release()
    assert transport.writes == [b"a", b"bc"]
    writer.send(b"d")
    writer.release()
    assert transport.writes == [b"a", b"bc", b"d"]


def test_the_first_frames_do_not_wait_for_the_last() -> None:
    transport = Transport()
    writer = writer_to(transport)
    writer.hold()
    frames = [bytes((each,)) for each in range(2 * FRAMES_AT_ONCE + 1)]
    for frame in frames:
        writer.send(frame)
    assert transport.writes == [b"".join(frames[:FRAMES_AT_ONCE]), b"".join(frames[FRAMES_AT_ONCE:-1])]
    writer.release()
    assert transport.writes[-1] == frames[-1]


def test_without_a_connection_frames_are_lost_and_never_sent_later() -> None:
    writer = FrameWriter()
    writer.send(b"a")
    transport = Transport()
    writer.connect(transport)
    transport.is_gone = True
    writer.hold()
    writer.send(b"b")
    writer.release()
    transport.is_gone = False
    writer.send(b"c")
    assert transport.writes == [b"c"]
