"""A worker's part in limited sessions: which limits a request meets, and the route that it gets with them.

Nothing here is touched by a request of a session that is not limited.
"""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from compliance.model import Decision
from gateway.config.profiles import BannerMode
from gateway.controls import graphql
from gateway.controls.effective import Effective, Limit, Profiles
from gateway.controls.guard import Guard
from gateway.controls.meter import Meters
from gateway.controls.notice import HIDING_COOKIE, Notice, NoticeTexts, hiding_key, make_notice
from gateway.controls.requests import (
    added_fields,
    body_bound,
    is_document,
    needs_reading,
    refusing_limit,
    removed_fields,
)
from gateway.feed.protocol import Ticket
from gateway.feed.settings import WorkerApp, WorkerSettings
from gateway.localised import LocalisedTexts, Said
from gateway.proxy.exchange import Exchange
from gateway.proxy.ports import Route
from gateway.wire.cookies import find_cookie
from gateway.wire.languages import best, lookup, ranges


class Met(NamedTuple):
    """A limit that a request met. `retry_after_s` is 0 where waiting does not help."""

    limit: Limit
    retry_after_s: int = 0


class LimitedSessions:
    """The profiles in force, and what limited sessions did lately."""

    def __init__(self, meters: Meters, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._profiles = Profiles()
        self._meters = meters
        self._texts: dict[str, NoticeTexts] = {}
        self._reasons = LocalisedTexts()
        self._cookie_prefix = b""
        self._known: dict[object, Effective] = {}
        self._hosts: frozenset[str] = frozenset()

    def configure(self, settings: WorkerSettings) -> None:
        """Limit by these profiles from now on; what sessions did stays counted."""
        self._profiles = Profiles(settings.profiles)
        self._meters.workers = settings.workers
        self._texts = {each.language: each for each in settings.notices}
        self._reasons = settings.reasons
        self._cookie_prefix = b"__Host-" if settings.is_https else b""
        self._hosts = frozenset(host.partition(":")[0] for host in _hosts(settings))
        self._known.clear()

    def _is_own_host(self, host: str) -> bool:
        """Return whether a host is guarded by this gateway: what comes from there is limited there."""
        return host in self._hosts or "*." + host.partition(".")[2] in self._hosts

    def effective(self, decision: Decision, app: WorkerApp) -> Effective:
        """Return what limits a session that was let in by `decision`."""
        key = (decision.controls, decision.profiles, app.banner)
        found = self._known.get(key)
        if found is None:
            found = self._profiles.effective(*key)
            if len(self._known) < MAX_KNOWN:
                self._known[key] = found
        return found

    def met(self, exchange: Exchange, effective: Effective, session: str) -> Met | None:
        """Return the limit that a new request meets, None when it may go to the app; then it is counted."""
        limit = refusing_limit(effective, exchange.head)
        if limit is not None:
            return Met(limit)
        if effective.requests_per_minute is None and effective.bytes_per_hour is None:
            return None
        wait_s = self._meters.admit(session, effective, self._clock())
        return Met(Limit.RATE, int(wait_s) + 1) if wait_s else None

    def met_later(self, exchange: Exchange, effective: Effective, route: Route) -> Met | None:
        """Return the limit that an exchange meets which is under way already."""
        limit = refusing_limit(effective, exchange.head)
        if limit is None and needs_reading(effective, exchange.head):
            limit = Limit.READ_ONLY
        if limit is None and exchange.response is not None and route.rules.guard is not None:
            withheld = route.rules.guard.withholds(exchange.head, exchange.response)
            limit = Limit(withheld) if withheld else None
        return None if limit is None else Met(limit)

    def key(self, exchange: Exchange, decision: Decision, effective: Effective) -> object:
        """Return what all requests have in common that may have one route."""
        head = exchange.head
        return (
            decision.controls,
            decision.profiles,
            decision.reason,
            self._page(exchange, decision, effective),
            needs_reading(effective, head),
            body_bound(effective, head),
        )

    def route(
        self, exchange: Exchange, decision: Decision, effective: Effective, ticket: Ticket, base: Route
    ) -> Route:
        """Return the route of a request with its limits; `base` is the one without."""
        head = exchange.head
        page = self._page(exchange, decision, effective)
        count = self._counter(ticket.session, effective) if effective.bytes_per_hour is not None else None
        guard = Guard(
            effective,
            base.rules,
            notice=None if page is None else self._notice(page, decision, effective, ticket),
            origin=_origin(exchange),
            is_own_host=self._is_own_host,
            count=count,
        )
        is_read = needs_reading(effective, head)
        bounds = [
            base.body_max_bytes,
            body_bound(effective, head),
            graphql.MAX_BODY_BYTES if is_read else None,
        ]
        return msgspec.structs.replace(
            base,
            headers=(*base.headers, *added_fields(effective, is_document=page is not None)),
            rules=guard.rules,
            removed=removed_fields(effective),
            reads_body=_graphql_reader(head.header(b"content-type")) if is_read else None,
            body_max_bytes=min(bound for bound in bounds if bound is not None),
        )

    def _counter(self, session: str, effective: Effective) -> Callable[[int], bool]:
        """Return what counts the bytes of one session and tells whether so many may still go to it."""
        allowed = effective.bytes_per_hour or 0

        def count(amount: int) -> bool:
            return self._meters.count_bytes(session, amount, allowed, self._clock())

        return count

    def _page(self, exchange: Exchange, decision: Decision, effective: Effective) -> "_Page | None":
        """Return for whom a page gets a notice, None for everything that gets none."""
        head = exchange.head
        if effective.banner is not BannerMode.GATEWAY or not self._texts or not is_document(head):
            return None
        accepted = (head.header(b"accept-language") or b"").decode("latin-1")
        chosen = self._own_cookie(exchange, b"gate-lang")
        language = chosen if chosen in self._texts else best(accepted, tuple(self._texts))
        language = language or next(iter(self._texts))
        dialects = (each for each in ranges(accepted) if lookup([each], self._texts) == language)
        said = self._reasons.reason(decision.policy, decision.reason, (*dialects, language))
        hidden = self._own_cookie(exchange, HIDING_COOKIE.encode())
        is_hidden = hidden == hiding_key(effective.names, decision.reason)
        return _Page(_origin(exchange), language, is_hidden, said)

    def _own_cookie(self, exchange: Exchange, name: bytes) -> str:
        found = find_cookie(exchange.head.header(b"cookie"), self._cookie_prefix + name)
        return "" if found is None else found.decode("latin-1")

    def _notice(
        self, page: "_Page", decision: Decision, effective: Effective, ticket: Ticket
    ) -> Notice | None:
        return make_notice(
            self._texts[page.language],
            origin=page.origin,
            names=effective.names,
            reason=decision.reason,
            said=page.said.text,
            said_language=page.said.language,
            watermark=_person(ticket) if effective.watermark else "",
            is_hidden=page.is_hidden,
        )


class _Page(NamedTuple):
    """A page that gets a notice: what its text and addresses depend on."""

    origin: str
    language: str
    is_hidden: bool
    said: Said


MAX_KNOWN = 1024
"""Most combinations of limits that are remembered."""


def _hosts(settings: WorkerSettings) -> tuple[str, ...]:
    return (settings.login_host.lower(), *(app.host for app in settings.apps))


def _origin(exchange: Exchange) -> str:
    return f"{exchange.scheme}://{exchange.head.authority.decode('latin-1')}"


def _person(ticket: Ticket) -> str:
    """Return who a page was shown to, for the watermark: the person where the app may know them, and the code."""
    headers = dict(ticket.headers)
    name = headers.get(b"X-Gate-Email") or headers.get(b"X-Gate-User") or b""
    return f"{name.decode(errors='replace')} {ticket.decision}".strip()


def _graphql_reader(content_type: bytes | None) -> Callable[[bytes], bool]:
    return lambda body: graphql.body_reads_only(body, content_type)
