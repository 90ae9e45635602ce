"""Messages of the posture feed: the one ordered stream between the hub and each worker.

A frame is a four-byte big-endian length and a msgpack body. Hub to worker, every frame carries `seq`, rising by one
per worker; `Ack` names the last sequence number up to which a worker enforces everything. INVARIANT: a `TicketReply`
computed before a change is sent before the `Invalidate` of that change, so that no ticket outlives what it rests on.
"""

import asyncio
import struct
from collections.abc import Iterator

import msgspec

from compliance.model import Residual, SessionControl

MAX_FRAME_BYTES = 8 * 1024 * 1024
FRAMES_AT_ONCE = 16
"""Most frames that wait for each other."""
_LENGTH = struct.Struct(">I")


class FeedFault(Exception):
    """The peer of the feed broke its rules; the connection is dropped."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker needs to decide every request of one (session cookie, app, device evidence) by itself.

    `keys` are the invalidation keys that the ticket rests on (`session:…`, `user:…`, `device:…`, `identifier:…`).
    `headers` are sent to the app with every admitted request, and those of the one `variants` item whose controls
    equal the decision's beside them. `valid_until` is unix seconds: the signed assertion ends some time. The residual's
    own is left out, so that many tickets have an equal one. `decision` is the reference code of the decision record.
    """

    keys: tuple[str, ...]
    session: str
    decision: str
    residual: Residual
    headers: tuple[tuple[bytes, bytes], ...]
    variants: tuple["Variant", ...]
    valid_until: float


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What an app is told when a request is admitted with exactly these limits: headers and signed assertion."""

    controls: frozenset[SessionControl]
    headers: tuple[tuple[bytes, bytes], ...]
    profiles: frozenset[str] = frozenset()


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Worker says who it is, first of all. `pid` is what the hub kills when the worker must be fenced."""

    worker: str
    pid: int


class TicketRequest(msgspec.Struct, frozen=True, tag="ticket?"):
    """Worker asks: may the holder of this cookie use this app? `cookie` is the SHA-256 of the cookie value, hex.

    For a service token it is what stands for that (`gateway.wire.service_token.token_digest`).

    `host` is the public host of the request, for a cookie counts on its own host only. `evidence` is the DER of the
    device certificate of this connection or trusted hop, empty without one.
    """

    request: int
    cookie: str
    host: str
    app: str
    evidence: bytes


class Cut(msgspec.Struct, frozen=True):
    """`count` open exchanges of `app` ended because their tickets rested on those changed `keys`."""

    app: str
    keys: tuple[str, ...]
    count: int


class Ack(msgspec.Struct, frozen=True, tag="ack"):
    """Worker says: everything up to `seq` is enforced, and these exchanges were ended for it."""

    seq: int
    cuts: tuple[Cut, ...] = ()


class Touch(msgspec.Struct, frozen=True, tag="touch"):
    """Worker says: these sessions were used since the last touch."""

    sessions: tuple[str, ...]


class Serving(msgspec.Struct, frozen=True, tag="serving"):
    """Worker says: the listener is open."""


class Leave(msgspec.Struct, frozen=True, tag="leave"):
    """Worker says: I end as I was told to, and nothing is open here any more. It still counts until it is dead."""


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Worker's counters since it started, by metric and label values."""

    counters: dict[str, float]


class TicketReply(msgspec.Struct, frozen=True, tag="ticket"):
    """Hub answers `request`; `ticket` None means that the cookie names no live session for this app host."""

    seq: int
    request: int
    ticket: Ticket | None


class Invalidate(msgspec.Struct, frozen=True, tag="invalidate"):
    """Hub says: drop every ticket that rests on one of `keys` (`*` is all) and re-decide its open exchanges."""

    seq: int
    keys: tuple[str, ...]
    reason: str


class Settings(msgspec.Struct, frozen=True, tag="settings"):
    """Hub says: serve by this configuration from now on (JSON of `gateway.worker.WorkerSettings`)."""

    seq: int
    settings: bytes


class Lease(msgspec.Struct, frozen=True, tag="lease"):
    """Hub says: I was alive just now; tickets may be used until then on the monotonic clock of this machine.

    An instant, not a duration: what waited in a socket while the worker or the hub stood still grants nothing.
    """

    seq: int
    until_mono_s: float


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Hub says: stop listening, finish what is open within `seconds`, then end."""

    seq: int
    seconds: float


WorkerMessage = Hello | TicketRequest | Ack | Touch | Serving | Leave | Stats
HubMessage = TicketReply | Invalidate | Settings | Lease | Drain

_encoder = msgspec.msgpack.Encoder()
_hub_decoder = msgspec.msgpack.Decoder(WorkerMessage)
_worker_decoder = msgspec.msgpack.Decoder(HubMessage)


def encode(message: WorkerMessage | HubMessage) -> bytes:
    """Return one frame. Raises `FeedFault` when it would exceed `MAX_FRAME_BYTES`."""
    body = _encoder.encode(message)
    if len(body) > MAX_FRAME_BYTES:
        raise FeedFault(f"frame of {len(body)} bytes exceeds {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


class FrameWriter:
    """Sends frames in order; those that are sent while it `hold`s leave together, with one call to the system.

    Each frame that leaves alone wakes the other process, which then takes the core from this one.
    """

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._held: list[bytes] = []
        self._is_holding = False

    def connect(self, transport: asyncio.WriteTransport) -> None:
        """Send through `transport` from now on."""
        self._transport = transport

    def send(self, frame: bytes) -> None:
        """Send a frame, or keep it until `release`; without a connection, and on one that closes, it is lost."""
        if not self._is_holding:
            self._write(frame)
            return
        self._held.append(frame)
        if len(self._held) >= FRAMES_AT_ONCE:
            self._flush()

    def hold(self) -> None:
        """Keep frames, `FRAMES_AT_ONCE` at most: the other side should begin with the first before the last is made."""
        self._is_holding = True

    def release(self) -> None:
        """Send what was kept, and keep nothing any more."""
        self._is_holding = False
        self._flush()

    def _flush(self) -> None:
        if self._held:
            together = b"".join(self._held)
            self._held.clear()
            self._write(together)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class _Frames:
    """Cuts a byte stream into frame bodies; any split into reads gives the same frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield every complete body. Raises `FeedFault` for a frame over the bound."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise FeedFault(f"frame of {length} bytes exceeds {MAX_FRAME_BYTES}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            yield body


class HubReader(_Frames):
    """Reads what a worker sends."""

    def messages(self, data: bytes) -> Iterator[WorkerMessage]:
        """Yield every complete message in order. Raises `FeedFault` on anything that is not one."""
        for body in self.feed(data):
            try:
                yield _hub_decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise FeedFault(f"undecodable frame: {error}") from error


class WorkerReader(_Frames):
    """Reads what the hub sends."""

    def messages(self, data: bytes) -> Iterator[HubMessage]:
        """Yield every complete message in order. Raises `FeedFault` on anything that is not one."""
        for body in self.feed(data):
            try:
                yield _worker_decoder.decode(body)
            except msgspec.MsgspecError as error:
                raise FeedFault(f"undecodable frame: {error}") from error
