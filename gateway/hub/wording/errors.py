"""The views of everything that goes wrong. Pure."""

from gateway.hub.texts import plural, text
from gateway.hub.views import ErrorView, StepState, Stop
from gateway.hub.wording.context import PageContext, app_stop, gate_stop, you_stop
from gateway.hub.wording.times import _MINUTE
from gateway.hub.wording.untrusted import NAME_MAX, SENTENCE_MAX, clean, name_in_sentence

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
    "restarting": 503,
    "gateway-timeout": 504,
    "provider-unavailable": 503,
    "state-expired": 400,
    "state-unknown": 400,
    "provider-refused": 403,
    "provider-invalid": 502,
    "other-user": 403,
    "cross-site-request": 403,
    "form-gone": 410,
    "approve-too-late": 410,
    "approve-not-owner": 403,
    "client-certificate-required": 403,
    "misdirected": 421,
    "fields-too-large": 431,
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
    421: "misdirected",
    431: "fields-too-large",
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
    you = you_stop(StepState.OK, "state_signed_in" if context.account else "state_fine")
    gate = gate_stop(StepState.OK, "state_working")
    waiting = app_stop(context, StepState.PAUSED, "state_waiting")
    name = clean(provider, NAME_MAX) or text("stop_provider")
    match words:
        case "bad-gateway" | "gateway-timeout":
            return you, gate, app_stop(context, StepState.ATTENTION, "state_not_answering")
        case "unavailable":
            return you, gate, app_stop(context, StepState.ATTENTION, "state_busy")
        case "not-found" | "no-such-host":
            return you, gate, Stop("app", text("stop_address"), StepState.UNKNOWN, text("state_nothing_here"))
        case "internal" | "cannot-check" | "restarting":
            return (
                you,
                gate_stop(StepState.ATTENTION, "state_trouble"),
                app_stop(context, StepState.UNKNOWN, "state_not_asked"),
            )
        case "provider-unavailable":
            return you, Stop("provider", name, StepState.ATTENTION, text("state_not_answering")), waiting
        case "provider-refused" | "provider-invalid":
            return you, Stop("provider", name, StepState.ATTENTION, text("state_did_not_work")), waiting
        case "state-expired" | "state-unknown" | "other-user":
            return you_stop(StepState.ATTENTION, "state_sign_in_again"), waiting
        case _:
            return ()
