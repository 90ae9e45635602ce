"""Value types of the configuration that every package shares.

A text such as ``15m`` or ``{env: NAME}`` becomes one of these in ``gateway.config.load``; past that no
function re-checks it.
"""

from typing import Annotated, Any

import msgspec

# INVARIANT: the loader recognises these by `extra["text"]`; a bare number is refused so that no unit is guessed.
Duration = Annotated[float, msgspec.Meta(extra={"text": "duration"})]
"""Seconds, written in the configuration with a unit: ``500ms``, ``30s``, ``15m``, ``24h``, ``7d``."""

ByteSize = Annotated[int, msgspec.Meta(extra={"text": "bytes"})]
"""Bytes, written in the configuration with a unit: ``512B``, ``64KiB``, ``10MiB``, ``1GiB``."""


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


def tagged(value: Any, tag: str) -> bool:
    """Return whether a type's metadata `extra` marks it as the text form `tag`."""
    return isinstance(value, dict) and value.get("text") == tag
