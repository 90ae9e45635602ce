"""Where a request of signing in reached us, who is signed in there, and the headers that every answer has.

Scheme, host and client address are the worker's word in `X-Gate-*`, never what the client itself says.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from urllib.parse import parse_qsl, urlsplit

import msgspec
from aiohttp import web

from gateway.config.schema import App, Config
from gateway.hub.delivery_request import DeliveryRequest
from gateway.oidc.discovery import is_loopback_host
from gateway.oidc.io import ProviderClient
from gateway.sessions import cookies
from gateway.sessions.cookies import CookieName
from gateway.sessions.model import Session, host_name
from gateway.sessions.pending import safe_path
from gateway.sessions.registry import SessionRegistry

MAX_QUERY = 65536
MAX_HOST = 261
MAX_COOKIE_SUFFIX = 64
TOKEN_CHALLENGE = 'Basic realm="service token", charset="UTF-8"'  # noqa: S105 - asks for one
"""What makes git and its like ask for name and password. Never sent to a browser, which would ask the person."""
HOME_OF_LOGIN_HOST = "/.gate/me"
"""Where people land on a login host that is no app: who they are, on which device, what is known of it."""


class Front(msgspec.Struct, frozen=True):
    """How the client reached us, by the worker's word: never by what the client itself says."""

    scheme: str
    host: str

    @property
    def origin(self) -> str:
        """Scheme and host with port, as a browser shows them."""
        return f"{self.scheme}://{self.host}"

    @property
    def is_secure(self) -> bool:
        """Whether cookies are Secure and carry the `__Host-` prefix."""
        return self.scheme == "https"


