"""The pages of signing in and out, for people as HTML and for programs as problem documents."""

from collections.abc import Callable
from datetime import datetime

from aiohttp import web

from compliance.model import User
from gateway.hub import wording
from gateway.hub.pages import Pages, problem
from gateway.hub.signin import PageAction
from gateway.hub.views import ErrorView
from gateway.hub.wording import PageContext


class HubSignInPages:
    """Renders what `gateway.hub.signin` asks for."""

    def __init__(self, pages: Pages, clock: Callable[[], datetime]) -> None:
        self._pages = pages
        self._clock = clock

    def error(
        self,
        request: web.Request,
        *,
        status: int,
        title: str,
        text: str,
        code: str,
        reference: str,
        actions: tuple[PageAction, ...],
        retry_after_s: int | None,
    ) -> web.Response:
        """Return what went wrong, with the first action as the page's button."""
        if request.headers.get("X-Gate-Client-Kind", "api") != "browser":
            response = problem(status, code, title, text, reference=reference)
            if retry_after_s is not None:
                response.headers["Retry-After"] = str(retry_after_s)
            return response
        first = actions[0] if actions else PageAction("", "")
        view = ErrorView(
            status=status,
            code=code,
            title=title,
            lead=text,
            action_url=first.url,
            action_text=first.text,
            retry_after_s=retry_after_s,
            reference=reference,
        )
        return self._pages.error(view)

    def sign_in_needed(self, request: web.Request, *, sign_in_url: str) -> web.Response:
        """Return the page for a form that was sent without a session."""
        view = wording.sign_in_needed(self._context(), sign_in_url=sign_in_url, method=request.method)
        return self._pages.sign_in_needed(view)

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

    def _context(self, account: str = "") -> PageContext:
        return PageContext(now=self._clock(), account=account)
