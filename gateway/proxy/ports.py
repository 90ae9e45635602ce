"""What the data path asks of the rest, and nothing more: one gatekeeper, routes, and reasons to cut.

The data path knows nothing of policy. It parses a request head, asks the gatekeeper, and does what the route says.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

import msgspec

from gateway.config.schema import Limits
from gateway.wire.prefix import PathRewrite

if TYPE_CHECKING:
    from gateway.proxy.exchange import Exchange
    from gateway.proxy.pool import Lessee
    from gateway.wire.request import RequestHead
    from gateway.wire.response import ResponseHead


class CutReason(StrEnum):
    """Why an open exchange is ended from our side."""

    ACCESS_ENDED = "access-ended"
    RESTRICTED = "restricted"
    GOING_AWAY = "going-away"


class ResponseRules(msgspec.Struct, frozen=True):
    """What the data path does to a response on the way to the client.

    `no_store`: `Cache-Control` is replaced by `no-store`. `reserved_cookies`: names that an app may not set.
    `extra_headers` are added, after those that are `dropped` (lower-case names). `is_resized`: the body may become
    longer than it was. `guard` judges each response; where it withholds one, the gatekeeper's `forbidden` route answers
    instead. None for whoever is not limited.
    """

    no_store: bool = False
    reserved_cookies: tuple[bytes, ...] = ()
    extra_headers: tuple[tuple[bytes, bytes], ...] = ()
    dropped: frozenset[bytes] = frozenset()
    is_resized: bool = False
    guard: "ResponseGuard | None" = None


class BodyFilter(Protocol):
    """What a body goes through on the way to the client."""

    limit: str

    def feed(self, payload: bytes, *, is_last: bool) -> bytes | None:
        """Return what may go on now; None: nothing more may, for the reason `limit`."""
        ...


class ResponseGuard(Protocol):
    """Judges and changes the responses to a limited session. Neither method may raise."""

    def withholds(self, head: "RequestHead", response: "ResponseHead") -> str:
        """Return why a response is not passed on, "" when it may be."""
        ...

    def treat(
        self, head: "RequestHead", response: "ResponseHead"
    ) -> tuple["ResponseRules", BodyFilter | None]:
        """Return how the response's head is written, and what its body goes through."""
        ...


class Upstreams(Protocol):
    """Where connections to an app come from: the pool of one address, or a group of them.

    `has_others`: a new connection may well be to another address than the last.
    """

    has_others: bool

    def lease(self, lessee: "Lessee", *, is_fresh: bool) -> None:
        """Give `lessee` a connection, now or later; `upstream_failed` when there can be none.

        `is_fresh`: none that has been used before.
        """
        ...

    def give_up(self, lessee: "Lessee") -> None:
        """`lessee` no longer waits."""
        ...

    def close(self) -> None:
        """Close idle connections now, and leased ones as they come back. Nobody can lease any more."""
        ...


class Route(msgspec.Struct, frozen=True):
    """Where an admitted exchange goes and how. Only the gatekeeper makes one.

    `headers` are set after every client-sent header of a protected name has been removed. `host` None keeps the
    client's `Host`; `is_own_host` sends the name by which the chosen address knows itself. `target` None sends the
    canonical target, its path changed by `rewrite`. `limits` None keeps the server's. `send_body` False answers without
    the request's body (which is then discarded within bounds, or the connection closes after the answer).
    `with_own_cookies` leaves the gateway's cookies in the request: only for the hub, never for an app. `removed` are
    lower-case names of client fields that are not sent. `reads_body`: what tells of a whole body, of at most
    `body_max_bytes`, whether the upstream may have it; until then nothing of it is sent. `is_ours`: it leads to a part
    of the gateway itself; where that is away, the gateway restarts, and no app is at fault.
    """

    pool: "Upstreams"
    headers: tuple[tuple[bytes, bytes], ...]
    rules: ResponseRules = ResponseRules()
    host: bytes | None = None
    is_own_host: bool = False
    target: bytes | None = None
    rewrite: PathRewrite | None = None
    limits: Limits | None = None
    send_body: bool = True
    body_max_bytes: int = 1 << 30
    with_own_cookies: bool = False
    removed: frozenset[bytes] = frozenset()
    reads_body: Callable[[bytes], bool] | None = None
    is_ours: bool = False


class UpstreamFault(StrEnum):
    """Why an upstream gave no usable response, with the status that it becomes."""

    UNREACHABLE = "upstream-unreachable"
    TLS = "upstream-tls-failed"
    RESET = "upstream-closed-early"
    PROTOCOL = "upstream-broke-protocol"
    CONNECT_TIMEOUT = "upstream-connect-timed-out"
    RESPONSE_TIMEOUT = "upstream-response-timed-out"
    OVERLOADED = "upstream-overloaded"

    @property
    def status(self) -> int:
        """HTTP status of the answer: 502, 503 or 504."""
        match self:
            case UpstreamFault.CONNECT_TIMEOUT | UpstreamFault.RESPONSE_TIMEOUT:
                return 504
            case UpstreamFault.OVERLOADED:
                return 503
            case _:
                return 502

    @property
    def is_away(self) -> bool:
        """Whether nobody was there to answer, or went away before; not whether somebody answered badly or late."""
        return self in (UpstreamFault.UNREACHABLE, UpstreamFault.RESET, UpstreamFault.CONNECT_TIMEOUT)


class Gatekeeper(Protocol):
    """Decides what becomes of each request. Every method returns at once; none may raise."""

    def admit(self, exchange: "Exchange") -> Route | None:
        """Return where the exchange goes, or None; then `exchange.proceed(route)` follows later, exactly once."""
        ...

    def failed(self, exchange: "Exchange", fault: UpstreamFault) -> Route | None:
        """Return the route that answers instead (a page of the hub), or None for the built-in problem document."""
        ...

    def forbidden(self, exchange: "Exchange", reason: str) -> Route | None:
        """Return the route that answers instead of a response that a rule withholds, or None for the built-in 403."""
        ...

    def ended(self, exchange: "Exchange") -> None:
        """The exchange is over, whatever the way; it was announced by `admit` before."""
        ...
