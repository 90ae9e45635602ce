"""What is asked of a policy set: who is let in who must not be, what never matches, what two sets differ in. Pure.

A request is let in where an `allow` matches, or a `restrict` without help of what is not known, and no stricter policy
does, nor does the escalation of a compliance policy demand anything stricter.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from compliance.analysis import escalation
from compliance.analysis.clauses import matching, not_matching, one_matches
from compliance.analysis.domains import Space
from compliance.analysis.inputs import MOMENT, Surroundings
from compliance.analysis.solver import Clause, Prepared, TooHard
from compliance.conditions import KINDS
from compliance.conditions.facts import Ago
from compliance.model import (
    STRICTNESS,
    AccessPolicy,
    ComplianceState,
    Conditions,
    Mode,
    Outcome,
    SessionControl,
)
from compliance.policy_tests import Given, Never
from risk.model import RiskLevel

GRANTS = (Outcome.ALLOW, Outcome.RESTRICT)

FEW = 4
"""So many policies are looked at one by one."""


class Verdict(StrEnum):
    """What came of a `never` assertion."""

    PROVEN = "proven"
    REFUTED = "refuted"
    UNDECIDED = "undecided"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a `never` assertion, with a request that breaks it and the policy that lets it in."""

    never: str
    verdict: Verdict
    app: str = ""
    policy: str = ""
    example: Given | None = None


class FindingKind(StrEnum):
    """What is wrong, or worth knowing, about a policy set."""

    UNREACHABLE = "unreachable"
    SHADOWED = "shadowed"
    REDUNDANT = "redundant"
    CLOSED = "closed"
    OPEN = "open"
    UNDECIDED = "undecided"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One result of the analysis: about a policy, about an app, or both. `text` is for people."""

    kind: FindingKind
    text: str
    policy: str = ""
    app: str = ""
    example: Given | None = None


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A request that one policy set lets in and the other does not."""

    app: str
    is_newly_let_in: bool
    policy: str
    example: Given


