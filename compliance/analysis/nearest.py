"""The nearest allow: the fewest inputs of a decision that would have to be otherwise for it to let in. Pure.

Every input stands where it is in the finite domains of the analysis, and the search goes through all ways to let in,
with a price on each input that changes. What comes out cannot be beaten: no smaller set of changes lets in.
"""

from collections.abc import Iterator, Sequence

import msgspec

from compliance.analysis.clauses import matching, not_matching
from compliance.analysis.domains import Space
from compliance.analysis.inputs import TOLD, Change
from compliance.analysis.present import present_values
from compliance.analysis.solver import Clause, cheapest
from compliance.model import AccessContext, AccessPolicy, ComplianceState, Mode, Outcome, RequestFacts

GRANTS = (Outcome.ALLOW, Outcome.RESTRICT)

MAX_CHANGES = 5
"""Most changes of one set; what needs more is no help to anybody."""

MAX_SETS = 5
"""Most sets of changes that are told."""

CHANGE = 1000
"""The price of one change. Below it stand the preferences between changes."""

FREE = ("helper", "witness", "failing ", "uncovered")
"""What nobody changes by itself: it follows from the rest."""

FIXED = ("user", "service", "email")
"""Nobody becomes somebody else."""

# Which changes are told first when as few would do: what a person can bring about, before what others must.
_PREFERENCE = (
    "compliance", "risk", "acr", "age", "amr", "finding", "fact", "sensor", "device", "binding", "network", "moment",
    "user_risk", "session_risk", "groups", "roles", "platform", "ownership", "tag", "claim", "provider", "host",
    "client", "method", "path",
)  # fmt: skip


class Nearest(msgspec.Struct, frozen=True):
    """A smallest set of changes, the policy that lets in then, and the values of all inputs then."""

    policy: str
    outcome: Outcome
    changes: tuple[Change, ...]
    values: tuple[int, ...]


def nearest(
    space: Space,
    policies: Sequence[AccessPolicy],
    context: AccessContext,
    request: RequestFacts,
    *,
    is_unlimited: bool = False,
) -> Iterator[Nearest]:
    """Yield the smallest sets of changes that let in, fewest changes first; none for a request that is let in.

    `is_unlimited` asks for an allow without any limit. Raises `TooHard`.
    """
    ours = [each for each in policies if each.mode is Mode.ENFORCE and each.covers(space.app)]
    grants = (Outcome.ALLOW,) if is_unlimited else GRANTS
    present = present_values(space, context, request)
    blocked = [
        clause
        for each in ours
        if each.decision not in grants
        for clause in not_matching(each, space, limits=True)
    ]
    demands = [each.outcome for each in context.compliance.demands]
    if any(each not in grants for each in demands):
        # What the escalation of a compliance policy demands goes with the failure that it rests on.
        blocked.append((space.is_in("compliance", [ComplianceState.COMPLIANT]),))
    ways = [
        (policy, [*matching(policy, space, limits=False), *blocked])
        for policy in ours
        if policy.decision in grants
    ]
    prices = _prices(space, present)
    told: list[Clause] = []
    for _ in range(MAX_SETS):
        found = _best(space, ways, prices, told)
        if found is None or found[0] < CHANGE:
            return
        _, policy, model = found
        changed = [at for at, value in enumerate(model) if prices[at][value] >= CHANGE]
        yield Nearest(policy.name, policy.decision, tuple(_change(space, present, model, changed)), model)
        # Another set must leave at least one of these as it is.
        told.append(tuple((at, 1 << was) for at in changed if (was := present[at]) is not None))


def _best(
    space: Space,
    ways: Sequence[tuple[AccessPolicy, list[Clause]]],
    prices: Sequence[Sequence[int]],
    told: Sequence[Clause],
) -> tuple[int, AccessPolicy, tuple[int, ...]] | None:
    best: tuple[int, AccessPolicy, tuple[int, ...]] | None = None
    most = (MAX_CHANGES + 1) * CHANGE
    for policy, clauses in ways:
        found = cheapest(space.domains, [*space.natural_ties, *clauses, *told], prices, most)
        if found is not None:
            most, best = found[0], (found[0], policy, found[1])
    return best


def _prices(space: Space, present: Sequence[int | None]) -> list[list[int]]:
    """Return what each value of each input costs: nothing where it is now, and where it is by nature.

    What an unknown device forces (no platform, no sensor) costs nothing to leave for the ordinary value.
    """
    prices = []
    for at, variable in enumerate(space.variables):
        if variable.name.startswith(FREE) or variable.name.endswith(TOLD):
            prices.append([0] * len(variable.values))
            continue
        rank = next(
            (place for place, name in enumerate(_PREFERENCE) if variable.name.split(" ")[0] == name),
            len(_PREFERENCE),
        )
        price = CHANGE + rank
        if variable.name in FIXED:
            price = (MAX_CHANGES + 1) * CHANGE
        was = present[at]
        free = {was}
        if was is not None and variable.values[was].key in space.only_unknown(variable.name):
            free.add(0)
        prices.append([0 if value in free else price for value in range(len(variable.values))])
    return prices


def _change(
    space: Space, present: Sequence[int | None], model: Sequence[int], changed: Sequence[int]
) -> Iterator[Change]:
    for at in changed:
        variable, was = space.variables[at], present[at]
        now = None if was is None else variable.values[was].key
        value = variable.values[model[at]]
        yield Change(variable.name, now, value.key, value.says)
