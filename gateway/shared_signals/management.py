"""Stream management: what receivers ask of the gateway as a transmitter (SSF 1.0 sections 7 and 8).

Every call belongs to one party, by its bearer token; streams of others do not exist for it (404). Answers of faults are
problem+json. Nothing here is on the way of an event.
"""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
from aiohttp import web
from cachetools import TTLCache

from gateway.config.shared_signals import SignalSubscriber
from gateway.hub.pages import problem
from gateway.sessions.seal import Sealer
from gateway.shared_signals.access import MANAGE, READ, RESOURCE, Access, Caller, Refused, read_object
from gateway.shared_signals.emission import Parties
from gateway.shared_signals.events import URIS, EventType
from gateway.shared_signals.keys import CACHE_S
from gateway.shared_signals.letters import Letter, delivered, events_of
from gateway.shared_signals.outbox import Outgoing, Overtaken, Status, Stream, TooManySubjects
from gateway.shared_signals.sending import endpoint_fault
from gateway.shared_signals.streaming import Polling, Streams
from gateway.shared_signals.streams import POLL, PUSH
from gateway.shared_signals.subjects import SubjectFault
from risk.database import StoreFault, StoreOverloaded

PREFIX = "/.gate/signals"
METADATA = "/.well-known/ssf-configuration"
SERVER = "/.well-known/oauth-authorization-server"

MAX_TEXT = 1024
MAX_REQUESTED = 100
MAX_AUTHORIZATION = 8192
AUTHORIZATION_PURPOSE = "ssf-push-authorization"

_STATUSES = ("enabled", "paused", "disabled")
_FIXED = (
    "iss",
    "aud",
    "events_supported",
    "events_delivered",
    "min_verification_interval",
    "inactivity_timeout",
)

_TITLES = {
    400: "The request cannot be used",
    401: "The receiver is not known",
    403: "This is not allowed",
    404: "There is no such stream",
    405: "This method is not taken here",
    408: "The request did not arrive in time",
    409: "There is a stream already",
    413: "The request is too large",
    429: "Too many requests",
    503: "Not taken now",
}


Handler = Callable[[web.Request, Parties, Caller], Awaitable[web.StreamResponse]]


