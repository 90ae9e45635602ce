"""The pages that people see, rendered on the server from view models; problem documents for everything else.

A page is one self-contained document: style and script stand inside it, allowed by their hashes, so that a
page works when nothing else does. Without JavaScript every page does all it promises; with it, the
remediation page updates in place and leads the person back. INVARIANT: every text that is put into a page
passes `_harmless`, and every link passes `_address`.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, urlsplit

import jinja2
import msgspec
from aiohttp import web
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup, escape

from gateway.controls.effective import Limit
from gateway.hub.ambience import around
from gateway.hub.texts import TEXTS, spoken, text
from gateway.hub.views import (
    ApproveView,
    BlockedView,
    CarriedView,
    ChooseProviderView,
    ErrorView,
    MeView,
    RemediationView,
    RestrictedView,
    ResumeView,
    SignedOutView,
    SignInView,
    SignOutView,
    StepUpView,
    View,
    status_payload,
)
from gateway.hub.wording import MARKDOWN_MAX, NO_BREAK, clean

__all__ = ["Pages", "problem", "spoken_problem", "status_payload"]

TEXT_MAX = 2000
"""Longest text of a view that a page shows; `gateway.hub.wording` cuts much earlier."""

ADDRESS_MAX = 8192

_MARK = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32' fill='none' stroke='#0b5d54' "
    "stroke-width='3.4' stroke-linecap='round'><path d='M5 28V15a11 11 0 0 1 22 0v13M16 20v8'/>"
    "<circle cx='16' cy='14' r='2.6' fill='#0b5d54' stroke='none'/></svg>"
)
_FAVICON: Final = Markup("data:image/svg+xml," + quote(_MARK, safe="'/=: "))  # noqa: S704 - a constant


# --- what goes into a page --------------------------------------------------------------------------------


def _static(name: str) -> str:
    return (files("gateway.hub") / "static" / name).read_text("utf-8")


def _small_css(source: str) -> str:
    """Return the style without comments and the spaces that mean nothing; a selector never has one after a colon."""
    plain = re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL))
    return re.sub(r":\s+", ":", re.sub(r"\s*([{};,])\s*", r"\1", plain)).replace(";}", "}")


def _small_js(source: str) -> str:
    """Return the script without comment lines, indentation and the spaces around operators.

    Line ends stay, so that its meaning does; no text in our scripts holds an operator between spaces.
    """
    lines = (re.sub(r" (=>|[!=]==|&&|\|\||[=+?:*/-]) ", r"\1", line.strip()) for line in source.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def _allowed(source: str) -> str:
    digest = hashlib.sha256(source.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


CSS: Final = _small_css(_static("pages.css"))
SCRIPT: Final = _small_js(_static("pages.js"))
LIVE_SCRIPT: Final = _small_js(_static("live.js"))
RESUME_SCRIPT: Final = _small_js(_static("resume.js"))


def _harmless(value: object) -> object:
    """Return a text without characters that hide, turn or flood; all that a template shows passes here."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return clean(value, TEXT_MAX, keep=_ISOLATES + NO_BREAK)


_ISOLATES = "\u2068\u2069"  # `wording.name_in_sentence` sets them; a stray one ends with its element


def _address(untrusted: str) -> Markup:
    """Return a link that is safe in `href` and `action`: a path on this host, or http(s).

    Anything else is ``/``.
    """
    candidate = untrusted[:ADDRESS_MAX]
    if candidate != untrusted or re.search(r"[\x00-\x20\x7f\\]", candidate):
        return Markup("/")
    if candidate.startswith("/") and not candidate.startswith("//"):
        return escape(candidate)
    try:
        parts = urlsplit(candidate)
    except ValueError:
        return Markup("/")
    return escape(candidate) if parts.scheme in {"http", "https"} and parts.netloc else Markup("/")


def _setting(url: str) -> Markup:
    """Return a link that opens a setting or a letter, and nothing else: ``#`` for any other."""
    is_safe = _is_link(url) and not re.search(r"[\x00-\x20\x7f\\]", url)
    return escape(url) if is_safe else Markup("#")


