"""Access policies as one function: the meaning of the interpreter in `compliance.evaluate`, several times faster.

The function is put together from syntax-tree nodes. What an administrator wrote enters it only as constants, under
names of ours, never as text. A fault while it runs is left to the interpreter, which knows what a fault means. A
property test holds both to be equal.
"""

import ast
from collections.abc import Callable, Iterable

from compliance.conditions import given
from compliance.conditions.kind import no_moments
from compliance.evaluate import ANY_SERVICE, already_stepped_up, folded, session_miss
from compliance.model import AccessContext, AccessPolicy, Assignment, Outcome, User
from compliance.nodes import Builder, attribute, call, every, is_in, meets, name, negate, some

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
    asks = any(kind.moments is not no_moments for _, kind, _ in given(policy.when))
    return asks or policy.step_up is not None


# --- building the function -----------------------------------------------------------------------------


def _compile(policies: tuple[AccessPolicy, ...]) -> Matching:
    builder = Builder()
    tested: list[ast.stmt] = []
    for at, policy in enumerate(policies):
        found = ast.Expr(call(attribute(name("found"), "append"), ast.Constant(at)))
        tests = list(_tests(policy, builder))
        tested.append(ast.If(every(tests), [found], []) if tests else found)
    prepared = [ast.parse("found = []").body[0], *builder.preparation.values()]
    body = [*prepared, *tested, ast.Return(name("found"))]
    arguments = ast.arguments(
        posonlyargs=[], args=[ast.arg("context")], kwonlyargs=[], kw_defaults=[], defaults=[]
    )
    function = ast.FunctionDef("match", arguments, body, [])
    tree = ast.fix_missing_locations(ast.Module([function], []))
    exec(compile(tree, "<access policies>", "exec"), builder.constants)  # noqa: S102 - built of nodes, never of text
    match: Matching = builder.constants["match"]
    return match


def _names_of(user: User) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of a person that are sure, and those with an e-mail address that is not verified."""
    if user.is_service:
        return frozenset(), frozenset()
    sure = frozenset(folded(name) for name in user.names)
    return sure, (sure | {folded(user.email)} if user.email else sure)


def _services_of(user: User) -> frozenset[str]:
    """Return the names of a service identity, none for a person."""
    return frozenset({user.subject, ANY_SERVICE}) if user.is_service else frozenset()


def _tests(policy: AccessPolicy, builder: Builder) -> Iterable[ast.expr]:
    """Yield the tests of a policy, all of which must hold; cheap ones first."""
    limits = policy.decision is not Outcome.ALLOW
    yield from _apps(policy, builder)
    if not policy.include.is_for_everyone:
        yield some(_named(policy.include, builder, if_unsure=limits))
    asked = given(policy.when)
    yield from (kind.inline(value, builder, limits) for _, kind, value in asked if kind.inline is not None)
    if policy.exclude is not None and not policy.exclude.is_for_everyone:
        yield negate(some(_named(policy.exclude, builder, if_unsure=not limits)))
    for _, kind, value in asked:
        if kind.inline is None:
            held = call(builder.constant(kind.holds), builder.constant(value), name("context"))
            # What is not known is None: it holds in a policy that limits, and not in one that allows.
            yield ast.Compare(held, [ast.IsNot() if limits else ast.Is()], [ast.Constant(not limits)])
    if policy.decision is Outcome.STEP_UP and policy.step_up is not None:
        is_done = builder.constant(already_stepped_up)
        done = call(is_done, builder.constant(policy.step_up), name("context"))
        yield ast.Compare(done, [ast.Is()], [ast.Constant(None)])


def _apps(policy: AccessPolicy, builder: Builder) -> Iterable[ast.expr]:
    app = builder.local("app", "context.app")
    if policy.apps:
        yield is_in(app, builder.constant(frozenset(policy.apps)))
    if policy.not_apps:
        yield negate(is_in(app, builder.constant(frozenset(policy.not_apps))))


def _named(assignment: Assignment, builder: Builder, *, if_unsure: bool) -> list[ast.expr]:
    tests: list[ast.expr] = []
    if assignment.users:
        both = builder.local("names", "names_of(context.user)", names_of=_names_of)
        names = builder.constant(frozenset(folded(each) for each in assignment.users))
        tests.append(meets(ast.Subscript(both, ast.Constant(int(if_unsure)), ast.Load()), names))
    if assignment.services:
        services = builder.local("services", "services_of(context.user)", services_of=_services_of)
        tests.append(meets(services, builder.constant(frozenset(assignment.services))))
    for word, listed in (("groups", assignment.groups), ("roles", assignment.roles)):
        if listed:
            is_told = builder.local(f"told_{word}", f"context.user.are_{word}_known")
            held = builder.local(word, f"context.user.{word}")
            is_member = meets(held, builder.constant(frozenset(listed)))
            tests.append(ast.IfExp(is_told, is_member, ast.Constant(if_unsure)))
    return tests
