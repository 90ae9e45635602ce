"""Speaks to each request in its language: the middleware, and the address at which a person chooses another."""

import re
from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.hub.ambience import Ambience
from gateway.hub.signin_front import Front, add_cookie, cookie_headers, query_of, referring_path
from gateway.sessions import cookies
from gateway.sessions.pending import safe_path

_LOCALES = re.compile(r"([?&])ui_locales=[^&]*&?")
"""`ui_locales` in an address: whoever chooses another language does not mean it any more."""

COOKIE = "gate-lang"
COOKIE_S = 365 * 86400

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Speaking:
    """Surrounds every request. `app_at` returns the name of the app of a host and path, "" without one."""

    def __init__(self, ambience: Callable[[], Ambience], app_at: Callable[[str, str], str]) -> None:
        self._ambience = ambience
        self._app_at = app_at

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; every host has them."""
        return [web.get("/.gate/language", self.choose)]

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Handle a request in the language of whoever sent it."""
        front = Front(request.headers.get("X-Gate-Scheme", "https"), request.headers.get("X-Gate-Host", ""))
        chosen = cookies.find(cookie_headers(request), COOKIE, is_secure=front.is_secure)
        ambience = self._ambience()
        accepted = ", ".join(request.headers.getall("Accept-Language", []))
        # Only a page of ours is asked in a language: the address of an app's own page is the app's.
        wanted = query_of(request).get("ui_locales", "") if request.path.startswith("/.gate/") else ""
        language = ambience.language(chosen, accepted, ui_locales=wanted)
        is_get = request.method in ("GET", "HEAD")
        path = safe_path(request.raw_path) if is_get else referring_path(request, front)
        dialects = ambience.dialects(language, wanted.replace(" ", ","), accepted)
        with ambience.entered(language, self._app_at(front.host, request.path), path, dialects):
            return await handler(request)

    async def choose(self, request: web.Request) -> web.StreamResponse:
        """GET `/.gate/language?l=de&rd=/page`: speak this language from now on, and go back."""
        query = query_of(request)
        front = Front(request.headers.get("X-Gate-Scheme", "https"), request.headers.get("X-Gate-Host", ""))
        location = _LOCALES.sub(r"\1", safe_path(query.get("rd", "/")))
        response = web.Response(status=303, headers={"Location": location, "Cache-Control": "no-store"})
        language = query.get("l", "")
        if language in self._ambience().languages:
            add_cookie(
                response,
                cookies.set_cookie(COOKIE, language, is_secure=front.is_secure, max_age_s=COOKIE_S),
            )
        return response
