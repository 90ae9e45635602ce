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
from gateway.hub.texts import TEXTS, text
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
            title=text("signin_store_title"),
            text=text("signin_store_lead"),
            retry_after_s=RETRY_AFTER_S,
        )
        return self.answer(request, refusal, detail=str(fault))

    def front(self, request: web.Request) -> web.Response:
        """The host is not ours, or the connection is not safe enough for cookies."""
        refusal = Refusal(
            status=400,
            code="address-not-served",
            title=text("signin_address_title"),
            text=text("signin_address_lead"),
            advice=(),
        )
        came = Front(request.headers.get("X-Gate-Scheme", ""), request.headers.get("X-Gate-Host", ""))
        detail = f"came as {came.origin}, `public_url` is {self._fronts.login.origin}"
        if self._fronts.login.is_secure and not came.is_secure:
            detail += (
                "; a proxy that ends TLS says so in X-Forwarded-Proto, and is among `server.trusted_proxies`"
            )
        return self.answer(request, refusal, detail=detail)

    def link(self, request: web.Request, code: str, to: ReturnTo | None = None) -> web.Response:
        """A link of ours is old, used up or changed."""
        refusal = Refusal(
            status=400,
            code=code,
            words="state-expired",
            title=text("signin_link_title"),
            text=text("signin_link_lead"),
            action=None if to is None else PageAction(self._again(to), text("signin_open_app")),
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
            title=text("signin_loop_title"),
            text=text("signin_loop_lead"),
            retry_after_s=int(LOOP_WINDOW_S),
        )
        return self.answer(request, refusal, to=to)

    def start_cookie(self, request: web.Request, to: ReturnTo) -> web.Response:
        """The browser did not send back the cookie that the app host gave it."""
        refusal = Refusal(
            status=400,
            code="start-cookie-missing",
            words="state-unknown",
            title=text("signin_cookies_title"),
            text=text("signin_cookies_lead"),
            action=PageAction(self._again(to), text("signin_begin_again")),
        )
        return self.answer(request, refusal, to=to)

    def signed_out_meanwhile(self, request: web.Request, to: ReturnTo) -> web.Response:
        """The provider ended this person's sign-in while it was on its way to us (B12)."""
        refusal = Refusal(
            status=400,
            code="signed-out-meanwhile",
            words="state-expired",
            title=text("signin_out_meanwhile_title"),
            text=text("signin_out_meanwhile_lead"),
            action=PageAction(self._again(to)),
        )
        return self.answer(request, refusal, to=to)

    def address_forgotten(self, request: web.Request, to: ReturnTo) -> web.Response:
        """Signed in, but the wanted address was too long to travel and is not kept any more."""
        refusal = Refusal(
            status=410,
            code="return-address-forgotten",
            title=text("signin_forgotten_title"),
            text=text("signin_forgotten_lead"),
            advice=(),
            action=PageAction(f"{to.origin}/", text("signin_open_app")),
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
        words = _words_of(error)
        says = _says(client.label, answer.error_description)
        refusal = Refusal(
            status=meaning.status,
            code="provider-said-no",
            words="provider-unavailable" if meaning.status == WAIT_AND_RETRY else "provider-refused",
            title=text(f"oauth_{words}_title"),
            text=" ".join(filter(None, (text(f"oauth_{words}_lead"), says))),
            provider=client.label,
            action=PageAction(self._again(to), text("try_again")) if meaning.is_retry_useful else None,
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
        again = PageAction(self._again(to), text("try_again"))
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
                title=text("signin_misconfigured_title"),
                text=text("signin_misconfigured_lead", provider=client.label),
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
            action=PageAction(self._again(to), text("try_again")),
        )
        return self.answer(request, refusal, to=to, detail=f"{client.provider.name}: {refused.detail}")

    def step_up(self, request: web.Request, client: ProviderClient, to: ReturnTo) -> web.Response:
        """The provider does not give the stronger sign-in that the app asks for (S4)."""
        refusal = Refusal(
            status=403,
            code="step-up-not-met",
            words="provider-refused",
            title=text("signin_stronger_title"),
            text=text("signin_stronger_lead", provider=client.label),
            advice=(text("signin_stronger_advice"),),
            provider=client.label,
            action=PageAction(f"{to.origin}/", text("signin_back")),
        )
        return self.answer(request, refusal, to=to)

    def cross_site(self, request: web.Request) -> web.Response:
        """A sign-out that no page of ours sent."""
        refusal = Refusal(
            status=403,
            code="cross-site-sign-out",
            words="cross-site-request",
            title=text("signin_cross_title"),
            text=text("signin_cross_lead"),
            advice=(),
            action=PageAction("/.gate/logout", text("sign_out")),
        )
        return self.answer(request, refusal)

    def sign_out_state(self, request: web.Request) -> web.Response:
        """A return from the provider's sign-out that this browser did not begin (L2)."""
        refusal = Refusal(
            status=400,
            code="sign-out-state-mismatch",
            title=text("signin_state_title"),
            text=text("signin_state_lead"),
            advice=(text("signin_state_advice"),),
        )
        return self.answer(request, refusal)


_MISCONFIGURED = frozenset(
    {"invalid_request", "invalid_scope", "unauthorized_client", "unsupported_response_type"}
)


def _words_of(error: str) -> str:
    """Return which texts explain an error code of OAuth; unknown codes share one."""
    if error in _MISCONFIGURED:
        return "misconfigured"
    return error if f"oauth_{error}_title" in TEXTS else "unknown"


def _says(provider: str, untrusted: str) -> str:
    said = "".join(sign for sign in untrusted if sign.isprintable()).strip()
    return text("oauth_says", provider=provider, said=said) if said else ""


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
