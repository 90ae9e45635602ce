"""The provider's signing keys (rules K1 to K6): a checked set, and a cache that forgeries cannot flood.

`parse_key_set` is pure. `KeyCache` awaits what it is given to fetch with, and reads an injected monotonic
clock.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import jwt
import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway.oidc.faults import ProviderFault, ProviderReason
from gateway.oidc.strict_json import parse_object
from gateway.tasks import spawn

log = structlog.get_logger("oidc")

MAX_KEYS = 100
MAX_KEY_SET_BYTES = 512 * 1024
MAX_KEY_ID = 255
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 16384

MIN_TTL_S = 300.0
MAX_TTL_S = 86400.0
DEFAULT_TTL_S = 3600.0
FORCED_INTERVAL_S = 30.0
"""Time after which one more fetch that a token asks for is allowed: one forged `kid` must not become one fetch."""
FORCED_BURST = 3
"""Fetches that tokens may ask for at once: a provider may rotate twice, or just after somebody sent nonsense."""

RETRY_INTERVAL_S = 10.0
"""Least time between a failed fetch and the next."""

KEEP_S = 14400.0
"""How long an expired set stays in use while the provider cannot be reached."""

_CURVES: dict[str, type[ec.EllipticCurve]] = {
    "ES256": ec.SECP256R1,
    "ES384": ec.SECP384R1,
    "ES512": ec.SECP521R1,
}
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey


class Key(msgspec.Struct, frozen=True):
    """One usable public key. `algorithm` None fits every algorithm of its type."""

    key_id: str | None
    algorithm: str | None
    public_key: Any

    def fits(self, algorithm: str) -> bool:
        """Return whether this key can verify `algorithm`: type, curve, and its own `alg` if any (V4)."""
        if self.algorithm is not None and _canonical(self.algorithm) != _canonical(algorithm):
            return False
        match algorithm[:2]:
            case "RS" | "PS":
                return isinstance(self.public_key, rsa.RSAPublicKey)
            case "ES":
                curve = _CURVES.get(algorithm)
                return (
                    curve is not None
                    and isinstance(self.public_key, ec.EllipticCurvePublicKey)
                    and isinstance(self.public_key.curve, curve)
                )
            case "Ed":
                return isinstance(self.public_key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
            case _:
                return False


class KeySet(msgspec.Struct, frozen=True):
    """The usable keys of one fetched set, in its order."""

    keys: tuple[Key, ...]

    def candidates(self, algorithm: str, key_id: str | None) -> tuple[Key, ...]:
        """Return the keys that may have signed: all that fit, and have that id when the token names one."""
        return tuple(
            key for key in self.keys if (key_id is None or key.key_id == key_id) and key.fits(algorithm)
        )


class FetchedKeys(msgspec.Struct, frozen=True):
    """A fetched key set with the `Cache-Control` it came with."""

    keys: KeySet
    cache_control: str = ""


def parse_key_set(body: bytes) -> KeySet:
    """Return the usable keys of a JWK set. An entry that cannot be used is left out, never fatal (K5).

    Raises `ProviderFault` when `body` is no JWK set or names more than `MAX_KEYS` keys.
    """
    try:
        members = parse_object(body).get("keys")
    except ValueError as error:
        raise ProviderFault(ProviderReason.KEYS_MALFORMED, str(error)) from error
    if not isinstance(members, list):
        raise ProviderFault(ProviderReason.KEYS_MALFORMED, "no `keys` list")
    if len(members) > MAX_KEYS:
        raise ProviderFault(ProviderReason.KEYS_MALFORMED, f"more than {MAX_KEYS} keys")
    return KeySet(tuple(key for member in members if (key := _usable(member)) is not None))


def ttl_s(cache_control: str) -> float:
    """Return how long a set stays fresh: `max-age`, clamped.

    >>> ttl_s("public, max-age=600"), ttl_s("no-store"), ttl_s("max-age=1"), ttl_s("max-age=999999")
    (600.0, 300.0, 300.0, 86400.0)
    """
    if re.search(r"no-(?:store|cache)", cache_control, re.IGNORECASE):
        return MIN_TTL_S
    found = _MAX_AGE.search(cache_control)
    return DEFAULT_TTL_S if found is None else min(max(float(found[1]), MIN_TTL_S), MAX_TTL_S)


def _usable(member: Any) -> Key | None:
    if not isinstance(member, dict) or "d" in member or "k" in member:
        return None  # a private or symmetric key in a public set is compromised or confused
    use, operations = member.get("use"), member.get("key_ops")
    if use not in (None, "sig") or (operations is not None and not _verifies(operations)):
        return None
    key_id, algorithm = member.get("kid"), member.get("alg")
    if not isinstance(key_id, str | None) or not isinstance(algorithm, str | None):
        return None
    if key_id is not None and len(key_id) > MAX_KEY_ID:
        return None
    try:
        public_key = _public_key(member)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, AttributeError, OverflowError):
        return None
    return None if public_key is None else Key(key_id, algorithm, public_key)


def _verifies(operations: Any) -> bool:
    return isinstance(operations, list) and "verify" in operations


def _public_key(member: dict[str, Any]) -> PublicKey | None:
    key: Any
    match member.get("kty"):
        case "RSA":
            key = RSAAlgorithm.from_jwk(member)
            is_usable = isinstance(key, rsa.RSAPublicKey) and MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS
        case "EC":
            key = ECAlgorithm.from_jwk(member)
            is_usable = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(
                key.curve, tuple(_CURVES.values())
            )
        case "OKP":
            key = OKPAlgorithm.from_jwk(member)
            is_usable = isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey)
        case _:
            return None
    return key if is_usable else None


def _canonical(algorithm: str) -> str:
    return "EdDSA" if algorithm in {"Ed25519", "Ed448"} else algorithm


class TokenBucket:
    """Lets `burst` through at once, and one more per `interval_s`."""

    def __init__(self, burst: int, interval_s: float, mono: Callable[[], float]) -> None:
        self._burst, self._interval_s, self._mono = burst, interval_s, mono
        self._left, self._at = float(burst), mono()

    def take(self) -> bool:
        """Return whether one more is let through now."""
        now = self._mono()
        self._left = min(float(self._burst), self._left + (now - self._at) / self._interval_s)
        self._at = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True


class KeyCache:
    """Keys of one issuer.

    Concurrent callers share one fetch; forced fetches are `FORCED_BURST`, then one per `FORCED_INTERVAL_S`.
    `fetch` raises `ProviderFault`; `mono` is a monotonic clock in seconds.
    """

    def __init__(self, fetch: Callable[[], Awaitable[FetchedKeys]], mono: Callable[[], float]) -> None:
        self._fetch = fetch
        self._mono = mono
        self._keys: KeySet | None = None
        self._fresh_until = 0.0
        self._usable_until = 0.0
        self._retry_at = float("-inf")
        self._forced = TokenBucket(FORCED_BURST, FORCED_INTERVAL_S, mono)
        self._fault: ProviderFault | None = None
        self._running: asyncio.Task[None] | None = None

    async def current(self) -> KeySet:
        """Return the keys, fetched when there are none or they are no longer fresh.

        While fetching fails, the last set serves until `KEEP_S` after it went stale (K4). Raises
        `ProviderFault`.
        """
        now = self._mono()
        if self._keys is None or now >= self._fresh_until:
            await self._refetch()
        if self._keys is None or self._mono() >= self._usable_until:
            raise self._fault or ProviderFault(ProviderReason.KEYS_UNAVAILABLE)
        return self._keys

    async def refresh(self, seen: KeySet) -> KeySet | None:
        """Return a set newer than `seen`, None when there is none and it is too soon to ask again (K2, K3)."""
        if self._keys is not None and self._keys is not seen:
            return self._keys
        if self._running is None and not self._forced.take():
            return None
        await self._refetch(is_forced=True)
        return self._keys if self._keys is not seen else None

    async def _refetch(self, *, is_forced: bool = False) -> None:
        if self._running is None:
            if not is_forced and self._mono() < self._retry_at:
                return
            self._running = spawn(self._load(), name="jwks-fetch")
        # Shielded: a caller that goes away must not take the fetch from the others.
        await asyncio.shield(self._running)

    async def _load(self) -> None:
        try:
            self._take(await self._fetch())
        except ProviderFault as fault:
            self._fault = fault
            self._retry_at = self._mono() + RETRY_INTERVAL_S
            log.warning("provider-keys-not-fetched", reason=str(fault.reason), detail=fault.detail)
        finally:
            self._running = None

    def _take(self, fetched: FetchedKeys) -> None:
        now = self._mono()
        self._fault = None
        self._keys = fetched.keys
        self._fresh_until = now + ttl_s(fetched.cache_control)
        self._usable_until = self._fresh_until + KEEP_S
