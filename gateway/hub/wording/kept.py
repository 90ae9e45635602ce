"""The words about forms that could not be sent. Pure."""

from collections.abc import Iterable
from datetime import datetime

from gateway.hub.texts import text
from gateway.hub.views import FileAgain, KeptView, ResumeView, StepState
from gateway.hub.wording.context import PageContext, app_stop, you_stop
from gateway.hub.wording.untrusted import NAME_MAX, clean
from gateway.remediation.forms import KeptForm, Lost, Upload, is_for_show

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
    shown = [
        clean(name, NAME_MAX) for name, value in form.typed.fields if is_for_show(name) and value.strip()
    ]
    names: dict[str, list[str]] = {}
    for upload in form.typed.uploads:
        names.setdefault(upload.field, []).append(clean(upload.filename, NAME_MAX))
    return ResumeView(
        title=text("resume_title"),
        lead=text("resume_lead", app=context.app_name or text("the_app_inside")),
        target=form.target,
        fields=form.typed.fields,
        is_multipart=form.typed.is_multipart,
        shown=tuple(dict.fromkeys(shown))[:SHOWN_MAX],
        files=tuple(FileAgain(field, tuple(files)) for field, files in names.items()),
        can_send=not form.has_nul,
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
