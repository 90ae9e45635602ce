"""What there is to say about joining device records: the rules, what was joined, and what only a person can settle."""

import msgspec

from risk.model import DeviceId, Identifier


class JoinRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the configuration says of joining; `domains` are in lower case, without dots around them."""

    joins_hostnames: bool = True
    domains: tuple[str, ...] = ()
    max_parked: int = 50_000


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """A record that became part of another, for the log. `rule` is `strong`, `hostname`, `parked` or `operator`."""

    kept: DeviceId
    dropped: DeviceId
    rule: str
    identifier: Identifier | None = None


class Conflict(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that could not be attached to the record it was sent with, for a person to look at."""

    device_id: DeviceId
    identifier: Identifier
    owner: DeviceId | None
    reason: str


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """An identifier that several records claim and that cannot be one device: for an operator to settle."""

    identifier: Identifier
    owner: DeviceId | None
    claimants: tuple[DeviceId, ...]
