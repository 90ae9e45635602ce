"""From a decision to what is done about one request. Pure: the worker performs it."""

from collections.abc import Iterable

import msgspec

from compliance.model import STRICTNESS, ClientKind, Decision, Outcome, SessionControl

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


def strictest(decisions: Iterable[Decision]) -> Decision:
    """Return the strictest of several decisions (at least one) with the session controls of all of them.

    For a request that servers may read in several ways: it gets no more than any reading of it would.
    """
    found = list(decisions)
    worst = max(found, key=lambda decision: STRICTNESS[decision.outcome])
    controls = frozenset[SessionControl]().union(*(decision.controls for decision in found))
    return worst if controls == worst.controls else msgspec.structs.replace(worst, controls=controls)


def is_admitted(decision: Decision) -> bool:
    """Return whether the decision lets the request through, limited or not."""
    return decision.outcome is Outcome.ALLOW or decision.outcome is Outcome.RESTRICT
