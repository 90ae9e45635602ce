"""What an operator does with device records: look, settle cases, merge, split, override, import.

Every change is durable and enforced on every worker before it is reported.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta

import msgspec
import structlog

from gateway.decision.judge import Interpretation, judge
from gateway.devices.inventory import OWNER, Row, RowFault, signal_of
from risk.builtin import INVENTORY, OPERATOR, OVERRIDE, override_of
from risk.devices import SENSOR_SCOPED
from risk.folding import fold, join
from risk.intake import Amendment, Intake
from risk.joining import Case, Join
from risk.model import (
    STRONG_KINDS,
    DeviceId,
    Identifier,
    Posture,
    RiskAssessment,
    Severity,
    Signal,
    SignalType,
)
from risk.scoring import fact_value
from risk.snapshot import RiskState

log = structlog.get_logger("devices")

MAX_LISTED = 1000
MAX_HISTORY = 20_000
"""Most signals that a split looks through: older ones stay with the record that is split."""

SLICE = 200
"""Signals folded between two turns of the event loop."""

MAX_OVERRIDE = timedelta(days=30)
MAX_ROWS = 1000

LEVELS = {
    "none": Severity.NONE,
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
}

Enforce = Callable[[frozenset[DeviceId], int], Awaitable[object]]


def log_joined(joins: Sequence[Join], cases: Sequence[Case]) -> None:
    """Write down which records became one by which rule, and which identifiers are contested from now on."""
    for join_ in joins:
        named = "" if join_.identifier is None else f"{join_.identifier.kind}={join_.identifier.value}"
        log.info("device-joined", kept=join_.kept, dropped=join_.dropped, rule=join_.rule, by=named)
    for case in cases:
        named = f"{case.identifier.kind}={case.identifier.value}"
        log.warning("device-contested", identifier=named, devices=list(case.claimants))


class DeskFault(Exception):
    """What was asked for cannot be done; the text says why."""

    def __init__(self, text: str, *, is_missing: bool = False) -> None:
        super().__init__(text)
        self.is_missing = is_missing


class DeviceView(msgspec.Struct, frozen=True, kw_only=True):
    """A device for people. `owner` is what the inventory says, else the most trusted sensor."""

    id: DeviceId
    name: str
    identifiers: tuple[Identifier, ...]
    risk: RiskAssessment
    compliance: str
    is_parked: bool
    contested: tuple[Identifier, ...] = ()
    owner: str = ""
    override: str = ""
    override_until: datetime | None = None
    heard: dict[str, datetime] = {}
    facts: dict[str, str | int | float | bool | None] = {}


class ImportResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of imported rows; `faults` by the number of the row."""

    taken: int
    unchanged: int
    faults: dict[int, str]


