"""Which words people read for which state, and that hostile texts come out harmless."""

import re
import unicodedata
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance.model import ComplianceState, Outcome, SessionControl
from compliance.reasons import ComplianceReason
from gateway.hub import wording
from gateway.hub.texts import TEXTS, plural, text
from gateway.hub.views import OperatingSystem, ProblemStatus, RemediationKind, StepState, status_payload
from risk.model import Identifier, RiskLevel, Severity
from tests.unit.hub import page_samples as samples
from tests.unit.hub.page_samples import NOW, access, context, finding, posture, refused, risk, rule

ROOT = Path(wording.__file__).parents[1]


# --- texts from elsewhere ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_text", "cleaned"),
    [
        ("ANA-MBP", "ANA-MBP"),
        ("  two\n\tlines  ", "two lines"),
        ("gpj\u202e.exe", "gpj.exe"),
        ("a\u2066b\u2069\u200f\u061cc", "abc"),
        ("nul\x00l\x1b[31m", "null[31m"),
        ("e\u0301\u0302\u0303\u0304", "e\u0301\u0302"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("\ud800lone", "lone"),
        ("", ""),
    ],
)
def test_what_cannot_be_seen_or_turns_the_text_is_taken_out(given_text, cleaned):
    assert wording.clean(given_text, 40) == cleaned


def test_long_texts_are_cut_and_say_so():
    assert wording.clean("x" * 10_000, 10) == "xxxxxxxxx…"
    assert wording.clean("\u200b" * 10_000 + "x", 10) == "…"


@given(st.text(max_size=300), st.integers(min_value=1, max_value=50))
def test_cleaning_bounds_every_text_and_is_idempotent(untrusted, limit):
    cleaned = wording.clean(untrusted, limit)
    assert len(cleaned) <= limit
    assert "\n" not in cleaned
    assert all(unicodedata.category(sign) not in {"Cc", "Cs", "Co"} for sign in cleaned)
    assert wording.clean(cleaned, limit) == cleaned


def test_a_right_to_left_name_is_isolated_in_a_sentence():
    assert wording.name_in_sentence("המחשב של דנה") == "\u2068המחשב של דנה\u2069"
    assert wording.name_in_sentence("ANA-MBP") == "ANA-MBP"


@pytest.mark.parametrize(
    ("user_agent", "system"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36", OperatingSystem.WINDOWS),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15", OperatingSystem.MACOS),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_1 like Mac OS X)", OperatingSystem.IOS),
        ("Mozilla/5.0 (Linux; Android 15; Pixel 9)", OperatingSystem.ANDROID),
        ("Mozilla/5.0 (X11; CrOS x86_64 16033.0.0)", OperatingSystem.CHROMEOS),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:133.0)", OperatingSystem.LINUX),
        ("curl/8.5.0", OperatingSystem.UNKNOWN),
        ("", OperatingSystem.UNKNOWN),
    ],
)
def test_the_operating_system_is_read_from_the_user_agent(user_agent, system):
    assert wording.detect_os(user_agent) is system


def test_instructions_are_taken_apart_by_system():
    parts = wording.instructions(
        "All.\n\n## macOS\nmine\n\n### Windows:\ntheirs\n\n# iOS\nphone", OperatingSystem.MACOS
    )
    assert (parts.common, parts.own) == ("All.", "mine")
    assert parts.others == ((OperatingSystem.WINDOWS, "theirs"), (OperatingSystem.IOS, "phone"))


def test_other_headings_do_not_divide_instructions():
    assert (
        wording.instructions("# Windows are dirty\nwash", OperatingSystem.WINDOWS).common
        == "# Windows are dirty\nwash"
    )


# --- times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "just now"),
        (44, "just now"),
        (60, "1 minute ago"),
        (200, "3 minutes ago"),
        (3569, "59 minutes ago"),
        (3575, "1 hour ago"),
        (7200, "2 hours ago"),
        (86399, "1 day ago"),
        (3 * 86400, "3 days ago"),
        (-30, "in a moment"),
        (-120, "in 2 minutes"),
        (-2 * 86400, "in 2 days"),
    ],
)
def test_relative_times(seconds, said):
    assert wording.relative(NOW - timedelta(seconds=seconds), NOW) == said


