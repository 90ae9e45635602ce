"""The views of signing in and out. Pure."""

from collections.abc import Iterable

from gateway.hub.texts import text
from gateway.hub.views import (
    ChooseProviderView,
    KeptView,
    ProviderChoice,
    SignedOutView,
    SignInView,
    SignOutView,
    StepState,
)
from gateway.hub.wording.context import PageContext, app_stop, sentence, you_stop
from gateway.hub.wording.untrusted import NAME_MAX, clean, name_in_sentence


def sign_out_confirm(
    context: PageContext, *, csrf: str = "", back_url: str = "", form_targets: tuple[str, ...] = ()
) -> SignOutView:
    """Return the view that asks whether to sign out."""
    return SignOutView(
        title=text("sign_out_title"),
        lead=sentence("sign_out_lead", context),
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
            you_stop(StepState.OK, "state_signed_out"),
            app_stop(context, StepState.PAUSED, "state_shut"),
        ),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )


def sign_in_needed(context: PageContext, *, sign_in_url: str, kept: KeptView | None = None) -> SignInView:
    """Return the view for a navigation that sent something without a session; it is never just redirected."""
    return SignInView(
        title=text("sign_in_title"),
        lead=sentence("sign_in_lead", context),
        sign_in_url=sign_in_url,
        kept=kept,
        stops=(
            you_stop(StepState.ATTENTION, "state_sign_in_again"),
            app_stop(context, StepState.PAUSED, "state_waiting"),
        ),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )


def choose_provider(context: PageContext, providers: Iterable[ProviderChoice]) -> ChooseProviderView:
    """Return the view where a person chooses a provider; labels are made harmless here."""
    return ChooseProviderView(
        title=text("choose_title"),
        lead=sentence("choose_lead", context),
        stops=(
            you_stop(StepState.ATTENTION, "state_not_signed_in"),
            app_stop(context, StepState.PAUSED, "state_waiting"),
        ),
        providers=tuple(ProviderChoice(clean(item.label, NAME_MAX), item.url) for item in providers),
        app=context.app_name,
        owner=clean(context.owner, NAME_MAX),
        reference=context.reference,
    )
