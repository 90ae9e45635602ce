"""The signed assertion (`X-Gate-Jwt`) by which an app can verify who is there without trusting headers.

ES256; the key is made on first start and kept beside the database with mode 0600, so that apps may cache the JWKS.
Source: RFC 7519, RFC 7517; claims as in `docs/apps.md`.
"""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

LIFETIME = timedelta(minutes=5)
"""How long an assertion is valid."""
RENEW_BEFORE = timedelta(minutes=1)
"""A ticket is renewed this long before its assertion ends, so that an app never sees one about to end."""


class AssertionKeyFault(Exception):
    """The key file cannot be read or written; the operator is at fault."""


class AssertionSigner:
    """Signs assertions with one P-256 key and publishes it."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self._jwk = _public_jwk(key)

    @classmethod
    def load(cls, path: Path) -> "AssertionSigner":
        """Return a signer with the key of `path`, which is made when absent. Raises `AssertionKeyFault`."""
        try:
            if not path.exists():
                _write_new_key(path)
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise AssertionKeyFault(f"assertion key `{path}`: {error}") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise AssertionKeyFault(f"assertion key `{path}`: not an elliptic-curve key")
        return cls(key)

    def jwks(self) -> dict[str, Any]:
        """Return the public key set (RFC 7517 section 5)."""
        return {"keys": [self._jwk]}

    def sign(self, claims: Mapping[str, Any], now: datetime) -> str:
        """Return a compact JWS of `claims` with `iat` now and `exp` after `LIFETIME`."""
        issued = int(now.timestamp())
        payload = {**claims, "iat": issued, "exp": issued + int(LIFETIME.total_seconds())}
        return jwt.encode(payload, self._key, algorithm="ES256", headers={"kid": self._jwk["kid"]})


def _write_new_key(path: Path) -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(pem)


def _public_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    jwk = {"crv": "P-256", "kty": "EC", "x": _base64url(numbers.x), "y": _base64url(numbers.y)}
    canonical = json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()
    # The key id is the RFC 7638 thumbprint: stable over restarts, different for every key.
    kid = base64.urlsafe_b64encode(hashlib.sha256(canonical).digest()).rstrip(b"=").decode()
    return {**jwk, "kid": kid, "use": "sig", "alg": "ES256"}


def _base64url(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()
