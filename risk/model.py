"""The vocabulary of what is known: subjects, signals, findings, facts, posture. Frozen values, no I/O.

Times are aware UTC datetimes. `observed_at` is the sensor's clock (clamped to `received_at` by the intake
when it lies in the future); `received_at` is ours. Source of the words: ``docs/architecture.md``, RFC 9493,
OCSF 1.x.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, NewType

import msgspec

DeviceId = NewType("DeviceId", str)
"""Our own stable id of a device record: ``dev_`` and 20 characters."""

SensorName = NewType("SensorName", str)


class RiskLevel(StrEnum):
    """Risk level of a subject. `UNKNOWN` is apart from the order and never passes for `NONE`."""

    UNKNOWN = "unknown"
    NONE = "none"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


RISK_ORDER: dict[RiskLevel, int] = {
    RiskLevel.NONE: 0,
    RiskLevel.LOW: 1,
    RiskLevel.MEDIUM: 2,
    RiskLevel.HIGH: 3,
}
"""Position of each known level; `UNKNOWN` is left out on purpose: comparing it must be a decision, not an
accident."""


class Severity(StrEnum):
    """Severity of a finding as normalised from a sensor (OCSF `severity_id`)."""

    UNKNOWN = "unknown"
    NONE = "none"
    INFORMATIONAL = "informational"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class SignalType(StrEnum):
    """What kind of statement a signal is."""

    RISK_LEVEL = "risk-level"
    DETECTION = "detection"
    EXPOSURE = "exposure"
    POSTURE_FACT = "posture-fact"
    REMEDIATION = "remediation"
    HEARTBEAT = "heartbeat"


class Identifier(msgspec.Struct, frozen=True, order=True, gc=False):
    """One typed identifier of a device or user.

    `kind` is one of `IDENTIFIER_KINDS` or any lower-case word the configuration maps; `issuer` is the sensor
    or provider that gave it ("" when the value means the same everywhere, as a serial number does). Values
    are compared after `normalise_identifier`.
    """

    kind: str
    value: str
    issuer: str = ""


STRONG_KINDS: tuple[str, ...] = (
    "serial",
    "entra-device-id",
    "intune-device-id",
    "mde-machine-id",
    "udid",
    "certificate-sha256",
    "sensor-device-uuid",
    "sensor-device-id",
    "device-id",
)
"""Identifier kinds that name one device, strongest first. Everything else, `hostname` above all, is weak."""

JUNK_VALUES: frozenset[str] = frozenset(
    {
        "",
        "localhost",
        "localhost.localdomain",
        "unknown",
        "none",
        "null",
        "n/a",
        "0",
        "to be filled by o.e.m.",
        "default string",
        "system serial number",
        "not specified",
        "00000000-0000-0000-0000-000000000000",
    },
)
"""Identifier values that many devices share; they never become a subject."""


class Signal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One statement of a sensor about a subject, normalised but not yet judged.

    `external_id` names the CONDITION (equal for open, update and close); `event_id` names the MESSAGE (for
    de-duplication). `level` is None where the statement has no severity (a fact, a heartbeat). `facts` holds
    JSON scalars by fact name. `resolves` closes the condition `external_id`.
    """

    sensor: str
    type: SignalType
    observed_at: datetime
    received_at: datetime
    external_id: str
    event_id: str
    device_ids: tuple[Identifier, ...] = ()
    user_ids: tuple[Identifier, ...] = ()
    level: Severity | None = None
    title: str = ""
    description: str = ""
    recommended_actions: tuple[str, ...] = ()
    rationale: str = ""
    category: str = ""
    facts: dict[str, str | int | float | bool | None] = {}
    resolves: bool = False
    expires_at: datetime | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The newest statement of one sensor about one condition of a device; a closed one stays as a tombstone.

    A tombstone makes folding order-independent: a close that arrives before its open still wins when it was
    observed later. `version` orders statements of the same instant so that folding is total. `closed_at` is
    the newest close ever seen; `openings` are the earliest instants after it at which the sensor said *open*
    (sorted, left empty when `observed_at` is the only one), from which `first_observed_at` follows whatever
    the order. A closed one has in `open_level` what the newest statement that it was open said, and in `open_place`
    where that stands among all.
    """

    sensor: str
    external_id: str
    type: SignalType
    level: Severity
    is_open: bool
    observed_at: datetime
    received_at: datetime
    first_observed_at: datetime
    version: str = ""
    title: str = ""
    description: str = ""
    recommended_actions: tuple[str, ...] = ()
    rationale: str = ""
    category: str = ""
    expires_at: datetime | None = None
    closed_at: datetime | None = None
    openings: tuple[datetime, ...] = ()
    open_place: tuple[datetime, datetime, str] | None = None
    open_level: Severity | None = None


class Fact(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One attribute of a device as one sensor last reported it.

    `differed_at` is the newest statement of another value; `statements` are the oldest of this value after that and
    before `observed_at`, kept so that `since` does not depend on the order of arrival.
    """

    name: str
    sensor: str
    value: str | int | float | bool | None
    observed_at: datetime
    received_at: datetime
    version: str = ""
    expires_at: datetime | None = None
    differed_at: datetime | None = None
    statements: tuple[datetime, ...] = ()

    @property
    def since(self) -> datetime:
        """The oldest observation from which on the sensor has stated nothing but this value."""
        return self.statements[0] if self.statements else self.observed_at


class Posture(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """All that is known of one device. Immutable: folding returns a new one.

    `findings` is keyed by (sensor, external_id), `facts` by (sensor, fact name), `heard` maps a sensor to the
    last `received_at` at which it spoke about this device. `name` is what people call it (hostname or best
    identifier). `contested` are identifiers that another device claims too: until that is settled nothing that is known
    here is sure to be of this device.
    """

    device_id: DeviceId
    name: str = ""
    identifiers: tuple[Identifier, ...] = ()
    findings: dict[tuple[str, str], Finding] = {}
    facts: dict[tuple[str, str], Fact] = {}
    heard: dict[str, datetime] = {}
    contested: tuple[Identifier, ...] = ()


class SensorRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of a sensor that interpretation needs; keyed by sensor name elsewhere.

    `max_silence_s` None means that this sensor's silence is never held against a device. `unknown_level` is
    what a statement whose meaning is unknown counts as. A higher `trust` wins when two sensors state one
    fact. No finding of the sensor counts more than `max_level`.
    """

    name: str
    max_silence_s: float | None = None
    unknown_level: Severity = Severity.MEDIUM
    trust: int = 0
    max_level: RiskLevel = RiskLevel.HIGH


class RiskContribution(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One live reason for a risk level: the finding, and the level that it carries by itself."""

    sensor: str
    external_id: str
    level: RiskLevel
    title: str
    observed_at: datetime


class RiskAssessment(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Risk of a device at one instant: the worst live level with its sources.

    `level` is `UNKNOWN` when no sensor has ever told of the device. `silent_sensors` have told of it, and
    exceeded their declared `max_silence`: what they last said still counts against the device, never for it,
    so `is_known` is false while any sensor is silent. It is false too while the device is `contested`, and `level` is
    then `UNKNOWN` unless it is `HIGH`. `changes_at` is the next instant at which time alone
    changes this result.
    """

    level: RiskLevel
    is_known: bool
    contributions: tuple[RiskContribution, ...] = ()
    silent_sensors: tuple[str, ...] = ()
    changes_at: datetime | None = None
    contested: tuple[Identifier, ...] = ()


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Why one item of a delivery became no signal. `index` counts items of the delivery from 0."""

    index: int
    code: str
    error: str
    item: Any = None