@pytest.mark.parametrize(
    ("ago", "said"),
    [
        (timedelta(hours=3), "since 11:02 UTC"),
        (timedelta(days=1), "since yesterday"),
        (timedelta(days=3), "since Tuesday"),
        (timedelta(days=6), "since Saturday"),
        (timedelta(days=7), "since 13 November"),
    ],
)
def test_since(ago, said):
    assert wording.since(NOW - ago, NOW) == said


@pytest.mark.parametrize(
    ("ahead", "said"),
    [
        (timedelta(hours=1), "today"),
        (timedelta(days=1), "by tomorrow"),
        (timedelta(days=2), "by Sunday"),
        (timedelta(days=13), "by 3 December"),
    ],
)
def test_deadlines_name_the_day(ahead, said):
    assert wording.by_day(NOW + ahead, NOW) == said


def test_moments_carry_their_zone():
    assert wording.moment(NOW, NOW).text == "Fri 20 Nov, 14:02 UTC"
    assert wording.moment(NOW, NOW, ZoneInfo("Europe/Zagreb")).text == "Fri 20 Nov, 15:02 CET"
    assert wording.moment(datetime(2025, 1, 2, tzinfo=UTC), NOW).text == "Thu 2 Jan 2025, 00:00 UTC"


# --- remediation -------------------------------------------------------------------------------------------


def test_a_finding_is_told_with_what_when_who_why_and_how():
    view = samples.fix_risk()
    assert view.kind is RemediationKind.FIX
    assert view.title == "ANA-MBP needs attention before you can open Payroll"
    assert view.access == "Access to Payroll is paused until this is fixed."
    problem = view.problems[0]
    assert problem.title == "A program that steals passwords was found"
    assert problem.text.startswith("The file invoice_2026.pkg")
    assert (problem.severity, problem.sensor, problem.status) == ("Serious", "Wazuh", ProblemStatus.TO_DO)
    assert problem.observed.text == "Fri 20 Nov, 13:58 UTC"
    assert problem.observed.ago == "4 minutes ago"
    assert problem.why == "It copies saved passwords and sends them to somebody else."
    assert problem.steps[0] == "Do not open the file. Close it if it is open."
    assert [stop.state for stop in view.stops] == [StepState.OK, StepState.ATTENTION, StepState.PAUSED]


def test_a_finding_speaks_instead_of_the_risk_rule():
    assert samples.fix_risk().problems[0].key == "finding:wazuh/alert-1"
    assert "rule:laptops/risk" not in [problem.key for problem in samples.fix_risk().problems]


def test_a_risk_rule_speaks_for_itself_when_no_finding_is_known():
    view = wording.remediation(access(samples.RISKY), context(), can_continue=False)
    assert [problem.key for problem in view.problems] == ["rule:laptops/risk"]


@pytest.mark.parametrize(
    ("reason", "step"),
    [
        ("risk-too-high", "Follow what the security app"),
        ("finding-open", "Follow what the security app"),
        ("fact-differs", "Open the settings of this device"),
        ("not-covered", "Ask for this device to be set up"),
    ],
)
def test_a_rule_without_a_fix_of_its_own_says_what_helps_for_its_reason(reason, step):
    view = wording.remediation(access(rule(reason=reason, fix="")), context(), can_continue=False)
    assert view.problems[0].steps[0].startswith(step)


def test_failed_rules_come_with_what_was_found_and_what_is_needed():
    chrome = samples.fix_rules().problems[1]
    assert (chrome.title, chrome.seen, chrome.wanted) == (
        "Update Google Chrome",
        "129.0.6668",
        "131 or newer",
    )


def test_a_bare_yes_or_no_is_not_shown():
    disk = samples.fix_rules().problems[0]
    assert (disk.seen, disk.wanted) == ("", "")


def test_the_steps_of_this_system_come_first():
    disk = samples.fix_rules().problems[0]
    assert disk.own_fix_system == "macOS"
    assert "FileVault" in disk.own_fix_md
    assert [each.system for each in disk.other_fixes] == ["Windows"]
    assert disk.fix_md.startswith("Your disk is not encrypted.")


def test_what_is_fine_is_shown_as_done():
    done = [item.title for item in samples.fix_rules().problems if item.status is ProblemStatus.DONE]
    assert done == ["Unwanted browser extension “CouponFinder”", "macOS is up to date"]


def test_a_finding_that_was_closed_long_ago_is_not_shown():
    old = finding(is_open=False, received_at=NOW - timedelta(days=2))
    view = wording.remediation(access(rule()), context(), can_continue=False, posture=posture(old))
    assert [problem.key for problem in view.problems] == ["rule:laptops/disk"]


