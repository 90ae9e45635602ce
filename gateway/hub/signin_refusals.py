"""Every way in which signing in or out can fail, said once: status, code, and what the person can do.

Each answer has a reference that finds its line in the log; what a provider or client sent is in that line, and on
the page only where a person needs it.
"""

import functools
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
import structlog
from aiohttp import web

from gateway.decision.reference import new_reference
from gateway.hub.signin_front import Front, Fronts, finished
from gateway.hub.signin_views import PageAction, Refusal, SignInPages
from gateway.oidc.callback import Callback, meaning_of_error
from gateway.oidc.faults import CallbackReason, ProviderFault, ProviderReason, TokenRefused
from gateway.oidc.io import ProviderClient
from gateway.sessions.pending import LOOP_WINDOW_S, ReturnTo
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("signin")

RETRY_AFTER_S = 10
OUR_FAULT = 500
WAIT_AND_RETRY = 503

_CALLBACK_WORDS = {CallbackReason.STATE_EXPIRED: "state-expired"}


class Refusals:
    """Makes and logs the answers. `again` gives the address at which a person may try the same again."""

    def __init__(
        self,
        pages: SignInPages,
        fronts: Fronts,
        random_bytes: Callable[[int], bytes],
        again: Callable[[ReturnTo], str],
    ) -> None:
        self._pages = pages
        self._fronts = fronts
        self._random_bytes = random_bytes
        self._again = again

    def answer(
        self, request: web.Request, refusal: Refusal, *, to: ReturnTo | None = None, detail: str = ""
    ) -> web.Response:
        """Return the page or problem of a refusal. `to` names the app it is about; `detail` is for the log."""
        reference = new_reference(self._random_bytes)
        write = log.error if refusal.status == OUR_FAULT else log.warning
        write(
            "sign-in-refused", reference=reference, status=refusal.status, reason=refusal.code, detail=detail
        )
        app = None if to is None else self._fronts.app(Front(to.scheme, to.host), to.path)
        if app is not None:
            refusal = msgspec.structs.replace(refusal, app=app.title or app.name, owner=app.owner)
        return finished(self._pages.error(request, refusal, reference=reference))

    def store(self, request: web.Request, fault: Exception) -> web.Response:
        """The store cannot keep what was to be done."""
        refusal = Refusal(
            status=503,
            code="store-unavailable",
            words="cannot-check",
            title="Sign-in is not possible right now",
            text="The gateway cannot save sessions at the moment. Try again shortly.",
            retry_after_s=RETRY_AFTER_S,
        )
        return self.answer(request, refusal, detail=str(fault))

    def front(self, request: web.Request) -> web.Response:
        """The host is not ours, or the connection is not safe enough for cookies."""
        refusal = Refusal(
            status=400,
            code="address-not-served",
            title="This address cannot be used to sign in",
            text="Signing in needs https and a host name that the gateway serves.",
            advice=(),
        )
        return self.answer(request, refusal)

    def link(self, request: web.Request, code: str, to: ReturnTo | None = None) -> web.Response:
        """A link of ours is old, used up or changed."""
        refusal = Refusal(
            status=400,
            code=code,
            words="state-expired",
            title="This sign-in link no longer works",
            text="Sign-in links are short-lived and count once. Open the app again to get a new one.",
            action=None if to is None else PageAction(self._again(to), "Open the app"),
        )
        return self.answer(request, refusal, to=to)

    def callback(
        self,
        request: web.Request,
        reason: CallbackReason,
        to: ReturnTo | None = None,
    ) -> web.Response:
        """The return from the provider is not (or no longer) one of this browser's."""
        refusal = Refusal(
            status=400,
            code=reason,
            words=_CALLBACK_WORDS.get(reason, "state-unknown"),
            action=None if to is None else PageAction(self._again(to)),
        )
        return self.answer(request, refusal, to=to)

    def loop(self, request: web.Request, to: ReturnTo) -> web.Response:
        """One browser goes round in circles."""
        refusal = Refusal(
            status=429,
            code="sign-in-loop",
            title="Signing in goes round in circles",
            text="You were signed in several times, but the app keeps asking. Wait a minute and open the app again;"
            " if that does not help, tell your administrator the code below.",
            retry_after_s=int(LOOP_WINDOW_S),
        )
        return self.answer(request, refusal, to=to)

    def start_cookie(self, request: web.Request, to: ReturnTo) -> web.Response:
        """The browser did not send back the cookie that the app host gave it."""
        refusal = Refusal(
            status=400,
            code="start-cookie-missing",
            words="state-unknown",
            title="Your browser keeps no cookies for this app",
            text="Signing in needs a cookie of this site. Allow cookies here, or begin again in this window.",
            action=PageAction(self._again(to), "Begin again"),
        )
        return self.answer(request, refusal, to=to)

    def signed_out_meanwhile(self, request: web.Request, to: ReturnTo) -> web.Response:
        """The provider ended this person's sign-in while it was on its way to us (B12)."""
        refusal = Refusal(
            status=400,
            code="signed-out-meanwhile",
            words="state-expired",
            title="You were signed out while signing in",
            text="Your sign-in service ended this sign-in before it was finished here.",
            action=PageAction(self._again(to)),
        )
        return self.answer(request, refusal, to=to)

    def address_forgotten(self, request: web.Request, to: ReturnTo) -> web.Response:
        """Signed in, but the wanted address was too long to travel and is not kept any more."""
        refusal = Refusal(
            status=410,
            code="return-address-forgotten",
            title="You are signed in, but not where you wanted",
            text="The address that you opened is too long to be kept for so long. Open the app and go there again.",
            advice=(),
            action=PageAction(f"{to.origin}/", "Open the app"),
        )
        return self.answer(request, refusal, to=to)

    def error(
        self,
        request: web.Request,
        client: ProviderClient,
        answer: Callback,
        to: ReturnTo,
    ) -> web.Response:
        """The provider said no, in the words of OAuth (C4)."""
        error = answer.error or ""
        meaning = meaning_of_error(error)
        said = "".join(sign for sign in answer.error_description if sign.isprintable()).strip()
        refusal = Refusal(
            status=meaning.status,
            code="provider-said-no",
            words="provider-unavailable" if meaning.status == WAIT_AND_RETRY else "provider-refused",
            title=meaning.title,
            text=meaning.text + (f" {client.label} says: {said}" if said else ""),
            provider=client.label,
            action=PageAction(self._again(to), "Try again") if meaning.is_retry_useful else None,
            retry_after_s=RETRY_AFTER_S if meaning.status == WAIT_AND_RETRY else None,
        )
        return self.answer(request, refusal, to=to, detail=f"{client.provider.name}: {error[:60]}")

    def provider(
        self,
        request: web.Request,
        client: ProviderClient,
        fault: ProviderFault,
        to: ReturnTo,
    ) -> web.Response:
        """The provider cannot be used: now, because of our registration, or because of what it sent."""
        again = PageAction(self._again(to), "Try again")
        if fault.is_temporary:
            refusal = Refusal(
                status=503,
                code=fault.reason,
                words="provider-unavailable",
                action=again,
                retry_after_s=RETRY_AFTER_S,
            )
        elif fault.reason in (ProviderReason.CLIENT_REFUSED, ProviderReason.TOKEN_REQUEST_REFUSED):
            refusal = Refusal(
                status=500,
                code=fault.reason,
                words="internal",
                title="Sign-in is misconfigured",
                text=f"{client.label} does not accept this gateway. An administrator has to look.",
            )
        else:
            refusal = Refusal(status=502, code=fault.reason, words="provider-invalid", action=again)
        refusal = msgspec.structs.replace(refusal, provider=client.label)
        return self.answer(request, refusal, to=to, detail=f"{client.provider.name}: {fault.detail}")

    def token(
        self, request: web.Request, client: ProviderClient, refused: TokenRefused, to: ReturnTo
    ) -> web.Response:
        """The provider's ID token did not pass a check."""
        refusal = Refusal(
            status=502,
            code=refused.reason,
            words="provider-invalid",
            provider=client.label,
            action=PageAction(self._again(to), "Try again"),
        )
        return self.answer(request, refusal, to=to, detail=f"{client.provider.name}: {refused.detail}")

    def step_up(self, request: web.Request, client: ProviderClient, to: ReturnTo) -> web.Response:
        """The provider does not give the stronger sign-in that the app asks for (S4)."""
        refusal = Refusal(
            status=403,
            code="step-up-not-met",
            words="provider-refused",
            title="A stronger sign-in is needed",
            text=f"This app asks for a stronger or fresher sign-in than {client.label} gave.",
            advice=("Ask your administrator which second factor you need.",),
            provider=client.label,
            action=PageAction(f"{to.origin}/", "Back to the app"),
        )
        return self.answer(request, refusal, to=to)

    def cross_site(self, request: web.Request) -> web.Response:
        """A sign-out that no page of ours sent."""
        refusal = Refusal(
            status=403,
            code="cross-site-sign-out",
            words="cross-site-request",
            title="Sign-out was not sent from here",
            text="Another site tried to sign you out. If it was you, use the button.",
            advice=(),
            action=PageAction("/.gate/logout", "Sign out"),
        )
        return self.answer(request, refusal)

    def sign_out_state(self, request: web.Request) -> web.Response:
        """A return from the provider's sign-out that this browser did not begin (L2)."""
        refusal = Refusal(
            status=400,
            code="sign-out-state-mismatch",
            title="This sign-out was not begun here",
            text="The sign-in service sent you back, but not for a sign-out of this browser.",
            advice=("Check there whether you are signed out.",),
        )
        return self.answer(request, refusal)


class HasRefusals(Protocol):
    """Whoever answers requests and has `Refusals` to say no with."""

    refusals: Refusals


Owner = TypeVar("Owner", bound=HasRefusals)
Handler = Callable[[Owner, web.Request], Awaitable[web.StreamResponse]]


def guarded(handler: Handler[Owner]) -> Handler[Owner]:
    """Answer 503 when the store cannot keep what the handler did."""

    @functools.wraps(handler)
    async def run(self: Owner, request: web.Request) -> web.StreamResponse:
        try:
            return await handler(self, request)
        except (StoreFault, StoreOverloaded) as fault:
            return self.refusals.store(request, fault)

    return run
