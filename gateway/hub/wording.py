"""From decisions to what people read: view models from compliance, risk and decisions.

Pure: no clock (`now` is in the context), no I/O. The words themselves stand in `gateway.hub.texts`; this
module chooses among them. It also makes hostile texts harmless: device names and finding titles come from
machines that somebody else may control.
"""

import itertools
import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta, tzinfo

import msgspec

from compliance.model import AccessContext, ComplianceState, Decision, RuleResult, SessionControl
from compliance.state import ComplianceReason
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
SENTENCE_MAX = 500
VALUE_MAX = 120
STEP_MAX = 240
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


# --- texts from elsewhere ---------------------------------------------------------------------------------


def clean(untrusted: str, limit: int, *, keep_lines: bool = False, keep: str = "") -> str:
    """Return `untrusted` as one harmless line of at most `limit` characters, cut with an ellipsis.

    Control, format and unassigned characters go (among them those that turn the direction of writing),
    white space becomes single spaces, and at most two marks stay on one letter. `keep_lines` keeps line
    breaks and indentation, `keep` the characters in it.
    """
    if len(untrusted) <= limit and untrusted.isascii() and untrusted.isprintable():
        return untrusted.strip() if keep_lines else " ".join(untrusted.split())
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
        elif category[0] != "C" or sign in _JOINERS or sign in keep:
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
    """Return the operating system that a User-Agent tells of.

    A wrong guess only shows other instructions first.
    """
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
    """Markdown taken apart by operating system: for all, for this one, and (system, text) for others."""

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


# --- times ------------------------------------------------------------------------------------------------


def moment(at: datetime, now: datetime, zone: tzinfo = UTC) -> Moment:
    """Return `at` for people: with its zone, and relative to `now`."""
    local = at.astimezone(zone)
    is_this_year = local.year == now.astimezone(zone).year
    return Moment(
        at=at, text=_dated("moment" if is_this_year else "moment_year", local), ago=relative(at, now)
    )


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


def by_day(at: datetime, now: datetime, zone: tzinfo = UTC) -> str:
    """Return ``today``, ``by tomorrow``, ``by Friday`` or ``by 3 December``."""
    local = at.astimezone(zone)
    days = (local.date() - now.astimezone(zone).date()).days
    if days <= 1:
        return text("by_today" if days <= 0 else "by_tomorrow")
    return _dated("by_weekday" if days <= _WEEK_DAYS else "by_date", local)


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


# --- what every page needs --------------------------------------------------------------------------------


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


def _you(state: StepState, key: str) -> Stop:
    return Stop("person", text("stop_you"), state, text(key))


def _app(context: PageContext, state: StepState, key: str) -> Stop:
    return Stop("app", clean(context.app, NAME_MAX) or text("stop_app"), state, text(key))


def _gate(state: StepState, key: str) -> Stop:
    return Stop("gate", text("stop_gate"), state, text(key))


# --- problems ---------------------------------------------------------------------------------------------


_SILENCE = frozenset(
    {
        ComplianceReason.SENSOR_SILENT,
        ComplianceReason.SENSOR_NEVER_HEARD,
        ComplianceReason.SENSOR_NOT_SEEN_LATELY,
        ComplianceReason.FACT_NEVER_REPORTED,
        ComplianceReason.FACT_EXPIRED,
        ComplianceReason.FACT_TOO_OLD,
        ComplianceReason.RISK_UNKNOWN,
    }
)
"""Reasons by which nothing is wrong as far as anybody knows: we only have not heard."""


def is_silence(result: RuleResult) -> bool:
    """Return whether a rule is unmet because nothing fresh is known, not because something is wrong."""
    return result.state is not ComplianceState.COMPLIANT and result.reason in _SILENCE


def _device(access: AccessContext) -> str:
    """Return the device's name for the middle of a sentence."""
    return name_in_sentence(access.device_name) or text("your_device_inside")


def _this_device(access: AccessContext) -> str:
    """Return the device's name for the beginning of a sentence."""
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