def test_grace_names_the_day_and_lets_people_work():
    view = samples.fix_grace()
    assert view.kind is RemediationKind.GRACE
    assert view.title == "Fix this by Sunday to keep using Payroll"
    assert view.access == "Access works until Sun 22 Nov, 17:02 UTC (in 2 days)."
    assert view.deadline.at == NOW + timedelta(days=2, hours=3)
    assert view.problems[0].status is ProblemStatus.DUE


def test_limited_access_is_called_so():
    assert samples.fix_limited().title == "You have limited access to Payroll"


def test_a_problem_that_closes_other_apps_only_is_told_without_alarm():
    view = samples.fix_notice()
    assert view.kind is RemediationKind.NOTICE
    assert view.lead == "You can open Lunch menu. Other apps may stay closed until this is fixed."


def test_silence_is_not_called_a_danger():
    view = samples.fix_silent()
    assert view.kind is RemediationKind.SILENT
    assert view.title == "We haven't heard from ANA-MBP since Tuesday"
    assert view.lead.startswith("This does not mean that it is unsafe.")
    assert view.access == "Access to Payroll is paused until we hear from ANA-MBP again."


def test_a_silent_sensor_is_one_problem_however_many_rules_wait_for_it():
    problems = samples.fix_silent().problems
    assert [problem.key for problem in problems] == ["silent:fleet"]
    assert problems[0].title == "Let Fleet report again"
    assert problems[0].wanted == "Disk encrypted, macOS is up to date"


def test_several_silent_sensors_are_each_told_once():
    names = ("fleet", "wazuh")
    result = rule(
        rule="risk",
        reason="sensor-silent",
        state=ComplianceState.UNKNOWN,
        title="Device risk",
        source="fleet, wazuh",
    )
    seen = access(result, risk=risk(is_known=False, silent_sensors=names))
    view = wording.remediation(seen, context(), can_continue=False, posture=posture())
    assert [problem.key for problem in view.problems] == ["silent:fleet", "silent:wazuh"]


def test_a_device_that_no_sensor_ever_told_of():
    seen = access(risk=risk(level=RiskLevel.UNKNOWN, is_known=False))
    view = wording.remediation(seen, context(), can_continue=False)
    assert view.kind is RemediationKind.SILENT
    assert view.title == "We haven't heard from ANA-MBP yet"
    assert view.problems[0].title == "Let the checks on ANA-MBP report again"


def test_a_device_without_a_name_is_your_device():
    seen = access(rule(), device_name="\u202e")
    view = wording.remediation(seen, context(), can_continue=False)
    assert view.title == "Your device needs attention before you can open Payroll"
    seen = access(risk=risk(level=RiskLevel.UNKNOWN, is_known=False), device_name="")
    assert (
        wording.remediation(seen, context(), can_continue=False).title
        == "We haven't heard from your device yet"
    )


def test_danger_beats_silence():
    """One finding among silent sensors is a page about the finding."""
    found = finding()
    seen = access(samples.RISKY, risk=risk(found, is_known=False, silent_sensors=("fleet",)))
    view = wording.remediation(seen, context(), can_continue=False, posture=posture(found))
    assert view.kind is RemediationKind.FIX
    assert [problem.is_silence for problem in view.problems] == [False, True]


def test_an_unknown_device_gets_its_own_advice():
    view = samples.fix_unknown_device()
    assert view.kind is RemediationKind.UNKNOWN_DEVICE
    assert view.title == "We can't tell which device this is"
    assert view.device == ""
    assert [problem.key for problem in view.problems] == ["unknown-device"]


def test_an_unknown_device_that_may_pass_has_nothing_to_fix():
    view = samples.fix_clear_unknown_device()
    assert (view.kind, view.title) == (RemediationKind.CLEAR, "You can open Lunch menu")
    assert view.problems == ()


def test_a_device_that_no_policy_covers():
    result = rule(
        policy="", rule="", reason=ComplianceReason.NOT_COVERED, title="Covered by a compliance policy"
    )
    view = wording.remediation(access(result), context(), can_continue=False)
    assert view.problems[0].title == "Get this device set up"


def test_a_refusal_that_nothing_explains_still_says_what_to_do():
    decision = refused(reason="Payroll is closed for laptops on loan.")
    view = wording.remediation(access(samples.UPDATED), context(), can_continue=False, decision=decision)
    assert (view.kind, view.problems[0].key) == (RemediationKind.FIX, "reason")
    assert view.problems[0].text == "Payroll is closed for laptops on loan."
    assert view.problems[0].steps


