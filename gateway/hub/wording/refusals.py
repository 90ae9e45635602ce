"""The views of what policy refuses: blocked, limited, a stronger sign-in. Pure."""

from compliance.model import Decision
from gateway.controls.effective import Limit
from gateway.hub.texts import text
from gateway.hub.views import BlockedView, KeptView, RestrictedView, StepState, StepUpView
from gateway.hub.wording.context import PageContext, app_stop, sentence, you_stop
from gateway.hub.wording.untrusted import NAME_MAX, clean


def blocked(
    context: PageContext, decision: Decision, *, retry_url: str = "", kept: KeptView | None = None
) -> BlockedView:
    """Return the view of a refusal that the device cannot change. `retry_url` is the page that was wanted."""
    reason = context.reason(decision.policy, decision.reason)
    if reason.text:
        lead = text("blocked_lead_reason")
    else:
        lead = text("blocked_lead") if decision.policy else text("blocked_lead_unmatched")
    owner = clean(context.owner, NAME_MAX)
    ask = text("blocked_step_ask", owner=owner) if owner else text("blocked_step_ask_nobody")
    return BlockedView(
        title=sentence("blocked_title", context),
        lead=lead,
        reason=reason.text,
        reason_lang=reason.lang,
        advice=(ask, text("blocked_step_account")),
        retry_url=retry_url,
        kept=kept,
        stops=(
            you_stop(StepState.OK, "state_signed_in"),
            app_stop(context, StepState.PAUSED, "state_closed"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=owner,
        sign_out_url=context.sign_out_url,
    )


def restricted(
    context: PageContext,
    control: Limit,
    *,
    controls: frozenset[Limit] = frozenset(),
    policy: str = "",
    reason: str = "",
    fix_url: str = "/.gate/fix",
    back_url: str = "",
    kept: KeptView | None = None,
) -> RestrictedView:
    """Return the view of what a session control refused. `controls` are all that are in force.

    `policy` is the one that limits, `reason` its reason in the default language.
    """
    said = context.reason(policy, reason)
    key = f"restricted_{control.replace('-', '_')}"
    return RestrictedView(
        title=sentence(f"{key}_title", context),
        lead=sentence(f"{key}_lead", context),
        control=control,
        limits=tuple(text(f"limit_{item}") for item in Limit if item in controls | {control}),
        reason=said.text,
        reason_lang=said.lang,
        fix_url=fix_url,
        back_url=back_url,
        kept=kept,
        stops=(
            you_stop(StepState.OK, "state_signed_in"),
            app_stop(context, StepState.ATTENTION, "state_limited"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )


def step_up(
    context: PageContext, decision: Decision, *, continue_url: str, kept: KeptView | None = None
) -> StepUpView:
    """Return the view that asks for a stronger sign-in."""
    reason = context.reason(decision.policy, decision.reason)
    return StepUpView(
        title=sentence("step_up_title", context),
        lead=text("step_up_lead"),
        reason=reason.text,
        reason_lang=reason.lang,
        continue_url=continue_url,
        kept=kept,
        stops=(
            you_stop(StepState.ATTENTION, "state_needs_more"),
            app_stop(context, StepState.PAUSED, "state_waiting"),
        ),
        reference=context.reference,
        account=clean(context.account, NAME_MAX),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        sign_out_url=context.sign_out_url,
    )
