"""The two connections of an exchange, as it sees them: they take bytes and orders, and that is all it knows.

`downstream.Downstream` and `upstream.Upstream` are the real ones; tests have links that record.
"""

import asyncio
from typing import TYPE_CHECKING, Protocol, cast

from gateway.wire.forwarded import Address
from gateway.wire.spare import SparePage

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange


def as_protocol(link: object) -> asyncio.Protocol:
    """Return a connection as the event loop knows it: it has every method of `asyncio.Protocol`."""
    return cast("asyncio.Protocol", link)


class ClientLink(Protocol):
    """The client's connection, as an exchange sees it."""

    peer_address: Address
    asked_name: str
    evidence: bytes
    is_peer_trusted: bool

    @property
    def date(self) -> bytes:
        """Now, as the `Date` header has it."""
        ...

    def write(self, data: bytes) -> None:
        """Send to the client."""
        ...

    def unsent(self) -> int:
        """Return how many written bytes have not left this machine."""
        ...

    def body_wanted(self) -> None:
        """The exchange `takes_body` now: hand over what there is of the request's body."""
        ...

    def forwarding(self, exchange: "Exchange") -> bytes:
        """Return the forwarding lines for an upstream."""
        ...

    def expect_within(self, seconds: float) -> None:
        """Call `expired` unless something is expected anew within `seconds`."""
        ...

    def spare_page(self, status: int, untrusted_accepted: bytes) -> SparePage | None:
        """Return the page that is ready for a person who cannot be told by the hub, None without one."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from a tunnelled client."""
        ...

    def resume_reading(self) -> None:
        """Go on reading."""
        ...

    def over(self, *, keeps_alive: bool) -> None:
        """The exchange is over and its response complete: go on, or close when all has been sent."""
        ...

    def close(self) -> None:
        """Send what was written, then close, as the only sign that the message is not whole."""
        ...

    def reset(self) -> None:
        """Drop what was written and not sent, and end the connection at once."""
        ...


class UpstreamLink(Protocol):
    """A connection to an upstream, as an exchange sees it."""

    is_reused: bool
    has_answered: bool
    is_write_paused: bool

    @property
    def authority(self) -> bytes:
        """The `Host` value by which the upstream knows itself."""
        ...

    def begin(self, exchange: "Exchange", head: bytes) -> None:
        """Send a request head; the answer goes to `exchange`."""
        ...

    def write(self, data: bytes) -> None:
        """Send to the upstream."""
        ...

    def pause_reading(self) -> None:
        """Take nothing more from the upstream."""
        ...

    def resume_reading(self) -> None:
        """Go on reading."""
        ...

    def keep_answer(self) -> None:
        """More of the request's body comes: have an answer read even if the connection is lost meanwhile."""
        ...

    def end(self) -> bool:
        """Send what was written, then the end of our side. Return whether the other side may go on without it."""
        ...

    def release(self) -> None:
        """The response is complete and the request too: let another exchange use the connection if it can."""
        ...

    def close(self) -> None:
        """Send what was written, then close."""
        ...

    def drop(self) -> None:
        """End the connection at once; nothing of it reaches the exchange any more."""
        ...

    def drop_soon(self) -> None:
        """As `drop`, but the connection itself ends a moment later: nobody has to wait for that."""
        ...
