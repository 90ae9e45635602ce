"""The inputs of a decision, each cut into the few values that some condition can tell apart. Pure.

What the inputs are, each kind of condition says in its file; `compliance.analysis.domains` puts them together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import msgspec

from compliance.analysis.solver import Clause, Literal
from compliance.model import (
    AccessContext,
    AccessPolicy,
    CompliancePolicy,
    ComplianceState,
    RequestFacts,
    SessionControl,
    StepUp,
)

Network = IPv4Network | IPv6Network

OTHER = "other"
"""The value of an input that is none of those that any condition names."""

MOMENT = datetime(2025, 1, 15, 12, tzinfo=UTC)
"""When an example takes place that no time window asks about."""


TOLD = "\x01told"
"""Names, after the word of a list, the variable for whether the list is told at all. No text of YAML holds it."""


def unique(values: Iterable[Any]) -> list[Any]:
    """Return values without repetition, in their order."""
    return list(dict.fromkeys(values))


def condition_key(asked: object) -> str:
    """Return what tells conditions on facts apart; by value they would not be: `true` equals 1."""
    return repr(asked)


def joined(literals: Iterable[Literal]) -> Clause:
    """Return a clause with one literal for each variable."""
    masks: dict[int, int] = {}
    for variable, mask in literals:
        masks[variable] = masks.get(variable, 0) | mask
    return tuple(masks.items())


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What besides the policies bounds the requests that there can be.

    `hosts` are the host name of each app, perhaps with a wildcard; `paths` are the prefix of each app and the longer
    prefixes of other apps on its host; `profiles` are the controls that each session profile brings in full;
    `countries` are those of networks that are told by country; `sensors` tells of each sensor whether it can be silent.
    """

    apps: tuple[str, ...]
    paths: Mapping[str, tuple[str, tuple[str, ...]]]
    hosts: Mapping[str, str]
    providers: tuple[str, ...]
    networks: Mapping[str, tuple[Network, ...]]
    countries: Mapping[str, tuple[str, ...]] = {}
    sensors: Mapping[str, float | None]
    compliance: tuple[CompliancePolicy, ...]
    uncovered: ComplianceState = ComplianceState.NONCOMPLIANT
    exempted: frozenset[str] = frozenset()
    profiles: Mapping[str, frozenset[SessionControl]] = {}


class Value(msgspec.Struct, frozen=True):
    """One value of an input. `says` are entries of a `Given`; those that are collections are joined."""

    key: Any
    says: dict[str, Any]


class Variable(msgspec.Struct, frozen=True):
    """One input with its values, the ordinary one first."""

    name: str
    values: tuple[Value, ...]

    def where(self, holds: Callable[[Any], bool]) -> int:
        """Return the mask of the values whose key holds."""
        return sum(1 << at for at, value in enumerate(self.values) if holds(value.key))


class Change(msgspec.Struct, frozen=True):
    """An input that would have to be otherwise: its name, its value now and then, and what a `Given` says of it."""

    name: str
    now: Any
    then: Any
    says: dict[str, Any]