def _markdown_renderer() -> MarkdownIt:
    """Return a renderer without HTML, images and headings of its own (a page has one outline: ours)."""
    renderer = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 12})
    renderer.disable(["image", "html_block", "html_inline", "reference"])
    renderer.validateLink = _is_link  # type: ignore[method-assign]
    renderer.add_render_rule("heading_open", _heading_open)
    renderer.add_render_rule("heading_close", _heading_close)
    renderer.add_render_rule("link_open", _link_open)
    renderer.add_render_rule("link_close", _link_close)
    renderer.add_render_rule("fence", _code)
    renderer.add_render_rule("code_block", _code)
    return renderer


LINK_SCHEMES: Final = frozenset(
    {
        "http",
        "https",
        "mailto",
        "tel",
        "ms-settings",
        "windowsdefender",
        "x-apple.systempreferences",
        "companyportal",
    }
)
"""What a link in instructions may open: the web, mail, phone, and the settings of the common systems."""


def _is_link(url: str) -> bool:
    return urlsplit(url).scheme.lower() in LINK_SCHEMES


def _heading_open(_: RendererHTML, __: list[Token], ___: int, ____: OptionsDict, _____: EnvType) -> str:
    return "<p><strong>"


def _heading_close(_: RendererHTML, __: list[Token], ___: int, ____: OptionsDict, _____: EnvType) -> str:
    return "</strong></p>\n"


