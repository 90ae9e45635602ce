"""`hosts`, `not_hosts`: the host name that is asked. Not known in a test about an app with several."""

from collections.abc import Iterator
from itertools import count

from compliance.analysis.inputs import Here, Inputs, Variable, place, plain, unique
from compliance.analysis.solver import Clause
from compliance.conditions.kind import Input, Kind, negated, saying
from compliance.model import AccessContext
from compliance.reasons import AccessReason


def host_matches(pattern: str, host: str) -> bool:
    """Return whether a host name is meant; `*.` stands for one label.

    >>> host_matches("*.corp.example", "a.corp.example"), host_matches("*.corp.example", "a.b.corp.example")
    (True, False)
    """
    wanted = pattern.lower().rstrip(".")
    return wanted == host or (wanted.startswith("*.") and host.partition(".")[2] == wanted[2:])


def _is_asked(host: str, patterns: tuple[str, ...]) -> bool:
    return any(host_matches(pattern, host) for pattern in patterns)


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    return _is_asked(context.host, wanted) if context.host else None


def _clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("host", lambda host: limits if not host else _is_asked(host, wanted)),)


def _not_clauses(wanted: tuple[str, ...], inputs: Inputs, limits: bool) -> Iterator[Clause]:
    yield (inputs.literal("host", lambda host: limits if not host else not _is_asked(host, wanted)),)


KIND = Kind(
    holds=_holds,
    clauses=_clauses,
    reason=AccessReason.REQUEST_NOT_ACCEPTED,
    seen=lambda context: context.host or "not known",
)
NOT_KIND = negated(KIND, _not_clauses)


def _add(inputs: Inputs) -> None:
    inputs.add("host", [(host, {"host": host}) for host in _hosts(inputs)])


def _hosts(inputs: Inputs) -> list[str]:
    """Return the host names of the app that conditions tell apart."""
    own = inputs.around.hosts[inputs.app]
    if not own.startswith("*."):
        return [own]
    asked = [pattern.lower().rstrip(".") for pattern in inputs.asked("hosts", "not_hosts")]
    named = unique(pattern for pattern in asked if pattern != own and host_matches(own, pattern))
    label = next(word for word in _labels() if f"{word}{own[1:]}" not in named)
    return [f"{label}{own[1:]}", *named]


def _labels() -> Iterator[str]:
    return (f"host-{number}" for number in count())


def _place(here: Here, variable: Variable, _rest: str) -> int | None:
    """A host that no condition names stands with the first, which is like it."""
    host = here.context.host
    named = place(variable, host)
    return 0 if named is None and host_matches(here.inputs.around.hosts[here.inputs.app], host) else named


INPUT = Input(
    word="host",
    add=_add,
    place=_place,
    say=saying(plain("the request is for {value}")),
)
