"""The bounds of what a plugin may state: how long and how much a signal may be. Pure."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from plugins.payload import digest
from risk.devices import names_nothing
from risk.model import JUNK_VALUES, Identifier, Signal

MAX_ID_CHARS = 400
"""Longest condition or message id; a longer one is cut and completed by a digest."""

MAX_TITLE_CHARS = 300
MAX_TEXT_CHARS = 4000
MAX_ACTIONS = 20
MAX_IDENTIFIERS = 16
MAX_FACTS = 64
"""Most facts of one signal."""

MAX_FACT_NAME_CHARS = 100
MAX_FACT_CHARS = 1000


class PluginFault(Exception):
    """A plugin is missing, cannot be loaded, or breaks its contract. The text begins with its name."""


def all_bounded(signals: Sequence[Signal], sensor: str, received_at: datetime) -> list[Signal]:
    """Return the signals as `bounded` does each, and raise as it does."""
    return [bounded(each, sensor, received_at) for each in signals]


def bounded(signal: Signal, sensor: str, received_at: datetime) -> Signal:
    """Return the signal within all bounds. Raises `PluginFault` for what cannot be bounded."""
    received = signal.received_at
    if signal.sensor != sensor or (received is not received_at and received != received_at):
        raise PluginFault("a signal names another sensor or time of receipt than it was given")
    at = signal.observed_at
    has_zone = at.tzinfo is UTC or at.utcoffset() is not None
    if not has_zone or not signal.external_id or not signal.event_id:
        raise PluginFault("a signal lacks a time zone, a condition id or a message id")
    if _is_within(signal):
        return signal
    return msgspec.structs.replace(
        signal,
        external_id=_short_id(signal.external_id),
        event_id=_short_id(signal.event_id),
        device_ids=_identifiers(signal.device_ids),
        user_ids=_identifiers(signal.user_ids),
        title=short(signal.title, MAX_TITLE_CHARS),
        description=short(signal.description, MAX_TEXT_CHARS),
        rationale=short(signal.rationale, MAX_TEXT_CHARS),
        category=short(signal.category, MAX_TITLE_CHARS),
        recommended_actions=tuple(
            short(each, MAX_TEXT_CHARS) for each in signal.recommended_actions[:MAX_ACTIONS] if each
        ),
        facts=_facts(signal.facts),
    )


def _is_within(signal: Signal) -> bool:
    """Return whether nothing of the signal has to be cut: nearly always, and much cheaper than a copy."""
    return (
        len(signal.external_id) <= MAX_ID_CHARS
        and len(signal.event_id) <= MAX_ID_CHARS
        and len(signal.device_ids) <= MAX_IDENTIFIERS
        and len(signal.user_ids) <= MAX_IDENTIFIERS
        and len(signal.title) <= MAX_TITLE_CHARS
        and len(signal.description) <= MAX_TEXT_CHARS
        and len(signal.rationale) <= MAX_TEXT_CHARS
        and len(signal.category) <= MAX_TITLE_CHARS
        and len(signal.recommended_actions) <= MAX_ACTIONS
        and len(signal.facts) <= MAX_FACTS
        and _are_named(signal.device_ids)
        and _are_named(signal.user_ids)
        and all(each and len(each) <= MAX_TEXT_CHARS for each in signal.recommended_actions)
        and _are_plain(signal.facts)
    )


def _are_named(identifiers: Sequence[Identifier]) -> bool:
    return all(each.kind and each.value for each in identifiers)


def _are_plain(facts: dict[str, str | int | float | bool | None]) -> bool:
    return all(len(name) <= MAX_FACT_NAME_CHARS and _is_plain(value) for name, value in facts.items())


def _is_plain(value: Any) -> bool:
    return (
        value is None
        or value.__class__ is bool
        or (value.__class__ is str and len(value) <= MAX_FACT_CHARS)
        or (value.__class__ is int and -(2**63) <= value < 2**63)
        or (value.__class__ is float and math.isfinite(value))
    )


def is_junk_identifier(identifier: Identifier) -> bool:
    """Return whether an identifier names nothing. Container ids as hostnames are left to the intake."""
    if identifier.kind == "hostname":
        plain = identifier.value.strip().rstrip(".").casefold()
        return plain in JUNK_VALUES or plain.startswith("localhost.")
    return names_nothing(identifier)


def short(text: str, most: int) -> str:
    """Return a text of at most so many characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _short_id(text: str) -> str:
    return text if len(text) <= MAX_ID_CHARS else f"{text[:MAX_ID_CHARS]}…{digest(text)}"


def _identifiers(identifiers: Sequence[Identifier]) -> tuple[Identifier, ...]:
    return tuple(each for each in identifiers[:MAX_IDENTIFIERS] if each.kind and each.value)


def _facts(
    facts: Mapping[str, str | int | float | bool | None],
) -> dict[str, str | int | float | bool | None]:
    if len(facts) > MAX_FACTS:
        raise PluginFault(f"a signal has {len(facts)} facts, at most {MAX_FACTS} are kept")
    return {short(name, MAX_FACT_NAME_CHARS): _fact(value) for name, value in facts.items()}


def _fact(value: Any) -> str | int | float | bool | None:
    if isinstance(value, str):
        return short(value, MAX_FACT_CHARS)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return float(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float):
        return value
    raise PluginFault(f"a fact is a {type(value).__name__}, not a JSON scalar")
