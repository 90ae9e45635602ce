"""The pages of signing in and out, for people as HTML and for programs as problem documents."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from aiohttp import web

from compliance.model import User
from gateway.hub import wording
from gateway.hub.keeping import Keeping, kept_view
from gateway.hub.pages import Pages, spoken_problem
from gateway.hub.signin_front import is_browser
from gateway.hub.signin_views import Refusal
from gateway.hub.views import ErrorView
from gateway.hub.wording import PageContext
from gateway.remediation.forms import Lost


class HubSignInPages:
    """Renders what `gateway.hub.signin` asks for."""

    def __init__(self, pages: Pages, clock: Callable[[], datetime]) -> None:
        self._pages = pages
        self._clock = clock

    def error(self, request: web.Request, refusal: Refusal, *, reference: str) -> web.Response:
        """Return what went wrong, with its place on the way from the person to the app."""
        view = self._view(refusal, reference)
        if is_browser(request):
            return self._pages.error(view)
        return spoken_problem(
            refusal.status,
            refusal.code,
            view.title,
            view.lead,
            reference=reference,
            retry_after_s=refusal.retry_after_s,
        )

    def _view(self, refusal: Refusal, reference: str) -> ErrorView:
        action = refusal.action
        view = wording.error(
            self._context(app=refusal.app, owner=refusal.owner, reference=reference),
            refusal.words or refusal.code,
            status=refusal.status,
            detail=refusal.text,
            provider=refusal.provider,
            retry_after_s=refusal.retry_after_s,
            action_url="" if action is None else action.url,
        )
        return msgspec.structs.replace(
            view,
            code=refusal.code,
            title=refusal.title or view.title,
            advice=view.advice if refusal.advice is None else refusal.advice,
            action_text=view.action_text if action is None or not action.text else action.text,
        )

    def sign_in_needed(
        self, _request: web.Request, *, sign_in_url: str, kept: Keeping | None = None
    ) -> web.Response:
        """Return the page for a form that was sent without a session."""
        context = self._context()
        shown = kept_view(context, kept or Keeping(lost=Lost.NOBODY))
        return self._pages.sign_in_needed(
            wording.sign_in_needed(context, sign_in_url=sign_in_url, kept=shown)
        )

    def confirm_sign_out(
        self,
        _request: web.Request,
        *,
        user: User,
        back_url: str,
        form_targets: tuple[str, ...],
    ) -> web.Response:
        """Return the page that asks whether to sign out."""
        context = self._context(user.email or user.name or user.subject)
        return self._pages.sign_out_confirm(
            wording.sign_out_confirm(context, back_url=back_url, form_targets=form_targets),
        )

    def signed_out(
        self,
        _request: web.Request,
        *,
        provider: str,
        provider_url: str,
        sign_in_url: str,
    ) -> web.Response:
        """Return the page that says that the session is over."""
        view = wording.signed_out(
            self._context(),
            provider=provider,
            provider_url=provider_url,
            sign_in_url=sign_in_url,
        )
        return self._pages.signed_out(view)

    def _context(
        self, account: str = "", *, app: str = "", owner: str = "", reference: str = ""
    ) -> PageContext:
        return PageContext(now=self._clock(), account=account, app=app, owner=owner, reference=reference)
