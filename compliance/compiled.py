"""Access policies as one function: the meaning of the interpreter in `compliance.evaluate`, several times faster.

The function is put together from syntax-tree nodes. What an administrator wrote enters it only as constants, under
names of ours, never as text. A fault while it runs is left to the interpreter, which knows what a fault means. A
property test holds both to be equal.
"""

import ast
from collections.abc import Callable, Iterable
from typing import Any

from compliance.conditions import given
from compliance.evaluate import (
    ANY_SERVICE,
    already_stepped_up,
    folded,
    is_older,
    possible_risk,
    session_miss,
)
from compliance.model import AccessContext, AccessPolicy, Assignment, Conditions, Outcome, User

Matching = Callable[[AccessContext], list[int]]

MAX_REMEMBERED = 64


class CompiledPolicies:
    """A tuple of policies, ready to be matched. `timed` are those whose match time alone can change, with `apps`."""

    def __init__(self, policies: tuple[AccessPolicy, ...]) -> None:
        self.policies = policies
        self.timed = tuple(policy for policy in policies if _is_timed(policy))
        self._match = _compile(policies)

    def matching(self, context: AccessContext) -> list[int]:
        """Return the positions of the policies that match by the slow facts, in order. Never raises."""
        try:
            return self._match(context)
        except Exception:  # noqa: BLE001 - INVARIANT: a fault while evaluating never allows; the interpreter sees to it
            return interpreted(self.policies, context)


def interpreted(policies: Iterable[AccessPolicy], context: AccessContext) -> list[int]:
    """Return what `CompiledPolicies.matching` returns, the obvious way."""
    return [at for at, policy in enumerate(policies) if session_miss(policy, context) is None]


_remembered: dict[int, CompiledPolicies] = {}


def compiled(policies: tuple[AccessPolicy, ...]) -> CompiledPolicies:
    """Return the policies compiled; remembered by object, so that a set in force is compiled once."""
    known = _remembered.get(id(policies))
    if known is not None and known.policies is policies:
        return known
    if len(_remembered) >= MAX_REMEMBERED:
        del _remembered[next(iter(_remembered))]
    made = _remembered[id(policies)] = CompiledPolicies(policies)
    return made


def _is_timed(policy: AccessPolicy) -> bool:
    when = policy.when
    asks_age = when.auth_older_than is not None or policy.step_up is not None
    return asks_age or bool(given(when))


# --- building the function -----------------------------------------------------------------------------


class _Builder:
    """Collects constants under names of ours, and makes nodes."""

    def __init__(self) -> None:
        self.constants: dict[str, Any] = {
            "possible_risk": possible_risk,
            "names_of": _names_of,
            "services_of": _services_of,
            "is_older": is_older,
            "already_stepped_up": already_stepped_up,
        }

    def constant(self, value: Any) -> ast.expr:
        """Return a node that stands for a value."""
        name = f"c{len(self.constants)}"
        self.constants[name] = value
        return _name(name)


def _compile(policies: tuple[AccessPolicy, ...]) -> Matching:
    builder = _Builder()
    body: list[ast.stmt] = [ast.parse(line).body[0] for line in _PREPARATION]
    for at, policy in enumerate(policies):
        found = ast.Expr(_call(_attribute("found", "append"), ast.Constant(at)))
        tests = list(_tests(policy, builder))
        body.append(ast.If(_all(tests), [found], []) if tests else found)
    body.append(ast.Return(_name("found")))
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg("context")], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    function = ast.FunctionDef("match", arguments, body, [])
    tree = ast.fix_missing_locations(ast.Module([function], []))
    exec(compile(tree, "<access policies>", "exec"), builder.constants)  # noqa: S102 - built of nodes, never of text
    match: Matching = builder.constants["match"]
    return match


_PREPARATION = (
    "user = context.user",
    "app = context.app",
    "groups = user.groups",
    "told = user.are_groups_known",
    "roles = user.roles",
    "told_roles = user.are_roles_known",
    "services = services_of(user)",
    "sure, unsure = names_of(user)",
    "state = context.compliance.state",
    "levels = possible_risk(context)",
    "device = 'unknown' if context.device_id is None else 'known'",
    "acr = user.acr",
    "amr = None if user.amr is None else frozenset(user.amr)",
    "found = []",
)
"""What every function begins with: the slow facts under short names."""


