"""The keys that sign what is transmitted: RS256, sealed in the store, published before they sign, kept after.

CAEP interoperability profile, section 2.6: RS256 with at least 2048 bits.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gateway.sessions.seal import SealBroken, Sealer
from gateway.shared_signals.outbox import TransmitStore
from risk.database import StoreFault

BITS = 2048
PURPOSE = "ssf-signing-key"
ANNOUNCED = timedelta(hours=1)
"""How long a new key is in the key set before it signs: as long as the key set may be cached."""

KEPT = timedelta(days=8)
"""How long a key stays in the set after its successor signs: longer than an event may wait and be checked."""

CACHE_S = 3600


class SigningKey(NamedTuple):
    """A key with its id, and when it was made."""

    kid: str
    created_at: datetime
    key: rsa.RSAPrivateKey


class SigningKeys:
    """The keys of the transmitter. `await load()` first; `await look(...)` now and then."""

    def __init__(self, store: TransmitStore, sealer: Sealer) -> None:
        self._store = store
        self._sealer = sealer
        self._keys: list[SigningKey] = []

    async def load(self, now: datetime) -> None:
        """Take over the keys of the store; the first call makes one. Raises `StoreFault`."""
        self._keys = [self._opened(*row) for row in await self._store.keys()]
        if not self._keys:
            await self.rotate(now)

    async def look(self, now: datetime, rotate_every: timedelta) -> None:
        """Make a new key when the newest is due. Raises `StoreFault`, `StoreOverloaded`."""
        if self._keys and now >= self._keys[-1].created_at + rotate_every:
            await self.rotate(now)

    async def rotate(self, now: datetime) -> str:
        """Make a new key and return its id; it signs once it was published for `ANNOUNCED`."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=BITS)
        kid = _thumbprint(key)
        pem = key.private_bytes(
            serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        over = [
            each.kid for each, following in self._pairs() if now >= following.created_at + ANNOUNCED + KEPT
        ]
        await self._store.put_key(kid, now, self._sealer.seal(PURPOSE, pem, kid.encode()), forget=over)
        self._keys = [each for each in self._keys if each.kid not in over] + [SigningKey(kid, now, key)]
        return kid

    def jwks(self) -> dict[str, Any]:
        """Return the public key set: the key that signs, those before it, and the one that is to sign."""
        return {"keys": [_jwk(each) for each in reversed(self._keys)]}

    def sign(self, claims: Mapping[str, Any], now: datetime) -> str:
        """Return a compact SET of these claims."""
        signing = self._signing(now)
        headers = {"typ": "secevent+jwt", "kid": signing.kid}
        return jwt.encode(dict(claims), signing.key, algorithm="RS256", headers=headers)

    def _signing(self, now: datetime) -> SigningKey:
        """Return the newest key that has been published long enough; the oldest where none has."""
        known = [each for each in self._keys if now >= each.created_at + ANNOUNCED]
        return known[-1] if known else self._keys[0]

    def _pairs(self) -> list[tuple[SigningKey, SigningKey]]:
        return list(zip(self._keys, self._keys[1:], strict=False))

    def _opened(self, kid: str, created_at: datetime, sealed: bytes) -> SigningKey:
        try:
            key = serialization.load_der_private_key(self._sealer.open(PURPOSE, sealed, kid.encode()), None)
        except (SealBroken, ValueError) as error:
            raise StoreFault(f"signing key `{kid}` cannot be opened: was the store's key changed?") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise StoreFault(f"signing key `{kid}` is no RSA key")
        return SigningKey(kid, created_at, key)


def _jwk(signing: SigningKey) -> dict[str, str]:
    numbers = signing.key.public_key().public_numbers()
    return {
        "kty": "RSA",
        "use": "sig",
        "alg": "RS256",
        "kid": signing.kid,
        "n": _number(numbers.n),
        "e": _number(numbers.e),
    }


def _thumbprint(key: rsa.RSAPrivateKey) -> str:
    """Return the key's id: its RFC 7638 thumbprint."""
    numbers = key.public_key().public_numbers()
    canonical = f'{{"e":"{_number(numbers.e)}","kty":"RSA","n":"{_number(numbers.n)}"}}'
    digest = hashes.Hash(hashes.SHA256())
    digest.update(canonical.encode())
    return base64.urlsafe_b64encode(digest.finalize()).decode().rstrip("=")


def _number(value: int) -> str:
    raw = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