class Analysis:
    """Answers questions about one policy set. The inputs of each app are cut once, for all that is asked."""

    def __init__(
        self,
        policies: Sequence[AccessPolicy],
        around: Surroundings,
        *,
        nevers: Sequence[Never] = (),
        others: Sequence[AccessPolicy] = (),
    ) -> None:
        """`others` are policies that the inputs must tell apart too, such as those of another set."""
        self._policies = tuple(each for each in policies if each.mode is Mode.ENFORCE)
        self._reported = tuple(each for each in policies if each.mode is Mode.REPORT)
        self._nevers = tuple(nevers)
        self._others = tuple(each for each in others if each.mode is Mode.ENFORCE)
        self._around = around
        self._spaces: dict[object, Space] = {}
        self._asked = (
            *self._policies,
            *self._reported,
            *self._others,
            *(each.as_block() for each in self._nevers),
            _EVERYTHING,
        )
        self._alike: dict[str, object] = {}

    def prove(self, never: Never) -> Answer:
        """Return whether nobody can be let in whom the assertion excludes, or a request that is."""
        is_undecided = False
        block = never.as_block()
        for app in self._unlike(each for each in self._around.apps if block.covers(each)):
            try:
                found = self._broken(never, app)
            except TooHard:
                is_undecided = True
                continue
            if found is not None:
                policy, example = found
                return Answer(
                    never=never.name, verdict=Verdict.REFUTED, app=app, policy=policy.name, example=example
                )
        return Answer(never=never.name, verdict=Verdict.UNDECIDED if is_undecided else Verdict.PROVEN)

    def _broken(self, never: Never, app: str) -> tuple[AccessPolicy, Given] | None:
        space = self._space(app)
        block = next((each for each in self._asked if each == never.as_block()), never.as_block())
        forbidden = matching(block, space, limits=True)
        for lacking in never.without or (None,):
            extra = [*forbidden]
            if lacking is not None:
                extra += self._without(lacking, space)
            # Most assertions hold, and one search for all policies tells.
            found = self._may_let_in(space, extra) and next(self._let_in(space, self._policies, extra), None)
            if found:
                return found
        return None

    def _without(self, control: SessionControl, space: Space) -> list[Clause]:
        """Return that no matching policy brings the control."""
        bringing = [
            each
            for each in self._of(space.app, self._policies)
            if each.decision is Outcome.RESTRICT and self._brings(each, control)
        ]
        lacking = [clause for each in bringing for clause in not_matching(each, space, limits=True)]
        return [*lacking, *escalation.none_brings(space, control)]

    def _brings(self, policy: AccessPolicy, control: SessionControl) -> bool:
        """Return whether a `restrict` brings a control, by itself or by a session profile."""
        return control in policy.controls or any(
            control in self._around.profiles.get(name, ()) for name in policy.profiles
        )

    def _let_in(
        self, space: Space, policies: Sequence[AccessPolicy], extra: Sequence[Clause] = ()
    ) -> Iterator[tuple[AccessPolicy, Given]]:
        """Yield, for each policy that lets in, an example where it does and the extra clauses hold."""
        outside = self._none_stricter(space, policies, Outcome.RESTRICT)
        for policy in self._of(space.app, policies):
            if policy.decision in GRANTS:
                clauses = [*matching(policy, space, limits=False), *extra]
                example = self._example(space, clauses, outside)
                if example is not None:
                    yield policy, example

    def _may_let_in(self, space: Space, extra: Sequence[Clause]) -> bool:
        """Return whether any of many policies lets in, by one search; true where that is too hard."""
        granting = [each for each in self._of(space.app, self._policies) if each.decision in GRANTS]
        if len(granting) <= FEW:
            return True
        outside = self._none_stricter(space, self._policies, Outcome.RESTRICT)
        meant, one = one_matches(((each, False) for each in granting), space)
        try:
            return self._example(space, [*meant, one, *extra], outside) is not None
        except TooHard:
            return True

    def _none_stricter(self, space: Space, policies: Sequence[AccessPolicy], than: Outcome) -> Prepared:
        """Return, ready for searches, that nothing stricter than an outcome is decided."""
        key = (id(policies), than)
        known: tuple[object, Prepared] | None = space.remembered.get(key)
        if known is None or known[0] is not policies:
            clauses = escalation.none_stricter(space, than)
            for each in self._of(space.app, policies):
                if STRICTNESS[each.decision] > STRICTNESS[than]:
                    clauses += not_matching(each, space, limits=True)
            known = (policies, Prepared(space.domains, [*space.ties, *clauses]))
            space.remembered[key] = known
        return known[1]

    def _example(
        self, space: Space, clauses: Sequence[Clause], common: Prepared | None = None
    ) -> Given | None:
        """Return a request where all clauses hold, None when there is none. Raises `TooHard`."""
        if common is None:
            common = space.remembered.get("ties")
            if common is None:
                common = space.remembered["ties"] = Prepared(space.domains, space.ties)
        model = common.solve(space.domains, clauses)
        if model is None:
            return None
        chosen = zip(space.variables, model, strict=True)
        return example_of(space.app, (variable.values[at].says for variable, at in chosen))

    def _space(self, app: str) -> Space:
        """Return the inputs of an app; apps that are alike have theirs in common."""
        sort = self._sort_of(app)
        space = self._spaces.get(sort)
        if space is None:
            space = self._spaces[sort] = Space(app, self._asked, self._around)
        return space

    def _sort_of(self, app: str) -> object:
        """Return what tells apps apart: whatever holds of one of a sort holds of all, but for its name and host."""
        if app not in self._alike:
            covering = [each for each in self._asked if each.covers(app)]
            host = self._around.hosts[app]
            asks_host = any(each.when.hosts or each.when.not_hosts for each in covering)
            names = tuple(id(each) for each in covering)
            is_alone = asks_host or host.startswith("*.")
            self._alike[app] = (names, self._around.paths[app], host if is_alone else "")
        return self._alike[app]

    def _unlike(self, apps: Iterable[str]) -> list[str]:
        """Return one app of each sort, the first."""
        found: dict[object, str] = {}
        for app in apps:
            found.setdefault(self._sort_of(app), app)
        return list(found.values())

    def _as_of(self, example: Given, app: str) -> Given:
        """Return an example of an app as one of another that is like it."""
        if example.app == app:
            return example
        return msgspec.structs.replace(example, app=app, host=self._around.hosts[app])

    @staticmethod
    def _of(app: str, policies: Iterable[AccessPolicy]) -> list[AccessPolicy]:
        return [each for each in policies if each.covers(app)]

    # --- findings --------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Return everything found: policies that never matter, apps that nobody reaches, and how open apps are."""
        found: list[Finding] = []
        for policy in (*self._policies, *self._reported):
            found += self._of_policy(policy)
        of_sort = {app: list(self._of_app(app)) for app in self._unlike(self._around.apps)}
        by_sort = {self._sort_of(app): each for app, each in of_sort.items()}
        for app in self._around.apps:
            found += [self._moved(each, app) for each in by_sort[self._sort_of(app)]]
        return found

    def _moved(self, finding: Finding, app: str) -> Finding:
        example = None if finding.example is None else self._as_of(finding.example, app)
        return msgspec.structs.replace(finding, app=app, example=example)

    def impossible(self) -> Iterator[tuple[AccessPolicy, tuple[str, ...]]]:
        """Yield the policies that contradict themselves, each with the conditions without one of which they would not.

        A limit that would match only for want of knowledge contradicts itself too. Policies that are too hard to decide
        are left out.
        """
        for policy in (*self._policies, *self._reported):
            for asked in (policy, _told_part(policy)):
                try:
                    # Alone, so that the inputs are cut no finer than this one policy needs.
                    blamed = Analysis([asked], self._around).blamed(asked)
                except TooHard:
                    continue
                if blamed is not None:
                    yield policy, blamed
                    break

    def blamed(self, policy: AccessPolicy) -> tuple[str, ...] | None:
        """Return what keeps a policy from matching anywhere, None when it can match."""
        apps = self._unlike(app for app in self._around.apps if policy.covers(app))
        if not apps or any(self._matches(policy, app) for app in apps):
            return None
        keys = [key for key in policy.when.__struct_fields__ if getattr(policy.when, key) not in {(), None}]
        return tuple(key for key in keys if any(self._matches(_lacking(policy, key), app) for app in apps))

    def _of_policy(self, policy: AccessPolicy) -> Iterator[Finding]:
        apps = self._unlike(app for app in self._around.apps if policy.covers(app))
        try:
            if not any(self._matches(policy, app) for app in apps):
                text = "its conditions can never hold together"
                yield Finding(kind=FindingKind.UNREACHABLE, policy=policy.name, text=text)
            elif policy.mode is Mode.REPORT:
                return
            elif not any(self._matches(policy, app, stricter_than=policy.decision) for app in apps):
                text = "wherever it matches, a stricter policy decides"
                yield Finding(kind=FindingKind.SHADOWED, policy=policy.name, text=text)
            elif policy.decision in {Outcome.ALLOW, Outcome.BLOCK} and not any(
                self._matters(policy, app) for app in apps
            ):
                text = "without it nobody's access would change"
                yield Finding(kind=FindingKind.REDUNDANT, policy=policy.name, text=text)
        except TooHard:
            text = "not decided: there is too much to look at"
            yield Finding(kind=FindingKind.UNDECIDED, policy=policy.name, text=text)

    def _matches(self, policy: AccessPolicy, app: str, stricter_than: Outcome | None = None) -> bool:
        """Return whether a policy can match, where no policy that is stricter does."""
        space = self._space(app)
        limits = policy.decision is not Outcome.ALLOW
        clauses = matching(policy, space, limits=limits)
        common = None
        if stricter_than is not None:
            common = self._none_stricter(space, self._policies, stricter_than)
        return self._example(space, clauses, common) is not None

    def _matters(self, policy: AccessPolicy, app: str) -> bool:
        """Return whether some request is decided otherwise without an `allow` or a `block`."""
        space = self._space(app)
        others = [each for each in self._of(app, self._policies) if each is not policy]
        if policy.decision is Outcome.BLOCK:
            # It matters where all others together would not block, but decide something.
            clauses = matching(policy, space, limits=True)
            answers = []
            for each in others:
                if each.decision is Outcome.BLOCK:
                    clauses += not_matching(each, space, limits=True)
                else:
                    answers.append((each, each.decision not in GRANTS))
            clauses += escalation.none_stricter(space, Outcome.REMEDIATE)
            meant, ways = one_matches(answers, space)
            demands = escalation.one_demands(space, {Outcome.STEP_UP, Outcome.REMEDIATE})
            return self._example(space, [*clauses, *meant, (*ways, *demands)]) is not None
        clauses = matching(policy, space, limits=False)
        for other in others:
            clauses += not_matching(other, space, limits=other.decision not in GRANTS)
        clauses += escalation.none_stricter(space, Outcome.RESTRICT)
        return self._example(space, clauses) is not None

    def _of_app(self, app: str) -> Iterator[Finding]:
        try:
            space = self._space(app)
            if next(self._let_in(space, self._policies), None) is None:
                yield Finding(kind=FindingKind.CLOSED, app=app, text="nobody can reach it")
                return
            for text, when in HOLES:
                clauses = matching(_block(when), space, limits=True)
                found = next(self._let_in(space, self._policies, clauses), None)
                if found is not None:
                    policy, example = found
                    yield Finding(
                        kind=FindingKind.OPEN, app=app, policy=policy.name, example=example,
                        text=f"{REACHED}{text}",
                    )  # fmt: skip
        except TooHard:
            text = "not decided: there is too much to look at"
            yield Finding(kind=FindingKind.UNDECIDED, app=app, text=text)

    # --- two sets --------------------------------------------------------------------------------------

    def differences(self, before: Sequence[AccessPolicy]) -> Iterator[Difference]:
        """Yield, for each app, a request that only this set lets in, and one that only `before` does.

        `before` must be among the `others` that the inputs were cut for. Raises `TooHard`.
        """
        old = tuple(each for each in before if each.mode is Mode.ENFORCE)
        of_sort: dict[object, list[tuple[bool, str, Given]]] = {}
        for app in self._around.apps:
            sort = self._sort_of(app)
            if sort not in of_sort:
                of_sort[sort] = list(self._differing(self._space(app), old))
            for is_new, policy, example in of_sort[sort]:
                moved = self._as_of(example, app)
                yield Difference(app=app, is_newly_let_in=is_new, policy=policy, example=moved)

    def _differing(self, space: Space, old: tuple[AccessPolicy, ...]) -> Iterator[tuple[bool, str, Given]]:
        for is_new, ours, theirs in ((True, self._policies, old), (False, old, self._policies)):
            found = self._only(space, ours, theirs)
            if found is not None:
                yield is_new, found[0].name, found[1]

    def _only(
        self, space: Space, ours: Sequence[AccessPolicy], theirs: Sequence[AccessPolicy]
    ) -> tuple[AccessPolicy, Given] | None:
        """Return a request that one set lets in, where the other limits it or does not let it in."""
        others = self._of(space.app, theirs)
        none_grants = [
            clause
            for each in others
            if each.decision in GRANTS
            for clause in not_matching(each, space, limits=False)
        ]
        meant, one = one_matches(((each, True) for each in others if each.decision not in GRANTS), space)
        for way in (none_grants, [*meant, one]):
            found = next(self._let_in(space, ours, way), None)
            if found is not None:
                return found
        return None