class Fronts:
    """The hosts of the configuration in force: the login host, the apps, and who is signed in there."""

    def __init__(self, sessions: SessionRegistry, now: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._now = now
        self.login = Front("https", "")
        self.default_provider = ""
        self._apps: tuple[App, ...] = ()
        self._providers: dict[str, ProviderClient] = {}

    def configure(self, config: Config, providers: Mapping[str, ProviderClient]) -> None:
        """Know these hosts and providers from now on."""
        self._providers = dict(providers)
        self.default_provider = config.providers[0].name
        self._apps = config.apps
        url = urlsplit(config.public_url)
        self.login = Front(url.scheme.lower(), plain_host(url.scheme.lower(), url.netloc))

    def provider(self, name: str) -> ProviderClient | None:
        """Return the client of a configured provider, None when there is none of this name."""
        return self._providers.get(name)

    def providers_of(self, issuer: str) -> list[ProviderClient]:
        """Return the clients whose configured issuer is exactly this text."""
        return [each for each in self._providers.values() if each.provider.issuer == issuer]

    @property
    def home(self) -> str:
        """Where on the login host a person goes who wants nothing in particular."""
        return "/" if self.app(self.login, "/") is not None else HOME_OF_LOGIN_HOST

    def front(self, request: web.Request) -> Front | None:
        """Return how the client reached us, None for a foreign host or plain http off this machine."""
        scheme = request.headers.get("X-Gate-Scheme", "")
        host = plain_host(scheme, request.headers.get("X-Gate-Host", ""))
        if scheme not in ("http", "https") or (scheme == "http" and not is_loopback_host(host_name(host))):
            return None
        front = Front(scheme, host)
        return front if front == self.login or self.app(front, None) is not None else None

    def app(self, front: Front, path: str | None) -> App | None:
        """Return the app of this host with the longest prefix of `path`; any of them when `path` is None."""
        name = host_name(front.host)
        of_host = [app for app in self._apps if _is_host_of(app.host.lower(), name)]
        if path is None:
            return of_host[0] if of_host else None
        plain = path.partition("?")[0]
        # A page of ours belongs to no app more than to another of its host.
        below = [app for app in of_host if plain.startswith((app.path_prefix, "/.gate/"))]
        return max(below, key=lambda app: len(app.path_prefix), default=None)

    def session(self, request: web.Request, front: Front) -> Session | None:
        """Return the live session of the request's cookie for this host, None without one."""
        value = cookies.find(cookie_headers(request), CookieName.SESSION, is_secure=front.is_secure)
        return None if value is None else self._sessions.lookup_cookie(value, front.host, self._now())


def _is_host_of(pattern: str, name: str) -> bool:
    """Return whether a host belongs to an app; `*.` stands for exactly one label."""
    if pattern.startswith("*."):
        label, dot, rest = name.partition(".")
        return bool(label and dot) and rest == pattern[2:]
    return host_name(pattern) == name


def plain_host(scheme: str, host: str) -> str:
    """Return the host in lower case without the scheme's default port, "" for what is no host.

    >>> plain_host("https", "App.Example:443"), plain_host("http", "a.localhost:8080"), plain_host("http", "a/b")
    ('app.example', 'a.localhost:8080', '')
    """
    text = host.lower()
    if not text or len(text) > MAX_HOST or not all(sign.isalnum() or sign in ".-_:[]" for sign in text):
        return ""
    if not text.isascii():
        return ""
    return text.removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


def is_browser(request: web.Request) -> bool:
    """Return whether the worker took this request for a person's navigation."""
    return request.headers.get("X-Gate-Client-Kind", "api") == "browser"


def is_program(request: web.Request) -> bool:
    """Return whether no browser can have sent this: browsers tell what fetches, and call themselves Mozilla."""
    headers = request.headers
    is_fetched = any(
        name in headers for name in ("Sec-Fetch-Mode", "Sec-Fetch-Site", "Origin", "X-Requested-With")
    )
    return not is_fetched and not headers.get("User-Agent", "").startswith(("Mozilla/", "Opera/"))


def client_address(request: web.Request | DeliveryRequest) -> str:
    """Return the client's address as the worker determined it, "" without one."""
    return request.headers.get("X-Gate-Client", "")


def is_cookie_name(text: str) -> bool:
    """Return whether a text may stand at the end of one of our cookie names."""
    return (
        0 < len(text) <= MAX_COOKIE_SUFFIX
        and all(sign.isalnum() or sign in "-_" for sign in text)
        and text.isascii()
    )


def cookie_headers(request: web.Request) -> list[str]:
    """Return the `Cookie` fields."""
    return request.headers.getall("Cookie", [])


def query_of(request: web.Request) -> dict[str, str]:
    """Return the query of one of our own addresses: the first of repeated parameters, nothing for garbage."""
    raw = request.raw_path.partition("?")[2]
    if len(raw) > MAX_QUERY:
        return {}
    try:
        pairs = parse_qsl(raw, keep_blank_values=True, max_num_fields=20, errors="strict")
    except ValueError:
        return {}
    query: dict[str, str] = {}
    for name, value in pairs:
        query.setdefault(name, value)
    return query


def referring_path(request: web.Request, front: Front) -> str:
    """Return the page that sent a fetch, if it is of the same app: there the person wants to be again."""
    referrer = request.headers.get("Referer", "")
    return safe_path(referrer[len(front.origin) :]) if referrer.startswith(front.origin + "/") else "/"


def is_same_origin(request: web.Request, front: Front) -> bool:
    """Return whether a POST comes from a page of the same host, by fetch metadata or by `Origin` (G3)."""
    site, origin = request.headers.get("Sec-Fetch-Site"), request.headers.get("Origin")
    if origin is not None and origin != "null":
        return origin.lower() == front.origin and site in (None, "same-origin")
    return site == "same-origin"


def redirect(status: int, url: str) -> web.Response:
    """Return a redirect with the headers of signing in."""
    return finished(web.Response(status=status, headers={"Location": url}))


def finished(response: web.Response, *, referrer: str = "no-referrer") -> web.Response:
    """Return the response with the headers that everything about signing in has (C5)."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["Referrer-Policy"] = referrer
    return response


def add_cookie(response: web.StreamResponse, value: str) -> None:
    """Add a `Set-Cookie` value to those that the response has."""
    response.headers.add("Set-Cookie", value)