def _names_of(user: User) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a person that are sure, and those with an e-mail address that is not verified."""
    if user.is_service:
        return frozenset(), frozenset()
    sure = frozenset(folded(name) for name in user.names)
    return sure, (sure | {folded(user.email)} if user.email else sure)


def _services_of(user: User) -> frozenset[str]:
    """Return the names of a service identity, none for a person."""
    return frozenset({user.subject, ANY_SERVICE}) if user.is_service else frozenset()


def _tests(policy: AccessPolicy, builder: _Builder) -> Iterable[ast.expr]:
    """Yield the tests of a policy, all of which must hold; cheap ones first."""
    limits = policy.decision is not Outcome.ALLOW
    when = policy.when
    yield from _apps(policy, builder)
    if not policy.include.is_for_everyone:
        yield _any(_named(policy.include, builder, if_unsure=limits))
    if when.compliance:
        yield _in("state", builder.constant(frozenset(when.compliance)))
    if when.risk:
        levels = builder.constant(frozenset(when.risk))
        yield _meets("levels", levels) if limits else _call(_attribute("levels", "issubset"), levels)
    if when.device:
        yield _in("device", builder.constant(frozenset(when.device)))
    if when.providers:
        provider = ast.Attribute(_name("user"), "provider", ast.Load())
        yield ast.Compare(provider, [ast.In()], [builder.constant(frozenset(when.providers))])
    if policy.exclude is not None and not policy.exclude.is_for_everyone:
        yield _not(_any(_named(policy.exclude, builder, if_unsure=not limits)))
    yield from _strength(when, builder, limits)
    for _, kind, value in given(when):
        held = _call(builder.constant(kind.holds), builder.constant(value), _name("context"))
        # What is not known is None: it holds in a policy that limits, and not in one that allows.
        yield ast.Compare(held, [ast.IsNot() if limits else ast.Is()], [ast.Constant(not limits)])
    if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        done = _call(_name("already_stepped_up"), builder.constant(policy.step_up), _name("context"))
        yield ast.Compare(done, [ast.Is()], [ast.Constant(None)])


def _apps(policy: AccessPolicy, builder: _Builder) -> Iterable[ast.expr]:
    if policy.apps:
        yield _in("app", builder.constant(frozenset(policy.apps)))
    if policy.not_apps:
        yield _not(_in("app", builder.constant(frozenset(policy.not_apps))))


def _named(assignment: Assignment, builder: _Builder, *, if_unsure: bool) -> list[ast.expr]:
    tests: list[ast.expr] = []
    if assignment.users:
        names = builder.constant(frozenset(folded(name) for name in assignment.users))
        tests.append(_meets("unsure" if if_unsure else "sure", names))
    if assignment.services:
        tests.append(_meets("services", builder.constant(frozenset(assignment.services))))
    for held, told, named in (
        ("groups", "told", assignment.groups),
        ("roles", "told_roles", assignment.roles),
    ):
        if named:
            is_member = _meets(held, builder.constant(frozenset(named)))
            tests.append(ast.IfExp(_name(told), is_member, ast.Constant(if_unsure)))
    return tests


def _strength(when: Conditions, builder: _Builder, limits: bool) -> Iterable[ast.expr]:
    if when.acr:
        yield _known("acr", _in("acr", builder.constant(frozenset(when.acr))), limits)
    if when.not_acr:
        yield _known("acr", _not(_in("acr", builder.constant(frozenset(when.not_acr)))), limits)
    if when.amr:
        yield _known("amr", _meets("amr", builder.constant(frozenset(when.amr))), limits)
    if when.not_amr:
        yield _known("amr", _not(_meets("amr", builder.constant(frozenset(when.not_amr)))), limits)
    if when.auth_older_than is not None:
        age = builder.constant(when.auth_older_than)
        yield _call(_name("is_older"), age, _name("context"), ast.Constant(limits))


# --- nodes ---------------------------------------------------------------------------------------------


def _name(name: str) -> ast.expr:
    return ast.Name(name, ast.Load())


def _attribute(name: str, attribute: str) -> ast.expr:
    return ast.Attribute(_name(name), attribute, ast.Load())


def _call(function: ast.expr, *arguments: ast.expr) -> ast.expr:
    return ast.Call(function, list(arguments), [])


def _in(name: str, values: ast.expr) -> ast.expr:
    return ast.Compare(_name(name), [ast.In()], [values])


def _meets(name: str, values: ast.expr) -> ast.expr:
    """Return whether two sets have something in common."""
    return _not(_call(_attribute(name, "isdisjoint"), values))


def _known(name: str, test: ast.expr, if_unknown: bool) -> ast.expr:
    is_unknown = ast.Compare(_name(name), [ast.Is()], [ast.Constant(None)])
    return ast.IfExp(is_unknown, ast.Constant(if_unknown), test)


def _not(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _all(tests: list[ast.expr]) -> ast.expr:
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.And(), tests)


def _any(tests: list[ast.expr]) -> ast.expr:
    return tests[0] if len(tests) == 1 else ast.BoolOp(ast.Or(), tests)
