"""Who sent a delivery, decided over its raw bytes in constant time. Pure: the clock is an argument.

A fault never says what would have been right. Only a sender that proved to know a secret is told that its
clock is off: the signature is compared first. Source: Standard Webhooks 1.0, RFC 6750 section 2.1, RFC 7617.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Literal, Protocol

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from plugins.payload import parse_time
from risk.values import Secret

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix of such secrets
PUBLIC_KEY_PREFIX = "whpk_"
PUBLIC_KEY_BYTES = 32
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
_ED25519_BYTES = 64
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS = ("body", "timestamp", "id")
_HEX_MAC = re.compile(r"[0-9A-Fa-f]{64}")
_NO_UNIX_TIME = "is no unix time in seconds"
_NO_SIGNATURE = "`webhook-signature` holds nothing that is `v1,` and the base64 of a signature"
_MISMATCH = (
    "no signature matches these bytes: it was made with another secret or in another way, "
    "or the body was changed after it was signed"
)


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
    """A signature over `id.timestamp.body`: HMAC-SHA256 (`v1`) or Ed25519 (`v1a`), with one or two live keys.

    Raises `ValueError` when a secret is neither `whsec_` and base64 of 24 to 64 bytes, nor a `whpk_` public key.
    """

    def __init__(self, secrets: Sequence[Secret], tolerance_s: float = 300.0) -> None:
        _check_count(secrets)
        self._keys: list[bytes | None] = []
        self._public_keys: list[Ed25519PublicKey | None] = []
        for secret in secrets:
            is_public = secret.reveal().strip().startswith(PUBLIC_KEY_PREFIX)
            self._keys.append(None if is_public else parse_signing_secret(secret))
            self._public_keys.append(parse_public_key(secret) if is_public else None)
        self._tolerance_s = tolerance_s

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:
        """Return proof of the sender. Raises `VerifyFault`."""
        message_id, timestamp, signatures = (_single(headers, name) for name in _SIGNED_HEADERS)
        if not _MESSAGE_ID.fullmatch(message_id):
            raise VerifyFault(VerifyCode.UNREADABLE, "`webhook-id` is unreadable")
        if not _TIMESTAMP.fullmatch(timestamp):
            raise VerifyFault(VerifyCode.UNREADABLE, f"`webhook-timestamp` {_NO_UNIX_TIME}")
        macs = _signatures(signatures, "v1", _MAC_BYTES)
        others = _signatures(signatures, "v1a", _ED25519_BYTES)
        signed = b"%b.%b.%b" % (message_id.encode(), timestamp.encode(), body)
        matched = _matching(self._keys, signed, macs)
        if matched is None:
            matched = _signing(self._public_keys, signed, others)
        if matched is None:
            raise VerifyFault(VerifyCode.MISMATCH, _MISMATCH if macs or others else _NO_SIGNATURE)
        _check_clock("webhook-timestamp", int(timestamp), now_s, self._tolerance_s)
        return Verified(message_id, matched)


class HmacVerifier:
    """HMAC-SHA256 over the raw body, with or without a time and an id, as most vendors make it.

    A hex signature may be in upper or lower case. Without `{timestamp}` in the message a recorded delivery can be
    sent again at any time: it is told by its id and content alone. Raises `ValueError` when the message cannot be
    put together or a secret is too short.
    """

    def __init__(
        self,
        secrets: Sequence[Secret],
        signature_header: str,
        *,
        encoding: Literal["hex", "base64"] = "hex",
        prefix: str = "",
        message: str = "{body}",
        timestamp_header: str = "",
        timestamp_format: Literal["epoch", "rfc3339"] = "epoch",
        tolerance_s: float = 300.0,
        id_header: str = "",
    ) -> None:
        _check_count(secrets)
        self._keys = [_shared_secret(secret, "HMAC") for secret in secrets]
        self._signature_header = signature_header.lower()
        self._encoding = encoding
        self._prefix = prefix
        self._parts = parse_message(message, timestamp_header, id_header)
        self._timestamp_header = timestamp_header.lower()
        self._timestamp_format = timestamp_format
        self._tolerance_s = tolerance_s
        self._id_header = id_header.lower()

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:
        """Return proof of the sender. Raises `VerifyFault`."""
        mac = self._mac(_single(headers, self._signature_header).strip())
        timestamp = _single(headers, self._timestamp_header).strip() if self._timestamp_header else ""
        message_id = _single(headers, self._id_header).strip() if self._id_header else ""
        if self._id_header and not _MESSAGE_ID.fullmatch(message_id):
            raise VerifyFault(VerifyCode.UNREADABLE, f"`{self._id_header}` is unreadable")
        sent_at = self._sent_at(timestamp) if self._timestamp_header else now_s
        values = {"body": body, "timestamp": timestamp.encode(), "id": message_id.encode()}
        signed = b"".join(values[part] if is_value else part.encode() for part, is_value in self._parts)
        matched = _matching(self._keys, signed, [mac])
        if matched is None:
            raise VerifyFault(VerifyCode.MISMATCH, _MISMATCH)
        _check_clock(self._timestamp_header, sent_at, now_s, self._tolerance_s)
        return Verified(message_id, matched)

    def _mac(self, text: str) -> bytes:
        fault = VerifyFault(
            VerifyCode.UNREADABLE,
            f"the signature in `{self._signature_header}` is unreadable: "
            "prefix, encoding or length are not those that this sensor is configured with",
        )
        if not text.startswith(self._prefix):
            raise fault
        text = text.removeprefix(self._prefix)
        if self._encoding == "hex":
            if not _HEX_MAC.fullmatch(text):
                raise fault
            return bytes.fromhex(text)
        try:
            mac = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise fault from error
        if len(mac) != _MAC_BYTES:
            raise fault
        return mac

    def _sent_at(self, text: str) -> float:
        if self._timestamp_format == "epoch":
            if _TIMESTAMP.fullmatch(text):
                return int(text)
        elif text.isascii() and not text.isdigit() and (at := parse_time(text)) is not None:
            return at.timestamp()
        what = _NO_UNIX_TIME if self._timestamp_format == "epoch" else "is no time of RFC 3339"
        raise VerifyFault(VerifyCode.UNREADABLE, f"`{self._timestamp_header}` {what}")


class BasicVerifier:
    """A name and a password in `Authorization: Basic`.

    Raises `ValueError` when a password is shorter than 16 characters or not printable ASCII.
    """

    def __init__(self, secrets: Sequence[Secret], username: str) -> None:
        _check_count(secrets)
        self._expected = [f"{username}:".encode() + _shared_secret(secret, "basic") for secret in secrets]

    def verify(self, headers: Headers, body: bytes, now_s: float) -> Verified:  # noqa: ARG002 - the protocol's
        """Return proof of the sender. Raises `VerifyFault`."""
        scheme, _, encoded = _single(headers, "authorization").strip().partition(" ")
        if scheme.lower() != "basic":
            raise VerifyFault(VerifyCode.UNREADABLE, "`Authorization` is not of the scheme `Basic`")
        try:
            sent = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError) as error:
            raise VerifyFault(VerifyCode.UNREADABLE, "`Authorization` is not base64") from error
        matched = None
        for number, expected in enumerate(self._expected):
            if hmac.compare_digest(sent, expected):
                matched = number
        if matched is None:
            raise VerifyFault(VerifyCode.MISMATCH, "this name and password are not accepted")
        return Verified("", matched)


class BearerVerifier:
    """A secret in a header: `Authorization: Bearer SECRET`, or the bare secret in any other header.

    Raises `ValueError` when a secret is shorter than 16 characters or not printable ASCII.
    """

    def __init__(self, secrets: Sequence[Secret], header: str = "Authorization") -> None:
        _check_count(secrets)
        self._secrets = tuple(_shared_secret(secret, "bearer") for secret in secrets)
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


def parse_public_key(secret: Secret) -> Ed25519PublicKey:
    """Return the key of a `whpk_…` text. Raises `ValueError`."""
    text = secret.reveal().strip()
    encoded = text.removeprefix(PUBLIC_KEY_PREFIX)
    try:
        raw = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(f"after `{PUBLIC_KEY_PREFIX}` a public key is base64") from error
    if not text.startswith(PUBLIC_KEY_PREFIX) or len(raw) != PUBLIC_KEY_BYTES:
        raise ValueError(f"a public key is `{PUBLIC_KEY_PREFIX}` and base64 of {PUBLIC_KEY_BYTES} bytes")
    return Ed25519PublicKey.from_public_bytes(raw)


def parse_message(message: str, timestamp_header: str, id_header: str) -> tuple[tuple[str, bool], ...]:
    """Return the parts of a template such as `{timestamp}.{body}`: text, and whether it names a value.

    Raises `ValueError` for a template that cannot be put together, or that does not sign what it should.
    """
    parts: list[tuple[str, bool]] = []
    at = 0
    for match in _PLACEHOLDER.finditer(message):
        parts.append((message[at : match.start()], False))
        parts.append((match[1], True))
        at = match.end()
    parts.append((message[at:], False))
    names = [part for part, is_value in parts if is_value]
    unknown = next((name for name in names if name not in _PLACEHOLDERS), None)
    if unknown is not None:
        raise ValueError(f"`{{{unknown}}}` is none of `{{body}}`, `{{timestamp}}` and `{{id}}`")
    if any("{" in part or "}" in part for part, is_value in parts if not is_value):
        raise ValueError("a brace stands alone")
    if names.count("body") != 1:
        raise ValueError("`{body}` stands in the message exactly once")
    for name, header in (("timestamp", timestamp_header), ("id", id_header)):
        if (name in names) != bool(header):
            raise ValueError(
                f"`{{{name}}}` and `{name}_header` need each other: what is not signed proves nothing"
            )
    return tuple(parts)


def sign(key: bytes, message_id: str, timestamp_s: int, body: bytes) -> Mapping[str, str]:
    """Return the three headers of a Standard Webhooks delivery: for senders of ours and for tests."""
    signed = b"%b.%d.%b" % (message_id.encode(), timestamp_s, body)
    mac = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": f"v1,{mac}",
    }


def _check_count(secrets: Sequence[Secret]) -> None:
    if not 1 <= len(secrets) <= MAX_SECRETS:
        raise ValueError(f"one or two secrets are needed, not {len(secrets)}")


def _shared_secret(secret: Secret, scheme: str) -> bytes:
    text = secret.reveal()
    if len(text) < MIN_BEARER_CHARS or not re.fullmatch(r"[\x21-\x7e]+", text):
        least = f"at least {MIN_BEARER_CHARS} printable characters and no space"
        raise ValueError(f"a {scheme} secret has {least}")
    return text.encode()


def _check_clock(header: str, sent_at: float, now_s: float, tolerance_s: float) -> None:
    """Raise `VerifyFault` when the sender's clock is off. Only called after a signature matched."""
    if abs(now_s - sent_at) > tolerance_s:
        off = f"{abs(now_s - sent_at):.0f} s in the {'past' if sent_at < now_s else 'future'}"
        why = "a clock is wrong, or it was not signed anew when it was sent again"
        text = f"`{header}` is {off}, at most {tolerance_s:.0f} s are accepted: {why}"
        raise VerifyFault(VerifyCode.CLOCK, text)


