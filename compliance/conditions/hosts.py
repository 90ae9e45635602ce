"""`hosts`, `not_hosts`: the host name that is asked."""

from compliance.conditions.kind import Kind, negated
from compliance.model import AccessContext


def host_matches(pattern: str, host: str) -> bool:
    """Return whether a host name is meant; `*.` stands for one label.

    >>> host_matches("*.corp.example", "a.corp.example"), host_matches("*.corp.example", "a.b.corp.example")
    (True, False)
    """
    wanted = pattern.lower().rstrip(".")
    return wanted == host or (wanted.startswith("*.") and host.partition(".")[2] == wanted[2:])


def _holds(wanted: tuple[str, ...], context: AccessContext) -> bool | None:
    if not context.host:
        return None
    return any(host_matches(pattern, context.host) for pattern in wanted)


KIND = Kind(_holds, lambda context: context.host or "not known")
NOT_KIND = negated(KIND)
