"""What becomes of the responses to one limited session at one app: passed, changed, or withheld. Pure but for counting.

A guard is made once per ticket, app and set of limits, and asked for every response. It is what the data path knows as
`gateway.proxy.ports.ResponseGuard`.
"""

from collections.abc import Callable

import msgspec

from compliance.model import ClientKind
from gateway.controls.csp import StyleSource
from gateway.controls.effective import Effective, Limit
from gateway.controls.insertion import Inserter
from gateway.controls.leading import DEFAULT_PORTS, Place, is_listed, place, refresh_address
from gateway.controls.media import (
    PDF,
    SNIFFED_BYTES,
    Unpacker,
    contradicts,
    is_saved_when_opened,
    is_shown,
    media_type,
    sniffed_bytes_needed,
)
from gateway.controls.notice import Notice
from gateway.controls.requests import is_document, leaves_alone
from gateway.proxy.ports import ResponseRules
from gateway.wire.client_kind import client_kind
from gateway.wire.fields import Field
from gateway.wire.request import RequestHead
from gateway.wire.response import ResponseHead

_ASCII_CHARSETS = frozenset(
    {
        "utf-8",
        "utf8",
        "us-ascii",
        "ascii",
        "shift_jis",
        "euc-jp",
        "euc-kr",
        "gbk",
        "gb2312",
        "gb18030",
        "big5",
    }
)
_ASCII_CHARSET_BEGINNINGS = ("iso-8859-", "windows-125", "koi8-", "macintosh", "windows-874")
_VALIDATORS = frozenset({b"etag", b"last-modified"})
_OF_THE_BYTES = frozenset(
    {
        b"content-length",
        b"content-md5",
        b"digest",
        b"content-digest",
        b"repr-digest",
        b"want-digest",
        b"accept-ranges",
    }
)
"""Fields that speak of the very bytes of a body."""
_BODILESS = frozenset({204, 304})
_PARTIAL = 206


class Guard:
    """Judges the responses to one limited session. `notice` is what to insert, None for nothing."""

    def __init__(
        self,
        effective: Effective,
        base: ResponseRules,
        *,
        notice: Notice | None = None,
        origin: str = "",
        is_own_host: Callable[[str], bool] = lambda _host: False,
        count: Callable[[int], bool] | None = None,
    ) -> None:
        self._effective = effective
        self._notice = notice
        self._origin = origin
        self._is_own_host = is_own_host
        self._count = count
        added, dropped = _hardening(effective)
        if effective.no_store:
            dropped |= _VALIDATORS
        if effective.display is not None:
            dropped |= {b"accept-ranges"}
        self.rules = ResponseRules(
            no_store=effective.no_store,
            reserved_cookies=base.reserved_cookies,
            extra_headers=(*base.extra_headers, *added),
            dropped=dropped,
            guard=self,
        )
        with_notice = msgspec.structs.replace(
            self.rules, no_store=True, dropped=dropped | _VALIDATORS | _OF_THE_BYTES, is_resized=True
        )
        is_sandboxed = effective.display is not None and effective.is_sandboxed
        self._sandboxed = _sandboxed(self.rules) if is_sandboxed else self.rules
        self._unsandboxed_with_notice = with_notice
        self._rules_with_notice = _sandboxed(with_notice) if is_sandboxed else with_notice

    def withholds(self, head: RequestHead, response: ResponseHead) -> str:
        """Return the limit by which a response is not passed on, "" when it may be, as far as its head tells."""
        if not self._limits_downloads(head):
            return ""
        is_kept = _is_download(self._effective, head, response) or self._leads_away(head, response)
        return Limit.NO_DOWNLOADS.value if is_kept else ""

    def treat(self, head: RequestHead, response: ResponseHead) -> "tuple[ResponseRules, BodyFilter | None]":
        """Return how the response's head is written, and what its body goes through, None for nothing."""
        has_body = head.method != "HEAD" and response.status not in _BODILESS and response.length != 0
        inserter = self._inserter(head, response) if has_body else None
        limits_downloads = self._limits_downloads(head)
        media = media_type(response.header(b"content-type") or b"")
        if inserter is not None:
            rules = self._rules_with_notice if limits_downloads else self._unsandboxed_with_notice
        else:
            # What shows PDF does not do so in a sandbox.
            rules = self._sandboxed if limits_downloads and media != PDF else self.rules
        if self._effective.no_store and is_document(head):
            rules = msgspec.structs.replace(rules, extra_headers=(*rules.extra_headers, FORGET))
        is_looked_at = has_body and limits_downloads
        if not has_body or (inserter is None and not is_looked_at and self._count is None):
            return rules, None
        coding = (response.header(b"content-encoding") or b"").strip().lower()
        unpacker = Unpacker() if coding in Unpacker.CODINGS else None
        most = self._effective.download_max_bytes if is_looked_at else None
        look = Look(media, unpacker) if is_looked_at else None
        return rules, BodyFilter(look, inserter, self._count, most)

    def _limits_downloads(self, head: RequestHead) -> bool:
        return self._effective.display is not None and not leaves_alone(self._effective.downloadable, head)

    def _leads_away(self, head: RequestHead, response: ResponseHead) -> bool:
        """Return whether a response leads to a host that nobody guards, where a file could come from."""
        addresses = (response.header(b"location"), refresh_address(response.header(b"refresh")))
        found = [place(address.decode("latin-1")) for address in addresses if address]
        return any(each is not None and not self._may_lead_to(each, head) for each in found)

    def _may_lead_to(self, found: Place, head: RequestHead) -> bool:
        if all(is_listed(found.host, hosts) for hosts in self._effective.leads_to):
            return True
        is_our_port = found.port in DEFAULT_PORTS if head.port is None else found.port == head.port
        return is_our_port and (found.host == head.host or self._is_own_host(found.host))

    def _inserter(self, head: RequestHead, response: ResponseHead) -> Inserter | None:
        """Return what inserts the notice; None for everything that is not surely a page for a tab."""
        notice = self._notice
        coding = response.header(b"content-encoding")
        is_page = is_document(head) and response.status == 200 and coding in {None, b"identity"}  # noqa: PLR2004
        if notice is None or not is_page or not _is_html_in_ascii(response.header(b"content-type")):
            return None
        if response.header(b"content-disposition") is not None or response.header(b"sourcemap") is not None:
            return None
        if b"no-transform" in (response.header(b"cache-control") or b"").lower():
            return None
        style = StyleSource(self._origin)
        own = response.header(b"content-security-policy") or b""
        policies = [own.decode("latin-1"), *(each.csp for each in self._effective.headers if each.csp)]
        if not all(style.lets_stand(policy) for policy in policies):
            return None
        return Inserter(lambda: notice.html(style.nonce), style.lets_stand_in_meta)


