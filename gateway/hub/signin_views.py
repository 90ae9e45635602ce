"""What signing in and out has to say, before anybody words it: refusals, and the pages that it asks for."""

from typing import Protocol

import msgspec
from aiohttp import web

from compliance.model import User
from gateway.hub.keeping import Keeping


class PageAction(msgspec.Struct, frozen=True):
    """A link that a page offers. `text` "" takes the page's usual words for it."""

    url: str
    text: str = ""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a sign-in or sign-out does not go on.

    `code` names the exact cause, for problems and the log; `words` is the error of `gateway.hub.wording` that
    explains it, "" the one of the status. `title`, `text` and `advice` replace those words where they are too
    general. `provider` is the label of the provider it is about; `app` and `owner` are the app's.
    """

    status: int
    code: str
    words: str = ""
    title: str = ""
    text: str = ""
    advice: tuple[str, ...] | None = None
    provider: str = ""
    app: str = ""
    owner: str = ""
    action: PageAction | None = None
    retry_after_s: int | None = None


class SignInPages(Protocol):
    """The pages of signing in and out: HTML for people, problem documents for others."""

    def error(self, request: web.Request, refusal: Refusal, *, reference: str) -> web.Response:
        """Return a page that says what went wrong; `reference` finds it in the log."""
        ...

    def sign_in_needed(
        self, request: web.Request, *, sign_in_url: str, kept: Keeping | None = None
    ) -> web.Response:
        """Return a 401 page with a link: a form was sent without a session; it is not sent again by itself."""
        ...

    def confirm_sign_out(
        self,
        request: web.Request,
        *,
        user: User,
        back_url: str,
        form_targets: tuple[str, ...],
    ) -> web.Response:
        """Return a page with a form to `/.gate/logout`; its answer leads to one of `form_targets`."""
        ...

    def signed_out(
        self,
        request: web.Request,
        *,
        provider: str,
        provider_url: str,
        sign_in_url: str,
    ) -> web.Response:
        """Return a page that says that the session is over. `provider_url` "" offers nothing more."""
        ...
