"""The kinds of condition that are known per session: one file each, and the table of them.

A kind answers three-valued: true, false, or None for *not known*. What is not known holds in a policy that limits and
does not hold in one that allows; that is decided in `compliance.evaluate`, once for all kinds.
"""

from compliance.conditions import (
    binding,
    claims,
    fact_states,
    facts,
    findings,
    hosts,
    ownership,
    platforms,
    sensors,
    session_risk,
    signed_in_within,
    tags,
    times,
    user_risk,
    worst_risk,
)
from compliance.conditions.kind import Kind
from compliance.model import Conditions

KINDS: dict[str, Kind] = {
    "user_risk": user_risk.KIND,
    "session_risk": session_risk.KIND,
    "worst_risk": worst_risk.KIND,
    "hosts": hosts.KIND,
    "not_hosts": hosts.NOT_KIND,
    "binding": binding.KIND,
    "platforms": platforms.KIND,
    "not_platforms": platforms.NOT_KIND,
    "ownership": ownership.KIND,
    "tags": tags.KIND,
    "not_tags": tags.NOT_KIND,
    "findings": findings.KIND,
    "not_findings": findings.NOT_KIND,
    "facts": facts.KIND,
    "fact_states": fact_states.KIND,
    "sensors": sensors.KIND,
    "times": times.KIND,
    "not_times": times.NOT_KIND,
    "claims": claims.KIND,
    "auth_within": signed_in_within.KIND,
}
"""By the key in `Conditions`."""

_MAX_REMEMBERED = 20_000
_given: dict[int, tuple[Conditions, tuple[tuple[str, Kind, object], ...]]] = {}


def given(when: Conditions) -> tuple[tuple[str, Kind, object], ...]:
    """Return key, kind and value of the conditions of this table that are given; remembered by object."""
    known = _given.get(id(when))
    if known is not None and known[0] is when:
        return known[1]
    found = tuple(
        (key, kind, value) for key, kind in KINDS.items() if (value := getattr(when, key)) not in ((), None)
    )
    if len(_given) >= _MAX_REMEMBERED:
        _given.clear()
    _given[id(when)] = (when, found)
    return found
