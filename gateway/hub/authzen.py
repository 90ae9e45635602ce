"""The AuthZEN Authorization API 1.0: what the gateway would decide, for whoever may ask.

An answer is the decision of the policies in force on what is known now; nothing is enforced or recorded by asking.
Source: OpenID AuthZEN Authorization API 1.0, sections 5 to 7 (evaluation and evaluations) and 9 (metadata).
"""

import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import msgspec
from aiohttp import web

from compliance.evaluate import ANY_SERVICE, decide
from compliance.model import ClientKind, Decision, Outcome, RequestFacts, User
from gateway.config.checks.forms import path_fault
from gateway.config.errors import ConfigInvalid
from gateway.config.given import read_untrusted_given, refuse_unknown_names
from gateway.config.schema import App
from gateway.decision.answers import answer_of, changes_of
from gateway.decision.completing import Work
from gateway.decision.context import DeviceEvidence, PostureSource, Situation, situation
from gateway.decision.enforce import strictest
from gateway.decision.hypothetical import suppose
from gateway.hub.authzen_search import Page, SearchFault, page_of
from gateway.hub.authzen_search import answer as search_answer
from gateway.hub.pages import problem
from gateway.hub.runtime import Runtime
from gateway.localised import LocalisedTexts
from gateway.sessions.model import Session
from gateway.wire.target import plain_signs, spellings
from risk.model import Identifier

METADATA = "/.well-known/authzen-configuration"
EVALUATION = "/.gate/access/v1/evaluation"
EVALUATIONS = "/.gate/access/v1/evaluations"
WHAT_IF = "/.gate/access/v1/what-if"
SEARCH_SUBJECT = "/.gate/access/v1/search/subject"
SEARCH_RESOURCE = "/.gate/access/v1/search/resource"
SEARCH_ACTION = "/.gate/access/v1/search/action"

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""Actions that can be asked about: nobody is told of a `GET` who meant something else."""

MAX_BODY = 256 * 1024
MAX_EVALUATIONS = 100
MAX_PATH = 8192
_LETS_IN = frozenset({Outcome.ALLOW, Outcome.RESTRICT})

Words = tuple[str, ...]


class UserProperties(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller says of a person, in place of what their latest sign-in said. Other members are ignored."""

    groups: Words | None = None
    roles: Words | None = None
    email: str = ""
    acr: str | None = None
    amr: Words | None = None
    auth_time: int | None = None
    claims: dict[str, Words] = {}
    provider: str | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """Who: `user` by subject or e-mail address, `service` by subject, or `session` by our session id."""

    type: str
    id: str
    properties: UserProperties | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP method, in any case of letters."""

    name: str


class ResourceProperties(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of the app."""

    path: str = "/"


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """An `app` by its name."""

    type: str
    id: str
    properties: ResourceProperties = ResourceProperties()


class DeviceHint(msgspec.Struct, frozen=True, kw_only=True):
    """A device by one identifier, as sensors know it."""

    kind: str
    value: str
    issuer: str = ""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What else is known of the request."""

    ip: str | None = None
    device: DeviceHint | None = None
    client: ClientKind = ClientKind.API


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """One question; in a batch, what is missing is taken from the request."""

    subject: Subject | None = None
    action: Action | None = None
    resource: Resource | None = None
    context: Surroundings | None = None


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """How a batch is evaluated: all of it, or until the first denial or permission."""

    evaluations_semantic: str = "execute_all"


class Evaluations(Evaluation, frozen=True, kw_only=True):
    """A batch of questions; without any it is one question."""

    evaluations: tuple[Evaluation, ...] = ()
    options: Options = Options()


class SubjectKind(msgspec.Struct, frozen=True, kw_only=True):
    """Which kind of subject is looked for; an id says nothing here."""

    type: str


class ResourceKind(msgspec.Struct, frozen=True, kw_only=True):
    """Which kind of resource is looked for, and which part of it; an id says nothing here."""

    type: str
    properties: ResourceProperties = ResourceProperties()


class SubjectSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The question who may do this."""

    subject: SubjectKind
    action: Action
    resource: Resource
    context: Surroundings | None = None
    page: Page = Page()


class ResourceSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The question where somebody may do this."""

    subject: Subject
    action: Action
    resource: ResourceKind
    context: Surroundings | None = None
    page: Page = Page()


class ActionSearch(msgspec.Struct, frozen=True, kw_only=True):
    """The question what somebody may do there."""

    subject: Subject
    resource: Resource
    context: Surroundings | None = None
    page: Page = Page()


_STOPS: dict[str, bool | None] = {
    "execute_all": None, "deny_on_first_deny": False, "permit_on_first_permit": True,
}  # fmt: skip


class Sessions(Protocol):
    """Where live sessions are."""

    def get(self, session_id: str, now: datetime) -> Session | None:
        """Return a live session, or None."""
        ...

    def __iter__(self) -> Iterator[Session]:
        """Yield every session."""
        ...


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What the API stands on. `found` returns what a slow search finds, off the event loop."""

    runtime: Callable[[], Runtime]
    sessions: Sessions
    postures: PostureSource
    of_session: Callable[[Session, str, bytes, datetime], Situation]
    is_login_host: Callable[[web.Request], bool]
    clock: Callable[[], datetime]
    found: Callable[[Work], Awaitable[tuple[str, ...]]]


class _Unclear(Exception):
    """The question cannot be answered; the text is for the caller."""


class AuthZenApi:
    """Answers questions of access. Decides by the policies in force, and changes nothing."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def routes(self) -> list[web.RouteDef]:
        """Return the routes; they answer every method themselves."""
        return [
            web.route("*", METADATA, self.metadata),
            web.route("*", EVALUATION, self.evaluation),
            web.route("*", EVALUATIONS, self.evaluations),
            web.route("*", WHAT_IF, self.what_if),
            web.route("*", SEARCH_SUBJECT, self.search_subject),
            web.route("*", SEARCH_RESOURCE, self.search_resource),
            web.route("*", SEARCH_ACTION, self.search_action),
        ]

    async def metadata(self, request: web.Request) -> web.StreamResponse:
        """GET: where the endpoints are. Source: section 9."""
        if not self._is_there(request):
            return _not_found()
        base = self._ground.runtime().config.public_url.rstrip("/")
        return web.json_response(
            {
                "policy_decision_point": base,
                "access_evaluation_endpoint": base + EVALUATION,
                "access_evaluations_endpoint": base + EVALUATIONS,
                "search_subject_endpoint": base + SEARCH_SUBJECT,
                "search_resource_endpoint": base + SEARCH_RESOURCE,
                "search_action_endpoint": base + SEARCH_ACTION,
            }
        )

    async def evaluation(self, request: web.Request) -> web.StreamResponse:
        """POST one question. Source: section 6."""
        asked = await self._asked(request, Evaluation)
        if isinstance(asked, web.StreamResponse):
            return asked
        try:
            return _answer(request, self._decided(asked))
        except _Unclear as unclear:
            return _unclear(str(unclear))

    async def evaluations(self, request: web.Request) -> web.StreamResponse:
        """POST several questions. Source: section 7."""
        asked = await self._asked(request, Evaluations)
        if isinstance(asked, web.StreamResponse):
            return asked
        if asked.options.evaluations_semantic not in _STOPS:
            return _unclear(f"`evaluations_semantic` is one of {', '.join(_STOPS)}")
        if len(asked.evaluations) > MAX_EVALUATIONS:
            return _unclear(f"at most {MAX_EVALUATIONS} evaluations are taken at once")
        if not asked.evaluations:
            try:
                return _answer(request, self._decided(asked))
            except _Unclear as unclear:
                return _unclear(str(unclear))
        stop = _STOPS[asked.options.evaluations_semantic]
        answers: list[dict[str, Any]] = []
        for each in asked.evaluations:
            answers.append(self._one_of(each, asked))
            if answers[-1]["decision"] is stop:
                break
        return _answer(request, {"evaluations": answers})

    async def what_if(self, request: web.Request) -> web.StreamResponse:
        """POST a hypothetical request, as `given` of a policy test says it. An extension of ours."""
        body = await self._body(request)
        if isinstance(body, web.StreamResponse):
            return body
        runtime = self._ground.runtime()
        try:
            given = read_untrusted_given(body.decode())
            refuse_unknown_names(given, runtime.config)
            supposed = suppose(given, runtime)
        except ConfigInvalid as invalid:
            return _unclear("; ".join(f"{fault.path}: {fault.message}" for fault in invalid.faults[:5]))
        except (ValueError, OverflowError) as error:
            return _unclear(str(error))
        changes = await self._ground.found(partial(changes_of, supposed, runtime))
        return _answer(request, answer_of(supposed, changes, runtime.places))

    # --- searching -------------------------------------------------------------------------------------

    async def search_subject(self, request: web.Request) -> web.StreamResponse:
        """POST who may do something: people who are signed in, or services that policies name. Source: section 8."""
        asked = await self._asked(request, SubjectSearch)
        if isinstance(asked, web.StreamResponse):
            return asked
        kind = asked.subject.type
        people = self._signed_in() if kind == "user" else {}
        services = self._services() if kind == "service" else ()

        def question(found: str) -> tuple[Evaluation, User | None]:
            subject = Subject(type=kind, id=found)
            whole = Evaluation(
                subject=subject, action=asked.action, resource=asked.resource, context=asked.context
            )
            return whole, people.get(found)

        told = self._searched(
            (*people, *services), asked.page, question, lambda each: {"type": kind, "id": each}
        )
        return told if isinstance(told, web.StreamResponse) else _answer(request, told)

    async def search_resource(self, request: web.Request) -> web.StreamResponse:
        """POST which apps somebody may use. Source: section 8."""
        asked = await self._asked(request, ResourceSearch)
        if isinstance(asked, web.StreamResponse):
            return asked
        kind = asked.resource.type
        apps = self._ground.runtime().apps if kind == "app" else {}

        def question(found: str) -> tuple[Evaluation, User | None]:
            resource = Resource(type=kind, id=found, properties=asked.resource.properties)
            whole = Evaluation(
                subject=asked.subject, action=asked.action, resource=resource, context=asked.context
            )
            return whole, None

        told = self._searched(apps, asked.page, question, lambda each: {"type": kind, "id": each})
        return told if isinstance(told, web.StreamResponse) else _answer(request, told)

    async def search_action(self, request: web.Request) -> web.StreamResponse:
        """POST what somebody may do with an app: the methods. Source: section 8."""
        asked = await self._asked(request, ActionSearch)
        if isinstance(asked, web.StreamResponse):
            return asked

        def question(found: str) -> tuple[Evaluation, User | None]:
            whole = Evaluation(
                subject=asked.subject,
                action=Action(name=found),
                resource=asked.resource,
                context=asked.context,
            )
            return whole, None

        told = self._searched(METHODS, asked.page, question, lambda each: {"name": each})
        return told if isinstance(told, web.StreamResponse) else _answer(request, told)

    def _searched(
        self,
        candidates: Iterable[str],
        page: Page,
        question: Callable[[str], tuple[Evaluation, User | None]],
        shown: Callable[[str], dict[str, Any]],
    ) -> dict[str, Any] | web.StreamResponse:
        """Return those of a page of candidates for whom the answer is yes."""
        try:
            chosen, next_token = page_of(candidates, page)
            found = [each for each in chosen if self._decided(*question(each))["decision"]]
        except (SearchFault, _Unclear) as fault:
            return _unclear(str(fault))
        return search_answer([shown(each) for each in found], next_token)

    def _signed_in(self) -> dict[str, User]:
        """Return everybody who is signed in, by subject, as their latest sign-in said."""
        now = self._ground.clock()
        latest: dict[str, Session] = {}
        for each in self._ground.sessions:
            known = latest.get(each.user.subject)
            is_newer = known is None or each.created_at > known.created_at
            if is_newer and self._ground.sessions.get(each.id, now) is not None:
                latest[each.user.subject] = each
        return {subject: session.user for subject, session in latest.items()}

    def _services(self) -> set[str]:
        """Return the services that policies let in by name."""
        policies = self._ground.runtime().config.access.policies
        return {name for each in policies for name in each.include.services} - {ANY_SERVICE}

    # --- batches ---------------------------------------------------------------------------------------

    def _one_of(self, each: Evaluation, defaults: Evaluation) -> dict[str, Any]:
        merged = Evaluation(
            subject=each.subject or defaults.subject,
            action=each.action or defaults.action,
            resource=each.resource or defaults.resource,
            context=each.context or defaults.context,
        )
        try:
            return self._decided(merged)
        except _Unclear as unclear:
            return {"decision": False, "context": {"error": {"status": 400, "message": str(unclear)}}}

    # --- deciding --------------------------------------------------------------------------------------

    def _decided(self, asked: Evaluation, user: User | None = None) -> dict[str, Any]:
        """Return the answer to one question; `user` is the person, where that is known. Raises `_Unclear`."""
        if asked.subject is None or asked.action is None or asked.resource is None:
            raise _Unclear("`subject`, `action` and `resource` are needed")
        runtime = self._ground.runtime()
        app = runtime.app(asked.resource.id) if asked.resource.type == "app" else None
        if app is None:
            return _denied("resource-unknown", "a resource is an `app` of the configuration, by its name")
        if asked.action.name.upper() not in METHODS:
            return _denied("action-unknown", f"an action is one of {', '.join(METHODS)}")
        now = self._ground.clock()
        facts = self._situation(asked.subject, asked.context or Surroundings(), app, now, user)
        if facts is None:
            return _denied("subject-unknown", "a subject is a `user`, a `service`, or a live `session`")
        policies = runtime.policies_of(app.name)
        requests = _requests(asked, runtime)
        decision = strictest(decide(policies, facts.context, each)[0] for each in requests)
        return {"decision": decision.outcome in _LETS_IN, "context": _told(decision, facts, runtime.texts)}

    def _situation(
        self, subject: Subject, around: Surroundings, app: App, now: datetime, user: User | None
    ) -> Situation | None:
        ground = self._ground
        if subject.type == "session":
            session = ground.sessions.get(subject.id, now)
            return None if session is None else ground.of_session(session, app.name, b"", now)
        if subject.type not in {"user", "service"} or not subject.id:
            return None
        runtime = ground.runtime()
        return situation(
            app=app.name,
            session_id="",
            user=user or self._user(subject, app, runtime, now),
            evidence=_evidence(around.device),
            source=ground.postures,
            interpretation=runtime.interpretation_of(app.name),
            now=now,
            host=runtime.host_of(app.name),
        )

    def _user(self, subject: Subject, app: App, runtime: Runtime, now: datetime) -> User:
        """Return the person: as the caller says, else as their latest sign-in said, else by name alone."""
        said = subject.properties
        is_service = subject.type == "service"
        if said is None and is_service:
            said = UserProperties()
        if said is None:
            mine = [
                each for each in self._ground.sessions if subject.id in {each.user.subject, each.user.email}
            ]
            live = [each for each in mine if self._ground.sessions.get(each.id, now) is not None]
            if live:
                return max(live, key=lambda each: each.created_at).user
            said = UserProperties()
        wanted = said.provider or app.provider
        providers = runtime.config.providers
        provider = next((each for each in providers if each.name == wanted), providers[0])
        return User(
            provider=provider.name,
            issuer=provider.issuer,
            subject=subject.id,
            email="" if is_service else said.email,
            names=frozenset() if is_service else frozenset(each for each in (subject.id, said.email) if each),
            is_service=is_service,
            roles=frozenset(said.roles or ()),
            are_roles_known=is_service or said.roles is not None,
            groups=frozenset(said.groups or ()),
            are_groups_known=is_service or said.groups is not None,
            acr=said.acr,
            amr=said.amr,
            auth_at=_instant(said.auth_time),
            claims=dict(said.claims),
        )

    # --- the door --------------------------------------------------------------------------------------

    async def _asked(self, request: web.Request, kind: type[Any]) -> Any:
        """Return the question, or the answer to whoever may not ask or asks nothing that can be read."""
        body = await self._body(request)
        if isinstance(body, web.StreamResponse):
            return body
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            return _unclear(str(error))

    async def _body(self, request: web.Request) -> bytes | web.StreamResponse:
        """Return what somebody posts who may ask, or the answer to anybody else."""
        if not self._is_there(request):
            return _not_found()
        if not self._may_ask(request):
            return problem(
                401, "not-authenticated", "The caller is not known", "send `Authorization: Bearer SECRET`",
                headers={"WWW-Authenticate": 'Bearer realm="authzen"'},
            )  # fmt: skip
        if request.method != "POST":
            return problem(405, "method-not-allowed", "Only POST is taken here", headers={"Allow": "POST"})
        body = await request.content.read(MAX_BODY + 1)
        while len(body) <= MAX_BODY and (more := await request.content.read(MAX_BODY + 1 - len(body))):
            body += more
        if len(body) > MAX_BODY:
            return problem(
                413, "too-large", "The request is too large", f"at most {MAX_BODY} bytes are taken"
            )
        return body

    def _is_there(self, request: web.Request) -> bool:
        return self._ground.runtime().config.authzen is not None and self._ground.is_login_host(request)

    def _may_ask(self, request: web.Request) -> bool:
        given = request.headers.getall("Authorization", [])
        scheme, _, shown = (given[0] if len(given) == 1 else "").partition(" ")
        section = self._ground.runtime().config.authzen
        if section is None or scheme.lower() != "bearer":
            return False
        known = [secret.reveal().encode() for secret in section.secrets]
        secret = shown.strip().encode("utf-8", "surrogateescape")
        return any([hmac.compare_digest(secret, each) for each in known])  # noqa: C419 - every one is compared


def _requests(asked: Evaluation, runtime: Runtime) -> list[RequestFacts]:
    """Return what is asked about, once for each spelling of its path that an app may read alike."""
    assert asked.action is not None  # noqa: S101 - the caller looked
    assert asked.resource is not None  # noqa: S101
    around = asked.context or Surroundings()
    path = asked.resource.properties.path
    if not path.startswith("/") or len(path) > MAX_PATH:
        raise _Unclear("a `path` begins with `/`")
    fault = path_fault(plain_signs(path))
    if fault is not None:
        raise _Unclear(f"`path` is not the one spelling that policies see: {fault}")
    method = asked.action.name.upper()
    networks = frozenset[str]() if around.ip is None else runtime.networks.containing_text(around.ip)
    return [RequestFacts(method, each, around.client, networks) for each in spellings(path)]


def _evidence(device: DeviceHint | None) -> Sequence[DeviceEvidence]:
    if device is None:
        return ()
    identifier = Identifier(device.kind, device.value, device.issuer)
    return (DeviceEvidence(source="authzen", identifiers=(identifier,)),)


def _told(decision: Decision, facts: Situation, texts: LocalisedTexts) -> dict[str, Any]:
    """Return what goes along with an answer."""
    context: dict[str, Any] = {
        "outcome": decision.outcome,
        "policy": decision.policy or None,
        "reason": decision.reason,
        "compliance": facts.context.compliance.state,
        "risk": facts.context.risk.level,
    }
    if decision.reason:
        context["reason_user"] = texts.reason_in_all(decision.policy, decision.reason)
    if decision.controls:
        context["controls"] = sorted(decision.controls)
    if decision.profiles:
        context["profiles"] = sorted(decision.profiles)
    if decision.step_up is not None:
        context["acr_values"] = list(decision.step_up.acr_values)
        context["max_age"] = decision.step_up.max_age
    return context


def _denied(code: str, text: str) -> dict[str, Any]:
    return {"decision": False, "context": {"code": code, "reason": text}}


def _answer(request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
    headers = {"Cache-Control": "no-store"}
    request_id = request.headers.get("X-Request-ID", "")
    if request_id and len(request_id) <= 200 and request_id.isprintable():  # noqa: PLR2004 - longer is no id
        headers["X-Request-ID"] = request_id
    return web.Response(body=msgspec.json.encode(body), content_type="application/json", headers=headers)


def _unclear(detail: str) -> web.StreamResponse:
    return problem(400, "malformed", "The request cannot be used", detail[:500])


def _not_found() -> web.StreamResponse:
    return problem(404, "not-found", "There is nothing here")


def _instant(seconds: int | None) -> datetime | None:
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise _Unclear("`auth_time` is no time") from error
