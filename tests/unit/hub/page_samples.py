"""One sample of every page and variant, made by the same wording that the gateway uses."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from aiohttp import web

from compliance.model import (
    AccessContext,
    ComplianceResult,
    ComplianceState,
    Decision,
    Outcome,
    RuleResult,
    SessionControl,
    User,
)
from gateway.controls.effective import Limit
from gateway.hub import wording
from gateway.hub.pages import Pages
from gateway.hub.views import AppState, OperatingSystem, ProviderChoice, RemediationView, StepState
from gateway.remediation.exceptions import Ask, ExceptionKind, Granted
from gateway.remediation.forms import KeptForm, Typed, Upload
from gateway.remediation.tasks import SecurityTask
from gateway.sessions.model import Session, SessionId
from risk.model import (
    DeviceId,
    Fact,
    Finding,
    Identifier,
    Posture,
    RiskAssessment,
    RiskContribution,
    RiskLevel,
    Severity,
    SignalType,
)

NOW = datetime(2026, 11, 20, 14, 2, 11, tzinfo=UTC)  # a Friday
REFERENCE = "7F3K-9QXM"

FIX = """\
Your disk is not encrypted. Turning it on takes a minute; your Mac keeps working meanwhile.

## macOS
1. Open **System Settings**, then **Privacy & Security**.
2. Choose **FileVault**, then **Turn On…**
3. Or run this in Terminal:

   ```
   sudo fdesetup enable
   ```

