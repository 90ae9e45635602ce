"""Value types of the configuration that every package shares.

A text such as ``15m`` or ``{env: NAME}`` becomes one of these in ``gateway.config.load``; past that no
function re-checks it.
"""

import re
from typing import Annotated, Any

import msgspec

# INVARIANT: the loader recognises these by `extra["text"]`; a bare number is refused, no unit is guessed.
Duration = Annotated[float, msgspec.Meta(extra={"text": "duration"})]
"""Seconds, written in the configuration with a unit: ``500ms``, ``30s``, ``15m``, ``24h``, ``7d``."""

ByteSize = Annotated[int, msgspec.Meta(extra={"text": "bytes"})]
"""Bytes, written in the configuration with a unit: ``512B``, ``64KiB``, ``10MiB``, ``1GiB``."""

Localised = Annotated[str, msgspec.Meta(extra={"text": "localised"})]
"""A text for people: one text, or texts by language tag (``{en: …, de: …}``).

The value is the text in the default language; the loader keeps the others apart (`LoadedConfig.translations`).
"""


class Secret:
    """A secret text that never shows itself: its ``repr`` and ``str`` hide the value.

    Two secrets are equal when their values are; use ``hmac.compare_digest`` for values that a client sent.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret text itself; the caller must not log or store it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(("Secret", self._value))


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every configuration section: frozen, keyword-only, closed to unknown keys."""


class KeyFault(ValueError):
    """One value of a section is refused by the section: `key` leads there, `hint` says what to write instead.

    A section that raises it in `__post_init__` has the place of that value named, not its own.
    """

    def __init__(self, key: tuple[str | int, ...], text: str, hint: str = "") -> None:
        super().__init__(text)
        self.key = key
        self.hint = hint


def tagged(value: Any, tag: str) -> bool:
    """Return whether a type's metadata `extra` marks it as the text form `tag`."""
    return isinstance(value, dict) and value.get("text") == tag


# --- texts with units ----------------------------------------------------------------------------

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE_UNITS = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_MEASURE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]+)", re.ASCII)


def parse_duration(text: str) -> float:
    """Return the seconds of a text such as `15m`. Raises `ValueError`.

    Example:
    >>> parse_duration("25h")
    90000.0

    """
    match = _MEASURE.fullmatch(text.strip())
    if match is None or match[2] not in _DURATION_UNITS:
        raise ValueError(f"`{text}` is no duration: write a number and one of ms, s, m, h, d, w")
    return float(match[1]) * _DURATION_UNITS[match[2]]


def parse_bytes(text: str) -> int:
    """Return the bytes of a text such as `10MiB`. Raises `ValueError`."""
    match = _MEASURE.fullmatch(text.strip())
    if match is None or match[2] not in _SIZE_UNITS:
        raise ValueError(f"`{text}` is no size: write a number and one of B, KiB, MiB, GiB")
    return int(float(match[1]) * _SIZE_UNITS[match[2]])
