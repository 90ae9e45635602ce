"""From a decision to what is done about one request. Pure: the worker performs it."""

from collections.abc import Iterable

import msgspec

from compliance.model import STRICTNESS, Decision, Outcome, SessionControl


def strictest(decisions: Iterable[Decision]) -> Decision:
    """Return the strictest of several decisions (at least one) with the session controls of all of them.

    For a request that servers may read in several ways: it gets no more than any reading of it would.
    """
    found = list(decisions)
    worst = max(found, key=lambda decision: STRICTNESS[decision.outcome])
    controls = frozenset[SessionControl]().union(*(decision.controls for decision in found))
    profiles = frozenset[str]().union(*(decision.profiles for decision in found))
    if controls == worst.controls and profiles == worst.profiles:
        return worst
    return msgspec.structs.replace(worst, controls=controls, profiles=profiles)


def is_admitted(decision: Decision) -> bool:
    """Return whether the decision lets the request through, limited or not."""
    return decision.outcome is Outcome.ALLOW or decision.outcome is Outcome.RESTRICT