_UNSURE = frozenset(key for key, kind in KINDS.items() if kind.is_about_unknown)


def _told_part(policy: AccessPolicy) -> AccessPolicy:
    """Return a policy that allows, with only those conditions that ask about what is told."""
    usual = Conditions()
    when = msgspec.structs.replace(policy.when, **{key: getattr(usual, key) for key in _UNSURE})
    return msgspec.structs.replace(policy, decision=Outcome.ALLOW, when=when)


def _lacking(policy: AccessPolicy, key: str) -> AccessPolicy:
    """Return a policy without one of its conditions."""
    usual = getattr(Conditions(), key)
    return msgspec.structs.replace(policy, when=msgspec.structs.replace(policy.when, **{key: usual}))


HOLES: tuple[tuple[str, Conditions], ...] = (
    ("from a device that we do not know", Conditions(device=("unknown",))),
    (
        "from a device whose compliance is not known",
        Conditions(device=("known",), compliance=(ComplianceState.UNKNOWN,)),
    ),
    ("from a noncompliant device", Conditions(compliance=(ComplianceState.NONCOMPLIANT,))),
    ("from a device at high risk", Conditions(risk=(RiskLevel.HIGH,))),
)
"""How open an app can be; each is worth knowing, and may be what is wanted."""


REACHED = "can be reached "
"""What the text of a finding about an open app begins with; the words of its hole follow."""


def _block(when: Conditions) -> AccessPolicy:
    return AccessPolicy(name="", decision=Outcome.BLOCK, when=when)


_EVERYTHING = _block(Conditions())


def example_of(app: str, said: Iterable[Mapping[str, Any]]) -> Given:
    """Return the request that several values describe together; what is a collection is joined."""
    joined: dict[str, Any] = {}
    for says in said:
        for key, value in says.items():
            before = joined.get(key)
            if key == "claims" and before is not None:
                value = {**before, **{name: (*before.get(name, ()), *more) for name, more in value.items()}}  # noqa: PLW2901
            elif isinstance(value, dict) and before is not None:
                value = {**before, **value}  # noqa: PLW2901
            elif isinstance(value, tuple) and before is not None:
                value = (*before, *value)  # noqa: PLW2901
            joined[key] = value
    now = datetime.fromisoformat(joined["at"]) if "at" in joined else MOMENT
    if "facts" in joined:
        facts = joined["facts"].items()
        joined["facts"] = {
            name: value.before(now) if isinstance(value, Ago) else value for name, value in facts
        }
    return msgspec.convert({"app": app, **joined}, Given)
