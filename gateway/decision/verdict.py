"""What a worker tells the hub about a request that the hub has to answer: the `X-Gate-Verdict` header, in JSON."""

import msgspec

from compliance.model import ClientKind, Outcome
from gateway.controls.effective import Limit

HEADER = b"X-Gate-Verdict"


class SignIn(msgspec.Struct, frozen=True, tag="sign-in", tag_field="kind"):
    """Nobody is signed in (or no longer) and the path is protected."""

    app: str


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="kind"):
    """An access decision other than allow, or a session control that this request meets.

    `decision` is the id of the ticket's decision record. `control` names the limit of the session that
    refused, None when the decision itself did; `controls` are all that are in force; `retry_after` is in seconds, 0
    where waiting does not help. `is_cut` tells that the request
    was allowed when it began.
    """

    app: str
    decision: str
    outcome: Outcome
    policy: str
    reason: str
    method: str
    path: str
    client: ClientKind
    networks: tuple[str, ...]
    control: Limit | None = None
    controls: tuple[Limit, ...] = ()
    acr_values: tuple[str, ...] = ()
    max_age: float | None = None
    retry_after: int = 0
    is_cut: bool = False


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="kind"):
    """The app gave no usable answer, or nobody may send it such a request. `code` is the fault's.

    `decision` is the id of the decision by which the request had been admitted, empty without one. `detail` tells the
    log which rule of HTTP the app broke, empty where it broke none.
    """

    app: str
    status: int
    code: str
    decision: str = ""
    networks: tuple[str, ...] = ()
    detail: str = ""


class NoSuchHost(msgspec.Struct, frozen=True, tag="no-such-host", tag_field="kind"):
    """No app has this host and path."""


Verdict = SignIn | Refused | Failed | NoSuchHost

_decoder = msgspec.json.Decoder(Verdict)


def encode_verdict(verdict: Verdict) -> bytes:
    """Return the header value: ASCII-safe JSON."""
    # JSON may carry UTF-8; a header value is safer in ASCII, and the decoder reads escapes alike.
    text = msgspec.json.encode(verdict).decode()
    return "".join(
        c if " " <= c < "\x7f" else "".join(f"\\u{u:04x}" for u in _utf16(c)) for c in text
    ).encode()


def _utf16(character: str) -> tuple[int, ...]:
    raw = character.encode("utf-16-be", "surrogatepass")
    return tuple(int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2))


def decode_verdict(value: str) -> Verdict:
    """Return the verdict of a header value. Raises `msgspec.MsgspecError` when it is none."""
    verdict: Verdict = _decoder.decode(value)
    return verdict
