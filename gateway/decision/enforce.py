"""From a decision to what is done about one request. Pure: the worker performs it."""

import msgspec

from compliance.model import ClientKind, Decision, Outcome, SessionControl

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that a read-only session may use (RFC 9110 section 9.2.1, without TRACE)."""


class RequestTraits(msgspec.Struct, frozen=True):
    """What session controls look at."""

    method: str
    client: ClientKind
    has_body: bool
    is_upgrade: bool


def refusing_control(controls: frozenset[SessionControl], traits: RequestTraits) -> SessionControl | None:
    """Return the session control that forbids a request with these traits, or None.

    A WebSocket can carry writes that no proxy can tell from reads, so `read-only` forbids it too.

    >>> refusing_control(frozenset({SessionControl.READ_ONLY}), RequestTraits("POST", ClientKind.API, True, False))
    <SessionControl.READ_ONLY: 'read-only'>
    """
    if SessionControl.NO_WEBSOCKET in controls and traits.is_upgrade:
        return SessionControl.NO_WEBSOCKET
    if SessionControl.READ_ONLY in controls and (traits.method not in SAFE_METHODS or traits.is_upgrade):
        return SessionControl.READ_ONLY
    if SessionControl.NO_UPLOADS in controls and (traits.has_body or traits.is_upgrade):
        return SessionControl.NO_UPLOADS
    return None


def is_admitted(decision: Decision) -> bool:
    """Return whether the decision lets the request through, limited or not."""
    return decision.outcome is Outcome.ALLOW or decision.outcome is Outcome.RESTRICT