class Inputs:
    """Inputs with their values, and the ties between them: what cannot be together."""

    def __init__(self, app: str, policies: Sequence[AccessPolicy], around: Surroundings) -> None:
        """Take the policies that cover an app; what they ask tells values apart."""
        self.app = app
        self.around = around
        self.policies = tuple(each for each in policies if each.covers(app))
        self.variables: list[Variable] = []
        self.ties: list[Clause] = []
        self._at: dict[str, int] = {}
        self._only_unknown: dict[str, frozenset[Any]] = {}

    @property
    def domains(self) -> list[int]:
        """Return the whole domain of each variable."""
        return [(1 << len(variable.values)) - 1 for variable in self.variables]

    # --- asking ----------------------------------------------------------------------------------------

    def literal(self, name: str, holds: Callable[[Any], bool]) -> Literal:
        """Return the literal that a variable has a value whose key holds."""
        at = self._at[name]
        return at, self.variables[at].where(holds)

    def is_in(self, name: str, keys: Iterable[Any]) -> Literal:
        """Return the literal that a variable has one of these keys."""
        wanted = frozenset(keys)
        return self.literal(name, wanted.__contains__)

    def has(self, name: str) -> bool:
        """Return whether there is a variable of this name."""
        return name in self._at

    def place(self, name: str) -> int:
        """Return the number of the variable of this name."""
        return self._at[name]

    def variable(self, name: str) -> Variable:
        """Return the variable of this name."""
        return self.variables[self._at[name]]

    def keys(self, name: str) -> list[Any]:
        """Return the keys of the values of a variable."""
        return [value.key for value in self.variable(name).values]

    def named(self, word: str) -> list[str]:
        """Return the names of the variables that begin with a word."""
        return [variable.name for variable in self.variables if variable.name.startswith(f"{word} ")]

    def only_unknown(self, name: str) -> frozenset[Any]:
        """Return the values that a variable has of an unknown device only."""
        return self._only_unknown.get(name, frozenset())

    def asked(self, *keys: str) -> list[Any]:
        """Return everything that some policy lists under these keys of its conditions, without repetition."""
        return unique(
            value for key in keys for policy in self.policies for value in getattr(policy.when, key)
        )

    def assigned(self, key: str) -> list[str]:
        """Return what assignments of compliance policies name under a key, where escalation makes them matter."""
        policies = self.around.compliance
        if not any(policy.escalation for policy in policies):
            return []
        groups = [
            each for policy in policies for each in (policy.include, policy.exclude) if each is not None
        ]
        names = [name for group in groups for name in getattr(group, key)]
        if key == "platforms":
            names += [name for policy in policies for rule in policy.rules for name in rule.platforms]
        return unique(names)

    def step_ups(self) -> Iterator[StepUp]:
        """Yield what policies ask of a stronger sign-in."""
        yield from (policy.step_up for policy in self.policies if policy.step_up is not None)

    def unlike(self, literal: Literal) -> Literal:
        """Return the literal that holds where another does not."""
        variable, mask = literal
        return variable, (1 << len(self.variables[variable].values)) - 1 & ~mask

    def members(self, word: str, names: Iterable[str], *, limits: bool) -> list[Literal]:
        """Return the literals that one of these is a member; on the side of limits, what is not told counts."""
        states = ["yes", "unknown"] if limits else ["yes"]
        return [self.is_in(f"{word} {name}", states) for name in names]

    def no_members(self, word: str, names: Iterable[str], *, limits: bool) -> list[Clause]:
        """Return the clauses that none of these is a member."""
        states = ["no", "unknown"] if limits else ["no"]
        return [(self.is_in(f"{word} {name}", states),) for name in names]

    # --- adding ----------------------------------------------------------------------------------------

    def add(self, name: str, values: Iterable[tuple[Any, dict[str, Any]]]) -> int:
        """Add a variable and return its number."""
        self._at[name] = len(self.variables)
        self.variables.append(Variable(name, tuple(Value(*value) for value in values)))
        return self._at[name]

    def helper(self) -> int:
        """Return a new variable without a meaning of its own: false or true."""
        return self.add(f"helper {len(self.variables)}", [(False, {}), (True, {})])

    def tie(self, *literals: Literal) -> None:
        """Say that one of these literals always holds."""
        self.ties.append(literals)

    def add_of_device(
        self,
        name: str,
        values: Sequence[tuple[Any, dict[str, Any]]],
        if_unknown: Sequence[Any],
        *,
        keeps: bool = False,
    ) -> None:
        """Add an input that an unknown device fixes; unless it `keeps` it, a known one never has that value."""
        known = [key for key, _ in values]
        missing: list[tuple[Any, dict[str, Any]]] = [(key, {}) for key in if_unknown if key not in known]
        self.add(name, [*values, *missing])
        self._only_unknown[name] = frozenset() if keeps else frozenset(if_unknown)
        self.tie(self.is_in("device", ["known"]), self.is_in(name, if_unknown))
        if not keeps:
            self.tie(self.is_in("device", ["unknown"]), self.is_in(name, known))

    def add_members(self, word: str, names: Iterable[str], says: Callable[..., dict[str, Any]]) -> None:
        """Add one variable for each name that may be listed, and one for whether the list is told at all.

        `says()` is an empty list and `says(name)` one with the name; a list that is not told is `says(None)`.
        """
        self.add(f"{word} {TOLD}", [(True, says()), (False, says(None))])
        for name in names:
            values: list[tuple[Any, dict[str, Any]]] = [("no", {}), ("yes", says(name)), ("unknown", {})]
            self.add(f"{word} {name}", values)
            self.tie(self.is_in(f"{word} {TOLD}", [False]), self.is_in(f"{word} {name}", ["no", "yes"]))
            self.tie(self.is_in(f"{word} {TOLD}", [True]), self.is_in(f"{word} {name}", ["unknown"]))


class Here(msgspec.Struct, frozen=True):
    """A decision that is really made, and the inputs in which its place is looked for."""

    inputs: Inputs
    context: AccessContext
    request: RequestFacts

    def of_device(self, of: Callable[..., str | None]) -> str:
        """Return what a function of `compliance.device_facts` says of the device, "" where it is not known."""
        context = self.context
        if context.posture is None:
            return ""
        return of(context.posture, context.sensors, context.now) or ""


def place(variable: Variable, key: Any) -> int | None:
    """Return the place of the value with this key, else of the one that stands for all others."""
    return place_where(variable, lambda each: each == key, if_none=OTHER)


def place_where(variable: Variable, holds: Callable[[Any], bool], if_none: Any = None) -> int | None:
    """Return the place of the first value whose key holds; without one, that of the key `if_none`."""
    keys = [value.key for value in variable.values]
    found = next((at for at, key in enumerate(keys) if holds(key)), None)
    if found is None and if_none is not None:
        found = next((at for at, key in enumerate(keys) if key == if_none), None)
    return found


def place_of_member(variable: Variable, rest: str, held: Iterable[str] | None) -> int | None:
    """Return where a list stands towards one name, or whether it is told at all; `held` None: it is not."""
    if rest == TOLD:
        return place(variable, held is not None)
    return place(variable, "unknown" if held is None else "yes" if rest in held else "no")


# --- changes in words ------------------------------------------------------------------------------------


def plain(text: str) -> Callable[[Change, str], Iterator[str]]:
    """Return what says a change by its value (`{value}`) and by what follows in the variable's name (`{rest}`)."""

    def say(change: Change, rest: str) -> Iterator[str]:
        value = change.then or "not known"
        if change.then == OTHER:
            value = change.says.get("platform", "another")
        yield text.format(value=value, rest=rest)

    return say


def member(yes: str, no: str) -> Callable[[Change, str], Iterator[str]]:
    """Return what says a change of membership."""

    def say(change: Change, rest: str) -> Iterator[str]:
        match change.then:
            case "unknown":
                yield f"nobody tells whether {yes} {rest}"
            case then:
                yield f"{yes if then == 'yes' else no} {rest}"

    return say
