"""Gives exceptions and takes requests for them. What it gives is durable and enforced before anybody hears of it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import msgspec
import structlog

from compliance.model import Exemption, RuleResult
from gateway.config.remediation import Remediation
from gateway.remediation.exception_store import SqliteExceptionStore
from gateway.remediation.exceptions import (
    MAX_WAITING_PER_PERSON,
    Ask,
    AskState,
    ExceptionKind,
    ExceptionRefused,
    Granted,
    approval_of,
    checked_reason,
    exemptions,
    snooze_of,
    snoozes_left,
)

log = structlog.get_logger("exceptions")

LOOKBACK = timedelta(days=366)


class Asker(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, on which device."""

    person: str
    name: str
    device_id: str
    device: str


class ExceptionDesk:
    """Keeps what is in force. `changed` returns when a change of a device's exceptions is enforced everywhere."""

    def __init__(
        self,
        store: SqliteExceptionStore,
        *,
        settings: Callable[[], Remediation],
        changed: Callable[[str], Awaitable[None]],
        clock: Callable[[], datetime],
        make_id: Callable[[str], str],
    ) -> None:
        self._store = store
        self._settings = settings
        self._changed = changed
        self._clock = clock
        self._make_id = make_id
        self._in_force: list[Granted] = []
        self._one_at_a_time = asyncio.Lock()

    async def load(self) -> None:
        """Take over what is in force. Raises `StoreFault`."""
        self._in_force = await self._store.in_force(self._clock())

    def exemptions(self) -> tuple[Exemption, ...]:
        """Return what is in force now, as compliance knows it."""
        now = self._clock()
        self._in_force = [each for each in self._in_force if each.expires_at > now]
        return exemptions(self._in_force, now)

    def of_device(self, device_id: str) -> tuple[Granted, ...]:
        """Return the exceptions in force on a device."""
        now = self._clock()
        return tuple(each for each in self._in_force if each.device_id == device_id and each.expires_at > now)

    async def left(self, result: RuleResult, device_id: str) -> int:
        """Return how often a rule may still be put off on a device now; 0 also when it may not at all."""
        snooze = snooze_of(result.policy, result.rule, self._settings().snoozes)
        if snooze is None:
            return 0
        now = self._clock()
        earlier = await self._store.of_device(device_id, now - timedelta(seconds=snooze.per))
        return snoozes_left(snooze, f"{result.policy}/{result.rule}", device_id, earlier, now)

    async def snooze(self, result: RuleResult, asker: Asker, untrusted_reason: str) -> Granted:
        """Put a failed rule off by the person's own word, within the policy's bounds.

        Raises `ExceptionRefused`, `StoreFault`, `StoreOverloaded`, `NotEnforced`.
        """
        reason = checked_reason(untrusted_reason)
        snooze = snooze_of(result.policy, result.rule, self._settings().snoozes)
        async with self._one_at_a_time:
            if snooze is None or await self.left(result, asker.device_id) == 0:
                raise ExceptionRefused("exception_none_left")
            granted = self._granted(
                ExceptionKind.SNOOZE,
                f"{result.policy}/{result.rule}",
                asker,
                reason=reason,
                by=asker.name,
                lasts=snooze.lasts,
            )
            await self._store.grant(granted)
        await self._enforce(granted)
        return granted

    async def ask(self, result: RuleResult, asker: Asker, untrusted_reason: str) -> Ask:
        """Ask the owners of a failed rule for some hours.

        Raises `ExceptionRefused`, `StoreFault`, `StoreOverloaded`.
        """
        reason = checked_reason(untrusted_reason)
        approval = approval_of(result.policy, result.rule, self._settings().approvals)
        now = self._clock()
        if approval is None:
            raise ExceptionRefused("exception_none_left")
        async with self._one_at_a_time:
            waiting = [
                each
                for each in await self._store.asks_of(asker.person, now - LOOKBACK)
                if each.is_waiting(now)
            ]
            if len(waiting) >= MAX_WAITING_PER_PERSON:
                raise ExceptionRefused("exception_too_often")
            ask = Ask(
                id=self._make_id("ask"),
                rule=f"{result.policy}/{result.rule}",
                title=result.title,
                device_id=asker.device_id,
                device=asker.device,
                person=asker.person,
                person_name=asker.name,
                reason=reason,
                owners=approval.owners,
                longest_s=approval.lasts,
                asked_at=now,
                answer_by=now + timedelta(seconds=approval.answer_within),
            )
            await self._store.put_ask(ask)
        log.info("exception-asked", ask=ask.id, rule=ask.rule, device=ask.device_id, by=ask.person)
        return ask

    async def waiting(self, person: str, device_id: str) -> dict[str, Ask]:
        """Return the requests of a person about a device that can still be answered, by rule."""
        now = self._clock()
        asks = await self._store.asks_of(person, now - LOOKBACK)
        return {each.rule: each for each in asks if each.device_id == device_id and each.is_waiting(now)}

    async def find(self, ask_id: str) -> Ask | None:
        """Return a request, or None."""
        return await self._store.find_ask(ask_id)

    async def answer(
        self, ask_id: str, *, by: str, label: str, names: tuple[str, ...], hours: float | None
    ) -> Granted | None:
        """Answer a request: `hours` grants it, None refuses it.

        `names` are those by which whoever answers may be an owner, `label` is what pages call them. Raises
        `ExceptionRefused` for somebody who may not, or when it is too late; `StoreFault`, `StoreOverloaded`,
        `NotEnforced`.
        """
        async with self._one_at_a_time:
            ask = await self._store.find_ask(ask_id)
            if ask is None or not ask.is_waiting(self._clock()):
                raise ExceptionRefused("approve_too_late")
            if by == ask.person or not ask.is_owner(*names):
                raise ExceptionRefused("approve_not_owner")
            if hours is None:
                await self._store.put_ask(
                    msgspec.structs.replace(ask, state=AskState.REFUSED, answered_by=label)
                )
                log.warning("exception-refused", ask=ask.id, rule=ask.rule, device=ask.device_id, by=by)
                return None
            lasts = min(max(hours, 0.25) * 3600.0, ask.longest_s)
            asker = Asker(person=ask.person, name=ask.person_name, device_id=ask.device_id, device=ask.device)
            granted = self._granted(
                ExceptionKind.APPROVED, ask.rule, asker, reason=ask.reason, by=label, lasts=lasts
            )
            answered = msgspec.structs.replace(ask, state=AskState.GRANTED, answered_by=label)
            await self._store.grant(granted, answered)
        await self._enforce(granted)
        return granted

    def _granted(
        self, kind: ExceptionKind, rule: str, asker: Asker, *, reason: str, by: str, lasts: float
    ) -> Granted:
        now = self._clock()
        return Granted(
            id=self._make_id("exc"),
            kind=kind,
            rule=rule,
            device_id=asker.device_id,
            device=asker.device,
            person=asker.person,
            person_name=asker.name,
            reason=reason,
            by=by,
            granted_at=now,
            expires_at=now + timedelta(seconds=lasts),
        )

    async def _enforce(self, granted: Granted) -> None:
        self._in_force.append(granted)
        log.warning("exception-granted", **msgspec.to_builtins(granted))
        await self._changed(granted.device_id)