class Management:
    """The handlers. `now_s` is wall-clock seconds, `mono` a monotonic clock."""

    def __init__(
        self,
        streams: Streams,
        sealer: Sealer,
        *,
        is_login_host: Callable[[web.Request], bool],
        now_s: Callable[[], float],
        mono: Callable[[], float],
        make_id: Callable[[], str],
    ) -> None:
        self._streams = streams
        self._access = Access(sealer, now_s=now_s)
        self._sealer = sealer
        self._is_login_host = is_login_host
        self._now_s = now_s
        self._mono = mono
        self._make_id = make_id
        self._verified: TTLCache[str, float] = TTLCache(10_000, 86_400.0, timer=mono)
        self._polling = Polling(streams, mono=mono)

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get(METADATA, self._public(self._metadata)),
            web.get(RESOURCE, self._public(self._resource)),
            web.get(SERVER, self._public(self._server)),
            web.get(f"{PREFIX}/jwks.json", self._public(self._jwks)),
            web.post(f"{PREFIX}/token", self._public(self._access.token)),
            web.post(f"{PREFIX}/streams", self._called(self._create)),
            web.get(f"{PREFIX}/streams", self._called(self._read)),
            web.patch(f"{PREFIX}/streams", self._called(self._update)),
            web.put(f"{PREFIX}/streams", self._called(self._replace)),
            web.delete(f"{PREFIX}/streams", self._called(self._delete)),
            web.get(f"{PREFIX}/status", self._called(self._status)),
            web.post(f"{PREFIX}/status", self._called(self._set_status)),
            web.post(f"{PREFIX}/subjects/add", self._called(self._add)),
            web.post(f"{PREFIX}/subjects/remove", self._called(self._remove)),
            web.post(f"{PREFIX}/verify", self._called(self._verify)),
            web.post(f"{PREFIX}/poll/{{stream_id}}", self._called(self._poll)),
        ]

    # --- who calls ---------------------------------------------------------------------------------------

    def _public(
        self, handle: Callable[[web.Request, Parties], Awaitable[web.StreamResponse]]
    ) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(request: web.Request) -> web.StreamResponse:
            parties = self._streams.parties()
            if parties is None or not self._is_login_host(request):
                return _problem(Refused(404, "not-found", "nothing is transmitted at this address"))
            try:
                return await handle(request, parties)
            except Refused as refused:
                return _problem(refused)
            except (StoreFault, StoreOverloaded):
                return _problem(
                    Refused(503, "store-unavailable", "the store cannot be used now", retry_after_s=5)
                )

        return answer

    def _called(self, handle: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def of_caller(request: web.Request, parties: Parties) -> web.StreamResponse:
            return await handle(request, parties, self._access.caller(request, parties))

        return self._public(of_caller)

    # --- public documents --------------------------------------------------------------------------------

    async def _metadata(self, _request: web.Request, parties: Parties) -> web.StreamResponse:
        base = parties.issuer.rstrip("/") + PREFIX
        body = {
            "spec_version": "1_0",
            "issuer": parties.issuer,
            "jwks_uri": f"{base}/jwks.json",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": f"{base}/streams",
            "status_endpoint": f"{base}/status",
            "add_subject_endpoint": f"{base}/subjects/add",
            "remove_subject_endpoint": f"{base}/subjects/remove",
            "verification_endpoint": f"{base}/verify",
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}, {"spec_urn": "urn:ietf:rfc:6750"}],
            "token_endpoint": f"{base}/token",
            "default_subjects": "ALL" if parties.is_everybody_in else "NONE",
        }
        return web.json_response(body, headers={"Cache-Control": f"public, max-age={CACHE_S}"})

    async def _resource(self, _request: web.Request, parties: Parties) -> web.StreamResponse:
        """Return where tokens for stream management come from, and with which scopes. Source: RFC 9728 section 2."""
        body = {
            "resource": parties.issuer,
            "authorization_servers": [parties.issuer],
            "scopes_supported": [MANAGE, READ],
            "bearer_methods_supported": ["header"],
        }
        return web.json_response(body, headers={"Cache-Control": f"public, max-age={CACHE_S}"})

    async def _server(self, _request: web.Request, parties: Parties) -> web.StreamResponse:
        """Return how tokens are asked for. Source: RFC 8414 section 2."""
        body = {
            "issuer": parties.issuer,
            "token_endpoint": parties.issuer.rstrip("/") + f"{PREFIX}/token",
            "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            "grant_types_supported": ["client_credentials"],
            "response_types_supported": [],
            "scopes_supported": [MANAGE, READ],
        }
        return web.json_response(body, headers={"Cache-Control": f"public, max-age={CACHE_S}"})

    async def _jwks(self, _request: web.Request, _parties: Parties) -> web.StreamResponse:
        return web.json_response(
            self._streams.jwks(),
            headers={"Cache-Control": f"public, max-age={CACHE_S}"},
            content_type="application/jwk-set+json",
        )

    # --- streams -----------------------------------------------------------------------------------------

    async def _create(self, request: web.Request, parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(MANAGE)
        # What is the transmitter's to say is left out: receivers exist that send an `aud` of theirs along.
        wanted = await read_object(request)
        exists = Refused(409, "stream-exists", "you have a stream already: read it, or delete it first")
        if self._streams.of_party(caller.party.name) is not None:
            raise exists
        blank = Stream(stream_id=f"str_{secrets.token_hex(12)}", party=caller.party.name, method=POLL)
        stream = self._changed(blank, wanted, caller.party, is_whole=True)
        try:
            await self._streams.put(stream, of=None)
        except Overtaken as overtaken:
            raise exists from overtaken
        return self._shown(stream, parties, caller.party, 201)

    async def _read(self, request: web.Request, parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(READ)
        if "stream_id" in request.query:
            return self._shown(self._stream(request.query["stream_id"], caller), parties, caller.party)
        stream = self._streams.of_party(caller.party.name)
        body = [] if stream is None else [self._object_of(stream, parties, caller.party)]
        return _json(body)

    async def _update(self, request: web.Request, parties: Parties, caller: Caller) -> web.StreamResponse:
        return await self._change(request, parties, caller, is_whole=False)

    async def _replace(self, request: web.Request, parties: Parties, caller: Caller) -> web.StreamResponse:
        return await self._change(request, parties, caller, is_whole=True)

    async def _change(
        self, request: web.Request, parties: Parties, caller: Caller, *, is_whole: bool
    ) -> web.StreamResponse:
        caller.need(MANAGE)
        wanted = await read_object(request)
        stream = self._stream(_named(request, wanted), caller)
        self._check_fixed(wanted, parties, caller.party, stream)
        changed = self._changed(stream, wanted, caller.party, is_whole=is_whole)
        await self._put(changed, stream)
        return self._shown(changed, parties, caller.party)

    async def _put(self, changed: Stream, before: Stream) -> None:
        try:
            await self._streams.put(changed, of=before)
        except Overtaken as overtaken:
            text = "the stream was changed by another request at the same time: read it, and ask again"
            raise Refused(503, "changed-meanwhile", text, retry_after_s=1) from overtaken

    async def _delete(self, request: web.Request, _parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(MANAGE)
        await self._streams.delete(self._stream(request.query.get("stream_id"), caller))
        return web.Response(status=204)

    def _stream(self, untrusted_id: Any, caller: Caller) -> Stream:
        """Return the caller's stream of this id; those of others do not exist. Raises `Refused`."""
        if not isinstance(untrusted_id, str) or not untrusted_id:
            raise Refused(400, "stream-id-missing", "`stream_id` is needed")
        stream = self._streams.of_party(caller.party.name)
        if stream is None or stream.stream_id != untrusted_id:
            raise Refused(404, "no-such-stream", "you have no stream of this id")
        return stream

    def _check_fixed(
        self, wanted: Mapping[str, Any], parties: Parties, party: SignalSubscriber, stream: Stream
    ) -> None:
        """Check that nothing is set that is ours to say, unless it says what is so anyway (S4)."""
        ours = self._object_of(stream, parties, party)
        for name in _FIXED:
            if name in wanted and wanted[name] != ours.get(name):
                raise Refused(400, "not-yours-to-set", f"`{name}` is set by the transmitter")

    def _changed(
        self, stream: Stream, wanted: Mapping[str, Any], party: SignalSubscriber, *, is_whole: bool
    ) -> Stream:
        """Return the stream with what the receiver may say; `is_whole` takes what is missing back to its default."""
        changes: dict[str, Any] = {}
        if "events_requested" in wanted or is_whole:
            changes["events_requested"] = _requested(wanted.get("events_requested", []))
        if "description" in wanted or is_whole:
            description = wanted.get("description", "")
            if not isinstance(description, str) or len(description) > MAX_TEXT:
                raise Refused(400, "malformed", f"`description` is a text of at most {MAX_TEXT} characters")
            changes["description"] = description
        if "delivery" in wanted or is_whole:
            changes |= self._delivery(stream, wanted.get("delivery", {"method": POLL}), party)
        return msgspec.structs.replace(stream, **changes)

    def _delivery(self, stream: Stream, wanted: Any, party: SignalSubscriber) -> dict[str, Any]:
        if not isinstance(wanted, dict):
            raise Refused(400, "malformed", "`delivery` is an object")
        match wanted.get("method"):
            case "urn:ietf:rfc:8936":
                return {"method": POLL, "endpoint_url": "", "sealed_authorization": b""}
            case "urn:ietf:rfc:8935":
                url = wanted.get("endpoint_url")
                fault = endpoint_fault(url, party)
                if fault is not None:
                    raise Refused(400, "endpoint-not-allowed", fault)
            case _:
                raise Refused(400, "no-such-method", f"`method` is `{PUSH}` or `{POLL}`")
        given = wanted.get("authorization_header")
        if given is None:
            is_kept = stream.endpoint_url == url
            return {
                "method": PUSH,
                "endpoint_url": url,
                "sealed_authorization": stream.sealed_authorization if is_kept else b"",
            }
        if (
            not isinstance(given, str)
            or not given.isascii()
            or not given.isprintable()
            or len(given) > MAX_AUTHORIZATION
        ):
            raise Refused(400, "malformed", "`authorization_header` is a printable text")
        sealed = self._sealer.seal(AUTHORIZATION_PURPOSE, given.encode(), stream.stream_id.encode())
        return {"method": PUSH, "endpoint_url": url, "sealed_authorization": sealed}

    def _shown(
        self, stream: Stream, parties: Parties, party: SignalSubscriber, status: int = 200
    ) -> web.Response:
        return _json(self._object_of(stream, parties, party), status)

    @staticmethod
    def _object_of(stream: Stream, parties: Parties, party: SignalSubscriber) -> dict[str, Any]:
        """Return the stream as a receiver sees it; the secret of its push address is never shown again."""
        poll_url = f"{parties.issuer.rstrip('/')}{PREFIX}/poll/{stream.stream_id}"
        url = stream.endpoint_url if stream.method == PUSH else poll_url
        asked = list(stream.events_requested)
        return {
            "stream_id": stream.stream_id,
            "iss": parties.issuer,
            "aud": party.audience or party.name,
            "events_supported": [URIS[each] for each in events_of(party)],
            "events_requested": asked,
            "events_delivered": [URIS[each] for each in delivered(stream, party)],
            "delivery": {"method": stream.method, "endpoint_url": url},
            "min_verification_interval": int(parties.settings.min_verification_interval),
            **({"description": stream.description} if stream.description else {}),
        }

    # --- status, subjects, verification ------------------------------------------------------------------

    async def _status(self, request: web.Request, _parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(READ)
        return _json(_status_of(self._stream(request.query.get("stream_id"), caller)))

    async def _set_status(
        self, request: web.Request, _parties: Parties, caller: Caller
    ) -> web.StreamResponse:
        caller.need(MANAGE)
        wanted = await read_object(request)
        stream = self._stream(_named(request, wanted), caller)
        status, reason = wanted.get("status"), wanted.get("reason", "")
        if status not in _STATUSES:
            raise Refused(400, "no-such-status", f"`status` is one of {', '.join(_STATUSES)}")
        if not isinstance(reason, str) or len(reason) > MAX_TEXT:
            raise Refused(400, "malformed", f"`reason` is a text of at most {MAX_TEXT} characters")
        if stream.is_held:
            raise Refused(
                403, "held", "the transmitter has stopped this stream, and starts it again by itself"
            )
        changed = msgspec.structs.replace(stream, status=cast("Status", status), reason=reason)
        await self._put(changed, stream)
        return _json(_status_of(changed))

    async def _add(self, request: web.Request, _parties: Parties, caller: Caller) -> web.StreamResponse:
        await self._change_subject(request, caller, is_added=True)
        return web.Response(status=200)

    async def _remove(self, request: web.Request, _parties: Parties, caller: Caller) -> web.StreamResponse:
        await self._change_subject(request, caller, is_added=False)
        return web.Response(status=204)

    async def _change_subject(self, request: web.Request, caller: Caller, *, is_added: bool) -> None:
        """Note the subject; whether it is known here is not told, so that nobody can ask for people one by one."""
        caller.need(MANAGE)
        wanted = await read_object(request)
        stream = self._stream(_named(request, wanted), caller)
        subject = wanted.get("subject")
        if not isinstance(subject, dict):
            raise Refused(400, "malformed", "`subject` is an object")
        try:
            await self._streams.set_subject(stream, subject, is_added=is_added)
        except SubjectFault as fault:
            raise Refused(400, "malformed", str(fault)) from fault
        except (OverflowError, RecursionError) as fault:
            raise Refused(400, "malformed", "`subject` holds what cannot be kept") from fault
        except TooManySubjects as many:
            raise Refused(429, "too-many-subjects", "the stream has as many subjects as are kept") from many

    async def _verify(self, request: web.Request, parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(READ)
        wanted = await read_object(request)
        stream = self._stream(_named(request, wanted), caller)
        state = wanted.get("state")
        if state is not None and (not isinstance(state, str) or len(state) > MAX_TEXT):
            raise Refused(400, "malformed", f"`state` is a text of at most {MAX_TEXT} characters")
        wait_s = (
            self._verified.get(stream.stream_id, float("-inf")) + parties.settings.min_verification_interval
        )
        if wait_s > self._mono():
            seconds = int(wait_s - self._mono()) + 1
            raise Refused(429, "too-often", "a verification was asked for lately", retry_after_s=seconds)
        self._verified[stream.stream_id] = self._mono()
        await self._streams.emit(self._verification(stream, parties, caller.party, state))
        return web.Response(status=204)

    def _verification(
        self, stream: Stream, parties: Parties, party: SignalSubscriber, state: str | None
    ) -> Outgoing:
        letter = Letter(parties.issuer, stream, party, "", datetime.fromtimestamp(self._now_s(), UTC))
        payload = {} if state is None else {"state": state}
        return letter.about_stream(EventType.VERIFICATION, payload, self._make_id())

    async def _poll(self, request: web.Request, _parties: Parties, caller: Caller) -> web.StreamResponse:
        caller.need(READ)
        stream = self._stream(request.match_info["stream_id"], caller)
        if stream.method != POLL:
            raise Refused(404, "not-polled", "this stream is pushed")
        return _json(await self._polling.answer(stream, await read_object(request)))


def _named(request: web.Request, wanted: Mapping[str, Any]) -> Any:
    """Return the stream that a request speaks of: the one in its body, else the one in its address.

    Receivers exist that name it in the address throughout, as SSF 1.0 does for reading.
    """
    return wanted.get("stream_id", request.query.get("stream_id"))


def _requested(asked: Any) -> tuple[str, ...]:
    """Return the events that a receiver asks for. Raises `Refused`.

    Those that are not known here are included, as it is shown what it asked for; they are not delivered.
    """
    if not isinstance(asked, list) or len(asked) > MAX_REQUESTED:
        raise Refused(400, "malformed", f"`events_requested` is a list of at most {MAX_REQUESTED} texts")
    if not all(isinstance(each, str) and 0 < len(each) <= MAX_TEXT for each in asked):
        raise Refused(400, "malformed", f"an event is a text of 1 to {MAX_TEXT} characters")
    return tuple(dict.fromkeys(asked))


def _status_of(stream: Stream) -> dict[str, Any]:
    body = {"stream_id": stream.stream_id, "status": stream.status}
    return {**body, "reason": stream.reason} if stream.reason else body


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _problem(refused: Refused) -> web.Response:
    return problem(refused.status, refused.code, _TITLES[refused.status], refused.text, **refused.extra)
