"""Where the inputs of a real decision stand in the finite domains of the analysis. Pure."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from compliance.analysis.domains import OTHER, Space, Variable, folded
from compliance.analysis.values import fact_key
from compliance.conditions.fact_states import fact_state
from compliance.conditions.facts import fact_held
from compliance.conditions.findings import finding_is_meant, open_findings
from compliance.conditions.sensors import state_of
from compliance.conditions.times import is_open
from compliance.device_facts import ownership_of, platform_of, tags_of
from compliance.model import AccessContext, FactStateCondition, RequestFacts
from compliance.paths import path_matches
from risk.model import RISK_ORDER, RiskAssessment, RiskLevel


def present_values(space: Space, context: AccessContext, request: RequestFacts) -> list[int | None]:
    """Return for every variable the place of the value that it has now; None where none of its values is like it."""
    here = _Here(space, context, request)
    return [here.place_of(variable) for variable in space.variables]


class _Here:
    def __init__(self, space: Space, context: AccessContext, request: RequestFacts) -> None:
        self._space = space
        self._context = context
        self._request = request
        user = context.user
        whole: dict[str, Callable[[], Any]] = {
            "service": lambda: user.subject if user.is_service else "",
            "provider": lambda: user.provider,
            "risk": lambda: _risk(context.risk),
            "user_risk": lambda: _risk(context.user_risk),
            "session_risk": lambda: _risk(context.session_risk),
            "device": lambda: "unknown" if context.device_id is None else "known",
            "compliance": lambda: context.compliance.state,
            "binding": lambda: context.binding,
            "platform": lambda: self._of_device(platform_of) or "",
            "ownership": lambda: self._of_device(ownership_of) or "",
            "host": lambda: context.host,
            "client": lambda: request.client,
        }
        self._whole = whole

    def place_of(self, variable: Variable) -> int | None:  # noqa: PLR0911 - one line a kind
        """Return which value of a variable holds now."""
        name, _, rest = variable.name.partition(" ")
        whole = self._whole.get(variable.name)
        if whole is not None:
            return self._like(variable, whole())
        match name:
            case "groups" | "roles" | "amr":
                return self._member(variable, name, rest)
            case "claim":
                return self._claim(variable, rest)
            case "tag":
                return self._like(variable, self._tag(rest))
            case "sensor":
                return self._like(variable, state_of(rest, self._context))
            case "finding":
                return self._like(variable, self._finding(variable))
            case "fact":
                return self._fact(variable)
            case _:
                return self._single(variable, name)

    def _single(self, variable: Variable, name: str) -> int | None:  # noqa: PLR0911 - one line a kind
        context, request, user = self._context, self._request, self._context.user
        match name:
            case "user":
                is_person = not user.is_service
                return _first(variable, lambda key: is_person and key == folded(user.subject), else_=OTHER)
            case "email":
                address = folded(user.email)
                is_verified = address in {folded(each) for each in user.names}
                return _first(variable, lambda key: key == (address, is_verified), else_=OTHER)
            case "acr":
                return _first(variable, lambda key: key == user.acr, else_=OTHER)
            case "age":
                return _age(variable, user.auth_at, context.now)
            case "method":
                known = [value.key for value in variable.values]
                return known.index(request.method) if request.method in known else len(known) - 1
            case "network":
                told = {name for value in variable.values for name in value.key}
                return _first(variable, lambda key: key == request.networks & told)
            case "path":
                return self._path(variable)
            case "moment":
                windows = {window for value in variable.values for window in value.key}
                now = frozenset(window for window in windows if is_open(window, context.now))
                return _first(variable, lambda key: key == now)
            case _:
                return None

    def _like(self, variable: Variable, key: Any) -> int | None:
        return _first(variable, lambda each: each == key, else_=OTHER)

    def _of_device(self, of: Callable[..., str | None]) -> str | None:
        context = self._context
        return None if context.posture is None else of(context.posture, context.sensors, context.now)

    def _member(self, variable: Variable, name: str, rest: str) -> int | None:
        user = self._context.user
        held: dict[str, frozenset[str] | None] = {
            "groups": user.groups if user.are_groups_known else None,
            "roles": user.roles if user.are_roles_known else None,
            "amr": None if user.amr is None else frozenset(user.amr),
        }
        return self._listed(variable, rest, held[name])

    def _claim(self, variable: Variable, rest: str) -> int | None:
        claims = self._context.user.claims
        for claim, values in ((claim, claims.get(claim)) for claim in self._space.claims()):
            if rest == f"{claim} told":
                return self._listed(variable, "told", None if values is None else frozenset(values))
            if rest.startswith(f"{claim} "):
                held = None if values is None else frozenset(values)
                return self._listed(variable, rest.removeprefix(f"{claim} "), held)
        return None

    def _listed(self, variable: Variable, name: str, held: frozenset[str] | None) -> int | None:
        if variable.values[0].key is True:
            return self._like(variable, held is not None)
        return self._like(variable, "unknown" if held is None else "yes" if name in held else "no")

    def _tag(self, tag: str) -> str:
        context = self._context
        if context.posture is None:
            return "unknown"
        return "yes" if tag in tags_of(context.posture, context.sensors, context.now) else "no"

    def _finding(self, variable: Variable) -> tuple[frozenset[Any], bool]:
        """Return whether a finding of just this sort is open; one of several categories counts as one of each."""
        sort = variable.values[0].key[0]
        sorts = {self._space.variable(name).values[0].key[0] for name in self._space.findings()}
        asked = frozenset().union(*sorts)
        for finding in open_findings(self._context):
            meant = frozenset(each for each in asked if finding_is_meant(each, finding, self._context))
            if meant == sort or (meant not in sorts and sort <= meant):
                return sort, True
        return sort, False

    def _fact(self, variable: Variable) -> int | None:
        keys = {fact_key(each): each for each in self._space.facts_asked()}
        told: list[tuple[Any, Any]] = []
        for key, _ in variable.values[0].key:
            asked = keys.get(key)
            if isinstance(asked, FactStateCondition):
                told.append((key, fact_state(asked, self._context)))
            else:
                told.append((key, None if asked is None else fact_held(asked, self._context)))
        wanted = {key: verdict for key, verdict in told if key in keys}
        return _first(
            variable, lambda key: {name: verdict for name, verdict in key if name in wanted} == wanted
        )

    def _path(self, variable: Variable) -> int | None:
        patterns = self._space.path_patterns()
        now = [path_matches(each, self._request.path) for each in patterns]
        return _first(variable, lambda path: [path_matches(each, path) for each in patterns] == now)


def _first(variable: Variable, holds: Callable[[Any], bool], else_: Any = None) -> int | None:
    keys = [value.key for value in variable.values]
    found = next((at for at, key in enumerate(keys) if holds(key)), None)
    if found is None and else_ is not None:
        found = next((at for at, key in enumerate(keys) if key == else_), None)
    return found


def _risk(risk: RiskAssessment) -> tuple[RiskLevel, bool]:
    return (risk.level, risk.is_known) if risk.level in RISK_ORDER else (RiskLevel.UNKNOWN, False)


def _age(variable: Variable, auth_at: datetime | None, now: datetime) -> int | None:
    keys = [value.key for value in variable.values]
    if auth_at is None:
        return keys.index(None)
    seconds = max(0.0, (now - auth_at).total_seconds())
    reached = [key for key in keys if key is not None and key <= seconds]
    return keys.index(max(reached))
