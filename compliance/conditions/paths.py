"""`paths`, `not_paths`: the canonical path, by prefixes and globs as `compliance.paths` has them."""

from collections.abc import Callable, Iterator
from functools import lru_cache

from compliance.analysis.inputs import Here, Inputs, Variable, place_where, plain
from compliance.analysis.paths import representative_paths
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, RequestKind, saying
from compliance.model import RequestFacts
from compliance.paths import compile_paths, path_matches
from compliance.reasons import AccessReason

MAX_REMEMBERED_PATHS = 1024
"""Most lists of paths that are kept compiled."""


def _is_covered(path: str, patterns: tuple[str, ...]) -> bool:
    return any(path_matches(pattern, path) for pattern in patterns)


def _holds(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return _is_covered(request.path, wanted)


def _does_not_hold(wanted: tuple[str, ...], request: RequestFacts) -> bool:
    return not _is_covered(request.path, wanted)


_covers = lru_cache(MAX_REMEMBERED_PATHS)(compile_paths)
"""The residuals of all sessions ask about the same few lists of paths."""


def _compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    is_inside = _covers(wanted)
    return lambda request: is_inside(request.path)


def _not_compiled(wanted: tuple[str, ...]) -> Callable[[RequestFacts], bool]:
    is_inside = _covers(wanted)
    return lambda request: not is_inside(request.path)


def _clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("path", lambda path: _is_covered(path, wanted)),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, _limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("path", lambda path: not _is_covered(path, wanted)),)


def _seen(request: RequestFacts) -> str:
    return request.path


KIND = RequestKind(
    holds=_holds,
    compiled=_compiled,
    clauses=_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=_seen,
)
NOT_KIND = RequestKind(
    holds=_does_not_hold,
    compiled=_not_compiled,
    clauses=_not_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=_seen,
)


# --- for the analysis: a path for every set of patterns that one can match ----------------------------------


def _pattern_of(prefix: str) -> str:
    """Return the path pattern that means a path prefix."""
    return prefix.rstrip("/") or "/"


def _is_below(path: str, prefix: str) -> bool:
    """Return whether a path is a prefix or lies below it."""
    wanted = _pattern_of(prefix)
    return wanted in {"/", path} or path.startswith(wanted + "/")


def _add(inputs: Inputs) -> None:
    """Add the path; raises `TooHard` when patterns combine in too many ways."""
    prefix, others = inputs.around.paths[inputs.app]
    patterns = _patterns(inputs)
    found = representative_paths((*patterns, _pattern_of(prefix), *map(_pattern_of, others)))
    inside = [path for path in found if _is_below(path, prefix)]
    ours = [path for path in inside if not any(_is_below(path, other) for other in others)]
    inputs.add("path", [(path, {"path": path}) for path in ours])


def _patterns(inputs: Inputs) -> list[str]:
    return inputs.asked("paths", "not_paths")


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    patterns = _patterns(here.inputs)
    now = [path_matches(each, here.request.path) for each in patterns]
    return place_where(variable, lambda path: [path_matches(each, path) for each in patterns] == now)


INPUT = Input(word="path", add=_add, place=_place, say=saying(plain("the path is {value}")))
