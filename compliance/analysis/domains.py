"""All inputs that some policies ask about, for one app. Pure.

Every value carries what a `Given` must say to be in it. Two inputs with the same values get the same decision: that is
what makes the analysis exact. Inputs that belong together (an unknown device has no platform) are tied by clauses.
"""

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from compliance.analysis import escalation
from compliance.analysis.inputs import OTHER, TOLD, Inputs, Surroundings, Variable, unique
from compliance.conditions import INPUTS
from compliance.conditions.facts import sure_rules, tie_to_rule
from compliance.evaluate import ANY_SERVICE, folded
from compliance.model import AccessPolicy, ComplianceState, FactRule, RiskRule, SensorState
from risk.model import RISK_ORDER


class Space(Inputs):
    """The inputs of an app: who asks, what each kind of condition is about, and what ties them together."""

    def __init__(self, app: str, policies: Sequence[AccessPolicy], around: Surroundings) -> None:
        """Raises `TooHard` when patterns combine in too many ways."""
        super().__init__(app, policies, around)
        self.remembered: dict[object, Any] = {}
        self._add_person()
        for each in INPUTS:
            each.add(self)
        self._add_witness()
        escalation.add(self)
        self.natural_ties = tuple(self.ties)
        self._tie_compliance()
        escalation.tie(self)

    # --- who -------------------------------------------------------------------------------------------

    def _add_person(self) -> None:
        assigned = [
            each for policy in self.policies for each in (policy.include, policy.exclude) if each is not None
        ]
        names = unique(folded(name) for each in assigned for name in each.users)
        self.add("user", [(OTHER, {"user": "somebody-else"}), *((name, {"user": name}) for name in names)])
        emails = [name for name in names if "@" in name]
        verified = [((name, True), {"email": name}) for name in emails]
        doubtful = [((name, False), {"email": name, "email_verified": False}) for name in emails]
        self.add("email", [(OTHER, {}), *verified, *doubtful])
        for name in emails:
            # Whom the address names as the subject it names in any case: that it is doubtful cannot be told then.
            is_doubtful = (name, False)
            self.tie(
                self.literal("user", partial(operator.ne, name)),
                self.literal("email", partial(operator.ne, is_doubtful)),
            )
        for word in ("groups", "roles"):
            listed = unique(name for each in assigned for name in getattr(each, word))
            self.add_members(word, listed, _listing(word))
        self._add_service(unique(name for each in assigned for name in each.services if name != ANY_SERVICE))

    def _add_service(self, names: Sequence[str]) -> None:
        """Add whether a service identity asks, and which.

        It has no name and no address of a person, and whether it is in a group is always known.
        """
        others = [(name, {"service": name}) for name in (*names, "some-service")]
        self.add("service", [("", {}), *others])
        is_person = self.is_in("service", [""])
        for key in ("user", "email"):
            self.tie(is_person, self.is_in(key, [OTHER]))
        for word in ("groups", "roles"):
            self.tie(is_person, self.is_in(f"{word} {TOLD}", [True]))

    # --- what ties inputs together ---------------------------------------------------------------------

    def _add_witness(self) -> None:
        """Add which sensor told what is known of the device: one that speaks of it."""
        asked = [name.removeprefix("sensor ") for name in self.named("sensor")]
        sensors = tuple(self.around.sensors)
        others = [name for name in sensors if name not in asked]
        names = others[:1] or list(sensors)
        if not names:
            return
        self.add("witness", [(name, {"facts_from": name}) for name in names])
        for name in names if not others else ():
            is_another = self.is_in("witness", [each for each in names if each != name])
            is_heard = self.is_in(f"sensor {name}", [SensorState.HEARD])
            for at, variable in enumerate(list(self.variables)):
                if (says_nothing := _is_untold(variable)) is not None:
                    self.tie((at, says_nothing), is_another, is_heard)

    def _tie_compliance(self) -> None:
        """A compliant device meets the rules on risk and on facts; one in grace those without grace."""
        for name, rule in sure_rules(self.around.compliance, self.around.exempted):
            good = {ComplianceState.COMPLIANT}
            if not rule.grace:
                good.add(ComplianceState.IN_GRACE_PERIOD)
            worse = frozenset(ComplianceState) - good
            if isinstance(rule, RiskRule) and not rule.sensor and rule.max in RISK_ORDER:
                fine = [(level, True) for level, rank in RISK_ORDER.items() if rank <= RISK_ORDER[rule.max]]
                self.tie(self.is_in("compliance", worse), self.is_in("risk", fine))
            elif isinstance(rule, FactRule):
                tie_to_rule(self, name, rule, worse)


def _listing(word: str) -> Callable[..., dict[str, Any]]:
    return lambda *names: {word: None if None in names else names}


def _is_untold(variable: Variable) -> int | None:
    """Return the values by which nothing that a sensor states now is known of the device; None: it never is."""
    if not variable.name.startswith(("fact ", "platform", "ownership", "tag ")):
        return None
    return sum(
        1 << at
        for at, value in enumerate(variable.values)
        if not {"facts", "expired_facts", "platform", "ownership", "tags"} & value.says.keys()
    )
