"""Rows of an inventory: which identifiers and facts of a device, and which owner, a row states. Pure.

A row is an object of texts, from CSV or JSON. Columns that name an identifier are listed in `IDENTIFIERS`; `owner` is
the e-mail address of the person the device is given to; every other column becomes a fact of its name. Facts of the
inventory never make a device known or compliant by themselves: see `risk.builtin`.
"""

import csv
import io
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from plugins.payload import digest
from risk.builtin import INVENTORY
from risk.devices import normalise_identifier
from risk.model import Identifier, Signal, SignalType

Row = Mapping[str, Any]

IDENTIFIERS: Mapping[str, str] = {
    "serial": "serial",
    "serial_number": "serial",
    "hostname": "hostname",
    "device_name": "hostname",
    "entra_device_id": "entra-device-id",
    "intune_device_id": "intune-device-id",
    "mde_machine_id": "mde-machine-id",
    "udid": "udid",
    "certificate_sha256": "certificate-sha256",
    "device_id": "device-id",
}
OWNER = "owner"
MAX_COLUMNS = 40
MAX_CHARS = 1000

_COLUMN = re.compile(r"[a-z][a-z0-9_.-]{0,63}", re.ASCII)


class RowFault(Exception):
    """A row, or a file, that cannot be used."""


def rows_of(text: str, *, is_json: bool) -> list[dict[str, Any]]:
    """Return the rows of a file: CSV with a header, or a JSON array of objects. Raises `RowFault`."""
    if is_json:
        try:
            found = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise RowFault(f"no JSON: {error}") from error
        if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
            raise RowFault("the JSON is no array of objects")
        return found
    try:
        reader = csv.DictReader(io.StringIO(text), strict=True)
        if not reader.fieldnames:
            raise RowFault("the file is empty")
        return [{_column(name): value for name, value in row.items() if name is not None} for row in reader]
    except csv.Error as error:
        raise RowFault(f"no CSV: {error}") from error


def signal_of(row: Row, now: datetime) -> Signal:
    """Return what a row states, as of now. Raises `RowFault`."""
    if len(row) > MAX_COLUMNS:
        raise RowFault(f"{len(row)} columns, at most {MAX_COLUMNS} are taken")
    identifiers: list[Identifier] = []
    facts: dict[str, str | int | float | bool | None] = {}
    for untrusted_name, value in row.items():
        name = _column(untrusted_name)
        if value is None or value == "":
            continue
        if not isinstance(value, str | int | float | bool) or len(str(value)) > MAX_CHARS:
            raise RowFault(f"`{name}` is no short text, number or truth value")
        if name in IDENTIFIERS:
            identifiers.append(Identifier(IDENTIFIERS[name], str(value)))
        elif _COLUMN.fullmatch(name) is None:
            raise RowFault(f"`{name[:64]}` is no name of a column: lower-case letters, digits, `_`, `-`, `.`")
        else:
            facts[name] = value.strip() if isinstance(value, str) else value
    if not any(normalise_identifier(each) is not None for each in identifiers):
        raise RowFault(f"nothing names the device: one of {', '.join(IDENTIFIERS)} is needed")
    owner = str(facts.get(OWNER, ""))
    return Signal(
        sensor=INVENTORY,
        type=SignalType.POSTURE_FACT,
        observed_at=now,
        received_at=now,
        external_id="inventory",
        event_id=digest([[each.kind, each.value] for each in identifiers], facts, now.isoformat()),
        device_ids=tuple(identifiers),
        user_ids=(Identifier("email", owner),) if "@" in owner else (),
        title="Listed in the inventory",
        facts=facts,
    )


def _column(name: Any) -> str:
    return str(name).strip().lower().replace(" ", "_")