def _rule_problem(result: RuleResult, context: PageContext) -> ProblemView:
    is_uncovered = result.reason == ComplianceReason.NOT_COVERED
    title = text("problem_uncovered_title") if is_uncovered else clean(result.title, TITLE_MAX)
    steps = _texts("problem_uncovered_step" if is_uncovered else "problem_fact_step")
    is_in_grace = result.state is ComplianceState.IN_GRACE_PERIOD
    says_itself = is_uncovered or result.seen in {"yes", "no", "none"}
    problem = ProblemView(
        key=f"rule:{clean(result.policy, NAME_MAX)}/{clean(result.rule, NAME_MAX)}",
        title=title or text("problem_fact_title"),
        status=_status(result.state),
        seen="" if says_itself else clean(result.seen, VALUE_MAX),
        wanted="" if says_itself else clean(result.wanted, VALUE_MAX),
        sensor=sensor_label(result.source, context.sensor_labels) if result.source else "",
        observed=context.moment(result.observed_at) if result.observed_at else None,
        deadline=context.moment(result.deadline) if result.deadline and is_in_grace else None,
        why_md=clean(result.why, MARKDOWN_MAX, keep_lines=True),
        why=text("problem_uncovered_why") if is_uncovered else "",
        steps=steps,
    )
    return _with_fix(problem, result.fix, context)


def _silence_problem(
    sensor: str,
    results: list[RuleResult],
    access: AccessContext,
    posture: Posture | None,
    context: PageContext,
) -> ProblemView:
    """Return the one problem of a silent sensor, however many rules wait for it ("" is no one sensor)."""
    label = sensor_label(sensor, context.sensor_labels) if sensor else ""
    last = posture.heard.get(sensor) if posture else None
    deadlines = [result.deadline for result in results if result.state is ComplianceState.IN_GRACE_PERIOD]
    is_in_grace = bool(results) and len(deadlines) == len(results)
    deadline = min((at for at in deadlines if at), default=None) if is_in_grace else None
    told = next((result for result in results if result.fix.strip()), None)
    why_md = clean(
        next((result.why for result in results if result.why.strip()), ""), MARKDOWN_MAX, keep_lines=True
    )
    problem = ProblemView(
        key=f"silent:{clean(sensor, NAME_MAX)}",
        title=text("problem_silent_title", sensor=label)
        if label
        else text("problem_silent_title_any", device=_device(access)),
        status=ProblemStatus.DUE if deadline else ProblemStatus.TO_DO,
        is_silence=True,
        text=text("problem_silent_text") if last else text("problem_silent_text_never"),
        wanted=", ".join(_waited_for(results)),
        sensor=label,
        observed=context.moment(last) if last else None,
        deadline=context.moment(deadline) if deadline else None,
        why_md=why_md,
        why="" if why_md else _sentence("problem_silent_why", context),
        steps=_texts("problem_silent_step"),
    )
    return _with_fix(problem, told.fix if told else "", context)


def _waited_for(results: list[RuleResult]) -> list[str]:
    """Return the titles of the rules that wait for a report, each once."""
    return list(dict.fromkeys(clean(result.title, TITLE_MAX) for result in results if result.title))[
        :HELD_MAX
    ]


def _texts(prefix: str) -> tuple[str, ...]:
    """Return the texts `prefix_1`, `prefix_2` and so on."""
    keys = itertools.takewhile(TEXTS.__contains__, (f"{prefix}_{number}" for number in itertools.count(1)))
    return tuple(TEXTS[key] for key in keys)


