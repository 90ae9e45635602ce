"""The words about forms that could not be sent. Pure."""

from collections.abc import Iterable
from datetime import datetime

from gateway.hub.texts import text
from gateway.hub.views import CarriedView, FileAgain, KeptView, ResumeView, StepState, Stop
from gateway.hub.wording.context import PageContext, app_stop, sentence, you_stop
from gateway.hub.wording.untrusted import NAME_MAX, clean, name_in_sentence
from gateway.remediation.forms import KeptForm, Lost, Typed, Upload, is_for_show

SHOWN_MAX = 12


def kept(
    context: PageContext,
    *,
    until: datetime | None,
    uploads: Iterable[Upload] = (),
    lost: Lost | None = None,
    text_url: str = "",
) -> KeptView:
    """Return what a page says about a form that could not be sent."""
    if lost is not None or until is None:
        return KeptView(lost=text("lost_too_large" if lost is Lost.TOO_LARGE else "lost_other"))
    return KeptView(
        until=context.moment(until),
        uploads=tuple(clean(upload.filename, NAME_MAX) for upload in uploads),
        text_url=text_url,
    )


def resume(context: PageContext, form: KeptForm, key: str) -> ResumeView:
    """Return the view of `/.gate/resume`; `key` is the form's."""
    return ResumeView(
        title=text("resume_title"),
        lead=text("resume_lead", app=context.app_name or text("the_app_inside")),
        target=form.target,
        fields=form.typed.fields,
        is_multipart=form.typed.is_multipart,
        shown=_shown(form.typed),
        files=_files(form.typed),
        can_send=not form.typed.has_nul,
        typed=context.moment(form.kept_at),
        forget_url=f"/.gate/resume/forget?f={key}",
        back_url=form.page,
        kept=kept(context, until=form.expires_at, text_url=f"/.gate/resume/text?f={key}"),
        stops=(you_stop(StepState.OK, "state_signed_in"), app_stop(context, StepState.OK, "state_waiting")),
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def carried(
    context: PageContext, typed: Typed | None, *, origin: str | None, target: str, sign_in_url: str
) -> CarriedView:
    """Return the view that gives back a form which came without a session; `typed` None: it could not be read.

    `origin` is the site whose page sent it, "" for one that the browser does not name, None for the app's own.
    """
    can_send = typed is not None and not typed.has_nul
    held = typed if typed is not None and can_send else Typed(fields=())
    return CarriedView(
        title=sentence("carried_own_title" if origin is None else "carried_title", context),
        lead=_carried_lead(context, origin),
        is_own=origin is None,
        caution=text("carried_own_caution" if origin is None else "carried_caution"),
        target=target,
        fields=held.fields,
        is_multipart=held.is_multipart,
        shown=_shown(held),
        files=_files(held),
        lost="" if can_send else text("carried_lost"),
        sign_in_url=sign_in_url,
        back_url="/",
        stops=() if origin is not None else _stops_of_nobody(context),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
    )


def _carried_lead(context: PageContext, origin: str | None) -> str:
    if origin is None:
        return sentence("carried_own_lead", context)
    if not origin:
        return sentence("carried_unnamed_lead", context)
    return sentence("carried_lead", context, origin=name_in_sentence(origin))


def _stops_of_nobody(context: PageContext) -> tuple[Stop, ...]:
    return (
        you_stop(StepState.ATTENTION, "state_not_signed_in"),
        app_stop(context, StepState.PAUSED, "state_waiting"),
    )


def _shown(typed: Typed) -> tuple[str, ...]:
    """Return the names of filled-in fields that a page may list."""
    names = [clean(name, NAME_MAX) for name, value in typed.fields if is_for_show(name) and value.strip()]
    return tuple(dict.fromkeys(names))[:SHOWN_MAX]


def _files(typed: Typed) -> tuple[FileAgain, ...]:
    names: dict[str, list[str]] = {}
    for upload in typed.uploads:
        names.setdefault(upload.field, []).append(clean(upload.filename, NAME_MAX))
    return tuple(FileAgain(field, tuple(files)) for field, files in names.items())
