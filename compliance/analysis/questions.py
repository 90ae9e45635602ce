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
from compliance.analysis.clauses import matching, not_matching
from compliance.analysis.domains import Space
from compliance.analysis.inputs import MOMENT, Surroundings
from compliance.analysis.solver import Clause, TooHard, solve
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
        self._spaces: dict[str, Space] = {}

    def prove(self, never: Never) -> Answer:
        """Return whether nobody can be let in whom the assertion excludes, or a request that is."""
        is_undecided = False
        for app in [
            each for each in never.allow.apps or self._around.apps if each not in never.allow.not_apps
        ]:
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
        forbidden = matching(never.as_block(), space, limits=True)
        for lacking in never.without or (None,):
            extra = [*forbidden]
            if lacking is not None:
                extra += self._without(lacking, space)
            found = next(self._let_in(space, self._policies, extra), None)
            if found is not None:
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
        ours = self._of(space.app, policies)
        outside = [
            clause
            for each in ours
            if each.decision not in GRANTS
            for clause in not_matching(each, space, limits=True)
        ]
        outside += escalation.none_stricter(space, Outcome.RESTRICT)
        for policy in ours:
            if policy.decision in GRANTS:
                example = self._example(space, [*matching(policy, space, limits=False), *outside, *extra])
                if example is not None:
                    yield policy, example

    def _example(self, space: Space, clauses: Sequence[Clause]) -> Given | None:
        """Return a request where all clauses hold, None when there is none. Raises `TooHard`."""
        model = solve(space.domains, [*space.ties, *clauses])
        if model is None:
            return None
        chosen = zip(space.variables, model, strict=True)
        return example_of(space.app, (variable.values[at].says for variable, at in chosen))

    def _space(self, app: str) -> Space:
        space = self._spaces.get(app)
        if space is None:
            asked = [
                *self._policies,
                *self._reported,
                *self._others,
                *(each.as_block() for each in self._nevers),
            ]
            asked.append(_EVERYTHING)
            space = self._spaces[app] = Space(app, asked, self._around)
        return space

    @staticmethod
    def _of(app: str, policies: Iterable[AccessPolicy]) -> list[AccessPolicy]:
        return [each for each in policies if each.covers(app)]

    # --- findings --------------------------------------------------------------------------------------

    def findings(self) -> list[Finding]:
        """Return everything found: policies that never matter, apps that nobody reaches, and how open apps are."""
        found: list[Finding] = []
        for policy in (*self._policies, *self._reported):
            found += self._of_policy(policy)
        for app in self._around.apps:
            found += self._of_app(app)
        return found

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
        apps = [app for app in self._around.apps if policy.covers(app)]
        if not apps or any(self._matches(policy, app) for app in apps):
            return None
        keys = [key for key in policy.when.__struct_fields__ if getattr(policy.when, key) not in {(), None}]
        return tuple(key for key in keys if any(self._matches(_lacking(policy, key), app) for app in apps))

    def _of_policy(self, policy: AccessPolicy) -> Iterator[Finding]:
        apps = [app for app in self._around.apps if policy.covers(app)]
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
        if stricter_than is not None:
            for other in self._of(app, self._policies):
                if STRICTNESS[other.decision] > STRICTNESS[stricter_than]:
                    clauses += not_matching(other, space, limits=True)
            clauses += escalation.none_stricter(space, stricter_than)
        return self._example(space, clauses) is not None

    def _matters(self, policy: AccessPolicy, app: str) -> bool:
        """Return whether some request is decided otherwise without an `allow` or a `block`."""
        space = self._space(app)
        others = [each for each in self._of(app, self._policies) if each is not policy]
        if policy.decision is Outcome.BLOCK:
            # It matters where all others together would not block.
            extra = matching(policy, space, limits=True)
            blocks = [each for each in others if each.decision is Outcome.BLOCK]
            extra += [clause for each in blocks for clause in not_matching(each, space, limits=True)]
            extra += escalation.none_stricter(space, Outcome.REMEDIATE)
            answers = [
                matching(each, space, limits=each.decision not in GRANTS)
                for each in others
                if each.decision is not Outcome.BLOCK
            ]
            answers.append([escalation.one_demands(space, {Outcome.STEP_UP, Outcome.REMEDIATE})])
            return any(self._example(space, [*extra, *each]) for each in answers)
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
                        text=f"can be reached {text}",
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
        for app in self._around.apps:
            space = self._space(app)
            for is_new, ours, theirs in ((True, self._policies, old), (False, old, self._policies)):
                found = self._only(space, ours, theirs)
                if found is not None:
                    policy, example = found
                    yield Difference(app=app, is_newly_let_in=is_new, policy=policy.name, example=example)

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
        ways = [none_grants]
        ways += [matching(each, space, limits=True) for each in others if each.decision not in GRANTS]
        for way in ways:
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
