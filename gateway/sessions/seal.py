"""Sealing with AES-256-GCM: for tokens at rest and for what a browser keeps for us.

A sealed value is version, key id, nonce, ciphertext. Each purpose has a key of its own (HKDF), and the
context given at sealing must be given again at opening, so that nothing sealed for one use or place opens in
another.
"""

import base64
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
KEY_ID_BYTES = 4
NONCE_BYTES = 12
TAG_BYTES = 16
MAX_SEALED = 64 * 1024
MIN_SECRET = 16
MAX_PURPOSES = 64

_VERSION = b"\x01"
_HEAD = len(_VERSION) + KEY_ID_BYTES + NONCE_BYTES
_TEXT = re.compile(r"[A-Za-z0-9_-]+\Z")


class SealBroken(Exception):
    """The value was not sealed by one of our keys for this purpose and context, or was changed since."""


class SealKeyFault(Exception):
    """There is no usable sealing key. The operator is at fault; the text says what to do."""


class Sealer:
    """Seals with the first key, opens with any: put the new key first to rotate.

    Each key is at least `MIN_SECRET` bytes of secret. `random_bytes` is a CSPRNG.
    """

    def __init__(self, secrets: Sequence[bytes], random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        if not secrets or any(len(secret) < MIN_SECRET for secret in secrets):
            raise SealKeyFault(f"a sealing key needs at least {MIN_SECRET} bytes")
        self._secrets = {_derive(secret, b"key-id", KEY_ID_BYTES): secret for secret in reversed(secrets)}
        self._sealing_id = _derive(secrets[0], b"key-id", KEY_ID_BYTES)
        self._random_bytes = random_bytes
        self._ciphers: dict[tuple[bytes, str], AESGCM] = {}

    def seal(self, purpose: str, plain: bytes, context: bytes = b"") -> bytes:
        """Return `plain` sealed for `purpose` and `context`; equal inputs give different results."""
        nonce = self._random_bytes(NONCE_BYTES)
        head = _VERSION + self._sealing_id + nonce
        return head + self._cipher(self._sealing_id, purpose).encrypt(nonce, plain, head + context)

    def open(self, purpose: str, sealed: bytes, context: bytes = b"") -> bytes:
        """Return what was sealed. Raises `SealBroken`, and nothing else, for whatever is not ours."""
        if not _HEAD + TAG_BYTES <= len(sealed) <= MAX_SEALED or sealed[:1] != _VERSION:
            raise SealBroken
        key_id, nonce = sealed[1 : 1 + KEY_ID_BYTES], sealed[1 + KEY_ID_BYTES : _HEAD]
        if key_id not in self._secrets:
            raise SealBroken
        try:
            return self._cipher(key_id, purpose).decrypt(nonce, sealed[_HEAD:], sealed[:_HEAD] + context)
        except InvalidTag as error:
            raise SealBroken from error

    def seal_text(self, purpose: str, plain: bytes, context: bytes = b"") -> str:
        """Return `seal` in base64url without padding: fits in a cookie and in a URL."""
        return base64.urlsafe_b64encode(self.seal(purpose, plain, context)).decode().rstrip("=")

    def open_text(self, purpose: str, untrusted: str, context: bytes = b"") -> bytes:
        """Return what `seal_text` sealed. Raises `SealBroken`."""
        if len(untrusted) > MAX_SEALED or len(untrusted) % 4 == 1 or _TEXT.match(untrusted) is None:
            raise SealBroken
        raw = base64.urlsafe_b64decode(untrusted + "=" * (-len(untrusted) % 4))
        # One value has one spelling: the unused bits of the last character must be zero.
        if base64.urlsafe_b64encode(raw).decode().rstrip("=") != untrusted:
            raise SealBroken
        return self.open(purpose, raw, context)

    def _cipher(self, key_id: bytes, purpose: str) -> AESGCM:
        cipher = self._ciphers.get((key_id, purpose))
        if cipher is None:
            if len(self._ciphers) >= MAX_PURPOSES:
                self._ciphers.clear()
            cipher = AESGCM(_derive(self._secrets[key_id], b"seal:" + purpose.encode(), KEY_BYTES))
            self._ciphers[key_id, purpose] = cipher
        return cipher


def key_file_of(database: Path) -> Path:
    """Return where the key of a database is kept when the configuration gives none.

    >>> str(key_file_of(Path("/var/lib/posturegate/state.db")))
    '/var/lib/posturegate/state.key'
    """
    return database.with_suffix(".key")


def load_or_make_key(path: Path, random_bytes: Callable[[int], bytes] = os.urandom) -> bytes:
    """Return the key in `path`; the first call makes it, with mode 0600.

    Raises `SealKeyFault` when the file is unreadable, readable for others, or holds no key of ours.
    """
    try:
        return _read_key(path)
    except FileNotFoundError:
        pass
    # Written whole under another name first: a crash must not leave half a key behind.
    draft = path.with_name(f".{path.name}.{os.getpid()}.{random_bytes(4).hex()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, random_bytes(KEY_BYTES).hex().encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        try:
            os.link(draft, path)  # unlike a rename it fails when another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    except OSError as error:
        raise SealKeyFault(f"key file `{path}`: {error.strerror}") from error
    return _read_key(path)


def _read_key(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(1024)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise SealKeyFault(f"key file `{path}`: {error.strerror}") from error
    if mode & 0o077:
        raise SealKeyFault(f"key file `{path}`: others may read it: chmod 600 it")
    try:
        key = bytes.fromhex(text.decode("ascii").strip())
    except ValueError as error:
        raise SealKeyFault(f"key file `{path}`: does not hold a key in hexadecimal") from error
    if len(key) != KEY_BYTES:
        raise SealKeyFault(f"key file `{path}`: holds {len(key)} bytes, {KEY_BYTES} are needed")
    return key


def _derive(secret: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=b"posturegate", info=info).derive(secret)