class Look:
    """Looks at the beginning of one body: whether it is what its type says. Without a type it must be empty."""

    __slots__ = ("_begin", "_held", "_is_clear", "_media", "_unpacker")

    def __init__(self, media: bytes, unpacker: Unpacker | None) -> None:
        self._media = media
        self._unpacker = unpacker
        self._begin = b""
        self._held = b""
        self._is_clear = False

    def feed(self, payload: bytes, *, is_last: bool) -> bytes | None:
        """Return what is seen to be harmless so far; None: it is not what its type says."""
        if self._is_clear:
            return payload
        if not self._is_as_told(payload):
            return None
        payload, self._held = self._held + payload, b""
        if len(self._begin) < sniffed_bytes_needed(self._media) and not is_last:
            self._held = payload
            return b""
        # What came is too short to be judged before its end.
        return None if is_last and contradicts(self._media, self._begin) else payload

    def _is_as_told(self, payload: bytes) -> bool:
        if not payload:
            return True
        if not self._media:
            return False
        plain = payload if self._unpacker is None else self._unpacker.feed(payload)
        if plain is None:
            return False
        self._begin = (self._begin + plain)[:SNIFFED_BYTES]
        if len(self._begin) < sniffed_bytes_needed(self._media):
            return True
        self._is_clear = len(self._begin) >= SNIFFED_BYTES
        return not contradicts(self._media, self._begin)


class BodyFilter:
    """What one body goes through: it is looked at, counted, and a notice put into it.

    `limit` is why it was withheld, once `feed` has said so.
    """

    __slots__ = ("_count", "_inserter", "_left", "_look", "limit")

    def __init__(
        self,
        look: Look | None,
        inserter: Inserter | None,
        count: Callable[[int], bool] | None,
        max_bytes: int | None,
    ) -> None:
        self._look = look
        self._inserter = inserter
        self._count = count
        self._left = max_bytes
        self.limit = ""

    def feed(self, payload: bytes, *, is_last: bool) -> bytes | None:
        """Return what may go on to the client now; None: the body is withheld from here on, see `limit`."""
        if self._left is not None:
            self._left -= len(payload)
            if self._left < 0:
                self.limit = Limit.NO_DOWNLOADS.value
                return None
        if payload and self._count is not None and not self._count(len(payload)):
            self.limit = Limit.RATE.value
            return None
        seen = payload if self._look is None else self._look.feed(payload, is_last=is_last)
        if seen is None:
            self.limit = Limit.NO_DOWNLOADS.value
            return None
        return seen if self._inserter is None else self._inserter.feed(seen, is_last=is_last)


