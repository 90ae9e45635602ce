"""The view of `/.gate/me`. Pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from compliance.model import AccessContext
from gateway.hub.texts import plural, text
from gateway.hub.views import ExceptionView, MeView, SessionView, SourceView, TaskView, Words
from gateway.hub.wording.context import PageContext, device_first
from gateway.hub.wording.stored import device_help, held
from gateway.hub.wording.to_fix import HELD_MAX
from gateway.hub.wording.untrusted import NAME_MAX, TITLE_MAX, clean, sensor_label
from gateway.remediation.exceptions import Granted
from gateway.remediation.tasks import SecurityTask
from gateway.sessions.model import Session
from risk.model import Posture


def me(
    access: AccessContext,
    context: PageContext,
    *,
    signed_in_at: datetime | None = None,
    ends_at: datetime | None = None,
    provider: str = "",
    posture: Posture | None = None,
    fix_url: str = "/.gate/fix",
    sessions: Sequence[Session] = (),
    devices: Mapping[str, AccessContext] | None = None,
    this: str = "",
    tasks: Sequence[SecurityTask] = (),
    exceptions: Sequence[Granted] = (),
) -> MeView:
    """Return the view of `/.gate/me`. `devices` tells by the id of a session which device it is on, and how that is."""
    user = access.user
    return MeView(
        title=text("me_title"),
        name=clean(user.name or user.email or user.subject, NAME_MAX),
        email=clean(user.email, NAME_MAX),
        provider=clean(provider or user.provider, NAME_MAX),
        groups=tuple(clean(group, NAME_MAX) for group in sorted(user.groups)[:HELD_MAX]),
        signed_in=context.moment(signed_in_at) if signed_in_at else None,
        ends=context.moment(ends_at) if ends_at else None,
        device=device_first(access) if access.device_id else "",
        device_help=device_help(access),
        compliance=text(f"compliance_{access.compliance.state}"),
        held=held(posture, context),
        fix_url=fix_url,
        sessions=tuple(
            _session(each, (devices or {}).get(each.id), context, is_this=each.id == this)
            for each in sessions[:HELD_MAX]
        ),
        sources=_sources(posture, context),
        tasks=tuple(_task(task, context) for task in tasks[:HELD_MAX]),
        exceptions=tuple(_exception(each, context) for each in exceptions[:HELD_MAX]),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def _task(task: SecurityTask, context: PageContext) -> TaskView:
    """Return a task; one about a rule is called as the rule is in the reader's language."""
    kind, _, place = task.cause.partition(":")
    policy, _, rule = place.partition("/")
    is_rule = kind == "rule"
    title = context.rule_title(policy, rule, task.title) if is_rule else Words(clean(task.title, TITLE_MAX))
    return TaskView(
        title=title.text,
        title_lang=title.lang,
        state=text(f"task_{task.state}"),
        due=context.moment(task.due_at),
        ticket=clean(task.ticket, NAME_MAX),
    )


def _exception(granted: Granted, context: PageContext) -> ExceptionView:
    policy, _, name = granted.rule.partition("/")
    rule = context.rule_title(policy, name, granted.rule)
    return ExceptionView(
        rule=rule.text,
        rule_lang=rule.lang,
        by=clean(granted.by, NAME_MAX),
        until=context.moment(granted.expires_at),
    )


def _session(
    session: Session, on: AccessContext | None, context: PageContext, *, is_this: bool
) -> SessionView:
    """Return one sign-in; a device that we do not know is called by what the sign-in claims."""
    claimed = text("list_comma").join(each.identifier.value for each in session.devices)
    is_known = on is not None and on.device_id is not None
    return SessionView(
        since=context.moment(session.created_at),
        last=context.moment(session.last_seen_at),
        device=device_first(on) if on is not None and is_known else clean(claimed, NAME_MAX),
        state=text(f"compliance_{on.compliance.state}") if on is not None and is_known else "",
        is_this=is_this,
    )


def _sources(posture: Posture | None, context: PageContext) -> tuple[SourceView, ...]:
    """Return what each sensor says of the device, the one that spoke last first."""
    if posture is None:
        return ()
    open_of: dict[str, int] = {}
    for finding in posture.findings.values():
        open_of[finding.sensor] = open_of.get(finding.sensor, 0) + int(finding.is_open)
    names = sorted(
        {*posture.heard, *open_of}, key=lambda name: str(posture.heard.get(name, "")), reverse=True
    )
    return tuple(
        SourceView(
            name=sensor_label(name, context.sensor_labels),
            last=context.moment(posture.heard[name]) if name in posture.heard else None,
            findings=plural("source_findings", open_of.get(name, 0)),
        )
        for name in names[:HELD_MAX]
    )