def _single(headers: Headers, name: str) -> str:
    """Return the one field of this name. Fields whose names differ only by `_` count as repeated."""
    found: list[tuple[str, str]] = []
    length = len(name)
    for each, value in headers:
        if len(each) == length and (lower := each.lower()).replace("_", "-") == name:
            found.append((lower, value))
    if not found:
        raise VerifyFault(VerifyCode.MISSING, f"header `{name}` is missing")
    if len(found) > 1 or found[0][0] != name:
        raise VerifyFault(VerifyCode.REPEATED, f"header `{name}` is given more than once, or misspelt")
    return found[0][1]


def _signatures(header: str, wanted: str, length: int) -> list[bytes]:
    """Return the readable signatures of one version; other versions are skipped."""
    found: list[bytes] = []
    for each in header.split(" ")[:MAX_SIGNATURES]:
        version, _, encoded = each.partition(",")
        if version == wanted:
            try:
                signature = base64.b64decode(encoded, validate=True)
            except (binascii.Error, ValueError):
                continue
            found.append(signature)
    return [each for each in found if len(each) == length]


def _signing(
    keys: Sequence[Ed25519PublicKey | None], signed: bytes, signatures: Sequence[bytes]
) -> int | None:
    """Return the position of the public key whose owner made any of the signatures."""
    for number, key in enumerate(keys):
        if key is None:
            continue
        for signature in signatures:
            try:
                key.verify(signature, signed)
            except InvalidSignature:
                continue
            return number
    return None


def _matching(keys: Sequence[bytes | None], signed: bytes, macs: Sequence[bytes]) -> int | None:
    """Return the position of the key that made any of the signatures; every pair is compared."""
    matched = None
    for number, key in enumerate(keys):
        if key is None:
            continue
        expected = hmac.digest(key, signed, hashlib.sha256)
        for mac in macs:
            if hmac.compare_digest(expected, mac):
                matched = number
    return matched
