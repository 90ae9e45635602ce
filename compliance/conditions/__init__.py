"""The kinds of condition: one file each, and the tables of them.

A file says everything about its kind: when it holds, how that is compiled, what the analysis makes of it, and how it is
told to people. To add one: a field in `compliance.model.Conditions`, a file here, and its line in the tables below.

A kind that is known per session answers three-valued: true, false, or None for *not known*. What is not known holds in
a policy that limits and does not hold in one that allows; `compliance.evaluate` decides that, once for all kinds.
"""

from compliance.conditions import (
    acr,
    amr,
    auth_older_than,
    auth_within,
    binding,
    claims,
    clients,
    compliance,
    device,
    fact_states,
    facts,
    findings,
    hosts,
    methods,
    networks,
    ownership,
    paths,
    platforms,
    providers,
    risk,
    sensors,
    session_risk,
    tags,
    times,
    user_risk,
    worst_risk,
)
from compliance.conditions.kind import Input, Kind, RequestKind
from compliance.model import Conditions

KINDS: dict[str, Kind] = {
    "compliance": compliance.KIND,
    "risk": risk.KIND,
    "device": device.KIND,
    "providers": providers.KIND,
    "acr": acr.KIND,
    "not_acr": acr.NOT_KIND,
    "amr": amr.KIND,
    "not_amr": amr.NOT_KIND,
    "auth_older_than": auth_older_than.KIND,
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
    "not_claims": claims.NOT_KIND,
    "auth_within": auth_within.KIND,
}
"""What is known per session, by the key in `Conditions`, in the order in which misses are told."""

REQUEST_KINDS: dict[str, RequestKind] = {
    "networks": networks.KIND,
    "not_networks": networks.NOT_KIND,
    "methods": methods.KIND,
    "not_methods": methods.NOT_KIND,
    "clients": clients.KIND,
    "paths": paths.KIND,
    "not_paths": paths.NOT_KIND,
}
"""What only the request can answer, by the key in `Conditions`."""

INPUTS: tuple[Input, ...] = (
    amr.INPUT,
    providers.INPUT,
    acr.INPUT,
    auth_older_than.INPUT,
    claims.INPUT,
    user_risk.INPUT,
    device.INPUT,
    session_risk.INPUT,
    compliance.INPUT,
    risk.INPUT,
    binding.INPUT,
    platforms.INPUT,
    ownership.INPUT,
    tags.INPUT,
    sensors.INPUT,
    findings.INPUT,
    facts.INPUT,
    methods.INPUT,
    hosts.INPUT,
    clients.INPUT,
    paths.INPUT,
    networks.INPUT,
    times.INPUT,
)
"""The inputs of the analysis, in the order in which they are added: those of the device after the device itself."""

_MAX_REMEMBERED = 20_000
_given: dict[int, tuple[Conditions, tuple[tuple[str, Kind, object], ...]]] = {}


def given(when: Conditions) -> tuple[tuple[str, Kind, object], ...]:
    """Return key, kind and value of the conditions of `KINDS` that are given; remembered by object."""
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


def given_of_request(when: Conditions) -> list[tuple[str, RequestKind, object]]:
    """Return key, kind and value of the conditions of `REQUEST_KINDS` that are given."""
    return [(key, kind, value) for key, kind in REQUEST_KINDS.items() if (value := getattr(when, key))]
