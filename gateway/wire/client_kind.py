"""What kind of client sent a request: a person's browser that can follow a sign-in, a program, or a WebSocket."""

from compliance.model import ClientKind
from gateway.wire.request import RequestHead

_NAVIGATED_DESTINATIONS = frozenset({b"document", b"iframe", b"frame", b"fencedframe", b"empty"})
"""`empty` is a navigation that a service worker of the app passes on: no script can ask for that mode by itself."""


def client_kind(head: RequestHead) -> ClientKind:
    """Return the kind. Fetch metadata, which pages cannot forge, decides where a browser sends it.

    Without it (old browsers, plain http, programs): a browser is who asks with GET or HEAD, prefers HTML, and does not
    say that a script asks. Source: W3C Fetch Metadata; RFC 6455 section 4.1.
    """
    if head.upgrade == b"websocket":
        return ClientKind.WEBSOCKET
    mode = head.header(b"sec-fetch-mode")
    if mode is not None:
        destination = head.header(b"sec-fetch-dest")
        navigates = mode == b"navigate" and (destination is None or destination in _NAVIGATED_DESTINATIONS)
        return ClientKind.BROWSER if navigates else ClientKind.API
    if head.method not in {"GET", "HEAD"} or head.header(b"x-requested-with") is not None:
        return ClientKind.API
    accept = head.header(b"accept")
    return ClientKind.BROWSER if accept is not None and b"text/html" in accept else ClientKind.API
