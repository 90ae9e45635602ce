"""Kept forms in the SQLite file, sealed with a key that only the browser holds. Tables begin with `remediation_`.

What the browser gets is 256 random bits. The store knows their SHA-256, by which it finds the row, and the form
encrypted (AES-256-GCM) under a key derived from them and bound to the person: who reads the file reads no form, and
whoever else follows the link opens none.
"""

import base64
import hashlib
import re
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.remediation.forms import KeptForm
from risk.database import Database

SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE remediation_form (
        id TEXT PRIMARY KEY,
        owner TEXT NOT NULL,
        expires_us INTEGER NOT NULL,
        sealed BLOB NOT NULL
    ) STRICT;
    CREATE INDEX remediation_form_by_owner ON remediation_form (owner, expires_us);
    CREATE INDEX remediation_form_by_end ON remediation_form (expires_us)
    """,
)
"""Migrations, oldest first. Never change one that was released; append."""

KEY_BYTES = 32
NONCE_BYTES = 12
_KEY = re.compile(r"[A-Za-z0-9_-]{43}\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class SqliteFormStore:
    """Keeps forms in a `Database` whose schema contains `SCHEMA`. `random_bytes` is a CSPRNG."""

    def __init__(self, database: Database, random_bytes: Callable[[int], bytes]) -> None:
        self._database = database
        self._random_bytes = random_bytes

    async def keep(self, form: KeptForm, owner: str, *, per_user: int, most: int) -> str:
        """Keep a form for its owner (`issuer|subject`) and return the key for the browser.

        Beyond `per_user` and `most` the oldest go. Raises `StoreFault`, `StoreOverloaded`.
        """
        secret = self._random_bytes(KEY_BYTES)
        nonce = self._random_bytes(NONCE_BYTES)
        plain = msgspec.json.encode(form)
        sealed = nonce + _cipher(secret).encrypt(nonce, plain, owner.encode())
        row = (_id(secret), _owner(owner), _us(form.expires_at), sealed)

        def run(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM remediation_form WHERE expires_us <= ?", (_us(form.kept_at),))
            connection.execute("INSERT INTO remediation_form VALUES (?, ?, ?, ?)", row)
            surplus = (
                "SELECT id FROM remediation_form {} ORDER BY expires_us DESC, rowid DESC LIMIT -1 OFFSET ?"
            )
            mine = surplus.format("WHERE owner = ?")
            connection.execute(f"DELETE FROM remediation_form WHERE id IN ({mine})", (row[1], per_user))  # noqa: S608
            every = surplus.format("")
            connection.execute(f"DELETE FROM remediation_form WHERE id IN ({every})", (most,))  # noqa: S608

        await self._database.write(run)
        return base64.urlsafe_b64encode(secret).decode().rstrip("=")

    async def find(self, untrusted_key: str, owner: str, now: datetime) -> KeptForm | None:
        """Return the form of a key, None when there is none any more, or not for this person."""
        secret = _secret(untrusted_key)
        if secret is None:
            return None
        sealed = await self._database.read(lambda connection: _select(connection, secret, now))
        if sealed is None:
            return None
        try:
            plain = _cipher(secret).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], owner.encode())
            return msgspec.json.decode(plain, type=KeptForm)
        except (InvalidTag, msgspec.MsgspecError):
            return None

    async def drop(self, untrusted_key: str, owner: str) -> None:
        """Forget a form of this person."""
        secret = _secret(untrusted_key)
        if secret is None:
            return
        values = (_id(secret), _owner(owner))
        await self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM remediation_form WHERE id = ? AND owner = ?", values
            )
        )

    async def count_of(self, owner: str, now: datetime) -> int:
        """Return how many forms of this person are kept."""
        values = (_owner(owner), _us(now))

        def run(connection: sqlite3.Connection) -> int:
            query = "SELECT count(*) FROM remediation_form WHERE owner = ? AND expires_us > ?"
            return int(connection.execute(query, values).fetchone()[0])

        return await self._database.read(run)

    async def prune(self, now: datetime) -> int:
        """Remove the forms whose time is over and return how many."""
        value = (_us(now),)
        return await self._database.write(
            lambda connection: (
                connection.execute("DELETE FROM remediation_form WHERE expires_us <= ?", value).rowcount
            )
        )


def _select(connection: sqlite3.Connection, secret: bytes, now: datetime) -> bytes | None:
    query = "SELECT sealed FROM remediation_form WHERE id = ? AND expires_us > ?"
    row = connection.execute(query, (_id(secret), _us(now))).fetchone()
    return None if row is None else bytes(row[0])


def _secret(untrusted: str) -> bytes | None:
    return base64.urlsafe_b64decode(untrusted + "=") if _KEY.match(untrusted) else None


def _cipher(secret: bytes) -> AESGCM:
    key = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=b"posturegate", info=b"kept-form").derive(secret)
    return AESGCM(key)


def _id(secret: bytes) -> str:
    return hashlib.sha256(b"kept-form:" + secret).hexdigest()


def _owner(owner: str) -> str:
    return hashlib.sha256(b"form-owner:" + owner.encode()).hexdigest()


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
