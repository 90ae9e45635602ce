"""All that compliance policies ask of a device at one instant, and what each rule makes of it. Pure.

The values of an input are what one piece of evidence can be: a fact, a sort of finding, when a sensor was heard last.
What a rule makes of such a piece the rule itself says (`compliance.rules.judge_rule`): there is no second meaning.

Ages are those that some rule or sensor mentions: rounding every age of a device down to the nearest of these changes
no comparison, and what came first stays first. The inventory, which is never silent, may tell any fact at any time, so
that each fact is free of all else, and has the ages of its own rules. The operator's override caps what findings count
for.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cached_property, partial
from itertools import combinations, product
from typing import Any

import msgspec

from compliance.analysis.inputs import OTHER, Inputs, Surroundings, joined, unique
from compliance.analysis.solver import Clause, Literal, TooHard
from compliance.analysis.supposed import (
    DEVICE,
    Requirements,
    SupposedDevice,
    SupposedFact,
    SupposedFinding,
)
from compliance.conditions.facts import Ago, values_told_apart
from compliance.device_facts import (
    OWNERSHIP_FACTS,
    PLATFORM_FACTS,
    PLATFORMS,
    TAG_LIST,
    TAG_PREFIX,
    ownership_of,
    platform_of,
    tags_of,
)
from compliance.evaluate import folded
from compliance.model import (
    ComplianceRule,
    ComplianceState,
    DeviceAssignment,
    FactRule,
    FindingRule,
    RiskRule,
    RuleResult,
    SensorRule,
)
from compliance.rules import Evidence, judge_rule
from risk.builtin import OPERATOR
from risk.builtin import RULES as BUILT_IN
from risk.model import RISK_ORDER, Posture, RiskLevel, SensorRules, Severity
from risk.scoring import assess, is_silent

MAX_COUNT = 20
"""Most findings of one sort that are counted."""

MAX_PIECES = 200_000
"""Most pieces of evidence that are looked at."""

_SEVERITIES = (Severity.INFORMATIONAL, Severity.LOW, Severity.MEDIUM, Severity.HIGH, Severity.CRITICAL)
_OVERRIDES = (Severity.NONE, Severity.LOW, Severity.MEDIUM, Severity.HIGH)
_NEVER = "never"
_UNHEARD = "unheard"
"""A sensor that told something of the device without being heard of it ever: silent from the start."""

_NONE: dict[str, Any] = {}


class Failing(msgspec.Struct, frozen=True):
    """What a piece of evidence says to a rule: for how many seconds it has failed; None: it is not known."""

    age: float | None


MET = Failing(-1.0)


class Finding(msgspec.Struct, frozen=True):
    """A sort of finding: its variable, and what it says to each rule that may look at it."""

    name: str
    example: SupposedFinding
    level: RiskLevel
    says: dict[str, Failing]


class DeviceInputs(Inputs):
    """The inputs of a device at one instant, with literals for what rules make of them."""

    def __init__(
        self, both: Sequence[Requirements], sensors: Mapping[str, SensorRules], now: datetime
    ) -> None:
        """`sensors` with those that every gateway has. Raises `TooHard`."""
        around = Surroundings(
            apps=(), paths={}, hosts={}, providers=(), networks={}, sensors={}, compliance=()
        )
        super().__init__("", (), around)
        self._sensors = dict(sensors)
        self._now = now
        self._pieces = 0
        self._known: dict[object, Literal] = {}
        self._meanings: dict[int, tuple[list[Clause], list[Clause]]] = {}
        self._policies = [policy for side in both for policy in side.policies]
        self._exemptions = [each for side in both for each in side.exemptions]
        rules = [(policy, rule) for policy in self._policies for rule in policy.rules]
        self._rules = {rule_key(rule): rule for _, rule in rules}
        ages = {0.0, *(float(each.max_silence_s or 0) for each in sensors.values())}
        self._fact_ages: dict[str, set[float]] = {}
        for policy, rule in rules:
            its = self._fact_ages.setdefault(rule.fact, {0.0}) if isinstance(rule, FactRule) else ages
            its.update(_ages(policy, rule))
        self._ages = sorted(ages)
        self._cuts: dict[str, list[float]] = {}
        for policy, rule in rules:
            cuts = self._cuts.setdefault(rule_key(rule), [])
            cuts += [max(rule.grace, 0.0), *(step.after for step in policy.escalation)]
        self.add("always", [(True, _NONE)])
        self._add_person()
        self._add_names()
        self._add_sort()
        for name in unique(rule.fact for rule in self._rules.values() if isinstance(rule, FactRule)):
            self._add_fact(name)
        self._tie_sort()
        self._add_sensors()
        self._findings = list(self._add_findings())

    # --- formulas --------------------------------------------------------------------------------------

    @property
    def true(self) -> Literal:
        """A literal that always holds."""
        return self.is_in("always", [True])

    @property
    def false(self) -> Literal:
        """A literal that never holds."""
        return self.unlike(self.true)

    def any_of(self, literals: Iterable[Literal]) -> Literal:
        """Return a literal that holds exactly where one of these does."""
        asked = tuple(each for each in joined(literals) if each[1])
        if any(not self.unlike(each)[1] for each in asked):
            return self.true
        if len(asked) < 2:  # noqa: PLR2004 - one needs no helper
            return asked[0] if asked else self.false
        key = frozenset(asked)
        if key not in self._known:
            helper = self.helper()
            neither: list[Clause] = [((helper, 0b10), self.unlike(each)) for each in asked]
            self._meanings[helper] = ([((helper, 0b01), *asked)], neither)
            self._known[key] = (helper, 0b10)
        return self._known[key]

    def all_of(self, literals: Iterable[Literal]) -> Literal:
        """Return a literal that holds exactly where all of these do."""
        return self.unlike(self.any_of(self.unlike(each) for each in literals))

    def more_than(self, most: int, counts: Sequence[str], others: Sequence[Literal]) -> Literal:
        """Return a literal that holds exactly where counts, and literals that hold, add up to more than `most`."""
        if most == 0:
            return self.any_of([*(self.literal(name, bool) for name in counts), *others])
        cap = most + 1
        total = self.add("none", [(0, _NONE)])
        for at in [*(self.place(name) for name in counts), *(self._bit(each) for each in others)]:
            total = self._sum(total, at, cap)
        return total, self.variables[total].where(lambda count: count >= cap)

    def _bit(self, literal: Literal) -> int:
        """Return a variable that is 1 exactly where a literal holds, else 0."""
        bit = self.helper()
        self._meanings[bit] = ([((bit, 0b01), literal)], [((bit, 0b10), self.unlike(literal))])
        return bit

    def _sum(self, one: int, other: int, cap: int) -> int:
        """Return a variable for the sum of two counts, or `cap` where that is less."""
        total = self.add(f"sum {len(self.variables)}", [(count, _NONE) for count in range(cap + 1)])
        at_most: list[Clause] = []
        at_least: list[Clause] = []
        places = product(range(len(self.variables[one].values)), range(len(self.variables[other].values)))
        for left, right in places:
            added = min(left + right, cap)
            above = (1 << cap + 1) - (1 << added + 1)
            more = [self.unlike((at, (1 << value + 1) - 1)) for at, value in ((one, left), (other, right))]
            at_most.append(_possible(*more, self.unlike((total, above))))
            less = [(at, (1 << value) - 1) for at, value in ((one, left), (other, right))]
            at_least.append(_possible(*less, self.unlike((total, (1 << added) - 1))))
        self._meanings[total] = (at_most, at_least)
        return total

    def meaning(self, goals: Iterable[Literal]) -> list[Clause]:
        """Return that all of these hold, with what they mean: as much of it as they need, and no more."""
        found: list[tuple[int, Clause]] = [(-1, (each,)) for each in goals]
        done: set[tuple[int, bool]] = set()
        for owner, clause in found:
            for variable, mask in clause:
                if variable != owner and variable in self._meanings:
                    # What is said to hold, or to be many, needs what makes it so; else what keeps it from being so.
                    is_much = bool(mask >> len(self.variables[variable].values) - 1 & 1)
                    if (variable, is_much) not in done:
                        done.add((variable, is_much))
                        found += [(variable, each) for each in self._meanings[variable][not is_much]]
        return [clause for _, clause in found]

    # --- who, and which device -------------------------------------------------------------------------

    def _add_person(self) -> None:
        names = unique(folded(name) for each in self._exemptions for name in each.users)
        self.add("user", [(OTHER, _NONE), *((name, _NONE) for name in names if "@" not in name)])
        self.add("email", [(OTHER, _NONE), *((name, _NONE) for name in names if "@" in name)])

    def is_person(self, users: Iterable[str]) -> Literal:
        """Return the literal that the person has one of these names."""
        wanted = {folded(name) for name in users}
        return self.any_of([self.is_in("user", wanted), self.is_in("email", wanted)])

    def _add_names(self) -> None:
        """Add names that a device may have, any number at once: each that is listed, and one for each pattern."""
        groups = [
            each for policy in self._policies for each in (policy.include, policy.exclude) if each is not None
        ]
        patterns = unique(pattern for group in groups for pattern in group.devices)
        names = [name for each in self._exemptions for name in each.devices]
        for pattern, filler in product(patterns, ("~", "~~~~~~~~")):
            # No pattern holds this sign: what takes it takes anything there.
            name = _filled(pattern, filler)
            names += [name] if fnmatchcase(name, pattern) else []
        for name in unique(names):
            if name != DEVICE:
                self.add(f"named {name}", [(False, _NONE), (True, _NONE)])

    def has_name(self, holds: Callable[[str], bool]) -> Literal:
        """Return the literal that the device has a name of this sort."""
        if holds(""):
            return self.true
        named = [name for name in self.named("named") if holds(name.removeprefix("named "))]
        return self.any_of(self.is_in(name, [True]) for name in named)

    def _add_sort(self) -> None:
        """Add platform, ownership and tags, as far as assignments ask for them."""
        groups = [
            each for policy in self._policies for each in (policy.include, policy.exclude) if each is not None
        ]
        asked = [name for group in groups for name in group.platforms]
        asked += [name for rule in self._rules.values() for name in rule.platforms]
        others = [name for name in PLATFORMS if name not in asked]
        self.add("platform", [(name, _NONE) for name in (*others[:1], *unique(asked), "")])
        self.add("ownership", [(name, _NONE) for name in ("corporate", "personal", "")])
        for tag in unique(name for group in groups for name in group.tags):
            self.add(f"tag {tag}", [(False, _NONE), (True, _NONE)])

    def applies(
        self, include: DeviceAssignment, exclude: DeviceAssignment | None, rule: ComplianceRule
    ) -> Literal:
        """Return the literal that a rule holds for the device: what is not known covers, and does not except."""
        asked = [*self._in_group(include, if_unknown=True)]
        if exclude is not None:
            asked.append(self.unlike(self.all_of(self._in_group(exclude, if_unknown=False))))
        if rule.platforms:
            asked.append(self.is_in("platform", [*rule.platforms, ""]))
        return self.all_of(asked)

    def _in_group(self, group: DeviceAssignment, *, if_unknown: bool) -> Iterator[Literal]:
        unknown = [""] if if_unknown else []
        if group.platforms:
            yield self.is_in("platform", [*group.platforms, *unknown])
        if group.ownership:
            yield self.is_in("ownership", [*group.ownership, *unknown])
        if group.tags:
            yield self.any_of(self.is_in(f"tag {tag}", [True]) for tag in group.tags)
        if group.devices:
            patterns = group.devices
            yield self.has_name(lambda name: any(fnmatchcase(name, each) for each in patterns))

    # --- facts -----------------------------------------------------------------------------------------

    def _add_fact(self, name: str) -> None:
        """Add a fact: its values are told apart by what each rule, and each assignment, makes of them."""
        asked = {
            key: each for key, each in self._rules.items() if isinstance(each, FactRule) and each.fact == name
        }
        told: dict[object, tuple[Any, dict[str, Any]]] = {}
        for value in self._values(name, list(asked.values())):
            for age, since in product(sorted(self._fact_ages[name]), repeat=2):
                if since >= age:
                    fact = SupposedFact(name, value, age, since)
                    posture = SupposedDevice(at=self._now, facts=(fact,)).posture(self._sensors)
                    key = (self._said(asked, posture), self._sort_told(name, posture))
                    told.setdefault(key, (key, {"fact": fact}))
        unknown = (
            tuple((key, Failing(None)) for key in asked),
            self._sort_told(name, Posture(device_id=DEVICE)),
        )
        told.setdefault(unknown, (unknown, _NONE))
        self.add(f"fact {name}", sorted(told.values(), key=lambda each: _badness(each[0][0])))

    def _values(self, name: str, asked: Sequence[FactRule]) -> list[Any]:
        values = values_told_apart(asked)
        values = [each.before(self._now) if isinstance(each, Ago) else each for each in values]
        if name in PLATFORM_FACTS:
            values += PLATFORMS
        if name in OWNERSHIP_FACTS:
            values += ["corporate", "personal"]
        if name == TAG_LIST:
            tags = [each.removeprefix("tag ") for each in self.named("tag")]
            values += [
                ",".join(some) for size in range(1, len(tags) + 1) for some in combinations(tags, size)
            ]
        # By type, too: `true` equals 1.
        return [value for _, value in unique((type(each), each) for each in values)]

    def _said(self, asked: Mapping[str, ComplianceRule], posture: Posture) -> tuple[tuple[str, Failing], ...]:
        """Return what each of some rules says to the evidence in a posture, as far as its steps tell ages apart."""
        self._pieces += 1
        if self._pieces > MAX_PIECES:
            raise TooHard
        evidence = Evidence(posture, assess(posture, self._sensors, self._now), self._sensors, self._now)
        return tuple(
            (key, self._failing(key, judge_rule("", rule, evidence)[0])) for key, rule in asked.items()
        )

    def _failing(self, key: str, result: RuleResult) -> Failing:
        if result.state is ComplianceState.COMPLIANT:
            return MET
        if result.since is None:
            return Failing(None)
        age = (self._now - result.since).total_seconds()
        return Failing(max((cut for cut in self._cuts[key] if cut <= age), default=0.0))

    def _sort_told(self, name: str, posture: Posture) -> object:
        """Return what a fact says of the sort of the device, as far as assignments ask."""
        if name in PLATFORM_FACTS:
            word = platform_of(posture, self._sensors, self._now) or ""
            # One that no assignment names is like any other of these, which stands first.
            return word if word in self.keys("platform") else self.keys("platform")[0]
        if name in OWNERSHIP_FACTS:
            return ownership_of(posture, self._sensors, self._now) or ""
        if name == TAG_LIST or name.startswith(TAG_PREFIX):
            asked = {each.removeprefix("tag ") for each in self.named("tag")}
            return tags_of(posture, self._sensors, self._now) & asked
        return None

    def _tie_sort(self) -> None:
        """Tie platform, ownership and tags to the facts that rules ask about and that tell them, too."""
        self._tie_ordered("platform", PLATFORM_FACTS)
        self._tie_ordered("ownership", OWNERSHIP_FACTS)
        for variable in self.named("tag"):
            tag = variable.removeprefix("tag ")
            facts = [name for name in (f"fact {TAG_PREFIX}{tag}", f"fact {TAG_LIST}") if self.has(name)]
            telling = [self._saying(name, partial(_contains, tag)) for name in facts]
            for each in telling:
                self.tie(self.unlike(each), self.is_in(variable, [True]))
            if len(facts) == 2:  # noqa: PLR2004 - no other fact is left to tell it
                self.tie(self.is_in(variable, [False]), *telling)

    def _tie_ordered(self, variable: str, names: Sequence[str]) -> None:
        """Tie an input to the facts that tell it: the first of them that says anything is believed."""
        before: list[Literal] = []
        is_free = False
        for name in names:
            if not self.has(f"fact {name}"):
                is_free = True
                continue
            for word in self.keys(variable):
                says = self._saying(f"fact {name}", partial(operator.eq, word))
                if word:
                    # A fact that nothing asks about may have said another word before.
                    said = (
                        [self.unlike(self.is_in(variable, [""]))]
                        if is_free
                        else [self.is_in(variable, [word])]
                    )
                    self.tie(self.unlike(says), *before, *said)
            before.append(self._saying(f"fact {name}", bool))
        if not is_free:
            self.tie(self.is_in(variable, [""]), *before)

    def _saying(self, fact: str, holds: Callable[[Any], bool]) -> Literal:
        """Return that a fact tells something of the sort of the device."""
        return self.literal(fact, lambda told: holds(told[1]))

    def fails_fact(self, rule: FactRule, age: float) -> Literal:
        """Return that a fact has failed a rule for so long."""
        key = rule_key(rule)
        return self.literal(f"fact {rule.fact}", lambda told: _is_failing(dict(told[0])[key], age))

    def is_fact_unknown(self, rule: FactRule) -> Literal:
        """Return that a fact says nothing to a rule."""
        key = rule_key(rule)
        return self.literal(f"fact {rule.fact}", lambda told: dict(told[0])[key].age is None)

    # --- sensors ---------------------------------------------------------------------------------------

    def _add_sensors(self) -> None:
        """Add when each sensor that matters was heard last, and whether the device is contested."""
        asked = {rule.sensor for rule in self._rules.values() if not isinstance(rule, FactRule)}
        classes: dict[object, str] = {}
        for name, rules in self._sensors.items():
            if name not in BUILT_IN:
                sort = msgspec.structs.replace(rules, name="", trust=0)
                classes.setdefault(name if name in asked else repr(sort), name)
        for name in classes.values():
            self._add_sensor(name)
        self.add("contested", [(False, _NONE), (True, _NONE)])

    def _add_sensor(self, name: str) -> None:
        asked = {
            key: each
            for key, each in self._rules.items()
            if isinstance(each, SensorRule) and each.sensor == name
        }
        values: list[tuple[Any, dict[str, Any]]] = []
        for age in self._ages:
            posture = SupposedDevice(at=self._now, heard={name: age}).posture(self._sensors)
            is_quiet = is_silent(posture, self._sensors[name], self._now)
            values.append(((age, is_quiet, self._said(asked, posture)), _NONE))
        nothing = self._said(asked, Posture(device_id=DEVICE))
        unheard = self._sensors[name].max_silence_s is not None
        values += [
            ((_NEVER, False, nothing), _NONE),
            *([((_UNHEARD, True, nothing), _NONE)] if unheard else []),
        ]
        self.add(f"sensor {name}", values)

    def fails_sensor(self, rule: SensorRule, age: float) -> Literal:
        """Return that a sensor has not been heard for so long that a rule has failed for `age`."""
        key = rule_key(rule)
        if not self.has(f"sensor {rule.sensor}"):
            return self.false
        return self.literal(f"sensor {rule.sensor}", lambda told: _is_failing(dict(told[2])[key], age))

    def is_sensor_unknown(self, rule: SensorRule) -> Literal:
        """Return that a sensor of a rule was never heard."""
        if not self.has(f"sensor {rule.sensor}"):
            return self.true
        return self.literal(f"sensor {rule.sensor}", lambda told: told[0] in {_NEVER, _UNHEARD})

    @cached_property
    def _is_silent(self) -> Literal:
        return self.any_of(self.literal(name, lambda told: told[1]) for name in self.named("sensor"))

    @cached_property
    def _is_told(self) -> Literal:
        told = [self.literal(name, lambda told: told[0] != _NEVER) for name in self.named("sensor")]
        return self.any_of([*told, self.unlike(self.is_in("override", [None]))])

    @cached_property
    def is_risk_known(self) -> Literal:
        """That somebody told of the device, nobody is silent about it, and it is this one for sure."""
        return self.all_of([self._is_told, self.unlike(self._is_silent), self.is_in("contested", [False])])

    # --- findings --------------------------------------------------------------------------------------

    def _add_findings(self) -> Iterator[Finding]:
        """Add the operator's override, and how many findings there are of each sort that rules tell apart."""
        asked = {key: each for key, each in self._rules.items() if isinstance(each, FindingRule | RiskRule)}
        finding_rules = [each for each in asked.values() if isinstance(each, FindingRule)]
        most = max((each.max for each in finding_rules), default=0)
        if most >= MAX_COUNT:
            raise TooHard
        if not asked and not self._exemptions:
            self.add("override", [(None, _NONE)])
            return
        self._add_override(asked)
        for at, ((_, level, said), finding) in enumerate(self._sorts(asked, finding_rules).items()):
            name = f"finding {at}"
            place = self.add(name, [(count, _NONE) for count in range(most + 2)])
            is_none = self.is_in(name, [0])
            is_heard = self.literal(f"sensor {finding.sensor}", partial(_is_heard, finding.age))
            # An override that is older than a finding does not count for it: none is needed then.
            is_newer = self.literal("override", partial(_is_newer, finding.age))
            # Only where there has to be one: a search is not to trouble itself about all others.
            self._meanings[place] = ([(is_none, is_heard), (is_none, is_newer)], [])
            yield Finding(name, finding, level, dict(said))

    def _sorts(
        self, asked: Mapping[str, ComplianceRule], finding_rules: Sequence[FindingRule]
    ) -> dict[tuple[str, RiskLevel, tuple[tuple[str, Failing], ...]], SupposedFinding]:
        """Return a finding of each sort that matters to some rule, by sensor, risk level and what it says."""
        sorts = {}
        categories = _categories(finding_rules)
        for name in self.named("sensor"):
            sensor = name.removeprefix("sensor ")
            for category, severity, age in product(categories, _SEVERITIES, self._ages):
                finding = SupposedFinding(sensor, severity, category, age)
                level = self._level(finding)
                said = tuple(self._says(asked, finding).items())
                if level is not RiskLevel.NONE or any(_is_failing(says, 0.0) for _, says in said):
                    # The oldest of a sort is the one that a sensor may have told before it fell silent.
                    sorts[sensor, level, said] = finding
        return sorts

    def _add_override(self, asked: Mapping[str, ComplianceRule]) -> None:
        values: list[tuple[Any, dict[str, Any]]] = [(None, _NONE)]
        for severity, age in product(_OVERRIDES, self._ages):
            finding = SupposedFinding(OPERATOR, severity, "", age)
            values.append(((finding, self._level(finding), tuple(self._says(asked, finding).items())), _NONE))
        self.add("override", values)

    def _posture_of(self, finding: SupposedFinding) -> Posture:
        if finding.sensor == OPERATOR:
            return SupposedDevice(at=self._now, override=finding).posture(self._sensors)
        device = SupposedDevice(at=self._now, findings=(finding,), heard={finding.sensor: 0.0})
        return device.posture(self._sensors)

    def _level(self, finding: SupposedFinding) -> RiskLevel:
        return assess(self._posture_of(finding), self._sensors, self._now).level

    def _says(self, asked: Mapping[str, ComplianceRule], finding: SupposedFinding) -> dict[str, Failing]:
        """Return what one finding alone says to each rule: to one on findings, as if one were too many."""
        alone = {
            key: msgspec.structs.replace(rule, max=0) if isinstance(rule, FindingRule) else rule
            for key, rule in asked.items()
        }
        return dict(self._said(alone, self._posture_of(finding)))

    def fails_finding(self, rule: FindingRule, age: float) -> Literal:
        """Return that more findings than a rule lets pass have been open for so long."""
        key = rule_key(rule)
        counted = [each.name for each in self._findings if _is_failing(each.says[key], age)]
        by_operator = self.literal(
            "override", lambda told: told is not None and _is_failing(dict(told[2])[key], age)
        )
        return self.more_than(rule.max, counted, [by_operator])

    def fails_risk(self, rule: RiskRule, age: float) -> Literal:
        """Return that the risk has been above what a rule lets pass for so long."""
        key = rule_key(rule)
        ways = [
            self._counts(each, rule.max, is_alone=bool(rule.sensor))
            for each in self._findings
            if _is_failing(each.says[key], age)
        ]
        if not rule.sensor:
            ways.append(
                self.literal(
                    "override", lambda told: told is not None and _is_failing(dict(told[2])[key], age)
                )
            )
        # Of a contested device nothing is said but the worst.
        is_sure = self.any_of(
            [self.is_in("contested", [False]), self._is_over(RiskLevel.MEDIUM, rule.sensor)]
        )
        return self.all_of([self.any_of(ways), is_sure])

    def is_exemptible(self, ceiling: RiskLevel) -> Literal:
        """Return that the risk is known and not above the level up to which exemptions count."""
        return self.all_of([self.is_risk_known, self.unlike(self._is_over(ceiling, ""))])

    def _is_over(self, highest: RiskLevel, sensor: str) -> Literal:
        ways = [
            self._counts(each, highest, is_alone=bool(sensor))
            for each in self._findings
            if sensor in {"", each.example.sensor} and RISK_ORDER[each.level] > RISK_ORDER[highest]
        ]
        if not sensor:
            ways.append(
                self.literal(
                    "override", lambda told: told is not None and RISK_ORDER[told[1]] > RISK_ORDER[highest]
                )
            )
        return self.any_of(ways)

    def _counts(self, finding: Finding, highest: RiskLevel, *, is_alone: bool) -> Literal:
        """Return that a finding counts for more than a level: it is there, and no override caps it."""
        is_there = self.literal(finding.name, lambda count: count > 0)
        if is_alone:
            return is_there
        is_uncapped = self.literal(
            "override", lambda told: told is None or RISK_ORDER[told[1]] > RISK_ORDER[highest]
        )
        return self.all_of([is_there, is_uncapped])

    def is_risk_unknown(self, rule: RiskRule) -> Literal:
        """Return that too little is known to say that the risk, or what one sensor says of it, is low enough."""
        if not rule.sensor:
            return self.unlike(self.is_risk_known)
        if not self.has(f"sensor {rule.sensor}"):
            return self.true
        is_quiet = self.literal(f"sensor {rule.sensor}", lambda told: told[0] == _NEVER or told[1])
        return self.any_of([is_quiet, self.is_in("contested", [True])])

    # --- a rule ----------------------------------------------------------------------------------------

    def fails(self, rule: ComplianceRule, age: float) -> Literal:
        """Return the literal that the device has failed a rule for so long, as far as evidence shows.

        It is the same for rules of both sets that mean the same, so that nothing has to be proven of it.
        """
        key = (rule_key(rule), age)
        if key not in self._known:
            self._known[key] = self._fails(rule, age)
        return self._known[key]

    def _fails(self, rule: ComplianceRule, age: float) -> Literal:
        match rule:
            case FactRule():
                return self.fails_fact(rule, age)
            case SensorRule():
                return self.fails_sensor(rule, age)
            case FindingRule():
                return self.fails_finding(rule, age)
            case RiskRule():
                return self.fails_risk(rule, age)

    def is_unknown(self, rule: ComplianceRule) -> Literal:
        """Return the literal that nothing says enough to a rule."""
        match rule:
            case FactRule():
                return self.is_fact_unknown(rule)
            case SensorRule():
                return self.is_sensor_unknown(rule)
            case FindingRule():
                is_unknown = self.unlike(self.is_risk_known)
            case RiskRule():
                is_unknown = self.is_risk_unknown(rule)
        return self.all_of([is_unknown, self.unlike(self.fails(rule, 0.0))])

    # --- back to a device ------------------------------------------------------------------------------

    def device(self, model: Sequence[int]) -> SupposedDevice:
        """Return the device that a value for each input describes."""
        chosen = {
            variable.name: variable.values[at] for variable, at in zip(self.variables, model, strict=True)
        }

        def named(word: str) -> Iterator[tuple[str, Any]]:
            for name in self.named(word):
                yield name.removeprefix(f"{word} "), chosen[name].key

        facts = [chosen[name].says["fact"] for name in self.named("fact") if chosen[name].says]
        facts += self._sort_facts(chosen)
        findings = [each.example for each in self._findings for _ in range(chosen[each.name].key)]
        heard = {
            name: key[0] if isinstance(key[0], float) else None
            for name, key in named("sensor")
            if key[0] != _NEVER
        }
        override = chosen["override"].key
        user, email = chosen["user"].key, chosen["email"].key
        return SupposedDevice(
            at=self._now,
            user="" if user == OTHER else user,
            email="" if email == OTHER else email,
            names=tuple(name for name, is_named in named("named") if is_named),
            facts=tuple(facts),
            findings=tuple(findings),
            heard=heard,
            override=None if override is None else override[0],
            contested=chosen["contested"].key,
        )

    def _sort_facts(self, chosen: Mapping[str, Any]) -> Iterator[SupposedFact]:
        """Yield the facts that tell platform, ownership and tags where no fact that rules ask about does."""
        for variable, names in (("platform", PLATFORM_FACTS), ("ownership", OWNERSHIP_FACTS)):
            word = chosen[variable].key
            free = next((name for name in names if not self.has(f"fact {name}")), None)
            if word and free is not None:
                yield SupposedFact(free, word)
        tags = [name.removeprefix("tag ") for name in self.named("tag") if chosen[name].key]
        listed = []
        for tag in tags:
            if not self.has(f"fact {TAG_PREFIX}{tag}"):
                yield SupposedFact(f"{TAG_PREFIX}{tag}", True)  # noqa: FBT003 - the value of a fact
            elif not self.has(f"fact {TAG_LIST}"):
                listed.append(tag)
        if listed:
            yield SupposedFact(TAG_LIST, ", ".join(listed))


