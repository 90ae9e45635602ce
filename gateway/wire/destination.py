"""Where a WebDAV client wants a resource put: the second path of a request, which is held to the rules of the first.

Servers refuse a `Destination` by another scheme than the one they are reached by, and one below a prefix that they do
not know. So it is sent as a path, changed like the target. Source: RFC 4918 section 10.3.
"""

from gateway.wire.faults import RequestFault
from gateway.wire.prefix import PathRewrite
from gateway.wire.request import RequestHead
from gateway.wire.target import Target, parse_target

DESTINED = frozenset({"COPY", "MOVE"})


def destination(head: RequestHead) -> Target | None:
    """Return the place that a `COPY` or `MOVE` names, None for any other request.

    Raises `RequestFault` for a place on another host, and for one that would be refused as a target.
    """
    value = head.header(b"destination")
    if value is None or head.method not in DESTINED:
        return None
    return parse_target(value, head.authority)


def app_destination(head: RequestHead, rewrite: PathRewrite | None, *, is_own_host: bool) -> bytes | None:
    """Return the `Destination` that an app is sent, None where it may have the client's own or there is none."""
    value = head.header(b"destination")
    if value is None or (rewrite is None and not is_own_host and value[:5].lower() == b"http:"):
        return None
    try:
        target = destination(head)
    except RequestFault:
        return None
    if target is None:
        return None
    return target.canonical if rewrite is None else rewrite.apply(target)
