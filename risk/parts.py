"""Large deliveries in parts: durable as one, folded part by part, so that the signals of other sensors go in between.

All parts of a delivery are written in one transaction; from then on they are certain to be taken, by this process or
by the next. Each is folded in a transaction of its own, which also removes it. Pure.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from risk.model import Rejection, Signal

MAX_WHOLE = 128
"""Most signals of a delivery that is taken in one piece: a few milliseconds of work."""

MAX_PART = 64
"""Most signals of a part of a larger one."""


class Part(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Some of the items of one delivery. `body` is the start of what was sent, where a rejection needs it."""

    sensor: str
    signals: tuple[Signal, ...] = ()
    items: tuple[int, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    body: bytes = b""
    delivery: str = ""
    keeps_rejected: bool = True


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """One delivery: `items` holds the number of the item that each signal came from, `delivery` its id.

    What is rejected is kept as a dead letter only where `keeps_rejected`.
    """

    sensor: str
    signals: Sequence[Signal]
    items: Sequence[int]
    rejections: Sequence[Rejection] = ()
    body: bytes = b""
    delivery: str = ""
    keeps_rejected: bool = True

    @property
    def is_large(self) -> bool:
        """Whether it is taken in parts."""
        return len(self.signals) + len(self.rejections) > MAX_WHOLE

    def parts(self) -> Iterator[Part]:
        """Yield the delivery in parts, in order: each counts as received by so many microseconds later."""
        for at in range(0, len(self.signals), MAX_PART):
            some = slice(at, at + MAX_PART)
            signals = tuple(_later(each, at * _MICROSECOND) for each in self.signals[some])
            yield self._part(signals=signals, items=tuple(self.items[some]))
        for at in range(0, len(self.rejections), MAX_PART):
            rejected = tuple(self.rejections[at : at + MAX_PART])
            is_told = all(each.item is not None for each in rejected)
            yield self._part(rejections=rejected, body=b"" if is_told else self.body)

    def _part(self, **some: Any) -> Part:
        return Part(sensor=self.sensor, delivery=self.delivery, keeps_rejected=self.keeps_rejected, **some)


_MICROSECOND = timedelta(microseconds=1)


def _later(signal: Signal, by: timedelta) -> Signal:
    """Return the signal as received later; one without a time of its own was observed when it was received."""
    received_at = signal.received_at + by
    has_own_time = signal.observed_at != signal.received_at
    return msgspec.structs.replace(
        signal, received_at=received_at, observed_at=signal.observed_at if has_own_time else received_at
    )


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Part)


def pack_part(part: Part) -> bytes:
    """Return a part as bytes, for the store."""
    return _encoder.encode(part)


def unpack_part(packed: bytes) -> Part:
    """Return the part that `pack_part` was given. Raises `msgspec.MsgspecError` for anything else."""
    return _decoder.decode(packed)