def rule_key(rule: ComplianceRule) -> str:
    """Return what tells rules apart, as far as their meaning goes."""
    return repr(msgspec.structs.replace(rule, name="", title="", why="", fix="", fixes={}, link=""))


def _ages(policy: Any, rule: ComplianceRule) -> Iterator[float]:
    """Yield the ages of evidence at which a rule, or a step of its policy, changes its mind."""
    base = 0.0
    match rule:
        case FactRule():
            if rule.max_age is not None:
                yield rule.max_age
        case SensorRule():
            base = rule.seen_within
        case FindingRule():
            base = rule.older_than or 0.0
        case RiskRule():
            pass
    yield base
    yield base + max(rule.grace, 0.0)
    for step in policy.escalation:
        yield base + step.after


def _possible(*literals: Literal) -> Clause:
    """Return a clause without the literals that never hold."""
    return tuple(each for each in literals if each[1])


def _contains(tag: str, tags: frozenset[str]) -> bool:
    return tag in tags


def _is_heard(ago: float, told: tuple[float | str, bool, object]) -> bool:
    return isinstance(told[0], float) and told[0] <= ago


def _is_newer(age: float, told: tuple[SupposedFinding, RiskLevel, object] | None) -> bool:
    return told is None or told[0].age <= age


def _is_failing(said: Failing, age: float) -> bool:
    return said.age is not None and said.age >= age


def _badness(said: Iterable[tuple[str, Failing]]) -> float:
    return sum(1e9 if each.age is None else max(each.age, 0.0) + (each != MET) for _, each in said)


def _filled(pattern: str, filler: str) -> str:
    """Return a name that a pattern takes, with a filler for any text."""
    chosen = re.sub(r"\[(!?)(.)[^\]]*\]", lambda found: "~" if found[1] else found[2], pattern)
    return chosen.replace("*", filler).replace("?", "~")


def _categories(rules: Iterable[FindingRule]) -> list[str]:
    """Return categories of findings: none, each that is asked for, several at once."""
    words = unique(rule.category.casefold() for rule in rules if rule.category)
    sizes = range(1, len(words) + 1) if len(words) < 4 else (1, len(words))  # noqa: PLR2004 - few enough to try all
    return ["", *(",".join(some) for size in sizes for some in combinations(words, size))]
