"""Posture and signals as compact bytes, for the store and for the memory of quiet devices. Pure.

Rows are MessagePack arrays in the order of the fields below. INVARIANT: fields are only ever added at the
end, with a default, so that bytes of an older version still read.
"""

from collections.abc import Callable
from datetime import datetime
from sys import intern

import msgspec

from risk.model import DeviceId, Fact, Finding, Identifier, Posture, Severity, Signal, SignalType


class _IdentifierRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    kind: str
    value: str
    issuer: str = ""


class _FindingRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    sensor: str
    external_id: str
    type: SignalType
    level: Severity
    is_open: bool
    observed_at: datetime
    received_at: datetime
    first_observed_at: datetime
    version: str
    title: str
    description: str
    recommended_actions: tuple[str, ...]
    rationale: str
    category: str
    expires_at: datetime | None
    closed_at: datetime | None
    openings: tuple[datetime, ...]
    open_place: tuple[datetime, datetime, str] | None = None
    open_level: Severity | None = None


class _FactRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    sensor: str
    value: str | int | float | bool | None
    observed_at: datetime
    received_at: datetime
    version: str
    expires_at: datetime | None
    differed_at: datetime | None = None
    statements: tuple[datetime, ...] = ()


class _PostureRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    name: str
    identifiers: tuple[_IdentifierRow, ...]
    findings: tuple[_FindingRow, ...]
    facts: tuple[_FactRow, ...]
    heard: dict[str, datetime]
    contested: tuple[_IdentifierRow, ...] = ()


_encode = msgspec.msgpack.Encoder().encode
_astuple = msgspec.structs.astuple
_posture_decoder = msgspec.msgpack.Decoder(_PostureRow)
_signal_decoder = msgspec.msgpack.Decoder(Signal)


def pack_posture(posture: Posture) -> bytes:
    """Return the posture as bytes; its device id is left out, as it is the key beside them."""
    findings, contested = posture.findings, posture.contested
    return _encode(
        (
            posture.name,
            [*map(_astuple, posture.identifiers)],
            [*map(_astuple, findings.values())] if findings else (),
            [*map(_astuple, posture.facts.values())],
            posture.heard,
            [*map(_astuple, contested)] if contested else (),
        ),
    )


def unpack_posture(device_id: DeviceId, packed: bytes) -> Posture:
    """Return the posture that `pack_posture` was given. Raises `msgspec.MsgspecError` for anything else."""
    row = _posture_decoder.decode(packed)
    facts = [_fact(each) for each in row.facts]
    return Posture(
        device_id=device_id,
        name=row.name,
        identifiers=tuple(_identifier(each) for each in row.identifiers),
        findings={(each.sensor, each.external_id): _finding(each) for each in row.findings},
        facts={(each.sensor, each.name): each for each in facts},
        heard={intern(sensor): at for sensor, at in row.heard.items()},
        contested=tuple(_identifier(each) for each in row.contested),
    )


pack_signal: Callable[[Signal], bytes] = _encode
"""Returns the signal as bytes, for the journal."""


def unpack_signal(packed: bytes) -> Signal:
    """Return the signal that `pack_signal` was given."""
    return _signal_decoder.decode(packed)


def _identifier(row: _IdentifierRow) -> Identifier:
    # What all devices have in common is there once: of many that are open it would be a quarter.
    return Identifier(intern(row.kind), row.value, intern(row.issuer))


def _finding(row: _FindingRow) -> Finding:
    return Finding(**{name: getattr(row, name) for name in _FindingRow.__struct_fields__})


def _fact(row: _FactRow) -> Fact:
    # Written out: most of what is unpacked are facts, and a device is unpacked for each of its signals.
    return Fact(
        name=intern(row.name),
        sensor=intern(row.sensor),
        value=row.value,
        observed_at=row.observed_at,
        received_at=row.received_at,
        version=row.version,
        expires_at=row.expires_at,
        differed_at=row.differed_at,
        statements=row.statements,
    )
