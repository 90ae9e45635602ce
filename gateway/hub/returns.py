"""Addresses to return to, sealed: what a person wanted is never readable, and never forgeable, in a URL."""

import struct
from collections.abc import Callable
from datetime import datetime, timedelta

from gateway.sessions.seal import SealBroken, Sealer

PURPOSE = "return"
LIFETIME = timedelta(hours=24)
"""How long a remediation page may stay open and still lead back."""
MAX_URL_BYTES = 6000
_AT = struct.Struct(">Q")


class SealedReturns:
    """Seals and opens return addresses; of another `purpose`, other texts that no URL may show."""

    def __init__(self, sealer: Sealer, clock: Callable[[], datetime], purpose: str = PURPOSE) -> None:
        self._sealer = sealer
        self._purpose = purpose
        self._clock = clock

    def seal(self, url: str) -> str:
        """Return an opaque text for `url`; one too long to travel becomes "" (the app's start page then)."""
        raw = url.encode()
        if len(raw) > MAX_URL_BYTES:
            return ""
        return self._sealer.seal_text(self._purpose, _AT.pack(int(self._clock().timestamp())) + raw)

    def open(self, untrusted: str) -> str | None:
        """Return the URL again, None when the text is not ours or older than `LIFETIME`."""
        if not untrusted:
            return None
        try:
            plain = self._sealer.open_text(self._purpose, untrusted)
        except SealBroken:
            return None
        (sealed_at,) = _AT.unpack_from(plain)
        if self._clock().timestamp() - sealed_at > LIFETIME.total_seconds():
            return None
        return plain[_AT.size :].decode()
