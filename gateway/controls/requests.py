"""What a limited session may ask for, by the request's head alone. Pure."""

from urllib.parse import parse_qsl

from gateway.controls.effective import Effective, Limit, Paths
from gateway.controls.graphql import address_reads_only, asks_for_change
from gateway.wire.destination import destination
from gateway.wire.faults import RequestFault
from gateway.wire.fields import Field
from gateway.wire.request import CHUNKED, RequestHead
from gateway.wire.target import Target

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT", "SEARCH"})
"""Methods that change nothing (RFC 9110 section 9.2.1; RFC 4918, 3253, 5323), so that none needs more than its head."""

_OVERRIDES = (
    b"x-http-method-override",
    b"x-http-method",
    b"x-method-override",
    b"x-http-method-overwrite",
    b"x-original-method",
    b"x-forwarded-method",
)
"""Headers by which frameworks let a request count as one with another method."""
_OVERRIDE_PARAMETERS = frozenset({"_method", "x-http-method-override", "http_method", "_http_method"})

_PLAIN_BODIES = frozenset(
    {
        b"application/x-www-form-urlencoded",
        b"application/json",
        b"application/graphql",
        b"text/plain",
    }
)
"""Types of bodies that are no files by their nature."""


def refusing_limit(effective: Effective, head: RequestHead) -> Limit | None:  # noqa: PLR0911 - one line a limit
    """Return the limit that a request meets, None when it may go to the app."""
    if _is_hidden(effective, head):
        return Limit.HIDDEN_PATH
    if effective.no_websocket and head.is_upgrade and not leaves_alone(effective.websockets, head):
        return Limit.NO_WEBSOCKET
    if effective.methods is not None and _changes(effective, effective.methods, head):
        return Limit.READ_ONLY
    if effective.upload_max_bytes is not None and _uploads(effective, effective.upload_max_bytes, head):
        return Limit.NO_UPLOADS
    is_download_limited = effective.display is not None and not leaves_alone(effective.downloadable, head)
    if is_download_limited and (head.is_upgrade or _saves(head)):
        return Limit.NO_DOWNLOADS
    if effective.bytes_per_hour is not None and head.is_upgrade:
        return Limit.RATE
    return _keeping_limit(effective, head)


def needs_reading(effective: Effective, head: RequestHead) -> bool:
    """Return whether the body of an admitted request has to be read before the app may have all of it."""
    if effective.methods is None or head.method in effective.methods:
        return False
    return head.has_body and not leaves_alone(effective.writable, head)


def removed_fields(effective: Effective) -> frozenset[bytes]:
    """Return the request fields that an app is not sent: those that would have it answer with less than a whole.

    A piece of a file does not show what it is a piece of; and a `304` would bring back what the browser kept from
    before the session was limited.
    """
    found: frozenset[bytes] = frozenset()
    if effective.display is not None:
        found |= {b"range", b"if-range"}
    if effective.keeps_nothing:
        found |= {b"if-none-match", b"if-modified-since"}
    return found


def added_fields(effective: Effective, *, is_document: bool) -> tuple[Field, ...]:
    """Return the request fields that are set, for responses that have to be read on the way."""
    is_read = effective.display is not None or (is_document and effective.banner == "gateway")
    return ((b"Accept-Encoding", b"identity"),) if is_read else ()


def is_document(head: RequestHead) -> bool:
    """Return whether a browser asks for a page to show in a tab, and says so itself."""
    return (
        head.method == "GET"
        and head.header(b"sec-fetch-dest") == b"document"
        and head.header(b"sec-fetch-mode") == b"navigate"
    )


def leaves_alone(paths: Paths, head: RequestHead) -> bool:
    """Return whether a control does not limit the path of a request; one that can be read in two ways is limited."""
    return not head.target.is_ambiguous and all(paths.covers(path) for path in head.target.readings)


def _is_hidden(effective: Effective, head: RequestHead) -> bool:
    try:
        place = destination(head)
    except RequestFault:
        return True
    return _hides(effective, head.target) or (place is not None and _hides(effective, place))


def _hides(effective: Effective, target: Target) -> bool:
    return any(effective.hidden.covers(path) for path in target.readings)


def _changes(effective: Effective, methods: frozenset[str], head: RequestHead) -> bool:
    """Return whether a request could change something in the app."""
    if leaves_alone(effective.writable, head):
        return False
    if head.is_upgrade or asks_for_change(head.target.query) or _overrides_method(head, methods):
        return True
    if leaves_alone(effective.graphql, head) and not address_reads_only(head.target.query):
        return True
    if head.method in methods:
        return head.has_body and head.method in _SAFE_METHODS
    is_query = head.method == "POST" and head.has_body and leaves_alone(effective.graphql, head)
    return not is_query


def _overrides_method(head: RequestHead, methods: frozenset[str]) -> bool:
    for name in _OVERRIDES:
        value = head.header(name)
        if value is not None and value.decode("latin-1").strip().upper() not in methods:
            return True
    query = head.target.query
    if not query or "method" not in query.lower():
        return False
    # Some read `;` as `&`.
    return any(
        name.strip().lower() in _OVERRIDE_PARAMETERS and value.strip().upper() not in methods
        for name, value in parse_qsl(query.replace(";", "&"), keep_blank_values=True)
    )


def _uploads(effective: Effective, max_bytes: int, head: RequestHead) -> bool:
    """Return whether a request could bring a file."""
    if leaves_alone(effective.uploadable, head):
        return False
    if head.is_upgrade or head.method == "PUT":
        return True
    if not head.has_body:
        return False
    if head.length > max_bytes or not max_bytes:
        return True
    media = (head.header(b"content-type") or b"").partition(b";")[0].strip().lower()
    is_plain = media in _PLAIN_BODIES or (media.startswith(b"application/") and media.endswith(b"+json"))
    return not is_plain or head.header(b"content-encoding") is not None


def body_bound(effective: Effective, head: RequestHead) -> int | None:
    """Return the most bytes of a body whose length is not told, None without a bound of the session."""
    if effective.upload_max_bytes is None or head.length != CHUNKED:
        return None
    return None if leaves_alone(effective.uploadable, head) else effective.upload_max_bytes


def _saves(head: RequestHead) -> bool:
    """Return whether a browser asks in order to save: a link with `download`, or *Save link as*.

    Such a request has the mode `no-cors` and no destination; scripts that want to read what they ask for use others.
    Source: HTML, section "Downloading resources".
    """
    return (
        head.method == "GET"
        and head.header(b"sec-fetch-dest") == b"empty"
        and head.header(b"sec-fetch-mode") == b"no-cors"
    )


def _keeping_limit(effective: Effective, head: RequestHead) -> Limit | None:
    """Return the limit that a service worker would undo: it keeps what it likes, and answers in place of the app."""
    if head.header(b"service-worker") is None:
        return None
    if effective.no_store:
        return Limit.NO_STORE
    return None if effective.display is None else Limit.NO_DOWNLOADS
