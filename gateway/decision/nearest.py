"""What would have let a request in: the nearest allow, in words, for records, pages and commands. Pure."""

from collections import OrderedDict
from collections.abc import Sequence

from compliance.analysis.change_texts import change_texts
from compliance.analysis.domains import Space
from compliance.analysis.inputs import Here
from compliance.analysis.nearest import Nearest, nearest
from compliance.analysis.solver import TooHard
from compliance.model import AccessContext, AccessPolicy, Outcome, RequestFacts
from gateway.config.schema import Config
from gateway.decision.analysis import surroundings

MAX_SPACES = 256
"""Most apps, of all configurations, whose inputs stay cut into values."""

_spaces: OrderedDict[tuple[int, str], tuple[object, Space]] = OrderedDict()


def nearest_sets(
    config: Config,
    policies: Sequence[AccessPolicy],
    context: AccessContext,
    request: RequestFacts,
    outcome: Outcome,
) -> tuple[Space, tuple[Nearest, ...]]:
    """Return the smallest sets of changes that lead from `outcome` to being let in, or from a limit to none.

    Raises `TooHard`.
    """
    space = _space(config, policies, context.app)
    is_unlimited = outcome is Outcome.RESTRICT
    return space, tuple(nearest(space, policies, context, request, is_unlimited=is_unlimited))


def would_change(
    config: Config,
    policies: Sequence[AccessPolicy],
    context: AccessContext,
    request: RequestFacts,
    outcome: Outcome,
) -> tuple[str, ...]:
    """Return the smallest sets of changes as short texts, fewest changes first; empty for an allow."""
    if outcome is Outcome.ALLOW:
        return ()
    if all(app.name != context.app for app in config.apps):
        return ()  # an app of our own, such as the canary's: no policy is about it
    try:
        space, found = nearest_sets(config, policies, context, request, outcome)
    except TooHard:
        return ()
    here = Here(space, context, request)
    return tuple(_text(each, here) for each in found)


def _text(found: Nearest, here: Here) -> str:
    texts = [text for change in found.changes for text in change_texts(change, here)]
    return f"{found.outcome} (policy {found.policy}) if {' and '.join(texts)}"


def _space(config: Config, policies: Sequence[AccessPolicy], app: str) -> Space:
    known = _spaces.get((id(policies), app))
    if known is not None and known[0] is policies:
        _spaces.move_to_end((id(policies), app))
        return known[1]
    space = Space(app, policies, surroundings(config))
    _spaces[id(policies), app] = (policies, space)
    if len(_spaces) > MAX_SPACES:
        _spaces.popitem(last=False)
    return space