_ALLOWED = (
    "forms",
    "modals",
    "orientation-lock",
    "pointer-lock",
    "popups",
    "presentation",
    "same-origin",
    "scripts",
    "storage-access-by-user-activation",
    "top-navigation",
)
"""All that a sandbox can allow but saving files, and windows outside of it. Source: HTML, section "Sandboxing"."""
SANDBOX: Field = (
    b"Content-Security-Policy",
    " ".join(("sandbox", *(f"allow-{each}" for each in _ALLOWED))).encode(),
)


FORGET: Field = (b"Clear-Site-Data", b'"cache"')
"""Has browsers forget what they kept while nothing was limited. Source: Clear Site Data, section 3.1."""


def _sandboxed(rules: ResponseRules) -> ResponseRules:
    """Return the rules for a page in a sandbox, where browsers show none with an opener policy of its own.

    Source: HTML, "Cross-origin opener policies".
    """
    return msgspec.structs.replace(
        rules,
        extra_headers=(*rules.extra_headers, SANDBOX),
        dropped=rules.dropped | {b"cross-origin-opener-policy"},
    )


def _is_download(  # noqa: PLR0911 - one line a reason
    effective: Effective, head: RequestHead, response: ResponseHead
) -> bool:
    """Return whether a response is, or could be, anything but what the browser shows."""
    if response.status in _BODILESS:
        return False
    disposition = response.header(b"content-disposition")
    if disposition is not None and disposition.partition(b";")[0].strip().lower() not in {b"inline", b""}:
        return True
    if response.length == 0 and head.method != "HEAD":
        return False
    if response.status == _PARTIAL or response.header(b"content-range") is not None:
        return True
    coding = (response.header(b"content-encoding") or b"identity").strip().lower()
    if coding != b"identity" and coding not in Unpacker.CODINGS:
        return True
    media = media_type(response.header(b"content-type") or b"")
    if response.header(b"content-type") is None and response.length < 0:
        # Many answer so without a body; whether there is none shows when it comes.
        return False
    if not _is_shown(effective, media):
        return True
    if client_kind(head) is ClientKind.BROWSER and is_saved_when_opened(media):
        return True
    most = effective.download_max_bytes
    return most is not None and response.length > most


def _is_shown(effective: Effective, media: bytes) -> bool:
    if media == PDF and effective.is_pdf_shown:
        return True
    return bool(media) and all(is_shown(media, display) for display in effective.display or ())


def _is_html_in_ascii(content_type: bytes | None) -> bool:
    """Return whether a type is HTML in a charset in which ASCII means ASCII, as far as it says."""
    if content_type is None or media_type(content_type) != b"text/html":
        return False
    for parameter in content_type.decode("latin-1").lower().split(";")[1:]:
        name, _, value = parameter.partition("=")
        charset = value.strip().strip('"')
        if name.strip() == "charset":
            return charset in _ASCII_CHARSETS or charset.startswith(_ASCII_CHARSET_BEGINNINGS)
    return True


def _hardening(effective: Effective) -> tuple[tuple[Field, ...], frozenset[bytes]]:
    """Return the headers that are added, and those of the app that they take the place of.

    A further policy stands beside the app's own: browsers hold a page to each of them, so that neither loosens the
    other. Source: CSP Level 3, section 8.1.
    """
    added: list[Field] = [
        (b"Content-Security-Policy", each.csp.encode()) for each in effective.headers if each.csp
    ]
    dropped: set[bytes] = set()
    if effective.display is not None or any(each.nosniff for each in effective.headers):
        added.append((b"X-Content-Type-Options", b"nosniff"))
        dropped.add(b"x-content-type-options")
    if any(each.deny_frames for each in effective.headers):
        added += [(b"X-Frame-Options", b"DENY"), (b"Content-Security-Policy", b"frame-ancestors 'none'")]
        dropped.add(b"x-frame-options")
    referrers = [each.referrer for each in effective.headers if each.referrer]
    if referrers:
        added.append((b"Referrer-Policy", min(referrers, key=_REFERRERS.index).encode()))
        dropped.add(b"referrer-policy")
    return tuple(added), frozenset(dropped)


_REFERRERS = (
    "no-referrer",
    "same-origin",
    "strict-origin",
    "origin",
    "strict-origin-when-cross-origin",
    "origin-when-cross-origin",
    "no-referrer-when-downgrade",
    "unsafe-url",
)
"""From the strictest to the most talkative."""