def _finding_problem(
    contribution: RiskContribution, finding: Finding | None, rule: RuleResult | None, context: PageContext
) -> ProblemView:
    severity = str(finding.level if finding else contribution.level)
    steps = tuple(
        clean(step, STEP_MAX) for step in (finding.recommended_actions if finding else ())[:STEPS_MAX]
    )
    why_md = clean(rule.why, MARKDOWN_MAX, keep_lines=True) if rule else ""
    rationale = clean(finding.rationale, SENTENCE_MAX) if finding else ""
    deadline = rule.deadline if rule and rule.state is ComplianceState.IN_GRACE_PERIOD else None
    problem = ProblemView(
        key=f"finding:{clean(contribution.sensor, NAME_MAX)}/{clean(contribution.external_id, NAME_MAX)}",
        title=clean(contribution.title, TITLE_MAX) or text("problem_finding_title"),
        status=ProblemStatus.DUE if deadline else ProblemStatus.TO_DO,
        text=clean(finding.description, SENTENCE_MAX) if finding else "",
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


def _unknown_device() -> ProblemView:
    return ProblemView(
        key="unknown-device",
        title=text("problem_unknown_title"),
        status=ProblemStatus.TO_DO,
        is_silence=True,
        text=text("device_help_unknown"),
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

    Findings above `risk_max` (the highest level that is accepted here; None when that is
    not known: then medium and above, and low ones only when nothing else explains the state), unmet rules,
    silent sensors. A finding speaks instead of the risk rule that it breaks.
    """
    if access.device_id is None:
        return (_unknown_device(),)
    results = access.compliance.results
    risky = next((item for item in results if item.reason == ComplianceReason.RISK_TOO_HIGH), None)
    unmet = [
        item
        for item in results
        if item.state is not ComplianceState.COMPLIANT and item is not risky and not is_silence(item)
    ]
    silent = _silent(access, posture, context)
    findings = posture.findings if posture else {}
    counted = _counted(
        access.risk.contributions, risk_max, nothing_else=risky is not None or not (unmet or silent)
    )
    found = [
        _finding_problem(item, findings.get((item.sensor, item.external_id)), risky, context)
        for item in counted
    ]
    if risky is not None and not found:
        unmet = [risky, *unmet]
    done = [
        _rule_problem(item, context)
        for item in results
        if item.state is ComplianceState.COMPLIANT and item.title
    ]
    fixed = [
        _done_finding(item, context)
        for item in sorted(findings.values(), key=lambda item: item.observed_at, reverse=True)
        if not item.is_open and item.title and context.now - item.received_at < DONE_SHOWN_FOR
    ]
    return (*found, *(_rule_problem(item, context) for item in unmet), *silent, *[*fixed, *done][:DONE_MAX])


def _silent(access: AccessContext, posture: Posture | None, context: PageContext) -> list[ProblemView]:
    """Return one problem for each sensor that is waited for, and one for all that no sensor ever told of."""
    waits: dict[str, list[RuleResult]] = {name: [] for name in access.risk.silent_sensors}
    together = ", ".join(access.risk.silent_sensors)
    for result in access.compliance.results:
        # A risk rule that several silent sensors leave open names them all; each has its own problem already.
        if is_silence(result) and (result.source != together or len(access.risk.silent_sensors) == 1):
            waits.setdefault(result.source, []).append(result)
    if not waits and access.risk.level is RiskLevel.UNKNOWN:
        waits[""] = []
    return [_silence_problem(sensor, results, access, posture, context) for sensor, results in waits.items()]


# --- pages ------------------------------------------------------------------------------------------------


def remediation(
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

    `can_continue` is whether the wanted app (or, without one, any app) may be used now. `decision` adds its
    reason when nothing else explains the refusal, and its controls tell limited access from full access.
    """
    everything = problems(access, context, posture=posture, risk_max=risk_max)
    done = [problem for problem in everything if problem.status is ProblemStatus.DONE]
    still_open = [problem for problem in everything if problem.status is not ProblemStatus.DONE]
    kind = _kind(access, still_open, decision, can_continue=can_continue)
    if kind is RemediationKind.CLEAR:
        still_open = []
    elif not still_open:
        still_open = [_unnamed(decision)]
    waiting = _waiting(still_open, posture, context)
    title, lead, access_text = _remediation_words(kind, access, context, still_open, waiting)
    return RemediationView(
        kind=kind,
        title=title,
        lead=lead,
        access=access_text,
        can_continue=can_continue,
        deadline=_deadline(still_open) if can_continue else None,
        device=_this_device(access) if access.device_id else "",
        device_system=text(f"system_{context.system}")
        if context.system is not OperatingSystem.UNKNOWN
        else "",
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
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def _kind(
    access: AccessContext, still_open: list[ProblemView], decision: Decision | None, *, can_continue: bool
) -> RemediationKind:
    if can_continue:
        if still_open and decision is not None and decision.controls:
            return RemediationKind.LIMITED
        if any(problem.deadline for problem in still_open):
            return RemediationKind.GRACE
        is_worth_a_word = access.device_id is not None and bool(still_open)
        return RemediationKind.NOTICE if is_worth_a_word else RemediationKind.CLEAR
    if access.device_id is None:
        return RemediationKind.UNKNOWN_DEVICE
    if still_open and all(problem.is_silence for problem in still_open):
        return RemediationKind.SILENT
    return RemediationKind.FIX


def _unnamed(decision: Decision | None) -> ProblemView:
    """Return the problem that stands for a refusal which nothing known about the device explains."""
    return ProblemView(
        key="reason",
        title=text("problem_generic"),
        status=ProblemStatus.TO_DO,
        text=clean(decision.reason, SENTENCE_MAX) if decision else "",
        steps=(text("problem_generic_step"),),
    )


def _waiting(
    still_open: list[ProblemView], posture: Posture | None, context: PageContext
) -> tuple[SensorView, ...]:
    """Return the sensors of the open problems, each once, with when they last spoke."""
    heard = posture.heard if posture else {}
    labels = {sensor_label(name, context.sensor_labels): at for name, at in heard.items()}
    names = dict.fromkeys(problem.sensor for problem in still_open if problem.sensor)
    return tuple(
        SensorView(name=name, last=context.moment(labels[name]) if name in labels else None) for name in names
    )


def _remediation_words(  # noqa: PLR0911 - one per kind of page
    kind: RemediationKind,
    access: AccessContext,
    context: PageContext,
    still_open: list[ProblemView],
    waiting: tuple[SensorView, ...],
) -> tuple[str, str, str]:
    """Return title, first sentence, and the sentence about access."""
    device, count = _device(access), len(still_open)
    match kind:
        case RemediationKind.FIX:
            return (
                _sentence("fix_title", context, device=_this_device(access)),
                plural("fix_lead", count),
                _sentence("access_paused", context),
            )
        case RemediationKind.GRACE:
            ends = _deadline(still_open)
            by = by_day(ends.at, context.now, context.zone) if ends else ""
            return (
                _sentence("grace_title", context, by=by),
                plural("grace_lead", count, device=device),
                text("access_until", deadline=ends.text, ago=ends.ago) if ends else "",
            )
        case RemediationKind.LIMITED:
            return (
                _sentence("limited_title", context),
                text("limited_lead"),
                _sentence("access_limited", context),
            )
        case RemediationKind.NOTICE:
            return (
                text("fix_title_no_app", device=_this_device(access)),
                _sentence("notice_lead", context),
                _sentence("access_open", context),
            )
        case RemediationKind.SILENT:
            return *_silent_words(device, context, waiting), _sentence(
                "access_paused_silent", context, device=device
            )
        case RemediationKind.UNKNOWN_DEVICE:
            return (
                text("unknown_title"),
                _sentence("unknown_lead", context),
                _sentence("access_paused_unknown", context),
            )
        case RemediationKind.CLEAR:
            is_known = access.device_id is not None
            return (
                text("clear_title", device=_this_device(access))
                if is_known
                else _sentence("clear_unknown_title", context),
                _sentence("clear_lead", context) if is_known else text("clear_unknown_lead"),
                _sentence("access_open", context),
            )


def _deadline(still_open: list[ProblemView]) -> Moment | None:
    """Return the nearest deadline."""
    moments = [problem.deadline for problem in still_open if problem.deadline]
    return min(moments, key=lambda item: item.at, default=None)


def _silent_words(device: str, context: PageContext, waiting: tuple[SensorView, ...]) -> tuple[str, str]:
    heard = [sensor.last.at for sensor in waiting if sensor.last]
    if not heard:
        return text("silent_title_never", device=device), text("silent_lead_never")
    return text("silent_title", device=device, since=since(min(heard), context.now, context.zone)), text(
        "silent_lead"
    )


def _remediation_stops(
    kind: RemediationKind, access: AccessContext, context: PageContext, count: int
) -> tuple[Stop, ...]:
    device = clean(access.device_name, NAME_MAX) or text("stop_device")
    match kind:
        case RemediationKind.FIX:
            stop = Stop("device", device, StepState.ATTENTION, plural("state_to_fix", count))
        case RemediationKind.GRACE | RemediationKind.LIMITED | RemediationKind.NOTICE:
            stop = Stop("device", device, StepState.ATTENTION, plural("state_to_fix", count))
        case RemediationKind.SILENT:
            stop = Stop("device", device, StepState.UNKNOWN, text("state_silent"))
        case RemediationKind.UNKNOWN_DEVICE:
            stop = Stop("device", text("stop_this_device"), StepState.UNKNOWN, text("state_unknown_device"))
        case RemediationKind.CLEAR:
            stop = (
                Stop("device", device, StepState.OK, text("state_ready"))
                if access.device_id is not None
                else Stop("device", text("stop_this_device"), StepState.UNKNOWN, text("state_unknown_device"))
            )
    match kind:
        case RemediationKind.GRACE | RemediationKind.NOTICE | RemediationKind.CLEAR:
            app = _app(context, StepState.OK, "state_open")
        case RemediationKind.LIMITED:
            app = _app(context, StepState.ATTENTION, "state_limited")
        case _:
            app = _app(context, StepState.PAUSED, "state_paused")
    return _you(StepState.OK, "state_signed_in"), stop, app


def _device_help(access: AccessContext) -> str:
    if access.device_id is None:
        return text("device_help_unknown")
    if access.device_source in {"claim", "certificate"}:
        return text(f"device_help_{access.device_source}", device=_device(access))
    return text("device_help_other")


def checked_notice(view: RemediationView) -> str:
    """Return what to say after `Check again`: honest about what is still waited for."""
    if view.can_continue:
        return text("checked")
    heard = [sensor for sensor in view.waiting if sensor.last]
    if heard and heard[0].last:
        return text("checked_waiting", sensor=heard[0].name, ago=heard[0].last.ago)
    return text("checked_open")


def held(posture: Posture | None, context: PageContext) -> tuple[HeldItem, ...]:
    """Return what is stored about the device: identifiers, facts, open findings, last reports.

    At most `HELD_MAX`.
    """
    if posture is None:
        return ()
    items = [
        HeldItem(
            label=clean(identifier.kind.replace("-", " ").capitalize(), NAME_MAX),
            value=clean(identifier.value, TITLE_MAX),
            source=sensor_label(identifier.issuer, context.sensor_labels) if identifier.issuer else "",
        )
        for identifier in posture.identifiers
    ]
    items += [
        HeldItem(
            label=clean(
                fact.name.replace("-", " ").replace("_", " ").replace(".", " ").capitalize(), NAME_MAX
            ),
            value=clean(_shown(fact.value), TITLE_MAX),
            source=sensor_label(fact.sensor, context.sensor_labels),
            observed=context.moment(fact.observed_at),
        )
        for fact in posture.facts.values()
    ]
    items += [
        HeldItem(
            label=text("held_finding"),
            value=clean(finding.title, TITLE_MAX) or text("problem_finding_title"),
            source=sensor_label(finding.sensor, context.sensor_labels),
            observed=context.moment(finding.observed_at),
        )
        for finding in posture.findings.values()
        if finding.is_open
    ]
    items += [
        HeldItem(
            label=text("held_heard"),
            value=context.moment(at).text,
            source=sensor_label(name, context.sensor_labels),
            observed=context.moment(at),
        )
        for name, at in posture.heard.items()
    ]
    return tuple(items[:HELD_MAX])


def _shown(value: str | float | bool | None) -> str:
    if isinstance(value, bool):
        return text("value_yes") if value else text("value_no")
    return text("value_none") if value is None else str(value)


def blocked(context: PageContext, decision: Decision, *, retry_url: str = "") -> BlockedView:
    """Return the view of a refusal that the device cannot change. `retry_url` is the page that was wanted."""
    reason = clean(decision.reason, SENTENCE_MAX)
    if reason:
        lead = text("blocked_lead_reason")
    else:
        lead = text("blocked_lead") if decision.policy else text("blocked_lead_unmatched")
    owner = clean(context.owner, NAME_MAX)
    ask = text("blocked_step_ask", owner=owner) if owner else text("blocked_step_ask_nobody")
    return BlockedView(
        title=_sentence("blocked_title", context),
        lead=lead,
        reason=reason,
        advice=(ask, text("blocked_step_account")),
        retry_url=retry_url,
        stops=(
            _you(StepState.OK, "state_signed_in"),
            _app(context, StepState.PAUSED, "state_closed"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=owner,
        sign_out_url=context.sign_out_url,
    )


ERROR_STATUS: dict[str, int] = {
    "bad-request": 400,
    "not-found": 404,
    "no-such-host": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "too-large": 413,
    "too-many-requests": 429,
    "internal": 500,
    "bad-gateway": 502,
    "unavailable": 503,
    "cannot-check": 503,
    "gateway-timeout": 504,
    "provider-unavailable": 503,
    "state-expired": 400,
    "state-unknown": 400,
    "provider-refused": 403,
    "provider-invalid": 502,
    "other-user": 403,
    "cross-site-request": 403,
}
"""The errors that have words of their own, with their HTTP status."""

_SIGN_IN_ERRORS = frozenset(
    {
        "provider-unavailable",
        "state-expired",
        "state-unknown",
        "provider-refused",
        "provider-invalid",
        "other-user",
    }
)

_ERROR_OF_STATUS = {
    403: "cross-site-request",
    404: "not-found",
    405: "method-not-allowed",
    408: "request-timeout",
    413: "too-large",
    421: "no-such-host",
    429: "too-many-requests",
    502: "bad-gateway",
    503: "unavailable",
    504: "gateway-timeout",
}
_FIRST_SERVER_ERROR = 500


def error(
    context: PageContext,
    code: str,
    *,
    status: int | None = None,
    detail: str = "",
    provider: str = "",
    retry_after_s: int | None = None,
    action_url: str = "",
) -> ErrorView:
    """Return the view of an error.

    `code` is one of `ERROR_STATUS`, or any other code together with a `status`, whose general words are
    then used. `detail` is a sentence that may be shown to the person instead of the general one.
    `action_url` is where to try again (or, for a sign-in error, to start again).
    """
    status = status or ERROR_STATUS.get(code, 500)
    words = code if code in ERROR_STATUS else _words_of(status)
    values = {
        "app": context.app_name or text("the_app_inside"),
        "provider": name_in_sentence(provider) or text("the_provider"),
    }
    title = text(f"error_{words}_title", **{**values, "app": context.app_name or text("the_app")})
    lead = clean(detail, SENTENCE_MAX) or text(f"error_{words}_lead", **values)
    advice = text(f"error_{words}_advice", **values).split("\n")
    if retry_after_s:
        advice = [_retry_in(retry_after_s)]
    return ErrorView(
        status=status,
        code=code,
        title=title[:1].upper() + title[1:],
        lead=lead[:1].upper() + lead[1:],
        advice=tuple(advice),
        action_url=action_url,
        action_text=text("start_again" if words in _SIGN_IN_ERRORS else "try_again"),
        retry_after_s=retry_after_s,
        stops=_error_stops(words, context, provider),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def _words_of(status: int) -> str:
    return _ERROR_OF_STATUS.get(status, "internal" if status >= _FIRST_SERVER_ERROR else "bad-request")


def _retry_in(seconds: int) -> str:
    if seconds < 2 * _MINUTE:
        return plural("retry_in", seconds)
    return text("retry_in_minutes", count=-(-seconds // _MINUTE))


def _error_stops(  # noqa: PLR0911 - one per place where it can go wrong
    words: str, context: PageContext, provider: str
) -> tuple[Stop, ...]:
    """Return where it went wrong, so that nobody looks for the fault on their own side."""
    you = _you(StepState.OK, "state_signed_in" if context.account else "state_fine")
    gate = _gate(StepState.OK, "state_working")
    waiting = _app(context, StepState.PAUSED, "state_waiting")
    name = clean(provider, NAME_MAX) or text("stop_provider")
    match words:
        case "bad-gateway" | "gateway-timeout":
            return you, gate, _app(context, StepState.ATTENTION, "state_not_answering")
        case "unavailable":
            return you, gate, _app(context, StepState.ATTENTION, "state_busy")
        case "not-found" | "no-such-host":
            return you, gate, Stop("app", text("stop_address"), StepState.UNKNOWN, text("state_nothing_here"))
        case "internal" | "cannot-check":
            return (
                you,
                _gate(StepState.ATTENTION, "state_trouble"),
                _app(context, StepState.UNKNOWN, "state_not_asked"),
            )
        case "provider-unavailable":
            return you, Stop("provider", name, StepState.ATTENTION, text("state_not_answering")), waiting
        case "provider-refused" | "provider-invalid":
            return you, Stop("provider", name, StepState.ATTENTION, text("state_did_not_work")), waiting
        case "state-expired" | "state-unknown" | "other-user":
            return _you(StepState.ATTENTION, "state_sign_in_again"), waiting
        case _:
            return ()


def restricted(
    context: PageContext,
    control: SessionControl,
    *,
    controls: frozenset[SessionControl] = frozenset(),
    reason: str = "",
    fix_url: str = "/.gate/fix",
    back_url: str = "",
) -> RestrictedView:
    """Return the view of what a session control refused. `controls` are all that are in force."""
    key = f"restricted_{control.replace('-', '_')}"
    return RestrictedView(
        title=_sentence(f"{key}_title", context),
        lead=_sentence(f"{key}_lead", context),
        control=control,
        limits=tuple(text(f"limit_{item}") for item in SessionControl if item in controls | {control}),
        reason=clean(reason, SENTENCE_MAX),
        fix_url=fix_url,
        back_url=back_url,
        stops=(
            _you(StepState.OK, "state_signed_in"),
            _app(context, StepState.ATTENTION, "state_limited"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def sign_out_confirm(
    context: PageContext, *, csrf: str = "", back_url: str = "", form_targets: tuple[str, ...] = ()
) -> SignOutView:
    """Return the view that asks whether to sign out."""
    return SignOutView(
        title=text("sign_out_title"),
        lead=_sentence("sign_out_lead", context),
        csrf=csrf,
        back_url=back_url,
        form_targets=form_targets,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
        reference=context.reference,
    )


def signed_out(
    context: PageContext, *, provider: str = "", provider_url: str = "", sign_in_url: str = ""
) -> SignedOutView:
    """Return the view after sign-out. `provider_url` "" offers no sign-out at the provider."""
    return SignedOutView(
        title=text("signed_out_title"),
        lead=text("signed_out_lead"),
        provider=name_in_sentence(provider),
        provider_url=provider_url,
        sign_in_url=sign_in_url,
        stops=(
            _you(StepState.OK, "state_signed_out"),
            _app(context, StepState.PAUSED, "state_shut"),
        ),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )


def sign_in_needed(context: PageContext, *, sign_in_url: str, method: str = "POST") -> SignInView:
    """Return the view for a navigation that sent something without a session; it is never just redirected."""
    return SignInView(
        title=text("sign_in_title"),
        lead=_sentence("sign_in_lead", context),
        sign_in_url=sign_in_url,
        lost=text("sign_in_lost") if method in {"POST", "PUT", "PATCH"} else "",
        stops=(
            _you(StepState.ATTENTION, "state_sign_in_again"),
            _app(context, StepState.PAUSED, "state_waiting"),
        ),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )


def step_up(context: PageContext, decision: Decision, *, continue_url: str) -> StepUpView:
    """Return the view that asks for a stronger sign-in."""
    return StepUpView(
        title=_sentence("step_up_title", context),
        lead=text("step_up_lead"),
        reason=clean(decision.reason, SENTENCE_MAX),
        continue_url=continue_url,
        stops=(
            _you(StepState.ATTENTION, "state_needs_more"),
            _app(context, StepState.PAUSED, "state_waiting"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def choose_provider(context: PageContext, providers: Iterable[ProviderChoice]) -> ChooseProviderView:
    """Return the view where a person chooses a provider; labels are made harmless here."""
    return ChooseProviderView(
        title=text("choose_title"),
        lead=_sentence("choose_lead", context),
        stops=(
            _you(StepState.ATTENTION, "state_not_signed_in"),
            _app(context, StepState.PAUSED, "state_waiting"),
        ),
        providers=tuple(ProviderChoice(clean(item.label, NAME_MAX), item.url) for item in providers),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )


def me(
    access: AccessContext,
    context: PageContext,
    *,
    signed_in_at: datetime | None = None,
    ends_at: datetime | None = None,
    provider: str = "",
    posture: Posture | None = None,
    fix_url: str = "/.gate/fix",
) -> MeView:
    """Return the view of `/.gate/me`."""
    user = access.user
    return MeView(
        title=text("me_title"),
        name=clean(user.name or user.email or user.subject, NAME_MAX),
        email=clean(user.email, NAME_MAX),
        provider=clean(provider or user.provider, NAME_MAX),
        groups=tuple(clean(group, NAME_MAX) for group in sorted(user.groups)[:HELD_MAX]),
        signed_in=context.moment(signed_in_at) if signed_in_at else None,
        ends=context.moment(ends_at) if ends_at else None,
        device=_this_device(access) if access.device_id else "",
        device_help=_device_help(access),
        compliance=text(f"compliance_{access.compliance.state}"),
        held=held(posture, context),
        fix_url=fix_url,
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )
