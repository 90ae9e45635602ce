"""The part of the sensor contract by which a product is asked, beside being listened to, version 1.

A plugin that can be asked has `pull_access` and `pull`, and may have `refresh` and `fetch`. It decides what is asked
and when a round is over; it never opens a connection, waits, or stores: `http` is given, payloads go back, and
`normalize` turns them into signals like those of any delivery. Written for plugin authors: `docs/pulling.md`.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

import msgspec

from risk.model import Identifier


class PullCode(StrEnum):
    """Why a product could not be asked."""

    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    NOT_FOUND = "not-found"
    RATE_LIMITED = "rate-limited"
    CURSOR_LOST = "cursor-lost"
    FAILED = "failed"
    UNREADABLE = "unreadable"
    FOREIGN_LINK = "foreign-link"


class PullFault(Exception):
    """A product could not be asked. `retry_after_s` is what it asked for itself; the text names no secret."""

    def __init__(self, code: PullCode, text: str, retry_after_s: float | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.retry_after_s = retry_after_s


class Grant(StrEnum):
    """How a product knows who asks."""

    TOKEN = "token"  # noqa: S105 - a word
    CLIENT_CREDENTIALS = "client-credentials"


class PullAccess(msgspec.Struct, frozen=True, kw_only=True):
    """How the product is reached and how it knows us.

    `url` is where it is unless the operator says otherwise, "" where only the operator knows. `token_path` is below the
    operator's `url`; `token_url` is an address of its own, in which `{tenant}` stands for the operator's tenant.
    `scope` may hold `{origin}`. `headers` go with every request.
    """

    grant: Grant
    url: str = ""
    token_url: str = ""
    token_path: str = ""
    scope: str = ""
    headers: Mapping[str, str] = {}


class PullPage(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a product's answer.

    `payloads` go through `normalize`. `cursor` is where the next page (or, after the last one, the next round) begins;
    it is kept once the page is durable and enforced. It is at most `MAX_CURSOR_CHARS` long.
    """

    payloads: tuple[Any, ...] = ()
    cursor: str = ""
    is_last: bool = True


MAX_CURSOR_CHARS = 8192


class PullHttp(Protocol):
    """Asks the product, as its operator configured it. Every method raises `PullFault`, and nothing else."""

    @property
    def page_size(self) -> int:
        """Most objects that the operator wants to be asked for at once."""
        ...

    async def get(self, target: str, params: Mapping[str, str] | None = None) -> Any:
        """Return the JSON at a path below the configured `url`, or at a link of the product to its own origin."""
        ...

    async def post(self, target: str, body: Any = None, params: Mapping[str, str] | None = None) -> Any:
        """Send `body` as JSON; return the JSON of the answer, None for an empty one."""
        ...


@runtime_checkable
class Pulling(Protocol):
    """A sensor plugin that can be asked."""

    pull_access: PullAccess

    async def pull(self, cursor: str, http: PullHttp, options: Any) -> PullPage:
        """Return the page at `cursor`; "" is the very beginning. Raises `PullFault`."""
        ...


@runtime_checkable
class Refreshing(Protocol):
    """A plugin that can ask about one device."""

    async def refresh(
        self, identifiers: Sequence[Identifier], http: PullHttp, options: Any, *, sensor: str
    ) -> PullPage | None:
        """Return what the product knows of this device now. Raises `PullFault`.

        None, and a fault with `not-found`, mean that it knows no such device.
        """
        ...


@runtime_checkable
class Fetching(Protocol):
    """A plugin whose product says what has changed: `Normalized.pulls` names what to fetch."""

    async def fetch(self, resource: str, http: PullHttp, options: Any) -> PullPage | None:
        """Return one resource, None when it is gone. Raises `PullFault`."""
        ...


def listed(answer: Any, key: str, path: str) -> list[Any]:
    """Return the list that an answer of `path` has below a key. Raises `PullFault` where it has none."""
    found = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(found, list):
        raise PullFault(PullCode.UNREADABLE, f"`{path}`: the answer has no list `{key}`")
    return found


def page_number(cursor: str) -> int:
    """Return the number of the page where a cursor of `numbered_page` begins, 0 for the first."""
    return int(cursor) if cursor.isdecimal() else 0


def numbered_page(number: int, key: str, found: list[Any], http: PullHttp) -> PullPage:
    """Return a page of a product that numbers its pages, as one payload with what was found below a key.

    One that is not full is the last.
    """
    is_last = len(found) < http.page_size
    payloads = ({key: found},) if found else ()
    return PullPage(payloads=payloads, cursor="" if is_last else str(number + 1), is_last=is_last)


def values(identifiers: Sequence[Identifier], *kinds: str, issuer: str = "") -> list[str]:
    """Return the values of these kinds, in the order of the kinds; numbers that a sensor gives need it as `issuer`."""
    return [
        each.value
        for kind in kinds
        for each in identifiers
        if each.kind == kind and (not issuer or not each.issuer or each.issuer == issuer)
    ]
