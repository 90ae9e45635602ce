"""From the bytes of a delivery to its result, as the gateway does it, with what must hold whatever the bytes are.

Broken means: an exception that no sender may cause, a plugin that raised, a result out of its bounds, or a delivery of
which only a part was applied.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.hub.hooks import _Answer, _plain, tried_payloads
from plugins.bounds import MAX_ID_CHARS
from plugins.catalog import Catalog
from plugins.payload import MAX_ITEMS, PayloadFault, parse_payloads
from risk.intake import Intake
from risk.memory import MemoryRiskStore
from risk.model import Signal, SignalType
from risk.snapshot import RiskState

RECEIVED = datetime(2026, 3, 2, 12, tzinfo=UTC)
BODY_BYTES = 1 << 20
CODES_OF_A_BODY = frozenset(
    {
        *(
            "body-empty",
            "body-not-utf8",
            "body-not-json",
            "duplicate-key",
            "number-not-finite",
            "text-not-unicode",
        ),
        *("too-deep", "too-many-keys", "too-many-items", "too-many-values"),
    }
)
OPTIONS: Mapping[str, Any] = {
    "cloudevents": {"kind": "falco"},
    "generic": {
        "items": "alerts",
        "device": [
            {"kind": "serial", "path": "serial"},
            {"kind": "hostname", "path": ["host", "labels.host"]},
        ],
        "type": {"path": "type"},
        "level": {"path": "severity", "table": {"page": "critical"}},
        "title": "title",
        "external_id": {"jmes": "id || labels.id"},
        "observed_at": {"path": ["at", "startsAt"]},
        "resolves": {"path": "status", "equals": ["closed"]},
        "facts": {"disk_encrypted": "checks[0].disk", "score": {"jmes": "max(scores[].value)"}},
        "actions": ["actions[*]"],
    },
}


class Broken(AssertionError):
    """A body did what none may do."""


class Target:
    """One kind of sensor. `run` any number of bodies; what they do is thrown away."""

    def __init__(self, kind: str, catalog: Catalog) -> None:
        self.facade = catalog.sensor(kind)
        self.options = self.facade.parse_options(OPTIONS.get(kind, {}))
        self._loop = asyncio.new_event_loop()
        self._state = RiskState()
        self._intake = Intake(self._state, MemoryRiskStore(), clock=lambda: RECEIVED)
        self._loop.run_until_complete(self._intake.start())

    def close(self) -> None:
        """End the intake."""
        self._loop.run_until_complete(self._intake.stop())
        self._loop.close()

    def run(self, body: bytes, headers: Mapping[str, str] | None = None) -> str:
        """Return what became of the body: a code, or counts. Raises `Broken`."""
        try:
            payloads = parse_payloads(body)
        except PayloadFault as fault:
            if fault.code not in CODES_OF_A_BODY:
                raise Broken(f"unknown code {fault.code}") from fault
            return fault.code
        tried = tried_payloads(payloads)
        return self.read(payloads if tried is None else tried, headers or {})

    def read(self, payloads: list[Any], headers: Mapping[str, str]) -> str:
        """Return what the plugin and the intake make of payloads. Raises `Broken`."""
        normalized = self.facade.normalize(
            payloads, self.options, sensor="edr", received_at=RECEIVED, headers=headers
        )
        faults = [each.error for each in normalized.rejections if each.code == "plugin-fault"]
        if faults:
            raise Broken(f"the plugin raised: {faults[0]}")
        if len(normalized.signals) > MAX_ITEMS * 64:
            raise Broken(f"{len(normalized.signals)} signals of one delivery")
        for signal in normalized.signals:
            check(signal)
        before = self._state.epoch, len(self._state)
        preview = self._loop.run_until_complete(
            self._intake.preview("edr", normalized.signals, items=normalized.origins)
        )
        if before != (self._state.epoch, len(self._state)):
            raise Broken("looking has changed something")
        done = self._loop.run_until_complete(
            self._intake.submit(
                "edr",
                normalized.signals,
                normalized.rejections,
                items=normalized.origins,
                keeps_rejected=False,
            )
        )
        if (done.accepted, done.duplicates) != (preview.accepted, preview.duplicates):
            raise Broken(f"foretold {preview}, done {done}")
        staged = done.accepted + done.duplicates + len(done.rejected) - len(normalized.rejections)
        if staged != len(normalized.signals):
            raise Broken(f"{len(normalized.signals)} signals, {staged} accounted for")
        if payloads and not (
            normalized.signals or normalized.rejections or normalized.ignored or normalized.pulls
        ):
            raise Broken("an item vanished")
        return f"{done.accepted} accepted, {done.duplicates} duplicates, {len(done.rejected)} rejected"


def check(signal: Signal) -> None:
    """Raise `Broken` for a signal out of its bounds."""
    if not (signal.device_ids or signal.user_ids or signal.type is SignalType.DETECTION):
        raise Broken(f"about nobody: {signal}")
    if (
        not 0 < len(signal.external_id) <= MAX_ID_CHARS + 40
        or not 0 < len(signal.event_id) <= MAX_ID_CHARS + 40
    ):
        raise Broken("an id out of its bounds")
    for each in signal.device_ids:
        if each.kind == "hostname" and each.value.strip().casefold().startswith("localhost"):
            raise Broken("localhost became a device")
    if not all(isinstance(value, str | int | float | None) for value in signal.facts.values()):
        raise Broken("a fact that is no scalar")


def inflate(body: bytes) -> str:
    """Return what becomes of a compressed body: a code, or how long it is. Raises `Broken`."""

    class _Request:
        headers = {"Content-Encoding": "gzip"}  # noqa: RUF012 - a stand-in for one

    class _Sensor:
        body_bytes = BODY_BYTES

    try:
        plain = _plain(_Request(), _Sensor(), body)  # type: ignore[arg-type]
    except _Answer as answer:
        if answer.status not in {400, 413}:
            raise Broken(f"answered {answer.status}") from answer
        return answer.code
    if len(plain) > BODY_BYTES:
        raise Broken("inflated above the bound")
    return f"{len(plain)} bytes"
