"""The decision record as text: all that the decision rested on, and nothing that a terminal would obey."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from compliance.model import (
    AccessContext,
    ClientKind,
    ComplianceResult,
    ComplianceState,
    Decision,
    Mode,
    Outcome,
    PolicyTrace,
    RequestFacts,
    RuleResult,
    SessionControl,
    StepUp,
    User,
)
from gateway.decision.context import CONTRADICTION
from gateway.decision.explain import DecisionRecord, render
from risk.model import RiskAssessment, RiskContribution, RiskLevel

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)

RULES = (
    RuleResult(
        policy="laptop",
        rule="disk",
        state=ComplianceState.IN_GRACE_PERIOD,
        reason="fact-differs",
        title="Disk encryption",
        seen="no",
        wanted="yes",
        source="fleet",
        observed_at=NOW - timedelta(minutes=7),
        since=NOW - timedelta(hours=2),
        deadline=NOW + timedelta(hours=22),
    ),
    RuleResult(
        policy="laptop",
        rule="os",
        state=ComplianceState.COMPLIANT,
        reason="met",
        title="OS",
        seen="14.5",
        wanted="14.4 or newer",
    ),
)

CONTEXT = AccessContext(
    app="wiki",
    user=User(
        provider="corp",
        issuer="https://idp.example",
        subject="u1",
        name="Ana \x1b[31mRed",
        email="ana@corp.example",
        groups=frozenset({"staff", "admins"}),
        acr="mfa",
        auth_at=NOW - timedelta(minutes=30),
    ),
    now=NOW,
    device_id="dev_1",
    device_name="ANA-MBP",
    device_source="claim device.serial",
    risk=RiskAssessment(
        level=RiskLevel.LOW,
        is_known=False,
        silent_sensors=("wazuh",),
        contributions=(
            RiskContribution(
                sensor="edr",
                external_id="d1",
                level=RiskLevel.LOW,
                title="Odd\nprocess",
                observed_at=NOW - timedelta(hours=3),
            ),
        ),
        changes_at=NOW + timedelta(minutes=5),
    ),
    compliance=ComplianceResult(
        state=ComplianceState.IN_GRACE_PERIOD, results=RULES, changes_at=NOW + timedelta(hours=22)
    ),
)

TRACES = (
    PolicyTrace(policy="staff", decision=Outcome.ALLOW, matched=True, mode=Mode.ENFORCE),
    PolicyTrace(policy="grace", decision=Outcome.RESTRICT, matched=True, mode=Mode.ENFORCE),
    PolicyTrace(
        policy="fix",
        decision=Outcome.REMEDIATE,
        matched=False,
        mode=Mode.ENFORCE,
        missed="compliance",
        seen="in-grace-period",
    ),
    PolicyTrace(policy="later", decision=Outcome.BLOCK, matched=True, mode=Mode.REPORT),
)


def record(**changes):
    made = DecisionRecord.of(
        code="K7QM-2P",
        app="wiki",
        context=CONTEXT,
        request=RequestFacts(
            method="GET", path="/export", client=ClientKind.BROWSER, networks=frozenset({"office"})
        ),
        client="203.0.113.9",
        session="0123456789abcdef0123456789abcdef",
        decision=Decision(
            outcome=Outcome.RESTRICT,
            policy="grace",
            reason="Encrypt the disk.",
            controls=frozenset({SessionControl.READ_ONLY, SessionControl.NO_DOWNLOADS}),
            matched=("staff", "grace"),
            would_be=Outcome.BLOCK,
        ),
        traces=TRACES,
        would_change=("allow (policy staff) if the device becomes compliant",),
        revision="9c1f2e",
    )
    return msgspec.structs.replace(made, **changes)


EXPECTED = """\
DECISION  restrict(no-downloads, read-only)   policy grace   revision 9c1f2e
  reason     Encrypt the disk.
  report     block, if report-mode policies were enforced
  code       K7QM-2P
  decided    2030-01-01 12:00:00 UTC

INPUTS
  user       Ana  [31mRed <ana@corp.example>, u1 at corp
  groups     admins, staff
  sign-in    30 min ago, acr mfa, amr not told
  session    0123456789ab
  device     ANA-MBP (dev_1), told by claim device.serial
  risk       low, not sure, silent: wazuh, changes by time in 5 min
             low: Odd process (edr, 3 h ago)
  request    wiki: GET /export (browser)
  client     203.0.113.9, networks office

COMPLIANCE  in-grace-period, changes by time in 22 h
  miss  laptop/disk  in-grace-period: fact-differs
        seen no, wanted yes (fleet, 7 min ago)
        failing since 2030-01-01 10:00:00 UTC, grace ends 2030-01-02 10:00:00 UTC
  hit   laptop/os  compliant: met
        seen 14.5, wanted 14.4 or newer

POLICIES    * decided, + matched, ~ nearly matched, - missed
  + staff  allow
  * grace  restrict
  - fix  remediate  compliance: in-grace-period
  + later  block (report only)

WOULD BECOME
  allow (policy staff) if the device becomes compliant
"""


def test_a_record_explains_its_decision():
    assert render(record()) == EXPECTED


def test_a_record_survives_being_kept():
    kept = msgspec.json.encode(record())
    assert msgspec.json.decode(kept, type=DecisionRecord) == record()
    assert render(msgspec.json.decode(kept, type=DecisionRecord)) == EXPECTED


def test_the_id_of_the_session_is_not_kept():
    assert b"0123456789abcdef" not in msgspec.json.encode(record())


def test_default_deny_unknown_device_and_nothing_told():
    user = msgspec.structs.replace(CONTEXT.user, are_groups_known=False, acr=None, amr=(), auth_at=None)
    text = render(
        record(
            outcome=Outcome.BLOCK,
            policy="",
            controls=(),
            device_id=None,
            device_source="",
            user=user,
            traces=(),
            networks=(),
        )
    )
    assert text.startswith("DECISION  block   no policy matched (default deny)   revision 9c1f2e\n")
    assert "  groups     not known\n" in text
    assert "  sign-in    time not told, acr not told, amr none\n" in text
    assert "  device     unknown: nothing told which device this is\n" in text
    assert "  none is configured\n" in text
    assert text.count("*") == 1


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("claim device_id", "claim device_id told `SN-9`, and no sensor has reported such a device"),
        (
            CONTRADICTION + "certificate subject.CN, claim device_id",
            "its sources name different devices (certificate subject.CN, claim device_id)",
        ),
    ],
)
def test_an_unknown_device_says_why(source, expected):
    text = render(record(device_id=None, device_source=source, device_name="SN-9"))
    assert f"  device     unknown: {expected}\n" in text


def test_a_step_up_says_what_is_wanted():
    text = render(record(outcome=Outcome.STEP_UP, step_up=StepUp(acr_values=("hw", "gold"), max_age=3600.0)))
    assert "  wanted     acr hw or gold, sign-in within 1 h\n" in text


def test_an_ended_grace_is_said_to_have_ended():
    ended = msgspec.structs.replace(RULES[0], deadline=NOW - timedelta(hours=1))
    text = render(record(compliance=ComplianceResult(state=ComplianceState.NONCOMPLIANT, results=(ended,))))
    assert "grace ended 2030-01-01 11:00:00 UTC" in text