def test_all_clear():
    view = samples.fix_clear()
    assert (view.kind, view.title, view.open_count) == (RemediationKind.CLEAR, "ANA-MBP is ready", 0)


@pytest.mark.parametrize(
    ("risk_max", "shown"),
    [(RiskLevel.NONE, 3), (RiskLevel.LOW, 2), (RiskLevel.MEDIUM, 1), (None, 2)],
)
def test_only_findings_above_the_accepted_level_have_to_go(risk_max, shown):
    found = [
        finding(external_id=str(level), level=level)
        for level in (Severity.LOW, Severity.MEDIUM, Severity.HIGH)
    ]
    seen = access(rule(), risk=risk(*found))
    view = wording.remediation(
        seen, context(), can_continue=False, posture=posture(*found), risk_max=risk_max
    )
    keys = [problem.key for problem in view.problems if problem.key.startswith("finding")]
    assert keys == ["finding:wazuh/high", "finding:wazuh/medium", "finding:wazuh/low"][:shown]


def test_a_flood_of_problems_is_bounded_and_counted():
    results = tuple(rule(rule=f"r{number}") for number in range(50))
    view = wording.remediation(access(*results), context(), can_continue=False)
    assert len(view.problems) == wording.PROBLEMS_MAX
    assert (view.more_problems, view.open_count) == (30, 50)


def test_what_is_held_is_told_with_source_and_age():
    held = {item.label: item for item in samples.fix_risk().held}
    assert held["Serial number"].value == "C02XK1ZGJGH5"
    assert (held["Disk encryption"].value, held["Disk encryption"].source) == ("no", "Fleet")
    assert held["Disk encryption"].observed.ago == "3 minutes ago"


def test_what_is_held_is_bounded():
    many = posture(identifiers=tuple(Identifier("serial", str(number)) for number in range(500)))
    assert len(wording.held(many, context())) == wording.HELD_MAX


def test_check_again_says_what_it_waits_for():
    assert wording.checked_notice(samples.fix_risk()) == (
        "Checked just now. It is still open. Wazuh last reported 4 minutes ago."
    )
    assert wording.checked_notice(samples.fix_unknown_device()) == "Checked just now. It is still open."
    assert wording.checked_notice(samples.fix_clear()) == "Checked just now."


def test_the_revision_changes_with_the_news_and_not_with_the_clock():
    view = samples.fix_rules()
    later = msgspec.structs.replace(view, notice="", problems=tuple(
        msgspec.structs.replace(item, observed=None)
        for item in view.problems
    ))  # fmt: skip
    assert later.revision == view.revision
    assert samples.fix_risk().revision != view.revision


@pytest.mark.parametrize(
    ("make", "state"),
    [(samples.fix_risk, "paused"), (samples.fix_grace, "open"), (samples.fix_clear, "clear")],
)
def test_the_status_is_plain_json(make, state):
    view = make()
    payload = msgspec.json.decode(msgspec.json.encode(status_payload(view)))
    assert payload["state"] == state
    assert payload["can_continue"] is (state != "paused")
    assert payload["revision"] == view.revision
    assert [item["key"] for item in payload["problems"]] == [item.key for item in view.problems]


# --- the other pages ---------------------------------------------------------------------------------------


def test_a_block_names_the_reason_and_whom_to_ask():
    view = wording.blocked(context(), refused(Outcome.BLOCK, reason="For the finance team."))
    assert (view.title, view.reason) == ("Payroll is not open to you", "For the finance team.")
    assert view.advice[0] == "If you need it for your work, ask it-help@corp.example to open it to you."


def test_the_default_deny_blames_nobody():
    view = wording.blocked(context(), refused(Outcome.BLOCK, policy=""))
    assert view.lead == "You are signed in, but nobody has opened this app to your account yet."


@pytest.mark.parametrize("control", list(SessionControl))
def test_every_session_control_has_words(control):
    view = wording.restricted(context(), control, controls=frozenset(SessionControl))
    assert len(view.limits) == len(SessionControl)
    assert view.title


@pytest.mark.parametrize("code", wording.ERROR_STATUS)
@pytest.mark.parametrize("app", ["Payroll", ""])
def test_every_error_has_words_with_and_without_an_app(code, app):
    view = wording.error(context(app=app), code)
    assert view.status == wording.ERROR_STATUS[code]
    assert view.title[0].isupper()
    assert view.lead
    assert all(view.advice)
    assert "{" not in view.title + view.lead + "".join(view.advice)


@pytest.mark.parametrize(
    ("status", "title"),
    [
        (502, "Payroll is not answering"),
        (504, "Payroll takes too long to answer"),
        (418, "That did not make sense to us"),
        (403, "That did not go through"),
        (507, "Something broke on our side"),
    ],
)
def test_other_codes_get_the_words_of_their_status(status, title):
    view = wording.error(context(), "upstream-unreachable", status=status)
    assert (view.status, view.code, view.title) == (status, "upstream-unreachable", title)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (1, "Try again in about 1 second."),
        (30, "Try again in about 30 seconds."),
        (150, "Try again in about 3 minutes."),
    ],
)
def test_retry_advice_says_when(seconds, said):
    assert wording.error(context(), "too-many-requests", retry_after_s=seconds).advice == (said,)


# --- the catalogue -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"), [("claim device_id", "sign-in told"), ("certificate subject.CN", "certificate")]
)
def test_who_is_on_another_device_is_told_how_we_took_it_for_this_one(source, said):
    known = msgspec.structs.replace(access(), device_source=source)
    assert said in wording.remediation(known, context(), can_continue=True).device_help


def test_a_rule_that_is_put_off_has_to_be_met_by_then():
    """Not `ready`: the device still fails it, and access ends with the exception."""
    exempted = rule(state=ComplianceState.COMPLIANT, reason=ComplianceReason.EXEMPTED)
    name = f"{exempted.policy}/{exempted.rule}"
    device = access(exempted)
    until = NOW + timedelta(hours=4)
    view = wording.remediation(device, context(), can_continue=True, put_off={name: until})
    assert view.kind is RemediationKind.GRACE
    assert view.deadline is not None
    assert (view.deadline.at, view.problems[0].status) == (until, ProblemStatus.DUE)
    assert wording.remediation(device, context(), can_continue=True).kind is RemediationKind.CLEAR


def test_checks_tell_programs_what_the_page_tells_people():
    checks = wording.as_checks(samples.fix_rules().problems)
    assert [each["title"] for each in checks] == ["Turn on disk encryption", "Update Google Chrome"]
    assert {each["status"] for each in checks} == {"to-do"}
    assert checks[1]["seen"] == "129.0.6668"
    assert checks[1]["observed_at"] == "2026-11-20T13:59:11+00:00"
    assert all(value for each in checks for value in each.values())


def test_no_text_blames_or_speaks_jargon():
    banned = re.compile(
        r"\b(denied|violat\w*|non-?compliant|unauthori[sz]ed|forbidden|illegal|invalid|administrator|failed|posture)\b",
        re.IGNORECASE,
    )
    assert {key: value for key, value in TEXTS.items() if banned.search(value)} == {}


def test_every_plural_has_both_forms():
    for key in TEXTS:
        if key.endswith("_one"):
            assert key[:-4] + "_many" in TEXTS
        if key.endswith("_many"):
            assert key[:-5] + "_one" in TEXTS
    assert plural("state_to_fix", 1) == "1 thing to fix"
    assert plural("state_to_fix", 0) == "0 things to fix"


def test_every_text_is_used_and_every_used_text_exists():
    """Keys that are put together from parts are recognised by their beginning."""
    paths = (path for pattern in ("*.py", "wording/*.py", "templates/*.html") for path in ROOT.glob(pattern))
    sources = "".join(path.read_text("utf-8") for path in paths)
    said = set(re.findall(r'["\']([a-z][a-z0-9_-]*)["\']', sources))
    beginnings = tuple(set(re.findall(r'f?["\']([a-z_]+_)(?:\{|["\'])', sources)))
    parts = ("_one", "_many", "_no_app", "_title", "_lead", "_advice", "_1", "_2", "_3")
    unused = [
        key
        for key in TEXTS
        if key not in said
        and not key.startswith(beginnings)
        and not any(key.removesuffix(part) in said for part in parts)
        and not any(key.removesuffix("_no_app").removesuffix(part) in said for part in parts)
        and not re.fullmatch(r"(ago|in)_(now|minutes|hours|days)(_one|_many)?", key)
    ]
    assert unused == []
    for key in re.findall(r'\b[tp]\("([a-z_]+)"[,)]', sources):
        assert key in TEXTS, key


def test_an_unknown_text_is_a_bug():
    with pytest.raises(KeyError):
        text("no-such-text")
