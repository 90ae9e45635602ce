"""What taking a delivery needs of its HTTP request: that of the web framework, or one that is here whole already."""

from collections.abc import Sequence
from typing import Protocol

from multidict import CIMultiDict, MultiDict, MultiMapping

_NO_QUERY: MultiMapping[str] = MultiDict()


class Content(Protocol):
    """The body, as far as it has come."""

    def is_eof(self) -> bool:
        """Return whether nothing more will come."""
        ...

    def read_nowait(self, n: int = -1) -> bytes:
        """Return all that is here."""
        ...

    async def readany(self) -> bytes:
        """Return what is here next, b"" at the end."""
        ...


class DeliveryRequest(Protocol):
    """A request to the address of a sensor: an `aiohttp.web.Request`, or `WholeRequest`."""

    @property
    def method(self) -> str:
        """The method, upper-case."""
        ...

    @property
    def query(self) -> MultiMapping[str]:
        """The parameters of the target."""
        ...

    @property
    def headers(self) -> MultiMapping[str]:
        """The fields of the head; bytes that are no UTF-8 are surrogates."""
        ...

    @property
    def content_length(self) -> int | None:
        """The length of the body where it was told."""
        ...

    @property
    def content(self) -> Content:
        """The body."""
        ...


class WholeRequest:
    """A POST without parameters whose body is here."""

    __slots__ = ("_body", "headers")

    method = "POST"
    query = _NO_QUERY

    def __init__(self, fields: Sequence[tuple[str, str]], body: bytes) -> None:
        self.headers: MultiMapping[str] = CIMultiDict(fields)
        self._body = body

    @property
    def content_length(self) -> int | None:
        """The length of the body."""
        return len(self._body)

    @property
    def content(self) -> "WholeRequest":
        """The body."""
        return self

    def is_eof(self) -> bool:
        """Return True: all of it is here."""
        return True

    def read_nowait(self, n: int = -1) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the body."""
        return self._body

    async def readany(self) -> bytes:
        """Return the body."""
        return self._body
