"""The life of a task: one per device and cause, ended by evidence alone, opened again on a relapse."""

import base64
import itertools
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from compliance.model import ComplianceResult, ComplianceState, RuleLevel, RuleResult
from gateway.config.remediation import Sla, TaskTarget
from gateway.remediation.letters import WAITS_S, letters, signed_headers, wait_after
from gateway.remediation.tasks import (
    Causes,
    Happened,
    Resolution,
    TaskCause,
    TaskChange,
    TaskEvent,
    TaskRefused,
    TaskState,
    advance,
    change,
    overdue,
    task_causes,
)
from risk.model import DeviceId, Posture, RiskAssessment, RiskLevel, Severity
from risk.values import Secret

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DISK = TaskCause(key="rule:laptop/disk", title="Turn on disk encryption", sensor="fleet")
ASKED = frozenset({"rule:laptop/disk"})


def posture(heard: datetime = NOW) -> Posture:
    return Posture(device_id=DeviceId("dev_1"), name="ana-mbp", heard={"fleet": heard})


def step(known, *present, now=NOW, undecided=frozenset(), asked=ASKED, heard=NOW):
    ids = (f"task_{n}" for n in itertools.count(len(known) + 1))
    causes = Causes(present, undecided, asked)
    return advance(known, causes, posture=posture(heard), sla=Sla(), now=now, new_ids=ids)


def a_task():
    (happened,) = step((), DISK)
    assert happened.event is TaskEvent.OPENED
    return happened.task


def test_one_task_for_one_cause_however_often_it_is_told():
    task = a_task()
    assert step((task,), DISK) == ()
    assert task.due_at == NOW + timedelta(seconds=Sla().medium)


def test_evidence_resolves_it_and_a_relapse_opens_it_again():
    task = a_task()
    (gone,) = step((task,), now=NOW + timedelta(hours=1))
    assert (gone.event, gone.task.resolution) == (TaskEvent.RESOLVED, Resolution.EVIDENCE)
    later = NOW + timedelta(days=2)
    (back,) = step((gone.task,), DISK, now=later)
    assert (back.event, back.task.id, back.task.relapses) == (TaskEvent.REOPENED, task.id, 1)
    assert back.task.due_at == later + timedelta(seconds=Sla().medium)
    assert back.task.resolved_at is None


def test_long_after_it_is_a_task_of_its_own():
    (gone,) = step((a_task(),))
    (fresh,) = step((gone.task,), DISK, now=NOW + timedelta(days=31))
    assert (fresh.event, fresh.task.id) == (TaskEvent.OPENED, "task_2")


def test_silence_and_exemptions_decide_nothing():
    task = a_task()
    assert step((task,), undecided=ASKED) == ()


def test_a_rule_that_is_not_asked_any_more_is_no_evidence():
    (gone,) = step((a_task(),), asked=frozenset())
    assert gone.task.resolution is Resolution.NOT_ASKED


def test_a_report_that_still_shows_it_takes_verifying_back():
    done = change(a_task(), TaskChange(done=True), by="ana", now=NOW)
    assert done.task.state is TaskState.VERIFYING
    assert step((done.task,), DISK, heard=NOW - timedelta(minutes=1)) == ()
    (back,) = step((done.task,), DISK, heard=NOW + timedelta(minutes=1))
    assert (back.event, back.task.state) == (TaskEvent.IN_PROGRESS, TaskState.IN_PROGRESS)


CHANGES = st.builds(
    TaskChange,
    assignee=st.none() | st.text("ab ", max_size=5),
    ticket=st.none() | st.just("SEC-1"),
    note=st.none() | st.just("n"),
    begin=st.booleans(),
    done=st.booleans(),
)


@given(st.lists(CHANGES, max_size=8))
def test_no_word_of_a_person_resolves_a_task(changes):
    task = a_task()
    for wanted in changes:
        happened = change(task, wanted, by="pat", now=NOW)
        if happened is not None:
            task = happened.task
        assert task.is_open
        assert task.resolved_at is None


@pytest.mark.parametrize("wanted", [TaskChange(note="x" * 501), TaskChange(ticket="a\x00b")])
def test_texts_are_bounded(wanted):
    with pytest.raises(TaskRefused):
        change(a_task(), wanted, by="pat", now=NOW)


def test_a_resolved_task_cannot_be_begun():
    (gone,) = step((a_task(),))
    with pytest.raises(TaskRefused):
        change(gone.task, TaskChange(begin=True), by="pat", now=NOW)


def test_overdue_is_told_once():
    task = a_task()
    assert overdue(task, NOW) is None
    late = overdue(task, task.due_at)
    assert late is not None
    assert overdue(late.task, task.due_at + timedelta(days=1)) is None


def test_grace_is_a_task_report_is_not():
    def result(rule, state, level=RuleLevel.REQUIRE):
        return RuleResult(
            policy="laptop",
            rule=rule,
            state=state,
            reason="fact-differs",
            title=rule,
            seen="",
            wanted="",
            level=level,
        )

    results = (
        result("a", ComplianceState.IN_GRACE_PERIOD),
        result("b", ComplianceState.NONCOMPLIANT, RuleLevel.REPORT),
        result("c", ComplianceState.UNKNOWN),
        result("d", ComplianceState.COMPLIANT),
    )
    compliance = ComplianceResult(state=ComplianceState.NONCOMPLIANT, results=results)
    causes = task_causes(posture(), RiskAssessment(level=RiskLevel.NONE, is_known=True), compliance, ())
    assert [cause.key for cause in causes.present] == ["rule:laptop/a"]
    assert causes.undecided == {"rule:laptop/c"}


# --- letters -----------------------------------------------------------------------------------------------


def whsec(n: int) -> str:
    return "whsec_" + base64.b64encode(bytes([n]) * 32).decode()


def test_letters_go_to_those_who_want_them_and_verify_by_each_secret():
    target = TaskTarget(name="a", url="https://a.example", secrets=(Secret(whsec(1)), Secret(whsec(2))))
    others = (
        msgspec.structs.replace(target, name="b", events=("resolved",)),
        msgspec.structs.replace(target, name="c", severity=Severity.HIGH),
    )
    happened = Happened(a_task(), TaskEvent.OPENED)
    ids = (f"msg_{n}" for n in itertools.count())
    now = datetime.now(UTC)
    (letter,) = letters(happened, (target, *others), now=now, new_ids=ids)
    headers = signed_headers(letter, target.secrets, now)
    for number in (1, 2):
        told = Webhook(whsec(number)).verify(letter.body, headers)
        assert told["type"] == "task.opened"
        assert told["data"]["title"] == "Turn on disk encryption"


def test_waits_grow_are_bounded_and_heed_what_a_target_asks():
    waits = [wait_after(n, None, 0.5).total_seconds() for n in range(1, 15)]
    assert waits == sorted(waits)
    assert max(waits) == WAITS_S[-1]
    assert wait_after(1, 60.0, 0.5).total_seconds() == 60
    assert wait_after(1, 1e9, 1.0).total_seconds() <= 3600 * 1.1
