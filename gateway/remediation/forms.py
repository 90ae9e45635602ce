"""What a person typed into a form that could not be sent: read within bounds, as fields and named files. Pure.

A file is never kept: it is named, so that the person can choose it again.
Source: HTML Living Standard section 4.10.21; RFC 7578.
"""

import re
from datetime import datetime
from enum import StrEnum
from urllib.parse import parse_qsl

import msgspec

MAX_FIELDS = 1000
MAX_UPLOADS = 50
NAME_MAX = 1000
MULTIPART = "multipart/form-data"

_SECRET_NAME = re.compile(r"pass|pwd|secret|token|csrf|xsrf|nonce|authenticity|otp|cvv|card", re.IGNORECASE)


class Lost(StrEnum):
    """Why a form is not kept."""

    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    NOBODY = "nobody"
    ELSEWHERE = "elsewhere"
    OFF = "off"
    STORE = "store"


class NotKept(Exception):
    """The form is not kept."""

    def __init__(self, why: Lost) -> None:
        super().__init__(why.value)
        self.why = why


class Upload(msgspec.Struct, frozen=True):
    """A file of a form: the field, the name of the file, its size in bytes."""

    field: str
    filename: str
    size: int


class Typed(msgspec.Struct, frozen=True, kw_only=True):
    """A form as it was sent: its fields in order, and the files that have to be chosen again."""

    fields: tuple[tuple[str, str], ...]
    uploads: tuple[Upload, ...] = ()
    is_multipart: bool = False

    @property
    def has_nul(self) -> bool:
        """Whether a field holds what no page can give back to a browser unchanged."""
        return any("\0" in name or "\0" in value for name, value in self.fields)


class KeptForm(msgspec.Struct, frozen=True, kw_only=True):
    """A form that is kept. `target` is the path with query on `host` that it was sent to, `page` the one it stood on.

    `device` is the id of the device on which it was typed, "" for one that we do not know.
    """

    host: str
    target: str
    page: str
    app: str
    typed: Typed
    device: str
    kept_at: datetime
    expires_at: datetime


def parse_urlencoded(body: bytes) -> Typed:
    """Return the fields of an urlencoded form. Raises `NotKept` for what is none, or not in UTF-8.

    >>> parse_urlencoded(b"a=1+2&b=%C3%A9&c=").fields
    (('a', '1 2'), ('b', 'é'), ('c', ''))
    """
    if not body:
        return Typed(fields=())
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=False,
            errors="strict",
            max_num_fields=MAX_FIELDS,
        )
    except ValueError as error:
        raise NotKept(Lost.UNREADABLE) from error
    return Typed(fields=tuple(pairs))


def is_for_show(name: str) -> bool:
    """Return whether a field's name may be listed on a page: nothing that looks like a secret, nothing hidden.

    >>> is_for_show("title"), is_for_show("csrf_token"), is_for_show("_method")
    (True, False, False)
    """
    return bool(name) and not name.startswith("_") and _SECRET_NAME.search(name) is None


def as_text(form: KeptForm) -> str:
    """Return what was typed as a text to keep; fields that look like secrets are left out.

    Line ends are those of the person's own system again: browsers send CRLF.
    """
    parts = [f"https://{form.host}{form.target}", ""]
    for name, value in form.typed.fields:
        if is_for_show(name):
            parts += [f"{name}:", value.replace("\r\n", "\n"), ""]
    parts += [f"({upload.field}: {upload.filename}, {upload.size} B)" for upload in form.typed.uploads]
    return "\n".join(parts) + "\n"
