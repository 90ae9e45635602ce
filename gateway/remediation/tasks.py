"""What a security task is, and how one begins, goes on and ends. Pure: times come in as arguments.

    open ─► in progress ─► verifying ─► resolved ─► open again, on a relapse

A task is one *cause* on one device: a finding that the device must not have, or a rule that it fails, also while its
grace period runs. People begin it, say that they have done it, assign it and write notes; only evidence of the sensors
resolves it. INVARIANT: no function here that a person's word reaches returns a resolved task.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

from compliance.model import (
    CompliancePolicy,
    ComplianceResult,
    ComplianceState,
    RiskRule,
    RuleLevel,
    RuleResult,
)
from compliance.reasons import ComplianceReason
from gateway.config.remediation import Sla
from risk.model import RISK_ORDER, Finding, Posture, RiskAssessment, RiskContribution, Severity

MAX_CAUSES = 32
"""Most tasks of one device at a time."""

MAX_NOTES = 50
MAX_TEXT = 500
TITLE_MAX = 200
REOPENS_WITHIN = timedelta(days=30)
"""A cause that comes back later than this begins a task of its own."""


class TaskState(StrEnum):
    """Where a task stands."""

    OPEN = "open"
    IN_PROGRESS = "in-progress"
    VERIFYING = "verifying"
    RESOLVED = "resolved"


class TaskEvent(StrEnum):
    """What can be told of a task."""

    OPENED = "opened"
    IN_PROGRESS = "in-progress"
    VERIFYING = "verifying"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    OVERDUE = "overdue"
    CHANGED = "changed"


class Resolution(StrEnum):
    """Why a task is resolved: the sensors no longer show its cause, or no policy asks for it any more."""

    EVIDENCE = "evidence"
    NOT_ASKED = "not-asked"


class Note(msgspec.Struct, frozen=True):
    """What somebody wrote about a task."""

    at: datetime
    by: str
    text: str


class SecurityTask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One cause on one device. `due_at` is the end of its time by severity; `relapses` counts how often it came back.

    `ticket` is a reference in another system, as whoever set it wrote it. `is_overdue_told` is for the targets.
    """

    id: str
    device_id: str
    device: str
    cause: str
    title: str
    sensor: str = ""
    severity: Severity = Severity.MEDIUM
    state: TaskState = TaskState.OPEN
    opened_at: datetime
    due_at: datetime
    begun_at: datetime | None = None
    verifying_since: datetime | None = None
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
    relapses: int = 0
    assignee: str = ""
    ticket: str = ""
    notes: tuple[Note, ...] = ()
    is_overdue_told: bool = False

    @property
    def is_open(self) -> bool:
        """Whether something has still to be done."""
        return self.state is not TaskState.RESOLVED

    def is_overdue(self, now: datetime) -> bool:
        """Return whether its time is over and it is not resolved."""
        return self.is_open and now >= self.due_at


class Happened(msgspec.Struct, frozen=True):
    """A task after a change, and what the change was."""

    task: SecurityTask
    event: TaskEvent


class TaskCause(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a device has to get rid of. `key` is unique per device."""

    key: str
    title: str
    sensor: str = ""
    severity: Severity = Severity.MEDIUM
    reported_at: datetime | None = None


class Causes(msgspec.Struct, frozen=True):
    """The causes that evidence shows now, and the keys of those of which nobody can tell at present."""

    present: tuple[TaskCause, ...]
    undecided: frozenset[str] = frozenset()
    asked: frozenset[str] = frozenset()


def task_causes(
    posture: Posture,
    risk: RiskAssessment,
    compliance: ComplianceResult,
    policies: Iterable[CompliancePolicy],
) -> Causes:
    """Return what a device has to get rid of, worst first."""
    rules = {(policy.name, rule.name): rule for policy in policies for rule in policy.rules}
    found: dict[str, TaskCause] = {}
    undecided: set[str] = set()
    asked: set[str] = set()
    for result in compliance.results:
        if result.level is RuleLevel.REPORT:
            continue
        key = _rule_key(result)
        asked.add(key)
        rule = rules.get((result.policy, result.rule))
        is_exempt = result.reason == ComplianceReason.EXEMPTED
        if is_exempt or result.state is ComplianceState.UNKNOWN:
            undecided.add(key)
            if is_exempt and isinstance(rule, RiskRule):
                above = (each for each in risk.contributions if _is_above(each, rule))
                undecided |= {_finding_key(each.sensor, each.external_id) for each in above}
        if result.state not in (ComplianceState.NONCOMPLIANT, ComplianceState.IN_GRACE_PERIOD):
            continue
        if result.reason == ComplianceReason.RISK_TOO_HIGH and isinstance(rule, RiskRule):
            above = (each for each in risk.contributions if _is_above(each, rule))
            found |= {cause.key: cause for cause in (_finding_cause(each, posture) for each in above)}
        else:
            found[key] = TaskCause(
                key=key,
                title=(result.title or result.rule)[:TITLE_MAX],
                sensor=result.source,
                severity=result.severity,
                reported_at=result.observed_at,
            )
    ordered = sorted(found.values(), key=lambda cause: -_WORSE.get(cause.severity, 0))
    return Causes(tuple(ordered[:MAX_CAUSES]), frozenset(undecided), frozenset(asked))


_WORSE = {
    severity: rank
    for rank, severity in enumerate(
        (Severity.INFORMATIONAL, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
    )
}


def at_least(severity: Severity, lowest: Severity) -> bool:
    """Return whether a severity reaches another; one that is unknown counts as medium."""
    middle = _WORSE[Severity.MEDIUM]
    return _WORSE.get(severity, middle) >= _WORSE.get(lowest, middle)


def _rule_key(result: RuleResult) -> str:
    return f"rule:{result.policy}/{result.rule}"


def _finding_key(sensor: str, external_id: str) -> str:
    return f"finding:{sensor}:{external_id}"


def _is_above(contribution: RiskContribution, rule: RiskRule) -> bool:
    return RISK_ORDER.get(contribution.level, len(RISK_ORDER)) > RISK_ORDER.get(rule.max, -1)


def _finding_cause(contribution: RiskContribution, posture: Posture) -> TaskCause:
    finding: Finding | None = posture.findings.get((contribution.sensor, contribution.external_id))
    return TaskCause(
        key=_finding_key(contribution.sensor, contribution.external_id),
        title=(contribution.title or contribution.external_id)[:TITLE_MAX],
        sensor=contribution.sensor,
        severity=Severity.MEDIUM if finding is None else finding.level,
        reported_at=contribution.observed_at,
    )


# --- by evidence ----------------------------------------------------------------------------------------------


def advance(
    known: Sequence[SecurityTask],
    causes: Causes,
    *,
    posture: Posture,
    sla: Sla,
    now: datetime,
    new_ids: Iterable[str],
) -> tuple[Happened, ...]:
    """Return what evidence changed about the tasks of a device. `known` are its tasks, resolved ones included."""
    ids = iter(new_ids)
    by_cause = _newest(known)
    present = {cause.key: cause for cause in causes.present}
    happened: list[Happened] = []
    for cause in causes.present:
        task = by_cause.get(cause.key)
        if task is None or (
            task.resolved_at is not None and now - task.resolved_at > REOPENS_WITHIN and not task.is_open
        ):
            happened.append(Happened(_opened(next(ids), cause, posture, sla, now), TaskEvent.OPENED))
        elif not task.is_open:
            happened.append(Happened(_reopened(task, cause, sla, now), TaskEvent.REOPENED))
        else:
            happened += _still_there(task, posture, now)
    for task in by_cause.values():
        if task.is_open and task.cause not in present and task.cause not in causes.undecided:
            happened.append(Happened(_resolved(task, causes, posture, now), TaskEvent.RESOLVED))
    return tuple(happened)


def _newest(known: Sequence[SecurityTask]) -> Mapping[str, SecurityTask]:
    newest: dict[str, SecurityTask] = {}
    for task in sorted(known, key=lambda each: each.opened_at):
        newest[task.cause] = task
    return newest


def _opened(task_id: str, cause: TaskCause, posture: Posture, sla: Sla, now: datetime) -> SecurityTask:
    return SecurityTask(
        id=task_id,
        device_id=posture.device_id,
        device=posture.name,
        cause=cause.key,
        title=cause.title,
        sensor=cause.sensor,
        severity=cause.severity,
        opened_at=now,
        due_at=now + timedelta(seconds=sla.of(cause.severity)),
    )


def _reopened(task: SecurityTask, cause: TaskCause, sla: Sla, now: datetime) -> SecurityTask:
    return msgspec.structs.replace(
        task,
        state=TaskState.OPEN,
        title=cause.title,
        severity=cause.severity,
        due_at=now + timedelta(seconds=sla.of(cause.severity)),
        begun_at=None,
        verifying_since=None,
        resolved_at=None,
        resolution=None,
        relapses=task.relapses + 1,
        is_overdue_told=False,
    )


def _still_there(task: SecurityTask, posture: Posture, now: datetime) -> list[Happened]:
    """A report since somebody said that it is done, and it still shows the cause: it was not."""
    since = task.verifying_since
    heard = posture.heard.get(task.sensor)
    if task.state is not TaskState.VERIFYING or since is None or heard is None or heard <= since:
        return []
    back = msgspec.structs.replace(
        task, state=TaskState.IN_PROGRESS, verifying_since=None, begun_at=task.begun_at or now
    )
    return [Happened(back, TaskEvent.IN_PROGRESS)]


def _resolved(task: SecurityTask, causes: Causes, posture: Posture, now: datetime) -> SecurityTask:
    is_rule = task.cause.startswith("rule:")
    is_asked = task.cause in causes.asked if is_rule else _is_closed(task.cause, posture)
    return msgspec.structs.replace(
        task,
        state=TaskState.RESOLVED,
        resolved_at=now,
        resolution=Resolution.EVIDENCE if is_asked else Resolution.NOT_ASKED,
    )


def not_asked(task: SecurityTask, now: datetime) -> SecurityTask:
    """Return a task resolved since nobody asks for it any more: another one is about the same."""
    return msgspec.structs.replace(
        task, state=TaskState.RESOLVED, resolved_at=now, resolution=Resolution.NOT_ASKED
    )


def _is_closed(cause: str, posture: Posture) -> bool:
    """Return whether the finding of a cause is over by what its sensor said, and not only of no interest any more."""
    _, sensor, external_id = cause.split(":", 2)
    finding = posture.findings.get((sensor, external_id))
    return finding is None or not finding.is_open


def overdue(task: SecurityTask, now: datetime) -> Happened | None:
    """Return the task told as overdue, once; None while it is in time or told already."""
    if not task.is_overdue(now) or task.is_overdue_told:
        return None
    return Happened(msgspec.structs.replace(task, is_overdue_told=True), TaskEvent.OVERDUE)


# --- by people ------------------------------------------------------------------------------------------------


class TaskChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What somebody changes about a task; None leaves as it is, "" takes away.

    `begin` says that somebody works on it, `done` that it should be fixed: then evidence is awaited.
    """

    assignee: str | None = None
    ticket: str | None = None
    note: str | None = None
    begin: bool = False
    done: bool = False


class TaskRefused(Exception):
    """The change cannot be made; the text says why."""


def change(task: SecurityTask, wanted: TaskChange, *, by: str, now: datetime) -> Happened | None:
    """Return the task with a person's change; None when nothing changes. Raises `TaskRefused`."""
    for text in (wanted.assignee, wanted.ticket, wanted.note):
        if text is not None and (len(text) > MAX_TEXT or not text.replace("\n", " ").isprintable()):
            raise TaskRefused(f"texts have at most {MAX_TEXT} printable characters")
    if (wanted.begin or wanted.done) and not task.is_open:
        raise TaskRefused("the task is resolved; it opens again when its cause comes back")
    after = task
    if wanted.assignee is not None:
        after = msgspec.structs.replace(after, assignee=wanted.assignee)
    if wanted.ticket is not None:
        after = msgspec.structs.replace(after, ticket=wanted.ticket)
    if wanted.note:
        notes = (*after.notes, Note(now, by, wanted.note))[-MAX_NOTES:]
        after = msgspec.structs.replace(after, notes=notes)
    event = TaskEvent.CHANGED
    if wanted.done and task.state is not TaskState.VERIFYING:
        after = msgspec.structs.replace(
            after, state=TaskState.VERIFYING, verifying_since=now, begun_at=after.begun_at or now
        )
        event = TaskEvent.VERIFYING
    elif wanted.begin and task.state is TaskState.OPEN:
        after = msgspec.structs.replace(after, state=TaskState.IN_PROGRESS, begun_at=now)
        event = TaskEvent.IN_PROGRESS
    return None if after == task else Happened(after, event)
