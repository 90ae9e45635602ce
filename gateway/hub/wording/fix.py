"""The view of `/.gate/fix`: risk, silence, an unknown device, and what has been fixed. Pure."""

from collections.abc import Mapping
from datetime import datetime

import msgspec

from compliance.model import AccessContext, Decision
from gateway.hub.texts import plural, text
from gateway.hub.views import (
    AppState,
    KeptView,
    Moment,
    Offer,
    OperatingSystem,
    ProblemStatus,
    ProblemView,
    RemediationKind,
    RemediationView,
    SensorView,
    StepState,
    Stop,
    Words,
)
from gateway.hub.wording.context import PageContext, app_stop, device_first, device_inside, sentence, you_stop
from gateway.hub.wording.stored import device_help, held
from gateway.hub.wording.times import by_day, since
from gateway.hub.wording.to_fix import problems
from gateway.hub.wording.untrusted import NAME_MAX, SENTENCE_MAX, clean, sensor_label
from risk.model import Posture, RiskLevel

PROBLEMS_MAX = 20


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
    refresh_url: str = "",
    still_url: str = "",
    is_still: bool = False,
    kept: KeptView | None = None,
    offers: Mapping[str, Offer] | None = None,
    apps: tuple[AppState, ...] = (),
    put_off: Mapping[str, datetime] | None = None,
) -> RemediationView:
    """Return the view of `/.gate/fix` for this access context.

    `can_continue` is whether the wanted app (or, without one, any app) may be used now. `decision` adds its
    reason when nothing else explains the refusal, and its controls tell limited access from full access.
    """
    everything = problems(access, context, posture=posture, risk_max=risk_max, put_off=put_off)
    done = [problem for problem in everything if problem.status is ProblemStatus.DONE]
    still_open = [problem for problem in everything if problem.status is not ProblemStatus.DONE]
    kind = _kind(access, still_open, decision, can_continue=can_continue)
    if kind is RemediationKind.CLEAR:
        still_open = []
    elif not still_open:
        still_open = [_unnamed(decision, context)]
    still_open = [
        msgspec.structs.replace(problem, offer=(offers or {}).get(problem.key)) for problem in still_open
    ]
    waiting = _waiting(still_open, posture, context)
    title, lead, access_text = _remediation_words(kind, access, context, still_open, waiting)
    return RemediationView(
        kind=kind,
        title=title,
        lead=lead,
        access=access_text,
        can_continue=can_continue,
        deadline=_deadline(still_open) if can_continue else None,
        device=device_first(access) if access.device_id else "",
        device_system=text(f"system_{context.system}")
        if context.system is not OperatingSystem.UNKNOWN
        else "",
        device_help=device_help(access),
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
        refresh_url=refresh_url,
        still_url=still_url,
        is_still=is_still,
        kept=kept,
        apps=apps,
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


def _unnamed(decision: Decision | None, context: PageContext) -> ProblemView:
    """Return the problem that stands for a refusal which nothing known about the device explains."""
    reason = context.reason(decision.policy, decision.reason) if decision else Words()
    return ProblemView(
        key="reason",
        title=text("problem_generic"),
        status=ProblemStatus.TO_DO,
        text=reason.text,
        text_lang=reason.lang,
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
    device, count = device_inside(access), len(still_open)
    match kind:
        case RemediationKind.FIX:
            return (
                sentence("fix_title", context, device=device_first(access)),
                plural("fix_lead", count),
                sentence("access_paused", context),
            )
        case RemediationKind.GRACE:
            ends = _deadline(still_open)
            by = by_day(ends.at, context.now, context.zone) if ends else ""
            return (
                sentence("grace_title", context, by=by),
                plural("grace_lead", count, device=device),
                text("access_until", deadline=ends.text, ago=ends.ago) if ends else "",
            )
        case RemediationKind.LIMITED:
            return (
                sentence("limited_title", context),
                text("limited_lead"),
                sentence("access_limited", context),
            )
        case RemediationKind.NOTICE:
            return (
                text("fix_title_no_app", device=device_first(access)),
                sentence("notice_lead", context),
                sentence("access_open", context),
            )
        case RemediationKind.SILENT:
            return *_silent_words(device, context, waiting), sentence(
                "access_paused_silent", context, device=device
            )
        case RemediationKind.UNKNOWN_DEVICE:
            return (
                text("unknown_title"),
                sentence("unknown_lead", context),
                sentence("access_paused_unknown", context),
            )
        case RemediationKind.CLEAR:
            is_known = access.device_id is not None
            return (
                text("clear_title", device=device_first(access))
                if is_known
                else sentence("clear_unknown_title", context),
                sentence("clear_lead", context) if is_known else text("clear_unknown_lead"),
                sentence("access_open", context),
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
            app = app_stop(context, StepState.OK, "state_open")
        case RemediationKind.LIMITED:
            app = app_stop(context, StepState.ATTENTION, "state_limited")
        case _:
            app = app_stop(context, StepState.PAUSED, "state_paused")
    return you_stop(StepState.OK, "state_signed_in"), stop, app


def checked_notice(view: RemediationView, *, asked: str = "", unasked: str = "") -> str:
    """Return what to say after `Check again`: honest about what is still waited for.

    `asked` and `unasked` are the sensors that answered just now, and those that could not be asked.
    """
    if view.can_continue:
        return text("checked")
    if asked:
        return text("checked_asked", sensor=asked)
    if unasked:
        return text("checked_unasked", sensor=unasked)
    heard = [sensor for sensor in view.waiting if sensor.last]
    if heard and heard[0].last:
        return text("checked_waiting", sensor=heard[0].name, ago=heard[0].last.ago)
    return text("checked_open")
