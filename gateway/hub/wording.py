"""From decisions to what people read: view models from compliance, risk and decisions.

Pure: no clock (`now` is in the context), no I/O. The words themselves stand in `gateway.hub.texts`; this module
chooses among them. It also makes hostile texts harmless: device names and finding titles come from machines that
somebody else may control.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from compliance.model import AccessContext, ComplianceState, Decision, RuleResult, SessionControl
from gateway.hub.texts import TEXTS, plural, text
from gateway.hub.views import (
    BlockedView,
    ChooseProviderView,
    ErrorView,
    HeldItem,
    MeView,
    Moment,
    OperatingSystem,
    ProblemStatus,
    ProblemView,
    ProviderChoice,
    RemediationKind,
    RemediationView,
    RestrictedView,
    SensorView,
    SignedOutView,
    SignInView,
    SignOutView,
    StepState,
    StepUpView,
    Stop,
)
from risk.model import RISK_ORDER, Finding, Posture, RiskContribution, RiskLevel

NAME_MAX = 80
TITLE_MAX = 160
SENTENCE_MAX = 600
MARKDOWN_MAX = 4000
STEPS_MAX = 12
PROBLEMS_MAX = 20
DONE_MAX = 10
HELD_MAX = 40
DONE_SHOWN_FOR = timedelta(hours=12)
"""How long after it was closed a finding is still shown as done."""

_MINUTE = 60
_HOUR = 3600
_DAY = 86400
_WEEK_DAYS = 6
_NOW_S = 45


# --- texts from elsewhere ------------------------------------------------------------------------------------


def clean(untrusted: str, limit: int, *, keep_lines: bool = False) -> str:
    """Return `untrusted` as one harmless line of at most `limit` characters, cut with an ellipsis.

    Control, format and unassigned characters go (among them those that turn the direction of writing), white space
    becomes single spaces, and at most two marks stay on one letter. `keep_lines` keeps line breaks and indentation.
    """
    kept: list[str] = []
    marks = 0
    for sign in untrusted[: 4 * limit]:
        category = unicodedata.category(sign)
        if category in {"Mn", "Me"}:
            marks += 1
            if marks > 2:  # noqa: PLR2004 - two marks are what real writing needs
                continue
        else:
            marks = 0
        if keep_lines and sign == "\n":
            kept.append(sign)
        elif category[0] == "Z" or sign in "\t\n\r\v\f":
            kept.append(" ")
        elif category[0] != "C" or sign in _JOINERS:
            kept.append(sign)
    result = "".join(kept)
    result = result.strip() if keep_lines else " ".join(result.split())
    if len(result) > limit or len(untrusted) > 4 * limit:
        result = result[: limit - 1].rstrip() + "…"
    return result


_JOINERS = "\u200c\u200d"  # needed by several scripts and by emoji; they cannot turn the direction


def name_in_sentence(untrusted: str) -> str:
    """Return a cleaned name for the middle of a sentence, isolated when it is written from right to left."""
    name = clean(untrusted, NAME_MAX)
    if any(unicodedata.bidirectional(sign) in {"R", "AL", "AN"} for sign in name):
        return f"\u2068{name}\u2069"
    return name


def sensor_label(name: str, labels: Mapping[str, str] | None = None) -> str:
    """Return what people call the sensor: its configured label, else its name with a capital letter."""
    label = (labels or {}).get(name) or name.replace("-", " ").replace("_", " ")
    return clean(label[:1].upper() + label[1:], NAME_MAX)


def detect_os(user_agent: str) -> OperatingSystem:
    """Return the operating system that a User-Agent tells of. A wrong guess only shows other instructions first."""
    for mark, system in _SYSTEM_MARKS:
        if mark in user_agent:
            return system
    return OperatingSystem.UNKNOWN


_SYSTEM_MARKS = (
    ("Android", OperatingSystem.ANDROID),
    ("CrOS", OperatingSystem.CHROMEOS),
    ("iPhone", OperatingSystem.IOS),
    ("iPad", OperatingSystem.IOS),
    ("iPod", OperatingSystem.IOS),
    ("Windows", OperatingSystem.WINDOWS),
    ("Macintosh", OperatingSystem.MACOS),
    ("Mac OS X", OperatingSystem.MACOS),
    ("Linux", OperatingSystem.LINUX),
    ("X11", OperatingSystem.LINUX),
)

_SYSTEM_HEADING = re.compile(
    r"^#{1,6}[ \t]+(macos|mac|os x|windows|linux|ios|ipados|android|chromeos)[ \t]*:?[ \t]*#*[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)
_SYSTEM_NAMES = {
    "macos": OperatingSystem.MACOS,
    "mac": OperatingSystem.MACOS,
    "os x": OperatingSystem.MACOS,
    "windows": OperatingSystem.WINDOWS,
    "linux": OperatingSystem.LINUX,
    "ios": OperatingSystem.IOS,
    "ipados": OperatingSystem.IOS,
    "android": OperatingSystem.ANDROID,
    "chromeos": OperatingSystem.CHROMEOS,
}


class Instructions(msgspec.Struct, frozen=True):
    """A Markdown text taken apart by operating system: for all, for this one, and (system, text) for others."""

    common: str
    own: str = ""
    others: tuple[tuple[OperatingSystem, str], ...] = ()


def instructions(markdown: str, system: OperatingSystem) -> Instructions:
    """Return `markdown` divided at headings that name an operating system (``## macOS``).

    What stands before the first such heading is for everyone.
    """
    parts = _SYSTEM_HEADING.split(clean(markdown, MARKDOWN_MAX, keep_lines=True))
    own = ""
    others: list[tuple[OperatingSystem, str]] = []
    for heading, body in zip(parts[1::2], parts[2::2], strict=True):
        found = _SYSTEM_NAMES[heading.lower()]
        if found is system:
            own = f"{own}\n{body.strip()}".strip()
        else:
            others.append((found, body.strip()))
    return Instructions(parts[0].strip(), own, tuple(others))


# --- times ---------------------------------------------------------------------------------------------------


def moment(at: datetime, now: datetime, zone: tzinfo = UTC) -> Moment:
    """Return `at` for people: with its zone, and relative to `now`."""
    local = at.astimezone(zone)
    return Moment(at=at, text=_dated("moment", local), ago=relative(at, now))


def relative(at: datetime, now: datetime) -> str:
    """Return how long ago or how far ahead `at` is, in one unit: ``3 minutes ago``, ``in 2 days``."""
    seconds = (now - at).total_seconds()
    word, size = ("ago", seconds) if seconds >= 0 else ("in", -seconds)
    if size < _NOW_S:
        return text(f"{word}_now")
    if size < _HOUR - _MINUTE / 2:
        return plural(f"{word}_minutes", max(1, round(size / _MINUTE)))
    if size < _DAY - _HOUR / 2:
        return plural(f"{word}_hours", max(1, round(size / _HOUR)))
    return plural(f"{word}_days", max(1, round(size / _DAY)))


def since(at: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return ``since 09:12 UTC``, ``since yesterday``, ``since Tuesday`` or ``since 3 November``."""
    local, today = at.astimezone(zone), now.astimezone(zone)
    days = (today.date() - local.date()).days
    if days <= 0:
        return text("since_time", time=f"{local:%H:%M} {_zone(local)}")
    if days == 1:
        return text("since_yesterday")
    if days <= _WEEK_DAYS:
        return text("since_weekday", weekday=TEXTS["weekdays"].split()[local.weekday()])
    return text("since_date", day=local.day, month=TEXTS["months"].split()[local.month - 1])


def day_and_time(at: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return ``14:00 UTC today``, ``Friday 14:00 UTC`` or ``3 December 14:00 UTC``."""
    local = at.astimezone(zone)
    days = (local.date() - now.astimezone(zone).date()).days
    if days == 0:
        return _dated("day_today", local)
    return _dated("day_weekday" if 0 < days <= _WEEK_DAYS else "day_date", local)


def _dated(key: str, local: datetime) -> str:
    return text(
        key,
        weekday=TEXTS["weekdays"].split()[local.weekday()],
        weekday_short=TEXTS["weekdays_short"].split()[local.weekday()],
        day=local.day,
        month=TEXTS["months"].split()[local.month - 1],
        month_short=TEXTS["months_short"].split()[local.month - 1],
        year=local.year,
        time=f"{local:%H:%M}",
        zone=_zone(local),
    )


def _zone(local: datetime) -> str:
    return local.tzname() or "UTC"


# --- what every page needs -----------------------------------------------------------------------------------


class PageContext(msgspec.Struct, frozen=True, kw_only=True):
    """What every page is told. `app` is the app's title and `owner` whom to ask; "" where there is none.

    `account` names the signed-in person ("" when nobody is). `sensor_labels` maps sensor names to labels.
    """

    now: datetime
    reference: str = ""
    account: str = ""
    app: str = ""
    owner: str = ""
    sign_out_url: str = "/.gate/logout"
    system: OperatingSystem = OperatingSystem.UNKNOWN
    zone: tzinfo = UTC
    sensor_labels: dict[str, str] = {}

    @property
    def app_name(self) -> str:
        """The app's title made harmless, "" without one."""
        return name_in_sentence(self.app)

    def moment(self, at: datetime) -> Moment:
        """Return `at` for people, as seen from this page."""
        return moment(at, self.now, self.zone)


def _sentence(key: str, context: PageContext, **values: object) -> str:
    """Return text `key` naming the app, or its form ``…_no_app`` when no app is known."""
    if context.app_name or f"{key}_no_app" not in TEXTS:
        return text(key, app=context.app_name or text("the_app_inside"), **values)
    return text(f"{key}_no_app", **values)


def _you(context: PageContext, state: StepState, key: str) -> Stop:
    return Stop("person", clean(context.account, NAME_MAX) or text("stop_you"), state, text(key))


def _app(context: PageContext, state: StepState, key: str) -> Stop:
    return Stop("app", clean(context.app, NAME_MAX) or text("stop_app"), state, text(key))


def _gate(state: StepState, key: str) -> Stop:
    return Stop("gate", text("stop_gate"), state, text(key))


# --- problems ------------------------------------------------------------------------------------------------


def is_silence(result: RuleResult) -> bool:
    """Return whether a rule is unmet because nothing fresh is known, not because something is wrong."""
    return result.state is ComplianceState.UNKNOWN or any(
        word in result.reason for word in ("silent", "stale", "unheard", "too-old", "not-seen", "unknown", "missing")
    )


def is_about_risk(result: RuleResult) -> bool:
    """Return whether a rule judges the risk level; its reasons are then the findings."""
    return "risk" in result.reason


def _device(access: AccessContext) -> str:
    return name_in_sentence(access.device_name) or text("your_device")


def _status(state: ComplianceState) -> ProblemStatus:
    match state:
        case ComplianceState.COMPLIANT:
            return ProblemStatus.DONE
        case ComplianceState.IN_GRACE_PERIOD:
            return ProblemStatus.DUE
        case ComplianceState.NONCOMPLIANT | ComplianceState.UNKNOWN:
            return ProblemStatus.TO_DO


def _with_fix(problem: ProblemView, fix_md: str, context: PageContext) -> ProblemView:
    parts = instructions(fix_md, context.system)
    return msgspec.structs.replace(
        problem,
        fix_md=parts.common,
        own_fix_md=parts.own,
        own_fix_system=text(f"system_{context.system}") if parts.own else "",
        other_fixes=tuple((text(f"system_{system}"), body) for system, body in parts.others),
        steps=() if fix_md.strip() else problem.steps,
    )


def _rule_problem(result: RuleResult, access: AccessContext, context: PageContext) -> ProblemView:
    silence = is_silence(result) and result.state is not ComplianceState.COMPLIANT
    sensor = sensor_label(result.source, context.sensor_labels) if result.source else ""
    if silence:
        title = _silent_title(sensor, access)
        why = _sentence("problem_silent_why", context)
        steps = _texts("problem_silent_step")
    else:
        title, why, steps = text("problem_fact_title"), "", _texts("problem_fact_step")
    problem = ProblemView(
        key=f"rule:{clean(result.policy, NAME_MAX)}/{clean(result.rule, NAME_MAX)}",
        title=clean(result.title, TITLE_MAX) or title,
        status=_status(result.state),
        seen=clean(result.seen, SENTENCE_MAX),
        wanted=clean(result.wanted, SENTENCE_MAX),
        sensor=sensor,
        observed=context.moment(result.observed_at) if result.observed_at else None,
        deadline=context.moment(result.deadline)
        if result.deadline and result.state is ComplianceState.IN_GRACE_PERIOD
        else None,
        why_md=clean(result.why, MARKDOWN_MAX, keep_lines=True),
        why="" if result.why.strip() else why,
        steps=steps,
    )
    return _with_fix(problem, result.fix, context)


def _silent_title(sensor: str, access: AccessContext) -> str:
    if sensor:
        return text("problem_silent_title", sensor=sensor)
    return text("problem_silent_title_any", device=_device(access))


def _texts(prefix: str) -> tuple[str, ...]:
    return tuple(TEXTS[key] for key in sorted(TEXTS) if re.fullmatch(rf"{prefix}_\d", key))


def _finding_problem(
    contribution: RiskContribution, finding: Finding | None, rule: RuleResult | None, context: PageContext
) -> ProblemView:
    severity = str(finding.level if finding else contribution.level)
    steps = tuple(
        clean(step, SENTENCE_MAX) for step in (finding.recommended_actions if finding else ())[:STEPS_MAX]
    )
    why_md = clean(rule.why, MARKDOWN_MAX, keep_lines=True) if rule else ""
    rationale = clean(finding.rationale, SENTENCE_MAX) if finding else ""
    deadline = rule.deadline if rule and rule.state is ComplianceState.IN_GRACE_PERIOD else None
    problem = ProblemView(
        key=f"finding:{clean(contribution.sensor, NAME_MAX)}/{clean(contribution.external_id, NAME_MAX)}",
        title=clean(contribution.title, TITLE_MAX) or text("problem_finding_title"),
        status=ProblemStatus.DUE if deadline else ProblemStatus.TO_DO,
        seen=clean(finding.description, SENTENCE_MAX) if finding else "",
        severity=text(f"severity_{severity}"),
        sensor=sensor_label(contribution.sensor, context.sensor_labels),
        observed=context.moment(contribution.observed_at),
        deadline=context.moment(deadline) if deadline else None,
        why=rationale or ("" if why_md else text("problem_risk_why")),
        why_md="" if rationale else why_md,
        steps=steps or _texts("problem_risk_step"),
    )
    return problem if steps or not (rule and rule.fix.strip()) else _with_fix(problem, rule.fix, context)


def _done_finding(finding: Finding, context: PageContext) -> ProblemView:
    return ProblemView(
        key=f"finding:{clean(finding.sensor, NAME_MAX)}/{clean(finding.external_id, NAME_MAX)}",
        title=clean(finding.title, TITLE_MAX) or text("problem_finding_title"),
        status=ProblemStatus.DONE,
        sensor=sensor_label(finding.sensor, context.sensor_labels),
        observed=context.moment(finding.observed_at),
    )


def _silent_sensor(name: str, posture: Posture | None, access: AccessContext, context: PageContext) -> ProblemView:
    last = posture.heard.get(name) if posture else None
    return ProblemView(
        key=f"silent:{clean(name, NAME_MAX)}",
        title=_silent_title(sensor_label(name, context.sensor_labels), access),
        status=ProblemStatus.TO_DO,
        seen=text("problem_silent_seen", ago=relative(last, context.now))
        if last
        else text("problem_silent_seen_never"),
        sensor=sensor_label(name, context.sensor_labels),
        observed=context.moment(last) if last else None,
        why=_sentence("problem_silent_why", context),
        steps=_texts("problem_silent_step"),
    )


def _never_heard(access: AccessContext, context: PageContext) -> ProblemView:
    return ProblemView(
        key="silent:",
        title=_silent_title("", access),
        status=ProblemStatus.TO_DO,
        seen=text("problem_silent_seen_never"),
        why=_sentence("problem_silent_why", context),
        steps=_texts("problem_silent_step"),
    )


def _unknown_device(access: AccessContext) -> ProblemView:
    return ProblemView(
        key="unknown-device",
        title=text("problem_unknown_title"),
        status=ProblemStatus.TO_DO,
        seen=text("device_help_unknown"),
        why=text("problem_unknown_why"),
        steps=_texts("problem_unknown_step"),
    )


def _counted(
    contributions: Iterable[RiskContribution], risk_max: RiskLevel | None, *, nothing_else: bool
) -> list[RiskContribution]:
    """Return the contributions that have to go, worst first; see `problems` for `risk_max`."""
    if risk_max is not None:
        floor = RISK_ORDER.get(risk_max, -1) + 1
    else:
        floor = RISK_ORDER[RiskLevel.LOW] if nothing_else else RISK_ORDER[RiskLevel.MEDIUM]
    counted = [item for item in contributions if RISK_ORDER.get(item.level, floor) >= floor]
    return sorted(counted, key=lambda item: -RISK_ORDER.get(item.level, 0))


def problems(
    access: AccessContext,
    context: PageContext,
    *,
    posture: Posture | None = None,
    risk_max: RiskLevel | None = None,
) -> tuple[ProblemView, ...]:
    """Return what has to be fixed on this device, then what is done.

    Unmet rules, then findings above `risk_max` (the highest level that is accepted here; None when that is not
    known: then medium and above, and low ones only when nothing else explains the state), then silent sensors. A
    finding speaks instead of the risk rule that it breaks.
    """
    if access.device_id is None:
        return (_unknown_device(access),)
    results = access.compliance.results
    unmet = [result for result in results if result.state is not ComplianceState.COMPLIANT]
    risk_rule = next((result for result in unmet if is_about_risk(result)), None)
    findings = posture.findings if posture else {}
    counted = _counted(access.risk.contributions, risk_max, nothing_else=not unmet or risk_rule is not None)
    found = [
        _finding_problem(item, findings.get((item.sensor, item.external_id)), risk_rule, context) for item in counted
    ]
    rules = [
        _rule_problem(result, access, context)
        for result in unmet
        if not (is_about_risk(result) and (counted or access.risk.silent_sensors))
    ]
    named = {result.source for result in unmet if is_silence(result)}
    silent = [
        _silent_sensor(name, posture, access, context)
        for name in access.risk.silent_sensors
        if name not in named
    ]
    if not (rules or found or silent) and access.risk.level is RiskLevel.UNKNOWN:
        silent = [_never_heard(access, context)]
    done = [
        _rule_problem(result, access, context)
        for result in results
        if result.state is ComplianceState.COMPLIANT and result.title and not is_about_risk(result)
    ]
    done += [
        _done_finding(finding, context)
        for finding in sorted(findings.values(), key=lambda finding: finding.observed_at, reverse=True)
        if not finding.is_open and finding.title and context.now - finding.received_at < DONE_SHOWN_FOR
    ]
    return (*found, *rules, *silent, *done[:DONE_MAX])


# --- pages ---------------------------------------------------------------------------------------------------


def remediation(  # noqa: PLR0913 - each is a fact of the page
    access: AccessContext,
    context: PageContext,
    *,
    can_continue: bool,
    decision: Decision | None = None,
    posture: Posture | None = None,
    risk_max: RiskLevel | None = None,
    continue_url: str = "",
    notice: str = "",
    csrf: str = "",
    page_url: str = "/.gate/fix",
    stream_url: str = "/.gate/status/stream",
    status_url: str = "/.gate/status",
    recheck_url: str = "/.gate/recheck",
    returns_by_itself: bool = False,
) -> RemediationView:
    """Return the view of `/.gate/fix` for this access context.

    `can_continue` is whether the wanted app (or, without one, any app) may be used now. `decision` adds its reason
    when nothing else explains the refusal, and its controls tell limited access from full access.
    """
    everything = problems(access, context, posture=posture, risk_max=risk_max)
    is_clear = can_continue and (access.device_id is None or all(_is_done(item) for item in everything))
    still_open = [] if is_clear else [item for item in everything if not _is_done(item)]
    done = [item for item in everything if _is_done(item)]
    kind = _kind(access, still_open, decision, can_continue=can_continue)
    waiting = _waiting(still_open, posture, context)
    title, lead, access_text = _remediation_words(kind, access, context, still_open, waiting, decision)
    return RemediationView(
        kind=kind,
        title=title,
        lead=lead,
        access=access_text,
        can_continue=can_continue,
        device=name_in_sentence(access.device_name) if access.device_id else "",
        device_system=text(f"system_{context.system}") if context.system is not OperatingSystem.UNKNOWN else "",
        device_help=_device_help(access),
        problems=(*still_open[:PROBLEMS_MAX], *done),
        more_problems=max(0, len(still_open) - PROBLEMS_MAX),
        waiting=waiting,
        held=held(posture, context),
        notice=clean(notice, SENTENCE_MAX),
        continue_url=continue_url,
        page_url=page_url,
        recheck_url=recheck_url,
        stream_url=stream_url,
        status_url=status_url,
        csrf=csrf,
        returns_by_itself=returns_by_itself,
        stops=_remediation_stops(kind, access, context, len(still_open)),
        **_common(context),
    )


def _common(context: PageContext) -> dict[str, str]:
    return {
        "reference": context.reference,
        "account": clean(context.account, NAME_MAX),
        "app": context.app_name,
        "owner": clean(context.owner, NAME_MAX),
        "sign_out_url": context.sign_out_url,
    }


def _is_done(problem: ProblemView) -> bool:
    return problem.status is ProblemStatus.DONE


def _is_silent(problem: ProblemView) -> bool:
    return problem.key.startswith("silent:")


def _kind(
    access: AccessContext, still_open: list[ProblemView], decision: Decision | None, *, can_continue: bool
) -> RemediationKind:
    is_limited = decision is not None and bool(decision.controls)
    if can_continue:
        if any(problem.deadline for problem in still_open) and not is_limited:
            return RemediationKind.GRACE
        return RemediationKind.LIMITED if still_open and is_limited else RemediationKind.CLEAR
    if access.device_id is None:
        return RemediationKind.UNKNOWN_DEVICE
    unmet = [result for result in access.compliance.results if result.state is not ComplianceState.COMPLIANT]
    is_only_silence = all(
        _is_silent(problem)
        or any(is_silence(result) and problem.key.endswith(f"/{result.rule}") for result in unmet)
        for problem in still_open
    )
    return RemediationKind.SILENT if still_open and is_only_silence else RemediationKind.FIX
