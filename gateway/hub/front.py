"""What a worker tells the hub about a request, read from the headers that only workers can set."""

import base64
import binascii

import msgspec
from aiohttp import web

from compliance.model import ClientKind
from gateway.decision.verdict import Verdict, decode_verdict


class FrontFault(Exception):
    """The request did not come through a worker as it should; nobody outside can cause this."""


class Front(msgspec.Struct, frozen=True, kw_only=True):
    """The request as the client made it. `host` has the port as in the URL, `hostname` has none.

    `evidence` is the DER of the device certificate, empty without one. `received_ns` is the worker's monotonic clock
    at the request's first byte; one clock for all processes of a machine.
    """

    client: str
    scheme: str
    host: str
    kind: ClientKind
    evidence: bytes
    received_ns: int
    verdict: Verdict | None

    @property
    def hostname(self) -> str:
        """The host without its port, lower-case."""
        name, _, port = self.host.rpartition(":")
        return (name if name and port.isdigit() else self.host).lower()

    @property
    def origin(self) -> str:
        """Scheme and host, as browsers send it in `Origin`."""
        return f"{self.scheme}://{self.host}"


def read_front(request: web.Request) -> Front:
    """Return what the worker said. Raises `FrontFault` when a header is missing or malformed."""
    headers = request.headers
    try:
        verdict = headers.get("X-Gate-Verdict")
        return Front(
            client=headers["X-Gate-Client"],
            scheme=headers["X-Gate-Scheme"],
            host=headers["X-Gate-Host"],
            kind=ClientKind(headers.get("X-Gate-Client-Kind", "api")),
            evidence=base64.b64decode(headers.get("X-Gate-Evidence", ""), validate=True),
            received_ns=int(headers.get("X-Gate-Received", "0")),
            verdict=None if verdict is None else decode_verdict(verdict),
        )
    except (KeyError, ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise FrontFault(str(error)) from error
