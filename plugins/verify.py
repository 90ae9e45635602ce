"""Who sent a delivery, decided over its raw bytes in constant time. Pure: the clock is an argument.

A fault never says what would have been right. Only a sender that proved to know a secret is told that its
clock is off: the signature is compared first. Source: Standard Webhooks 1.0, RFC 6750 section 2.1.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from risk.values import Secret

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix of such secrets
MIN_SECRET_BYTES = 24
MAX_SECRET_BYTES = 64
MIN_BEARER_CHARS = 16
MAX_SECRETS = 2
MAX_SIGNATURES = 16
"""Most signatures of one header that are looked at."""

_SIGNED_HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
_MESSAGE_ID = re.compile(r"[\x21-\x7e]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{1,12}", re.ASCII)
_MAC_BYTES = 32


class VerifyCode(StrEnum):
    """Why a delivery is not believed."""

    MISSING = "credential-missing"
    REPEATED = "credential-repeated"
    UNREADABLE = "credential-unreadable"
    MISMATCH = "credential-mismatch"
    CLOCK = "timestamp-outside-tolerance"


class VerifyFault(Exception):
    """The delivery does not prove who sent it. The text is fit for the sender."""

    def __init__(self, code: VerifyCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class Verified(msgspec.Struct, frozen=True):
    """Proof that a delivery comes from its sensor; `secret` is the position of the secret that matched."""

    message_id: str
    secret: int


Headers = Sequence[tuple[str, str]]
"""Header fields in order, repeated ones repeated."""


class Verifier(Protocol):
    """Checks one delivery."""

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:
        """Return proof of the sender. Raises `VerifyFault`. `now_s` is unix seconds."""


class StandardWebhooksVerifier:
    """HMAC-SHA256 over `id.timestamp.body` with one or two live secrets.

    Raises `ValueError` when a secret is not `whsec_` and base64 of 24 to 64 bytes.
    """

    def __init__(self, secrets: Sequence[Secret], tolerance_s: float = 300.0) -> None:
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise ValueError(f"one or two secrets are needed, not {len(secrets)}")
        self._keys = tuple(parse_signing_secret(secret) for secret in secrets)
        self._tolerance_s = tolerance_s

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:
        """Return proof of the sender. Raises `VerifyFault`."""
        message_id, timestamp, signatures = (_single(headers, name) for name in _SIGNED_HEADERS)
        if not _MESSAGE_ID.fullmatch(message_id) or not _TIMESTAMP.fullmatch(timestamp):
            raise VerifyFault(VerifyCode.UNREADABLE, "`webhook-id` or `webhook-timestamp` is unreadable")
        signed = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), body)
        matched = _matching(self._keys, signed, _macs(signatures))
        if matched is None:
            raise VerifyFault(VerifyCode.MISMATCH, "no signature matches these bytes")
        if abs(now_s - int(timestamp)) > self._tolerance_s:
            off = f"{abs(now_s - int(timestamp)):.0f} s"
            text = f"`webhook-timestamp` is {off} off, at most {self._tolerance_s:.0f} s are accepted"
            raise VerifyFault(VerifyCode.CLOCK, text)
        return Verified(message_id, matched)


class BearerVerifier:
    """A secret in a header: `Authorization: Bearer SECRET`, or the bare secret in any other header.

    Raises `ValueError` when a secret is shorter than 16 characters or not printable ASCII.
    """

    def __init__(self, secrets: Sequence[Secret], header: str = "Authorization") -> None:
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise ValueError(f"one or two secrets are needed, not {len(secrets)}")
        self._secrets = tuple(_bearer_secret(secret) for secret in secrets)
        self._header = header.lower()

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:  # noqa: ARG002 - the protocol's
        """Return proof of the sender. Raises `VerifyFault`."""
        value = _single(headers, self._header).strip()
        if self._header == "authorization":
            scheme, _, value = value.partition(" ")
            if scheme.lower() != "bearer":
                raise VerifyFault(VerifyCode.UNREADABLE, "`Authorization` is not of the scheme `Bearer`")
        sent = value.strip().encode("utf-8", "surrogateescape")
        matched = None
        for number, secret in enumerate(self._secrets):
            if hmac.compare_digest(sent, secret):
                matched = number
        if matched is None:
            raise VerifyFault(VerifyCode.MISMATCH, f"the secret in `{self._header}` is not accepted")
        return Verified("", matched)


def parse_signing_secret(secret: Secret) -> bytes:
    """Return the key of a `whsec_…` secret. Raises `ValueError`; the text never holds the secret."""
    text = secret.reveal().strip()
    if not text.startswith(SECRET_PREFIX):
        raise ValueError(f"a signing secret starts with `{SECRET_PREFIX}`")
    encoded = text.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"after `{SECRET_PREFIX}` a signing secret is base64") from error
    if not MIN_SECRET_BYTES <= len(key) <= MAX_SECRET_BYTES:
        limits = f"{MIN_SECRET_BYTES} to {MAX_SECRET_BYTES}"
        raise ValueError(f"a signing secret holds {limits} bytes, this one {len(key)}")
    return key


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """Return the three headers of a Standard Webhooks delivery: for senders of ours and for tests."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    mac = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{mac}",
    }


def _bearer_secret(secret: Secret) -> bytes:
    text = secret.reveal()
    if len(text) < MIN_BEARER_CHARS or not re.fullmatch(r"[\x21-\x7e]+", text):
        raise ValueError(f"a bearer secret has at least {MIN_BEARER_CHARS} printable characters and no space")
    return text.encode()


def _single(headers: Headers, name: str) -> str:
    """Return the one field of this name. Fields whose names differ only by `_` count as repeated."""
    found = [value for each, value in headers if each.lower().replace("_", "-") == name]
    if not found:
        raise VerifyFault(VerifyCode.MISSING, f"header `{name}` is missing")
    exact = [value for each, value in headers if each.lower() == name]
    if len(found) > 1 or not exact:
        raise VerifyFault(VerifyCode.REPEATED, f"header `{name}` is given more than once, or misspelt")
    return exact[0]


def _macs(header: str) -> list[bytes]:
    """Return the readable `v1` signatures of the header; other versions are skipped."""
    macs: list[bytes] = []
    for each in header.split(" ")[:MAX_SIGNATURES]:
        version, _, encoded = each.partition(",")
        if version == "v1":
            try:
                mac = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                continue
            macs.append(mac)
    return [mac for mac in macs if len(mac) == _MAC_BYTES]


def _matching(keys: Sequence[bytes], signed: bytes, macs: Sequence[bytes]) -> int | None:
    """Return the position of the key that made any of the signatures; every pair is compared."""
    matched = None
    for number, key in enumerate(keys):
        expected = hmac.digest(key, signed, hashlib.sha256)
        for mac in macs:
            if hmac.compare_digest(expected, mac):
                matched = number
    return matched
