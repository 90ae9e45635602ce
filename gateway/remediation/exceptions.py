"""Exceptions for a while: a rule put off by the person, or granted for some hours by a named owner. Pure.

Every exception is one rule on one device, ends by itself, and carries who wanted it, why, and who said yes. It becomes
an `Exemption` of compliance; the ceiling that the configuration sets on those holds for it too.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from compliance.model import Exemption
from gateway.config.remediation import Approval, Snooze

REASON_MIN, REASON_MAX = 5, 300
MAX_WAITING_PER_PERSON = 5


class ExceptionKind(StrEnum):
    """Who said yes: the person within the policy's bounds, or an owner."""

    SNOOZE = "snooze"
    APPROVED = "approved"


class AskState(StrEnum):
    """What became of a request to an owner."""

    WAITING = "waiting"
    GRANTED = "granted"
    REFUSED = "refused"


class Granted(msgspec.Struct, frozen=True, kw_only=True):
    """An exception: `rule` (`policy/rule`) does not count on the device until `expires_at`."""

    id: str
    kind: ExceptionKind
    rule: str
    device_id: str
    device: str
    person: str
    person_name: str
    reason: str
    by: str
    granted_at: datetime
    expires_at: datetime


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request to the owners of a rule; it can be answered until `answer_by`, by one of `owners`."""

    id: str
    rule: str
    title: str
    device_id: str
    device: str
    person: str
    person_name: str
    reason: str
    owners: tuple[str, ...]
    longest_s: float
    asked_at: datetime
    answer_by: datetime
    state: AskState = AskState.WAITING
    answered_by: str = ""

    def is_waiting(self, now: datetime) -> bool:
        """Return whether it can still be answered."""
        return self.state is AskState.WAITING and now < self.answer_by

    def is_owner(self, *names: str) -> bool:
        """Return whether somebody with these names (subject, verified address) may answer."""
        owners = {owner.casefold() for owner in self.owners}
        return any(name and name.casefold() in owners for name in names)


class ExceptionRefused(Exception):
    """The exception is not given; `why` is the key of a text for the person."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def covers(configured: str, policy: str, rule: str) -> bool:
    """Return whether a configured name means this rule: the rule itself, or its whole policy.

    >>> covers("laptops", "laptops", "disk"), covers("laptops/disk", "laptops", "os")
    (True, False)
    """
    return configured in (policy, f"{policy}/{rule}")


def snooze_of(policy: str, rule: str, snoozes: Iterable[Snooze]) -> Snooze | None:
    """Return how a rule may be put off, None when it may not. A rule's own entry wins over its policy's."""
    found = [each for each in snoozes if covers(each.rule, policy, rule)]
    return max(found, key=lambda each: "/" in each.rule, default=None)


def approval_of(policy: str, rule: str, approvals: Iterable[Approval]) -> Approval | None:
    """Return who may grant an exception from a rule, None when nobody may."""
    found = [each for each in approvals if covers(each.rule, policy, rule)]
    return max(found, key=lambda each: "/" in each.rule, default=None)


def snoozes_left(snooze: Snooze, rule: str, device_id: str, earlier: Sequence[Granted], now: datetime) -> int:
    """Return how often a rule may still be put off on a device now."""
    since = now - timedelta(seconds=snooze.per)
    used = sum(
        each.kind is ExceptionKind.SNOOZE
        and each.rule == rule
        and each.device_id == device_id
        and each.granted_at > since
        for each in earlier
    )
    return max(0, snooze.times - used)


def checked_reason(untrusted: str) -> str:
    """Return a reason as one line. Raises `ExceptionRefused` for one that says nothing, or too much."""
    reason = " ".join(untrusted.split())
    if len(reason) < REASON_MIN or len(reason) > REASON_MAX or not reason.isprintable():
        raise ExceptionRefused("exception_reason_needed")
    return reason


def exemptions(granted: Iterable[Granted], now: datetime) -> tuple[Exemption, ...]:
    """Return what is in force now, as compliance knows it."""
    return tuple(
        Exemption(
            rule=each.rule,
            devices=(each.device_id,),
            reason=each.reason,
            author=each.by,
            expires=each.expires_at.isoformat(),
        )
        for each in granted
        if each.expires_at > now
    )
