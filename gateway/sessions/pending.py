"""A sign-in on its way: where it returns to, and the attempt that a browser keeps for us, both sealed. Pure.

`t` of `/.gate/login` is a sealed `ReturnTo`. A `PendingLogin` lives in a cookie of the login host, at most
`MOST_PENDING` per browser: before somebody has signed in the gateway remembers nothing.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

import msgspec

from gateway.oidc.authorize import NOTHING_WANTED, Attempt, Wanted
from gateway.sessions.seal import SealBroken, Sealer

MAX_RETURN_PATH = 65536
"""Longest path with query that a sign-in leads back to; the listener's limit of the request line is lower."""

MAX_CARRIED_PATH = 2000
"""Longest one that travels sealed: it must fit in a cookie beside everything else. Longer ones are kept by id."""

MAX_PENDING_TEXT = 3900
MOST_PENDING = 5
PENDING_S = 600.0
"""How long a sign-in may take at the provider (A3)."""

RETURN_S = 3600.0
PENDING_COOKIE_S = 3600
"""The cookie outlives the attempt, so that a late return still knows where the person wanted to go."""

STATE_IN_NAME = 8
LOOP_WINDOW_S = 30.0
LOOP_MOST = 5
LOOP_ENTRIES = 24

_RETURN = "return-to"
_PENDING = "pending-login"
_STEP_UP = "step-up"
_LOOP = "loop-guard"
_SIGN_OUT = "sign-out"

_NO_RETURN = re.compile(r"/\.gate/(?:login|callback|session|logout|backchannel-logout|signed-out)(?:[/?]|\Z)")

T = TypeVar("T")


class ReturnTo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a sign-in ends. `binding` is the SHA-256 of the start cookie that the app host gave this browser.

    `provider` None means whichever the person is signed in at, or the first. A path too long to travel is kept
    elsewhere under the id `kept`, and `path` is then only the part that routes: `/`.
    """

    scheme: str
    host: str
    path: str
    made_at: float
    binding: str = ""
    provider: str | None = None
    wanted: Wanted = NOTHING_WANTED
    kept: str = ""

    @property
    def origin(self) -> str:
        """Scheme and host of the app."""
        return f"{self.scheme}://{self.host}"


class PendingLogin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sign-in that is at the provider.

    `session` is the one to be strengthened; `restarts` counts lost codes. `is_login_forced`: the credentials were asked
    for, whatever session the provider had.
    """

    attempt: Attempt
    provider: str
    to: ReturnTo
    started_at: float
    session: str | None = None
    restarts: int = 0
    wanted: Wanted = NOTHING_WANTED
    is_login_forced: bool = False


def safe_path(untrusted: str) -> str:
    r"""Return the path with query when it may be returned to, else `/` (A5).

    It begins with exactly one slash and has no backslash, no fragment, nothing unprintable, and is none of
    our own sign-in addresses.

    >>> safe_path("/a?b=//c"), safe_path("//evil"), safe_path("/\\evil"), safe_path("javascript:x")
    ('/a?b=//c', '/', '/', '/')
    """
    if not untrusted.startswith("/") or untrusted.startswith("//") or len(untrusted) > MAX_RETURN_PATH:
        return "/"
    if not untrusted.isascii() or not untrusted.isprintable() or any(sign in untrusted for sign in "\\# "):
        return "/"
    return "/" if _NO_RETURN.match(untrusted) else untrusted


def seal_return(sealer: Sealer, to: ReturnTo) -> str:
    """Return `t`."""
    return sealer.seal_text(_RETURN, msgspec.json.encode(to))


def open_return(sealer: Sealer, untrusted: str) -> ReturnTo:
    """Return what `t` holds, however old it is. Raises `SealBroken`."""
    return _open(sealer, _RETURN, untrusted, ReturnTo)


def seal_wanted(sealer: Sealer, wanted: Wanted) -> str:
    """Return the `step_up` parameter."""
    return sealer.seal_text(_STEP_UP, msgspec.json.encode(wanted))


def open_wanted(sealer: Sealer, untrusted: str) -> Wanted:
    """Return what `step_up` asks for. Raises `SealBroken`."""
    return _open(sealer, _STEP_UP, untrusted, Wanted)


def seal_pending(sealer: Sealer, pending: PendingLogin) -> str:
    """Return the value of a pending-login cookie."""
    return sealer.seal_text(_PENDING, msgspec.json.encode(pending))


def open_pending(sealer: Sealer, untrusted: str) -> PendingLogin:
    """Return the pending login of a cookie value. Raises `SealBroken`."""
    return _open(sealer, _PENDING, untrusted, PendingLogin)


class SignOutProof(msgspec.Struct, frozen=True):
    """That somebody signed out on `origin` at `at` (seconds since 1970): what `c` of `/.gate/signed-out` holds.

    `mark` is what the browser is to be marked with. `code` finds what the provider needs to end its own session,
    "" when nobody was signed in any more.
    """

    origin: str
    at: float
    mark: str
    code: str = ""


def seal_sign_out(sealer: Sealer, proof: SignOutProof) -> str:
    """Return `c`."""
    return sealer.seal_text(_SIGN_OUT, msgspec.json.encode(proof))


def open_sign_out(sealer: Sealer, untrusted: str) -> SignOutProof:
    """Return what `c` holds, however old it is. Raises `SealBroken`."""
    return _open(sealer, _SIGN_OUT, untrusted, SignOutProof)


def names_to_evict(sealer: Sealer, cookies: Mapping[str, str], now: datetime) -> list[str]:
    """Return which pending-login cookies must go to leave room for one more: dead ones, then the oldest (A4).

    `cookies` maps the end of each name to its value.
    """
    started: list[tuple[float, str]] = []
    evicted: list[str] = []
    for name, value in cookies.items():
        try:
            pending = open_pending(sealer, value)
        except SealBroken:
            evicted.append(name)
            continue
        if now.timestamp() - pending.started_at > PENDING_COOKIE_S:
            evicted.append(name)
        else:
            started.append((pending.started_at, name))
    started.sort()
    surplus = max(0, len(started) + 1 - MOST_PENDING)
    return evicted + [name for _, name in started[:surplus]]


class _Loop(msgspec.Struct, frozen=True):
    starts: tuple[tuple[str, float], ...]


def count_start(sealer: Sealer, untrusted: str | None, target: str, now: datetime) -> tuple[str, bool]:
    """Return the new value of the loop cookie, and whether this browser goes round in circles (A7).

    `target` is a short digest of where it wants to go: many tabs are no loop, one address again and again is.
    """
    at = now.timestamp()
    starts: tuple[tuple[str, float], ...] = ()
    if untrusted:
        try:
            starts = _open(sealer, _LOOP, untrusted, _Loop).starts
        except SealBroken:
            starts = ()
    recent = [each for each in starts if 0 <= at - each[1] <= LOOP_WINDOW_S][-LOOP_ENTRIES + 1 :]
    recent.append((target, at))
    is_looping = sum(1 for each in recent if each[0] == target) > LOOP_MOST
    return sealer.seal_text(_LOOP, msgspec.json.encode(_Loop(tuple(recent)))), is_looping


def _open(sealer: Sealer, purpose: str, untrusted: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(sealer.open_text(purpose, untrusted), type=kind)
    except msgspec.MsgspecError as error:
        # Sealed by us, so written by an earlier version: as good as broken.
        raise SealBroken from error
