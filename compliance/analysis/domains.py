"""The inputs of a decision, each cut into the few values that some condition can tell apart. Pure.

Every value carries what a `Given` must say to be in it. Two inputs with the same values get the same decision: that is
what makes the analysis exact. Inputs that belong together (an unknown device has no platform) are tied by clauses.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count, product
from typing import Any

import msgspec

from compliance.analysis.paths import representative_paths
from compliance.analysis.solver import Clause, Literal
from compliance.analysis.values import (
    FactAsked,
    Network,
    fact_ages,
    fact_key,
    fact_values,
    fact_verdict,
    finding_matches,
    is_below,
    moments,
    pattern_of,
    places,
    sorts_of_findings,
    unique,
    with_countries,
)
from compliance.conditions.hosts import host_matches
from compliance.device_facts import PLATFORMS
from compliance.evaluate import ANY_SERVICE
from compliance.model import (
    AccessPolicy,
    Binding,
    ClientKind,
    CompliancePolicy,
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    FactState,
    FactStateCondition,
    FindingCondition,
    RiskRule,
    RuleLevel,
    SensorState,
    SessionControl,
)
from risk.model import RISK_ORDER, RiskLevel

OTHER = "other"


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


class Space:
    """All inputs that some policies ask about, for one app."""

    def __init__(self, app: str, policies: Sequence[AccessPolicy], around: Surroundings) -> None:
        """Raises `TooHard` when patterns combine in too many ways."""
        self.app = app
        self.around = around
        self.variables: list[Variable] = []
        self.ties: list[Clause] = []
        self.negated: dict[tuple[int, bool], tuple[object, list[Clause]]] = {}
        self._at: dict[str, int] = {}
        self._only_unknown: dict[str, frozenset[Any]] = {}
        self._policies = tuple(each for each in policies if each.covers(app))
        self._add_user()
        self._add_person()
        self._add_device()
        self._add_request()
        self.natural_ties = tuple(self.ties)
        self._tie_compliance()

    @property
    def domains(self) -> list[int]:
        """Return the whole domain of each variable."""
        return [(1 << len(variable.values)) - 1 for variable in self.variables]

    def literal(self, name: str, holds: Callable[[Any], bool]) -> Literal:
        """Return the literal that a variable has a value whose key holds."""
        at = self._at[name]
        return at, self.variables[at].where(holds)

    def is_in(self, name: str, keys: Iterable[Any]) -> Literal:
        """Return the literal that a variable has one of these keys."""
        wanted = frozenset(keys)
        return self.literal(name, wanted.__contains__)

    def variable(self, name: str) -> Variable:
        """Return the variable of this name."""
        return self.variables[self._at[name]]

    def only_unknown(self, name: str) -> frozenset[Any]:
        """Return the values that a variable has of an unknown device only."""
        return self._only_unknown.get(name, frozenset())

    def claims(self) -> list[str]:
        """Return the claims that conditions ask for."""
        return unique(asked.claim for asked in self._asked("claims"))

    def facts_asked(self) -> list[Any]:
        """Return every condition on a fact or on its state."""
        return [*self._asked("facts"), *self._asked("fact_states")]

    def path_patterns(self) -> list[str]:
        """Return every pattern that conditions tell paths apart by."""
        return [*self._asked("paths"), *self._asked("not_paths")]

    def helper(self) -> int:
        """Return a new variable without a meaning of its own: false or true."""
        return self._add(f"helper {len(self.variables)}", [(False, {}), (True, {})])

    def _add(self, name: str, values: Iterable[tuple[Any, dict[str, Any]]]) -> int:
        self._at[name] = len(self.variables)
        self.variables.append(Variable(name, tuple(Value(*value) for value in values)))
        return self._at[name]

    def _tie(self, *literals: Literal) -> None:
        self.ties.append(literals)

    def _asked(self, key: str) -> list[Any]:
        """Return everything that some policy lists under one key of its conditions, without repetition."""
        return unique(value for policy in self._policies for value in getattr(policy.when, key))

    # --- who -------------------------------------------------------------------------------------------

    def _add_user(self) -> None:
        assigned = [
            each for policy in self._policies for each in (policy.include, policy.exclude) if each is not None
        ]
        names = unique(folded(name) for each in assigned for name in each.users)
        self._add("user", [(OTHER, {"user": "somebody-else"}), *((name, {"user": name}) for name in names)])
        emails = [name for name in names if "@" in name]
        verified = [((name, True), {"email": name}) for name in emails]
        doubtful = [((name, False), {"email": name, "email_verified": False}) for name in emails]
        self._add("email", [(OTHER, {}), *verified, *doubtful])
        for name in emails:
            # Whom the address names as the subject it names in any case: that it is doubtful cannot be told then.
            is_doubtful = (name, False)
            self._tie(
                self.literal("user", partial(operator.ne, name)),
                self.literal("email", partial(operator.ne, is_doubtful)),
            )
        self._add_members("groups", unique(name for each in assigned for name in each.groups))
        self._add_members("roles", unique(name for each in assigned for name in each.roles))
        self._add_service(unique(name for each in assigned for name in each.services if name != ANY_SERVICE))
        methods = unique([*self._asked("amr"), *self._asked("not_amr")])
        self._add_members("amr", methods)
        self._add("provider", [(name, {"provider": name}) for name in self.around.providers])
        classes = unique([*self._asked("acr"), *self._asked("not_acr"), *self._step_up_classes()])
        values: list[tuple[Any, dict[str, Any]]] = [(OTHER, {"acr": "another-acr"})]
        self._add("acr", [*values, *((name, {"acr": name}) for name in classes), (None, {"acr": None})])
        ages = [0.0, *self._ages()]
        self._add("age", [*((age, {"signed_in": age}) for age in ages), (None, {"signed_in": None})])
        for claim in unique(asked.claim for asked in self._asked("claims")):
            values_of = [
                value for asked in self._asked("claims") if asked.claim == claim for value in asked.one_of
            ]
            self._add_claim(claim, unique(values_of))

    def _step_up_classes(self) -> Iterator[str]:
        for policy in self._policies:
            yield from policy.step_up.acr_values if policy.step_up is not None else ()

    def _ages(self) -> list[float]:
        ages: set[float] = set()
        for policy in self._policies:
            asked = (policy.when.auth_older_than, policy.when.auth_within)
            ages |= {age for age in asked if age is not None}
            if policy.step_up is not None and policy.step_up.max_age is not None:
                ages.add(policy.step_up.max_age)
        return sorted(ages - {0.0})

    def _add_service(self, names: Sequence[str]) -> None:
        """Add whether a service identity asks, and which; it has no name and no address of a person."""
        others = [(name, {"service": name}) for name in (*names, "some-service")]
        self._add("service", [("", {}), *others])
        for key in ("user", "email"):
            self._tie(self.is_in("service", [""]), self.is_in(key, [OTHER]))

    def _add_members(self, key: str, names: Sequence[str]) -> None:
        """Add one variable for each name that may be listed, and one for whether the list is told at all."""
        self._add(f"{key} told", [(True, {key: ()}), (False, {key: None})])
        for name in names:
            values: list[tuple[Any, dict[str, Any]]] = [("no", {}), ("yes", {key: (name,)}), ("unknown", {})]
            self._add(f"{key} {name}", values)
            self._tie(self.is_in(f"{key} told", [False]), self.is_in(f"{key} {name}", ["no", "yes"]))
            self._tie(self.is_in(f"{key} told", [True]), self.is_in(f"{key} {name}", ["unknown"]))

    def _add_claim(self, claim: str, values: Sequence[str]) -> None:
        self._add(f"claim {claim} told", [(True, {"claims": {claim: ()}}), (False, {})])
        for value in values:
            name = f"claim {claim} {value}"
            says = {"claims": {claim: (value,)}}
            self._add(name, [("no", {}), ("yes", says), ("unknown", {})])
            self._tie(self.is_in(f"claim {claim} told", [False]), self.is_in(name, ["no", "yes"]))
            self._tie(self.is_in(f"claim {claim} told", [True]), self.is_in(name, ["unknown"]))

    # --- the device ------------------------------------------------------------------------------------

    def _add_person(self) -> None:
        """Add the risk of the person; nothing ties it to the device."""
        risks = [((level, True), {"user_risk": level}) for level in RISK_ORDER]
        silent = [((level, False), {"user_risk": level, "user_silent": True}) for level in RISK_ORDER]
        self._add(
            "user_risk", [*risks, *silent, ((RiskLevel.UNKNOWN, False), {"user_risk": RiskLevel.UNKNOWN})]
        )

    def _add_device(self) -> None:
        self._add("device", [("known", {"device": "known"}), ("unknown", {"device": "unknown"})])
        states = [(state, {"compliance": state}) for state in ComplianceState]
        risks = [((level, True), {"session_risk": level}) for level in RISK_ORDER]
        silent = [((level, False), {"session_risk": level, "session_silent": True}) for level in RISK_ORDER]
        untold = ((RiskLevel.UNKNOWN, False), {"session_risk": RiskLevel.UNKNOWN})
        self._add("session_risk", [*risks, *silent, untold])
        self._add_of_device("compliance", states, [ComplianceState.UNKNOWN], keeps=True)
        risks = [((level, True), {"risk": level}) for level in RISK_ORDER]
        silent = [((level, False), {"risk": level, "silent": True}) for level in RISK_ORDER]
        nothing = ((RiskLevel.UNKNOWN, False), {"risk": RiskLevel.UNKNOWN})
        self._add_of_device("risk", [*risks, *silent, nothing], [nothing[0]], keeps=True)
        bound = [(Binding.CLAIM, {"binding": "claim"}), (Binding.CERTIFICATE, {"binding": "certificate"})]
        self._add_of_device("binding", bound, [Binding.NONE])
        platforms = unique([*self._asked("platforms"), *self._asked("not_platforms")])
        kinds = [(name, {"platform": name}) for name in platforms]
        unlike = [(OTHER, {"platform": name}) for name in PLATFORMS if name not in platforms][:1]
        self._add_of_device("platform", [*unlike, *kinds, ("", {})], [""])
        owned = [(name, {"ownership": name}) for name in ("corporate", "personal")]
        self._add_of_device("ownership", [*owned, ("", {})], [""])
        for tag in unique([*self._asked("tags"), *self._asked("not_tags")]):
            self._add_of_device(f"tag {tag}", [("no", {}), ("yes", {"tags": (tag,)})], ["unknown"])
        sensors = unique(asked.sensor for asked in self._asked("sensors"))
        for sensor in sensors:
            self._add_sensor(sensor)
        self._add_findings(unique([*self._asked("findings"), *self._asked("not_findings")]))
        for fact in unique(asked.fact for asked in (*self._asked("facts"), *self._asked("fact_states"))):
            self._add_fact(fact)
        self._add_witness(sensors)

    def _add_of_device(
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
        self._add(name, [*values, *missing])
        self._only_unknown[name] = frozenset() if keeps else frozenset(if_unknown)
        self._tie(self.is_in("device", ["known"]), self.is_in(name, if_unknown))
        if not keeps:
            self._tie(self.is_in("device", ["unknown"]), self.is_in(name, known))

    def _add_sensor(self, sensor: str) -> None:
        limit = self.around.sensors.get(sensor)
        values: list[tuple[Any, dict[str, Any]]] = [(SensorState.NEVER, {})]
        if sensor in self.around.sensors:
            values.insert(0, (SensorState.HEARD, {"heard": {sensor: 0.0}}))
        if limit is not None:
            values.append((SensorState.SILENT, {"heard": {sensor: limit + 1}}))
        self._add_of_device(f"sensor {sensor}", values, [None])
        is_loud = self.literal(f"sensor {sensor}", lambda state: state is not SensorState.SILENT)
        self._tie(is_loud, self.literal("risk", lambda risk: not risk[1]))

    def _add_findings(self, asked: Sequence[FindingCondition]) -> None:
        """Add a variable for each sort of finding that these conditions tell apart: whether one is open."""
        seen: set[tuple[bool, ...]] = {(False,) * len(asked)}
        for sort in sorts_of_findings(asked, tuple(self.around.sensors)):
            matching = tuple(finding_matches(each, sort) for each in asked)
            if matching not in seen:
                seen.add(matching)
                key = frozenset(each for each, is_met in zip(asked, matching, strict=True) if is_met)
                values: list[tuple[Any, dict[str, Any]]] = [
                    ((key, False), {}),
                    ((key, True), {"findings": (sort,)}),
                ]
                self._add_of_device(f"finding {len(seen)}", values, [(key, False)], keeps=True)
                self._tie_reporter(f"finding {len(seen)}", sort["sensor"])

    def _tie_reporter(self, name: str, sensor: str | None) -> None:
        """A finding that is open was reported by a sensor that spoke of the device."""
        if f"sensor {sensor}" in self._at:
            spoke = self.literal(f"sensor {sensor}", lambda state: state is not SensorState.NEVER)
            self._tie(self.literal(name, lambda key: not key[1]), spoke)

    def _add_witness(self, asked: Sequence[str]) -> None:
        """Add which sensor told what is known of the device: one that speaks of it."""
        sensors = tuple(self.around.sensors)
        others = [name for name in sensors if name not in asked]
        names = others[:1] or list(sensors)
        if not names:
            return
        self._add("witness", [(name, {"facts_from": name}) for name in names])
        for name in names if not others else ():
            is_another = self.is_in("witness", [each for each in names if each != name])
            is_heard = self.is_in(f"sensor {name}", [SensorState.HEARD])
            for variable in list(self.variables):
                if (says_nothing := _is_untold(variable)) is not None:
                    self._tie((self._at[variable.name], says_nothing), is_another, is_heard)

    def findings(self) -> list[str]:
        """Return the names of the variables of findings."""
        return [variable.name for variable in self.variables if variable.name.startswith("finding ")]

    def _add_fact(self, name: str) -> None:
        """Add a fact: its values are told apart by what each condition, and each sure rule, makes of them."""
        asked: dict[str, FactAsked] = {
            fact_key(each): each for each in self._asked("facts") if each.fact == name
        }
        asked |= {
            key: rule for key, rule in self._sure_rules() if isinstance(rule, FactRule) and rule.fact == name
        }
        states = {fact_key(each): each for each in self._asked("fact_states") if each.fact == name}
        told: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
        everything = list(asked.values())
        for value, age in product(fact_values(everything), fact_ages([*everything, *states.values()])):
            says: dict[str, Any] = {"facts": {name: value}}
            if age:
                says["fact_ages"] = {name: age}
            verdicts: list[tuple[str, Any]] = [
                (key, fact_verdict(each, value, age)) for key, each in asked.items()
            ]
            verdicts += [(key, _state(each, age)) for key, each in states.items()]
            told.setdefault(tuple(verdicts), says)

        def mute(state: FactState | None) -> tuple[tuple[str, Any], ...]:
            return (*((key, None) for key in asked), *((key, state) for key in states))

        if states:
            told.setdefault(mute(FactState.STALE), {"expired_facts": (name,)})
            told[mute(FactState.SILENT)] = {"silent_facts": (name,)}
        else:
            told.pop(mute(None), None)
        never = mute(FactState.NEVER)
        # Without a condition on its state, a fact that was never told is like one of an unknown device.
        self._add_of_device(f"fact {name}", [*told.items(), (never, {})], [mute(None)], keeps=not states)
        if states:
            is_loud = self.literal(f"fact {name}", lambda key: key != mute(FactState.SILENT))
            self._tie(is_loud, self.literal("risk", lambda risk: not risk[1]))

    # --- the request -----------------------------------------------------------------------------------

    def _add_request(self) -> None:
        methods = unique(["GET", *self._asked("methods"), *self._asked("not_methods")])
        unlike = next(each for each in ("PATCH", "DELETE", "PUT", "X-OTHER") if each not in methods)
        self._add("method", [(name, {"method": name}) for name in (*methods, unlike)])
        self._add("host", [(host, {"host": host}) for host in self._hosts()])
        self._add("client", [(kind, {"client": kind}) for kind in ClientKind])
        prefix, others = self.around.paths[self.app]
        patterns = [*self._asked("paths"), *self._asked("not_paths")]
        found = representative_paths((*patterns, pattern_of(prefix), *map(pattern_of, others)))
        inside = [path for path in found if is_below(path, prefix)]
        ours = [path for path in inside if not any(is_below(path, other) for other in others)]
        self._add("path", [(path, {"path": path}) for path in ours])
        used = set(self._asked("networks")) | set(self._asked("not_networks"))
        ranges = places({name: nets for name, nets in self.around.networks.items() if name in used})
        by_country = {name: codes for name, codes in self.around.countries.items() if name in used}
        self._add("network", with_countries(ranges, by_country).items())
        windows = tuple(unique([*self._asked("times"), *self._asked("not_times")]))
        self._add(
            "moment", [(inside_of, {"at": at.isoformat()}) for inside_of, at in moments(windows).items()]
        )

    def _hosts(self) -> list[str]:
        """Return the host names of the app that conditions tell apart."""
        own = self.around.hosts[self.app]
        if not own.startswith("*."):
            return [own]
        asked = [
            pattern.lower().rstrip(".") for pattern in (*self._asked("hosts"), *self._asked("not_hosts"))
        ]
        named = unique(pattern for pattern in asked if pattern != own and host_matches(own, pattern))
        label = next(word for word in _labels() if f"{word}{own[1:]}" not in named)
        return [f"{label}{own[1:]}", *named]

    # --- what a compliance state says ------------------------------------------------------------------

    def _sure_rules(self) -> Iterator[tuple[str, ComplianceRule]]:
        """Yield, with `policy/rule`, the rules that every device is held to.

        No assignment, platform or exemption lets one off.
        """
        for policy in self.around.compliance:
            if policy.include != DeviceAssignment() or policy.exclude is not None:
                continue
            for rule in policy.rules:
                name = f"{policy.name}/{rule.name}"
                is_exempted = not self.around.exempted.isdisjoint({policy.name, name})
                if rule.level is RuleLevel.REQUIRE and not rule.platforms and not is_exempted:
                    yield name, rule

    def _tie_compliance(self) -> None:
        """A compliant device meets the rules on risk and on facts; one in grace those without grace."""
        for name, rule in self._sure_rules():
            good = {ComplianceState.COMPLIANT}
            if not rule.grace:
                good.add(ComplianceState.IN_GRACE_PERIOD)
            is_worse = self.is_in("compliance", set(ComplianceState) - good)
            if isinstance(rule, RiskRule) and not rule.sensor and rule.max in RISK_ORDER:
                fine = [(level, True) for level, rank in RISK_ORDER.items() if rank <= RISK_ORDER[rule.max]]
                self._tie(is_worse, self.is_in("risk", fine))
            elif isinstance(rule, FactRule) and f"fact {rule.fact}" in self._at:
                self._tie(is_worse, self.literal(f"fact {rule.fact}", _is_met(name)))


def _state(asked: FactStateCondition, age: float) -> FactState:
    return FactState.STALE if asked.max_age is not None and age >= asked.max_age else FactState.FRESH


def _labels() -> Iterator[str]:
    return (f"host-{number}" for number in count())


def _is_untold(variable: Variable) -> int | None:
    """Return the values by which nothing that a sensor states now is known of the device; None: it never is."""
    if not variable.name.startswith(("fact ", "platform", "ownership", "tag ")):
        return None
    return sum(
        1 << at
        for at, value in enumerate(variable.values)
        if not {"facts", "expired_facts", "platform", "ownership", "tags"} & value.says.keys()
    )


def _is_met(name: str) -> Callable[[Any], bool]:
    return lambda key: dict(key)[name] is True


def folded(name: str) -> str:
    """Return a name as the evaluator compares it: e-mail addresses without regard to case."""
    return name.casefold() if "@" in name else name