[More about FileVault](https://support.example.org/filevault)

## Windows
1. Open [Device encryption](ms-settings:deviceencryption).
2. Turn it on.
"""

WHY = "If this laptop is lost, anyone who finds it can read the files on it."


def user() -> User:
    return User(
        provider="corp",
        issuer="https://login.corp.example",
        subject="248289761001",
        name="Ana Marić",
        email="ana@corp.example",
        groups=frozenset({"staff", "finance"}),
    )


def context(**changes) -> wording.PageContext:
    values = {
        "now": NOW,
        "reference": REFERENCE,
        "account": "ana@corp.example",
        "app": "Payroll",
        "owner": "it-help@corp.example",
        "system": OperatingSystem.MACOS,
    }
    return wording.PageContext(**(values | changes))


def finding(**changes) -> Finding:
    values = {
        "sensor": "wazuh",
        "external_id": "alert-1",
        "type": SignalType.DETECTION,
        "level": Severity.HIGH,
        "is_open": True,
        "observed_at": NOW - timedelta(minutes=4),
        "received_at": NOW - timedelta(minutes=4),
        "first_observed_at": NOW - timedelta(minutes=4),
        "title": "A program that steals passwords was found",
        "description": "The file invoice_2026.pkg in your Downloads folder is known malware (AtomicStealer).",
        "recommended_actions": (
            "Do not open the file. Close it if it is open.",
            "Open the security app and press “Remove”.",
            "Restart the laptop.",
        ),
        "rationale": "It copies saved passwords and sends them to somebody else.",
    }
    return Finding(**(values | changes))


def posture(*findings: Finding, **changes) -> Posture:
    values = {
        "device_id": DeviceId("dev_0123456789abcdefghij"),
        "name": "ANA-MBP",
        "identifiers": (
            Identifier("serial", "C02XK1ZGJGH5"),
            Identifier("hostname", "ANA-MBP", "fleet"),
        ),
        "findings": {(item.sensor, item.external_id): item for item in findings},
        "facts": {
            ("fleet", "disk-encrypted"): Fact(
                name="disk-encrypted",
                sensor="fleet",
                value=False,
                observed_at=NOW - timedelta(minutes=3),
                received_at=NOW - timedelta(minutes=3),
            ),
            ("fleet", "os-version"): Fact(
                name="os-version",
                sensor="fleet",
                value="15.1",
                observed_at=NOW - timedelta(minutes=3),
                received_at=NOW - timedelta(minutes=3),
            ),
        },
        "heard": {"fleet": NOW - timedelta(minutes=3), "wazuh": NOW - timedelta(minutes=4)},
    }
    return Posture(**(values | changes))


def risk(*findings: Finding, **changes) -> RiskAssessment:
    levels = {
        Severity.CRITICAL: RiskLevel.HIGH,
        Severity.HIGH: RiskLevel.HIGH,
        Severity.MEDIUM: RiskLevel.MEDIUM,
    }
    contributions = tuple(
        RiskContribution(
            sensor=item.sensor,
            external_id=item.external_id,
            level=levels.get(item.level, RiskLevel.LOW),
            title=item.title,
            observed_at=item.observed_at,
        )
        for item in findings
        if item.is_open
    )
    level = contributions[0].level if contributions else RiskLevel.NONE
    return RiskAssessment(**({"level": level, "is_known": True, "contributions": contributions} | changes))


def rule(**changes) -> RuleResult:
    values = {
        "policy": "laptops",
        "rule": "disk",
        "state": ComplianceState.NONCOMPLIANT,
        "reason": "fact-differs",
        "title": "Turn on disk encryption",
        "seen": "no",
        "wanted": "yes",
        "source": "fleet",
        "observed_at": NOW - timedelta(minutes=3),
        "why": WHY,
        "fix": FIX,
    }
    return RuleResult(**(values | changes))


RISKY = rule(
    rule="risk",
    reason="risk-too-high",
    title="Device risk",
    seen="high",
    wanted="at most low",
    source="wazuh",
    why="",
    fix="",
)
UPDATED = rule(
    rule="os", state=ComplianceState.COMPLIANT, reason="met", title="macOS is up to date", seen="15.1"
)
FIREWALL = rule(
    rule="firewall", state=ComplianceState.COMPLIANT, reason="met", title="The firewall is on", seen="yes"
)


def access(*results: RuleResult, known: bool = True, **changes) -> AccessContext:
    states = [item.state for item in results]
    state = next(
        (item for item in ("noncompliant", "unknown", "in-grace-period") if item in states), "compliant"
    )
    values = {
        "app": "payroll",
        "user": user(),
        "now": NOW,
        "device_id": "dev_0123456789abcdefghij" if known else None,
        "device_name": "ANA-MBP" if known else "",
        "device_source": "certificate" if known else "",
        "risk": risk(),
        "compliance": ComplianceResult(
            state=ComplianceState(state) if known else ComplianceState.UNKNOWN, results=results
        ),
    }
    return AccessContext(**(values | changes))


def refused(outcome: Outcome = Outcome.REMEDIATE, **changes) -> Decision:
    return Decision(**({"outcome": outcome, "policy": "healthy-devices", "reason": ""} | changes))


WANTED = "/payslips/2026-10?view=full"


def fix_risk() -> RemediationView:
    found = finding()
    return wording.remediation(
        access(RISKY, UPDATED, FIREWALL, risk=risk(found)),
        context(),
        can_continue=False,
        decision=refused(),
        posture=posture(found),
        continue_url=WANTED,
    )


def fix_rules() -> RemediationView:
    closed = finding(is_open=False, external_id="alert-0", title="Unwanted browser extension “CouponFinder”")
    return wording.remediation(
        access(
            rule(),
            rule(
                rule="chrome",
                reason="version-too-low",
                title="Update Google Chrome",
                seen="129.0.6668",
                wanted="131 or newer",
                why="Version 129 has a flaw that is being used in attacks.",
                fix="Open `chrome://settings/help` and let it update, then restart Chrome.",
            ),
            UPDATED,
        ),
        context(),
        can_continue=False,
        decision=refused(),
        posture=posture(closed),
        continue_url=WANTED,
        notice="Checked just now. It is still open. Fleet last reported 3 minutes ago.",
    )


def fix_grace() -> RemediationView:
    return wording.remediation(
        access(
            rule(
                state=ComplianceState.IN_GRACE_PERIOD,
                since=NOW - timedelta(days=1),
                deadline=NOW + timedelta(days=2, hours=3),
            ),
            UPDATED,
        ),
        context(),
        can_continue=True,
        decision=refused(Outcome.ALLOW),
        posture=posture(),
        continue_url=WANTED,
    )


def fix_limited() -> RemediationView:
    found = finding(
        level=Severity.MEDIUM, title="An old version of OpenSSL is in use", recommended_actions=()
    )
    return wording.remediation(
        access(UPDATED, risk=risk(found)),
        context(),
        can_continue=True,
        decision=refused(Outcome.RESTRICT, controls=frozenset({SessionControl.READ_ONLY})),
        posture=posture(found),
        continue_url=WANTED,
    )


def fix_silent() -> RemediationView:
    last = NOW - timedelta(days=3, hours=2)
    waits = {
        "state": ComplianceState.UNKNOWN,
        "reason": "sensor-silent",
        "observed_at": last,
        "fix": "",
        "why": "",
    }
    return wording.remediation(
        access(
            rule(**waits, title="Disk encrypted"),
            rule(**waits, rule="os", title="macOS is up to date"),
            risk=risk(is_known=False, silent_sensors=("fleet",)),
        ),
        context(),
        can_continue=False,
        decision=refused(),
        posture=posture(heard={"fleet": last}),
        continue_url=WANTED,
    )


def fix_unknown_device() -> RemediationView:
    return wording.remediation(
        access(known=False, risk=risk(level=RiskLevel.UNKNOWN, is_known=False)),
        context(),
        can_continue=False,
        decision=refused(),
        continue_url=WANTED,
    )


def fix_clear() -> RemediationView:
    return wording.remediation(
        access(UPDATED, FIREWALL),
        context(),
        can_continue=True,
        decision=refused(Outcome.ALLOW),
        posture=posture(),
        continue_url=WANTED,
    )


def fix_notice() -> RemediationView:
    return wording.remediation(
        access(rule(), UPDATED),
        context(app="Lunch menu"),
        can_continue=True,
        decision=refused(Outcome.ALLOW),
        posture=posture(),
        continue_url="/today",
    )


def fix_clear_unknown_device() -> RemediationView:
    return wording.remediation(
        access(known=False, risk=risk(level=RiskLevel.UNKNOWN, is_known=False)),
        context(app="Lunch menu"),
        can_continue=True,
        decision=refused(Outcome.ALLOW),
        continue_url="/today",
    )


KEY = "k" * 43


def kept_form() -> KeptForm:
    return KeptForm(
        host="payroll.example",
        target="/payslips/save",
        page=WANTED,
        app="payroll",
        typed=Typed(
            fields=(("title", "Travel"), ("csrf", "x"), ("text", "To Zagreb\r\nand back")),
            uploads=(Upload("receipt", "taxi <1>.pdf", 120_000), Upload("receipt", "hotel.pdf", 64_000)),
            is_multipart=True,
        ),
        device="dev_0123456789abcdefghij",
        kept_at=NOW - timedelta(minutes=4),
        expires_at=NOW + timedelta(minutes=26),
    )


def ask() -> Ask:
    return Ask(
        id="ask_1",
        rule="laptops/disk",
        title="Turn on disk encryption",
        device_id="dev_0123456789abcdefghij",
        device="ANA-MBP",
        person="op|ana",
        person_name="ana@corp.example",
        reason="I am on call until six <b>tonight</b>.",
        owners=("pat@corp.example", "sam"),
        longest_s=14400.0,
        asked_at=NOW - timedelta(minutes=3),
        answer_by=NOW + timedelta(hours=8),
    )


def granted() -> Granted:
    return Granted(
        id="exc_1",
        kind=ExceptionKind.APPROVED,
        rule="laptops/disk",
        device_id="dev_0123456789abcdefghij",
        device="ANA-MBP",
        person="op|ana",
        person_name="ana@corp.example",
        reason="on call",
        by="pat@corp.example",
        granted_at=NOW,
        expires_at=NOW + timedelta(hours=2),
    )


def task() -> SecurityTask:
    return SecurityTask(
        id="task_1",
        device_id="dev_0123456789abcdefghij",
        device="ANA-MBP",
        cause="rule:laptops/disk",
        title="Turn on disk encryption",
        opened_at=NOW - timedelta(days=1),
        due_at=NOW + timedelta(days=13),
        ticket="SEC-1234",
    )


def session(session_id: str) -> Session:
    return Session(
        id=SessionId(session_id),
        user=user(),
        created_at=NOW - timedelta(hours=2),
        last_seen_at=NOW - timedelta(minutes=1),
        ends_at=NOW + timedelta(hours=10),
    )


def _offered(offer) -> RemediationView:
    return wording.remediation(
        access(rule(link="https://support.example.org/disk", fix=""), UPDATED),
        context(),
        can_continue=False,
        decision=refused(),
        posture=posture(),
        continue_url=WANTED,
        offers={"rule:laptops/disk": offer},
        apps=(
            AppState(title="Wiki", url="https://wiki.example/", state=StepState.OK, text="Open"),
            AppState(title="Files", url="https://files.example/", state=StepState.PAUSED, text="Paused"),
        ),
    )


def fix_offers() -> RemediationView:
    offer = wording.offer(
        context(), query="c=X", policy="laptops", rule="disk", snooze_s=14400.0, ask_s=7200.0
    )
    return _offered(offer)


def fix_asked() -> RemediationView:
    url = "https://login.example/.gate/approve?a=" + "x" * 120
    offer = wording.offer(context(), query="", policy="laptops", rule="disk", waiting=ask(), approve_url=url)
    return _offered(offer)


def fix_kept() -> RemediationView:
    found = finding()
    return wording.remediation(
        access(RISKY, UPDATED, risk=risk(found)),
        context(),
        can_continue=False,
        decision=refused(),
        posture=posture(found),
        continue_url=f"/.gate/resume?f={KEY}",
        kept=wording.kept(
            context(),
            until=NOW + timedelta(minutes=26),
            uploads=kept_form().typed.uploads,
            text_url=f"/.gate/resume/text?f={KEY}",
        ),
    )


HOSTILE = "<script>alert(1)</script>\u202e\u2066gpj.exe\u200f" + "W" * 10_000


def fix_hostile() -> RemediationView:
    found = finding(
        title="“><img src=x onerror=alert(1)>" + HOSTILE,
        description=HOSTILE,
        rationale="Z\u0351\u036b\u0343\u036a\u0302" * 500,
        recommended_actions=tuple(f"{number} {HOSTILE}" for number in range(100)),
    )
    return wording.remediation(
        access(
            RISKY, rule(title=HOSTILE, seen=HOSTILE, wanted=HOSTILE), device_name=HOSTILE, risk=risk(found)
        ),
        context(app="פורטל שכר", account=HOSTILE, owner=HOSTILE),
        can_continue=False,
        posture=posture(found, identifiers=(Identifier("serial", HOSTILE),) * 100),
        continue_url="javascript:alert(1)",
        notice=HOSTILE,
    )


def _remediation(make: Callable[[], RemediationView], status: int = 403) -> Callable[[Pages], web.Response]:
    return lambda pages: pages.remediation(make(), status=status)


SAMPLES: dict[str, Callable[[Pages], web.Response]] = {
    "fix-risk": _remediation(fix_risk),
    "fix-rules": _remediation(fix_rules),
    "fix-grace": _remediation(fix_grace, 200),
    "fix-limited": _remediation(fix_limited, 200),
    "fix-silent": _remediation(fix_silent),
    "fix-unknown-device": _remediation(fix_unknown_device),
    "fix-clear": _remediation(fix_clear, 200),
    "fix-notice": _remediation(fix_notice, 200),
    "fix-clear-unknown-device": _remediation(fix_clear_unknown_device, 200),
    "fix-hostile": _remediation(fix_hostile),
    "blocked": lambda pages: pages.blocked(
        wording.blocked(
            context(),
            refused(
                Outcome.BLOCK, reason="Payroll is for the finance team. Others get their payslip by e-mail."
            ),
            retry_url=WANTED,
        )
    ),
    "blocked-default": lambda pages: pages.blocked(
        wording.blocked(context(owner=""), refused(Outcome.BLOCK, policy=""))
    ),
    "restricted-read-only": lambda pages: pages.restricted(
        wording.restricted(
            context(),
            Limit.READ_ONLY,
            controls=frozenset({Limit.NO_DOWNLOADS}),
            reason="Your laptop has a finding of medium risk.",
            back_url="/payslips",
        )
    ),
    "restricted-no-downloads": lambda pages: pages.restricted(
        wording.restricted(context(), Limit.NO_DOWNLOADS)
    ),
    "restricted-hidden": lambda pages: pages.restricted(wording.restricted(context(), Limit.HIDDEN_PATH)),
    "restricted-rate": lambda pages: pages.restricted(wording.restricted(context(), Limit.RATE)),
    "sign-out": lambda pages: pages.sign_out_confirm(
        wording.sign_out_confirm(context(reference=""), csrf="token", back_url="/")
    ),
    "signed-out": lambda pages: pages.signed_out(
        wording.signed_out(
            context(account="", reference=""),
            provider="Corp Login",
            provider_url="https://login.corp.example/end",
            sign_in_url="/",
        )
    ),
    "sign-in-needed": lambda pages: pages.sign_in_needed(
        wording.sign_in_needed(context(account=""), sign_in_url="/.gate/login?t=abc")
    ),
    "step-up": lambda pages: pages.step_up(
        wording.step_up(
            context(),
            refused(Outcome.STEP_UP, reason="Payroll asks for a security key."),
            continue_url="/.gate/login?t=abc",
        )
    ),
    "choose-provider": lambda pages: pages.choose_provider(
        wording.choose_provider(
            context(account="", reference=""),
            (
                ProviderChoice("Corp Login", "/.gate/login?p=corp"),
                ProviderChoice("Partner Login", "/.gate/login?p=p"),
            ),
        )
    ),
    "fix-offers": _remediation(fix_offers),
    "fix-asked": _remediation(fix_asked),
    "fix-kept": _remediation(fix_kept),
    "resume": lambda pages: pages.resume(
        wording.resume(context(reference=""), kept_form(), KEY), scheme="https"
    ),
    "carried": lambda pages: pages.carried(
        wording.carried(
            context(account="", reference=""),
            Typed(fields=(("code", "abc"), ("state", "x"), ("order", "7"))),
            origin="pay.example.net",
            target="/return?order=7",
            sign_in_url="/.gate/login?t=abc",
        ),
        scheme="https",
    ),
    "carried-own": lambda pages: pages.carried(
        wording.carried(
            context(account="", reference=""),
            kept_form().typed,
            origin=None,
            target="/save",
            sign_in_url="/.gate/login?t=abc",
        ),
        scheme="https",
    ),
    "carried-lost": lambda pages: pages.carried(
        wording.carried(
            context(account="", reference=""),
            None,
            origin="",
            target="/save",
            sign_in_url="/.gate/login?t=abc",
        ),
        scheme="https",
    ),
    "sign-in-kept": lambda pages: pages.sign_in_needed(
        wording.sign_in_needed(
            context(account=""),
            sign_in_url="/.gate/login?t=abc",
            kept=wording.kept(
                context(), until=NOW + timedelta(minutes=30), uploads=kept_form().typed.uploads
            ),
        )
    ),
    "approve": lambda pages: pages.approve(
        wording.approve(context(reference=""), ask(), answer_url="/.gate/approve?a=x")
    ),
    "approved": lambda pages: pages.approved(wording.approved(context(reference=""), granted())),
    "me-full": lambda pages: pages.me(
        wording.me(
            access(rule(), UPDATED),
            context(reference=""),
            signed_in_at=NOW - timedelta(hours=2),
            ends_at=NOW + timedelta(hours=10),
            provider="Corp Login",
            posture=posture(finding()),
            sessions=(session("ses_1"), session("ses_2")),
            this="ses_1",
            tasks=(task(),),
            exceptions=(granted(),),
        )
    ),
    "me": lambda pages: pages.me(
        wording.me(
            access(UPDATED),
            context(reference=""),
            signed_in_at=NOW - timedelta(hours=2),
            ends_at=NOW + timedelta(hours=10),
            provider="Corp Login",
            posture=posture(),
        )
    ),
} | {
    f"error-{code}": (
        lambda pages, code=code: pages.error(
            wording.error(
                context(account="" if "provider" in code or "state" in code else "ana@corp.example"),
                code,
                provider="Corp Login",
                retry_after_s=30 if code == "too-many-requests" else None,
                action_url=WANTED,
            )
        )
    )
    for code in wording.ERROR_STATUS
}