def _link_open(
    renderer: RendererHTML, tokens: list[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    token = tokens[index]
    token.attrSet("rel", "noopener noreferrer")
    if str(token.attrGet("href")).startswith("http"):
        token.attrSet("target", "_blank")
    return renderer.renderToken(tokens, index, options, env)


def _link_close(_: RendererHTML, tokens: list[Token], index: int, __: OptionsDict, ___: EnvType) -> str:
    depth = 0
    for token in reversed(tokens[:index]):
        depth += {"link_close": 1, "link_open": -1}.get(token.type, 0)
        if depth < 0:
            is_new_tab = token.attrGet("target") == "_blank"
            return f'<span class="sr"> ({escape(text("new_tab"))})</span></a>' if is_new_tab else "</a>"
    return "</a>"


def _code(_: RendererHTML, tokens: list[Token], index: int, __: OptionsDict, ___: EnvType) -> str:
    """Return a command with a button that copies it, which the script uncovers."""
    code = tokens[index].content.strip("\n")
    return Markup(
        '<div class="copy"><pre><code>{}</code></pre>'
        '<button class="button quiet" type="button" data-copy="{}" hidden><span>{}</span></button></div>\n'
    ).format(code, code, text("copy"))


_MARKDOWN: Final = _markdown_renderer()


def _markdown(source: str) -> Markup:
    """Return Markdown as HTML.

    HTML in it is shown as text, images are left out, links are limited to `LINK_SCHEMES`.
    """
    cleaned = clean(source, MARKDOWN_MAX, keep_lines=True, keep=NO_BREAK)
    return Markup(_MARKDOWN.render(cleaned))  # noqa: S704 - the renderer escapes everything but its own tags


def _bdi(value: object) -> Markup:
    if isinstance(value, Markup):
        return value
    return Markup("<bdi>{}</bdi>").format(_harmless(value))


def _text(key: str, **values: object) -> Markup:
    """Return text `key` as HTML, each value escaped and kept apart from the direction of the sentence."""
    return _filled(spoken().template(key), values)


def _plural(key: str, count: int, **values: object) -> Markup:
    return _filled(spoken().plural_template(key, count), {"count": count, **values})


def _filled(template: str, values: Mapping[str, object]) -> Markup:
    return escape(template).format(**{name: _bdi(value) for name, value in values.items()})


def _hidden(name: str, value: str) -> Markup:
    """Return a hidden field that gives a browser back exactly these characters.

    INVARIANT: nothing is cleaned here; a line end in an attribute survives only as a character reference.
    """
    return Markup('<input type="hidden" name="{}" value="{}">').format(_attribute(name), _attribute(value))


def _attribute(text_: str) -> Markup:
    return Markup(str(escape(text_)).replace("\r", "&#13;").replace("\n", "&#10;"))  # noqa: S704 - escaped here


def _owner(untrusted: str) -> Markup:
    """Return whom to ask, as a link when it is an e-mail address or a web address."""
    owner = str(_harmless(untrusted))
    link: Markup | None = None
    if re.fullmatch(r"[^@\s<>\"']+@[^@\s<>\"']+\.[^@\s<>\"']+", owner):
        link = Markup('<a href="mailto:{}">{}</a>').format(quote(owner, safe="@+"), owner)
    elif owner.startswith(("https://", "http://")):
        link = Markup('<a href="{}">{}</a>').format(_address(owner), owner)
    return _text("help_owner", owner=link or owner)


def _anchor(key: str) -> str:
    """Return an id for an element of the page from any key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:10]


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gateway.hub", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters |= {
        "address": _address,
        "setting": _setting,
        "markdown": _markdown,
        "anchor": _anchor,
        "drawing": Markup,
    }
    environment.globals |= {
        "t": _text,
        "p": text,
        "plural": _plural,
        "owner": _owner,
        "hidden": _hidden,
        "attribute": _attribute,
        "favicon": _FAVICON,
        "css": Markup(CSS),  # noqa: S704 - our own file
        "script": Markup(SCRIPT),  # noqa: S704 - our own file
        "live_script": Markup(LIVE_SCRIPT),  # noqa: S704 - our own file
        "resume_script": Markup(RESUME_SCRIPT),  # noqa: S704 - our own file
    }
    return environment


# --- the pages --------------------------------------------------------------------------------------------


class Pages:
    """Renders each page as a response with its status and headers.

    Stateless after it is made; nothing raises.

    `form_targets` are the origins (``https://login.example.org``) that the answer to a form may lead to,
    beside the page's own: browsers hold redirects after a form to `form-action` too.
    """

    def __init__(self, *, brand: str = "", form_targets: tuple[str, ...] = ()) -> None:
        self._brand = brand or TEXTS["brand"]
        self._environment = _environment()
        self._form_targets = form_targets

    def remediation(self, view: RemediationView, *, status: int = 403) -> web.Response:
        """Render `/.gate/fix`: 403 when a refusal led here, 200 when the person came by themselves."""
        return _in_any_window(self._page("remediation.html", view, status, has_form=True))

    def blocked(self, view: BlockedView) -> web.Response:
        """Say that access policy keeps this closed."""
        return self._page("blocked.html", view, 403)

    def error(self, view: ErrorView) -> web.Response:
        """Say what went wrong, with the status of the view and `Retry-After` when it is known."""
        response = self._page("error.html", view, view.status)
        if view.retry_after_s:
            response.headers["Retry-After"] = str(view.retry_after_s)
        return response

    def sign_out_confirm(self, view: SignOutView) -> web.Response:
        """Ask before signing out: a form, so that no link from elsewhere signs anybody out."""
        return self._page("sign_out_confirm.html", view, 200, has_form=True, form_targets=view.form_targets)

    def signed_out(self, view: SignedOutView) -> web.Response:
        """Say that the session is over."""
        return self._page("signed_out.html", view, 200)

    def sign_in_needed(self, view: SignInView) -> web.Response:
        """Answer a navigation that sent something without a session."""
        return self._page("sign_in_needed.html", view, 401)

    def step_up(self, view: StepUpView) -> web.Response:
        """Ask for a stronger sign-in."""
        return self._page("step_up.html", view, 403)

    def choose_provider(self, view: ChooseProviderView) -> web.Response:
        """Let the person choose where to sign in."""
        return self._page("choose_provider.html", view, 200)

    def restricted(self, view: RestrictedView) -> web.Response:
        """Say what a session control refused."""
        return _in_any_window(self._page("restricted.html", view, 429 if view.control is Limit.RATE else 403))

    def resume(self, view: ResumeView, *, scheme: str) -> web.Response:
        """Offer a kept form to be sent by a click. `scheme` is that of the app.

        The app may answer a form with a redirect to anywhere, and browsers hold redirects to `form-action` too. The app
        is told nothing but our origin: the key of the form stands in our address.
        """
        page = self._page("resume.html", view, 200, has_form=True, form_targets=(f"{scheme}:",))
        page.headers["Referrer-Policy"] = "strict-origin"
        return page

    def carried(self, view: CarriedView, *, scheme: str) -> web.Response:
        """Give back a form that nobody keeps, to be sent by a click; headers as for `resume`."""
        page = self._page("carried.html", view, 401, has_form=True, form_targets=(f"{scheme}:",))
        page.headers["Referrer-Policy"] = "strict-origin"
        return page

    def approve(self, view: ApproveView) -> web.Response:
        """Ask an owner whether somebody may go on for some hours."""
        return self._page("approve.html", view, 200, has_form=True)

    def approved(self, view: BlockedView) -> web.Response:
        """Say what an owner's answer did."""
        return self._page("blocked.html", view, 200)

    def me(self, view: MeView) -> web.Response:
        """Render `/.gate/me`."""
        return self._page("me.html", view, 200, has_form=True)

    def _page(
        self,
        template: str,
        view: View,
        status: int,
        *,
        has_form: bool = False,
        form_targets: tuple[str, ...] = (),
    ) -> web.Response:
        surroundings = around()
        look = surroundings.look
        html = self._environment.get_template(template).render(
            view=view,
            lang=spoken().language,
            dir=spoken().direction,
            brand=look.brand or self._brand,
            logo=Markup(look.logo),  # noqa: S704 - a data: URL that we made
            own_css=Markup(look.css),  # noqa: S704 - made of checked colours
            here=surroundings.path,
            languages=surroundings.languages,
            help_url=surroundings.help_url,
        )
        targets = (*self._form_targets, *form_targets) if has_form else ()
        return web.Response(
            status=status,
            text=html,
            content_type="text/html",
            charset="utf-8",
            headers=_headers(has_form=has_form, form_targets=targets, own_css=look.css),
        )


def _in_any_window(page: web.Response) -> web.Response:
    """Return a page that shows in a window which an app's page in a sandbox has opened, too.

    Browsers show no page with an opener policy there. Source: HTML, "Cross-origin opener policies".
    """
    del page.headers["Cross-Origin-Opener-Policy"]
    return page


def _headers(*, has_form: bool, form_targets: tuple[str, ...], own_css: str = "") -> dict[str, str]:
    form_action = " ".join(["'self'", *form_targets]) if has_form else "'none'"
    policy = (
        "default-src 'none'",
        " ".join(["style-src", _allowed(CSS), *([_allowed(own_css)] if own_css else [])]),
        f"script-src {_allowed(SCRIPT)} {_allowed(LIVE_SCRIPT)} {_allowed(RESUME_SCRIPT)}",
        "img-src data:",
        "connect-src 'self'",
        f"form-action {form_action}",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
    return {
        "Content-Security-Policy": "; ".join(policy),
        "Cache-Control": "no-store",
        # A form under `no-referrer` sends `Origin: null`, which no check of the origin can accept.
        "Referrer-Policy": "same-origin" if has_form else "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
        "Content-Language": spoken().language,
        "Vary": "Accept, Accept-Language, Cookie",
    }


def spoken_problem(
    status: int,
    code: str,
    title: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> web.Response:
    """Return a problem document whose `title` and `detail` are in the language that is spoken; see `problem`.

    Source: RFC 9457 section 3.1 (both may be localised; RFC 9110 section 8.5 says in what).
    """
    spoken_in = {"Content-Language": spoken().language, "Vary": "Accept, Accept-Language, Cookie"}
    return problem(status, code, title, detail, headers={**spoken_in, **(headers or {})}, **members)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str = "",
    *,
    reference: str = "",
    retry_after_s: int | None = None,
    headers: Mapping[str, str] | None = None,
    **extra: object,
) -> web.Response:
    """Return an `application/problem+json` answer for whoever is not a browser.

    `code` is a word in kebab-case; `type` is made of it. `extra` members are added as they are, None left
    out.

    Source: RFC 9457.
    """
    document: dict[str, object] = {
        "type": f"urn:posturegate:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail or None,
        "code": code,
        "reference": reference or None,
        "retry_after": retry_after_s,
        **extra,
    }
    all_headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | dict(headers or {})
    if retry_after_s is not None:
        all_headers["Retry-After"] = str(retry_after_s)
    return web.Response(
        status=status,
        body=msgspec.json.encode({name: value for name, value in document.items() if value is not None}),
        content_type="application/problem+json",
        headers=all_headers,
    )