class DeviceDesk:
    """The operator's view of the records. Texts name a device by its id, or by an identifier of it.

    `amended` is told of the records that an operator has changed together, once that is enforced.
    """

    def __init__(
        self,
        state: RiskState,
        intake: Intake,
        enforce: Enforce,
        interpretation: Callable[[], Interpretation],
        *,
        clock: Callable[[], datetime],
        amended: Callable[[frozenset[DeviceId]], None] = lambda changed: None,  # noqa: ARG005 - nobody looks
    ) -> None:
        self._amended = amended
        self._state = state
        self._intake = intake
        self._enforce = enforce
        self._interpretation = interpretation
        self._clock = clock

    # --- looking -------------------------------------------------------------------------------------

    def find(self, text: str) -> DeviceId:
        """Return the device that a text names: an id, `KIND=VALUE`, or a bare serial or name. Raises `DeskFault`.

        What means something only within a sensor is `KIND@SENSOR=VALUE`, as it is shown.
        """
        as_id = DeviceId(text)
        posture = self._state.posture(as_id)
        if posture is not None:
            return posture.device_id
        named, _, value = text.partition("=")
        kind, _, sensor = named.partition("@")
        one = Identifier(kind, value, sensor)
        asked = [one] if value else [Identifier(each, text) for each in (*STRONG_KINDS, "hostname")]
        found = {self._state.resolve([each]) for each in asked} - {None}
        if len(found) > 1:
            raise DeskFault(
                f"`{text}` names several devices: {', '.join(sorted(str(each) for each in found))}"
            )
        for each in found:
            if each is not None:
                return each
        raise DeskFault(f"no device is known by `{text}`", is_missing=True)

    def listed(
        self, most: int, *, parked: bool = False, contested: bool = False, owner: str = ""
    ) -> list[DeviceView]:
        """Return up to `most` devices: all, or those known by nothing but a name, contested, or of one owner."""
        found: list[DeviceView] = []
        for device_id in self._state.device_ids():
            posture = self._state.posture(device_id)
            if (
                posture is None
                or (contested and not posture.contested)
                or (parked and not is_parked(posture))
                or (owner and self._owner(posture).casefold() != owner.casefold())
            ):
                continue
            found.append(self.view(posture))
            if len(found) >= min(most, MAX_LISTED):
                break
        return found

    def view(self, posture: Posture) -> DeviceView:
        """Return a device for people."""
        now = self._clock()
        risk, compliance = judge(posture, self._interpretation(), now)
        override = override_of(posture)
        is_live = override is not None and (override.expires_at is None or override.expires_at > now)
        return DeviceView(
            id=posture.device_id,
            name=posture.name,
            identifiers=posture.identifiers,
            risk=risk,
            compliance=compliance.state.value,
            is_parked=is_parked(posture),
            contested=posture.contested,
            owner=self._owner(posture),
            override=override.level.value if is_live and override is not None else "",
            override_until=override.expires_at if is_live and override is not None else None,
            heard=posture.heard,
            facts={f"{sensor}.{name}": fact.value for (sensor, name), fact in sorted(posture.facts.items())},
        )

    def _owner(self, posture: Posture) -> str:
        listed = posture.facts.get((INVENTORY, OWNER))
        found = listed or fact_value(posture, OWNER, self._interpretation().sensors, self._clock())
        return "" if found is None or found.value is None else str(found.value)

    def show(self, text: str) -> DeviceView:
        """Return one device. Raises `DeskFault`."""
        posture = self._state.posture(self.find(text))
        if posture is None:
            raise DeskFault(f"no device is known by `{text}`", is_missing=True)
        return self.view(posture)

    def cases(self) -> list[Case]:
        """Return every open case."""
        return list(self._state.cases)

    # --- changing ------------------------------------------------------------------------------------

    async def merge(self, kept: str, dropped: str, reason: str, who: str) -> DeviceView:
        """Make two records one, whatever speaks against it. Raises `DeskFault`."""
        one, other = self.find(kept), self.find(dropped)
        if one == other:
            raise DeskFault("both name the same device")

        def work(amendment: Amendment) -> None:
            amendment.index.merge(one, other)
            amendment.index.join_by_names(one)

        await self._amend(work)
        log.info("devices-merged", kept=one, dropped=other, reason=reason, who=who)
        return self.show(one)

    async def settle(self, identifier: Identifier, owner: str, reason: str, who: str) -> DeviceView:
        """Say whose a contested identifier is, with what was told by it alone. Raises `DeskFault`.

        The others are kept apart from that device.
        """
        key_of = self._state.index.key_of
        device_id, key = self.find(owner), key_of(identifier)
        case = next((each for each in self._state.cases if key_of(each.identifier) == key), None)
        if case is None:
            raise DeskFault(f"{identifier.kind} `{identifier.value}` is not contested", is_missing=True)
        parts = [
            await self._parted(each, frozenset({str(key)})) for each in case.claimants if each != device_id
        ]

        def work(amendment: Amendment) -> None:
            amendment.index.move(case.identifier, device_id)
            for part in parts:
                part.move(amendment, device_id)
            amendment.index.join_by_names(device_id)

        await self._amend(work)
        log.info("case-settled", identifier=identifier.value, owner=device_id, reason=reason, who=who)
        return self.show(device_id)

    async def split(self, text: str, identifiers: Sequence[Identifier], reason: str, who: str) -> DeviceView:
        """Give these identifiers of a device to a new one, with what was told of it by them alone.

        Raises `DeskFault`.
        """
        device_id = self.find(text)
        keys = self._keys_of(identifiers)
        posture = self._state.posture(device_id)
        owned = {
            self._state.index.key_of(each): each for each in (() if posture is None else posture.identifiers)
        }
        if not keys or not keys <= owned.keys():
            raise DeskFault("the device does not have all of these identifiers")
        if len(keys) == len(owned):
            raise DeskFault("nothing would be left of the device")
        part = await self._parted(device_id, keys)

        def work(amendment: Amendment) -> DeviceId:
            new = amendment.index.new_record()
            for key in sorted(keys):
                amendment.index.move(owned[key], new)
            amendment.index.keep_apart(new, device_id)
            part.move(amendment, new)
            return new

        made = await self._amend(work)
        log.info("device-split", device=device_id, new=made, reason=reason, who=who)
        return self.show(made)

    async def _parted(self, device_id: DeviceId, keys: frozenset[str]) -> "_Part":
        """Return what was told of a device by these identifiers of it alone, as far back as the journal goes."""
        own = self._keys(device_id)
        moved, rest = Posture(device_id=device_id), Posture(device_id=device_id)
        for at, each in enumerate(await self._told(device_id, own), start=1):
            named = self._named(each)
            if named & keys and not named & (own - keys):
                moved = fold(moved, each)
            else:
                rest = fold(rest, each)
            if at % SLICE == 0:
                await asyncio.sleep(0)
        return _Part(device_id, moved, rest)

    async def _told(self, device_id: DeviceId, own: frozenset[str]) -> list[Signal]:
        """Return what was told of a device, as far back as the journal goes.

        A line of the journal stays with the record that it was told of, also when a split or a settled case gave away
        the identifiers that it names: then it is looked for with those that the device is kept apart from.
        """
        others = {each: self._keys(each) for each in sorted(self._state.index.kept_apart(device_id))}
        given_away = frozenset[str]().union(*others.values())
        told = [
            each
            for each in reversed(await self._intake.history(device_id, MAX_HISTORY))
            if (named := self._named(each)) & own or not named & given_away
        ]
        for other, theirs in others.items():
            history = reversed(await self._intake.history(other, MAX_HISTORY))
            told += [each for each in history if (named := self._named(each)) & own and not named & theirs]
        return told

    def _keys(self, device_id: DeviceId) -> frozenset[str]:
        posture = self._state.posture(device_id)
        return self._keys_of(() if posture is None else posture.identifiers)

    def _named(self, signal: Signal) -> frozenset[str]:
        """Return the keys of the identifiers that a signal names, as the intake scoped them."""
        return self._keys_of(
            msgspec.structs.replace(each, issuer=signal.sensor) if each.kind in SENSOR_SCOPED else each
            for each in signal.device_ids
        )

    def _keys_of(self, identifiers: Iterable[Identifier]) -> frozenset[str]:
        found = map(self._state.index.key_of, identifiers)
        return frozenset(key for key in found if key is not None)

    async def override(self, text: str, level: str, lasts: timedelta, reason: str, who: str) -> DeviceView:
        """Say what the risk level of a device is, as far as it is known now. Raises `DeskFault`."""
        if level not in LEVELS:
            raise DeskFault(f"`{level}` is no level: {', '.join(LEVELS)}")
        if not timedelta(0) < lasts <= MAX_OVERRIDE:
            raise DeskFault(f"an override lasts up to {MAX_OVERRIDE.days} days")
        return await self._say(text, reason, who, level=LEVELS[level], expires_at=self._clock() + lasts)

    async def end_override(self, text: str, reason: str, who: str) -> DeviceView:
        """Take an override back. Raises `DeskFault`."""
        return await self._say(text, reason, who, level=None, expires_at=None)

    async def _say(
        self, text: str, reason: str, who: str, *, level: Severity | None, expires_at: datetime | None
    ) -> DeviceView:
        if not reason.strip():
            raise DeskFault("a reason is needed")
        device_id, now = self.find(text), self._clock()
        signal = Signal(
            sensor=OPERATOR,
            type=SignalType.RISK_LEVEL if level is not None else SignalType.REMEDIATION,
            observed_at=now,
            received_at=now,
            external_id=OVERRIDE,
            event_id=secrets.token_hex(12),
            level=level,
            title=f"The risk level was set by hand: {reason.strip()}"[:300],
            rationale=f"{who}: {reason.strip()}"[:4000],
            resolves=level is None,
            expires_at=expires_at,
        )
        await self._amend(lambda amendment: amendment.tell(device_id, signal))
        log.info("risk-overridden", device=device_id, level=level, until=expires_at, reason=reason, who=who)
        return self.show(device_id)

    async def take_inventory(self, rows: Sequence[Row]) -> ImportResult:
        """Take rows of an inventory; one that cannot be used costs only itself. Raises as `Intake.submit`."""
        if len(rows) > MAX_ROWS:
            raise DeskFault(f"at most {MAX_ROWS} rows at once")
        now = self._clock()
        signals: list[Signal] = []
        numbers: list[int] = []
        faults: dict[int, str] = {}
        unchanged = 0
        for number, row in enumerate(rows):
            try:
                signal = signal_of(row, now)
            except RowFault as fault:
                faults[number] = str(fault)
                continue
            if self._says(signal):
                unchanged += 1
                continue
            signals.append(signal)
            numbers.append(number)
        result = await self._intake.submit(INVENTORY, signals, items=numbers)
        faults |= {each.index: each.error for each in result.rejected}
        if result.changed:
            await self._enforce(result.changed, 0)
        return ImportResult(taken=result.accepted, unchanged=unchanged + result.duplicates, faults=faults)

    def _says(self, signal: Signal) -> bool:
        """Return whether the inventory says exactly this of the device already."""
        device_id = self._state.resolve(signal.device_ids)
        posture = None if device_id is None else self._state.posture(device_id)
        if posture is None:
            return False
        key_of = self._state.index.key_of
        keys = {None, *(key_of(each) for each in posture.identifiers)}
        is_joined = all(key_of(each) in keys for each in signal.device_ids)
        known = {name: fact.value for (sensor, name), fact in posture.facts.items() if sensor == INVENTORY}
        return is_joined and known == signal.facts

    async def _amend(self, work: Callable[[Amendment], DeviceId | None]) -> DeviceId:
        made, changed = await self._intake.amend(work)
        if changed:
            await self._enforce(changed, 0)
            self._amended(changed)
        return made or DeviceId("")


def is_parked(posture: Posture) -> bool:
    """Return whether the device is known by nothing but names: its signals wait for a device that shows itself."""
    return not any(each.kind in STRONG_KINDS for each in posture.identifiers)


class _Part:
    """What was told of a record by some of its identifiers alone, and by the rest."""

    def __init__(self, device_id: DeviceId, moved: Posture, rest: Posture) -> None:
        self._device_id = device_id
        self._moved = moved
        self._rest = rest

    def move(self, amendment: Amendment, to: DeviceId) -> None:
        """Take what was told by those identifiers from the record, and give it to another one."""
        kept = amendment.posture(self._device_id)
        findings = {key: each for key, each in kept.findings.items() if key not in self._moved.findings}
        findings |= {key: each for key, each in self._rest.findings.items() if key in self._moved.findings}
        facts = {key: each for key, each in kept.facts.items() if key not in self._moved.facts}
        facts |= {key: each for key, each in self._rest.facts.items() if key in self._moved.facts}
        amendment.replace(msgspec.structs.replace(kept, findings=findings, facts=facts))
        amendment.replace(join(amendment.posture(to), self._moved))
