"""Keeps a receiver's stream at its transmitter as it is configured: created once, adopted after restarts, verified.

Source: SSF 1.0 section 8.1. Every call can fail and is tried again; nothing here is on the way of an event.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

import msgspec
import structlog

from gateway.config.shared_signals import SignalReceiver
from gateway.oidc.discovery import is_safe_url
from gateway.oidc.strict_json import number, parse_object
from gateway.shared_signals.client import (
    Answer,
    Metadata,
    TransmitterClient,
    TransmitterFault,
    retry_after_s,
    texts,
)
from gateway.shared_signals.events import EFFECTIVE, URIS, EventType
from gateway.shared_signals.received import HeardStream, ReceivedStore

log = structlog.get_logger("shared-signals")

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
MAX_STREAMS = 100

CREATED, ACCEPTED_NOW, NOTHING = (200, 201), (200, 202), (200, 202, 204)
NOT_FOUND, CONFLICT, TOO_MANY = 404, 409, 429
MALFORMED = (400, 422)

REASONS = ("detail", "description", "error_description", "message", "title")
"""Where transmitters say why they refuse. Source: RFC 9457, RFC 8935, RFC 6749."""

MAX_REASON = 200

Status = Literal["enabled", "paused", "disabled"]


class StreamKeeper:
    """The stream of one receiver. `push_url` is where the transmitter is to push."""

    def __init__(
        self, receiver: SignalReceiver, client: TransmitterClient, store: ReceivedStore, *, push_url: str
    ) -> None:
        self._receiver = receiver
        self._client = client
        self._store = store
        self._push_url = push_url
        self._is_enabled_once = False
        self.stream: HeardStream | None = None

    async def load(self) -> None:
        """Take over what is known of the stream from before. Raises `StoreFault`."""
        self.stream = await self._store.stream(self._receiver.name)

    async def keep(self) -> HeardStream:
        """Bring the stream at the transmitter to what is configured. Raises `TransmitterFault`, `StoreFault`."""
        metadata = await self._client.metadata()
        if not metadata.configuration_endpoint:
            raise TransmitterFault("the transmitter offers no stream management: configure `stream: static`")
        found = await self._found(metadata)
        if found is None:
            found, is_new = await self._create(metadata)
        else:
            is_new = False
        if not is_new and self._has_drifted(found):
            found = await self._update(metadata, found)
        stream = self._heard(found)
        if stream != self.stream:
            await self._keep(stream)
        await self._enable(metadata)
        await self._subjects(metadata)
        assert self.stream is not None  # noqa: S101 - kept above
        return self.stream

    async def request_verification(self, state: str) -> bool:
        """Ask for a verification event that brings `state`; it may come before the transmitter answers.

        False when the transmitter offers none, or wants it less often. Raises `TransmitterFault`.
        """
        metadata = await self._client.metadata()
        if not metadata.verification_endpoint or self.stream is None:
            return False
        body = {"stream_id": self.stream.stream_id, "state": state}
        answer = await self._say("POST", metadata.verification_endpoint, body)
        if answer.status == TOO_MANY:
            return False
        _expect(answer, NOTHING, "verification")
        return True

    async def set_status(self, status: Status, reason: str = "") -> None:
        """Set the status of the stream at the transmitter. Raises `TransmitterFault`, `StoreFault`."""
        metadata = await self._client.metadata()
        if self.stream is None or not metadata.status_endpoint:
            raise TransmitterFault("there is no stream whose status can be set")
        body = {
            "stream_id": self.stream.stream_id,
            "status": status,
            **({"reason": reason} if reason else {}),
        }
        answer = await self._say("POST", metadata.status_endpoint, body)
        _expect(answer, ACCEPTED_NOW, "status")
        await self.note_status(status, reason)

    async def note_status(self, status: str, reason: str) -> None:
        """Note what the transmitter says the status is. Raises `StoreFault`."""
        if self.stream is not None and (self.stream.status, self.stream.reason) != (status, reason):
            await self._keep(msgspec.structs.replace(self.stream, status=status, reason=reason))

    async def delete(self) -> None:
        """Delete the stream at the transmitter and forget it. Raises `TransmitterFault`, `StoreFault`."""
        metadata = await self._client.metadata()
        if self.stream is not None:
            url = _with_id(metadata.configuration_endpoint, self.stream.stream_id)
            answer = await self._client.call("DELETE", url)
            _expect(answer, (*NOTHING, NOT_FOUND), "delete")
        await self._store.forget_stream(self._receiver.name)
        self.stream = None

    # --- inside ------------------------------------------------------------------------------------------

    async def _say(self, method: str, url: str, body: Mapping[str, Any]) -> Answer:
        """Return the answer to what is said of a stream, which the body names.

        Transmitters exist that look for `stream_id` in the address, as SSF 1.0 has it for reading: to one that does
        not understand us it is said once more that way.
        """
        answer = await self._client.call(method, url, body)
        if answer.status in MALFORMED:
            answer = await self._client.call(method, _with_id(url, str(body["stream_id"])), body)
        return answer

    async def _keep(self, stream: HeardStream) -> None:
        await self._store.keep_stream(self._receiver.name, stream)
        self.stream = stream

    async def _found(self, metadata: Metadata) -> dict[str, Any] | None:
        """Return our stream at the transmitter: the one that we know, else one that has our delivery."""
        if self.stream is not None:
            url = _with_id(metadata.configuration_endpoint, self.stream.stream_id)
            answer = await self._client.call("GET", url)
            if answer.status != NOT_FOUND:
                return _expect(answer, (200,), "read").members()
        return next((each for each in await self._listed(metadata) if self._is_ours(each)), None)

    async def _listed(self, metadata: Metadata) -> list[dict[str, Any]]:
        answer = await self._client.call("GET", metadata.configuration_endpoint)
        if answer.status == NOT_FOUND:
            return []
        _expect(answer, (200,), "list")
        try:
            listed = parse_object(b'{"streams":' + answer.body + b"}")["streams"]
        except ValueError as error:
            raise TransmitterFault(f"list: {error}", answer.status) from error
        found = listed if isinstance(listed, list) else [listed]
        return [each for each in found[:MAX_STREAMS] if isinstance(each, dict)]

    def _is_ours(self, found: Mapping[str, Any]) -> bool:
        delivery = found.get("delivery")
        if not isinstance(delivery, dict) or delivery.get("method") != self._method:
            return False
        return self._method == POLL or delivery.get("endpoint_url") == self._push_url

    async def _create(self, metadata: Metadata) -> tuple[dict[str, Any], bool]:
        """Return a new stream and True; where the transmitter allows only one and has one, that one and False (S3)."""
        wanted = self._wanted()
        answer = await self._client.call("POST", metadata.configuration_endpoint, wanted)
        if answer.status in MALFORMED and self._receiver.audience:
            # Transmitters exist that want to be told the audience, which SSF 1.0 leaves to them.
            wanted["aud"] = self._receiver.audience[0]
            answer = await self._client.call("POST", metadata.configuration_endpoint, wanted)
        if answer.status == CONFLICT:
            listed = await self._listed(metadata)
            if not listed:
                raise TransmitterFault(
                    "create: the transmitter has a stream already, but does not show it", 409
                )
            return listed[0], False
        found = _expect(answer, CREATED, "create").members()
        log.info("ssf-stream-created", receiver=self._receiver.name, stream=str(found.get("stream_id"))[:128])
        return found, True

    def _has_drifted(self, found: Mapping[str, Any]) -> bool:
        """Return whether the stream is not as configured, or was never told our present secret."""
        asked = found.get("events_requested")
        is_same = isinstance(asked, list) and set(map(str, asked)) == set(self._events)
        return not (is_same and self._is_ours(found) and self._knows_secret(found))

    async def _update(self, metadata: Metadata, found: dict[str, Any]) -> dict[str, Any]:
        body = {"stream_id": found.get("stream_id"), **self._wanted()}
        answer = await self._say("PATCH", metadata.configuration_endpoint, body)
        return _expect(answer, ACCEPTED_NOW, "update").members() or found

    @property
    def _method(self) -> str:
        return PUSH if self._receiver.delivery == "push" else POLL

    @property
    def _events(self) -> list[str]:
        names = self._receiver.events or tuple(each.value for each in EFFECTIVE)
        return [URIS[EventType(name)] for name in names]

    def _wanted(self) -> dict[str, Any]:
        """Return the members of the stream that are the receiver's to say, and needed: some refuse any other."""
        delivery: dict[str, Any] = {"method": self._method}
        if self._method == PUSH:
            delivery["endpoint_url"] = self._push_url
            if self._receiver.secrets:
                delivery["authorization_header"] = f"Bearer {self._receiver.secrets[0].reveal()}"
        return {"delivery": delivery, "events_requested": self._events}

    def _knows_secret(self, found: Mapping[str, Any]) -> bool:
        known = self.stream
        is_known = known is not None and known.stream_id == found.get("stream_id")
        return is_known and known is not None and known.secret_digest == self._secret_digest

    @property
    def _secret_digest(self) -> str:
        if not self._receiver.secrets:
            return ""
        return hashlib.sha256(self._receiver.secrets[0].reveal().encode()).hexdigest()[:16]

    def _heard(self, found: Mapping[str, Any]) -> HeardStream:
        """Return the stream as the transmitter describes it. Raises `TransmitterFault` for what cannot be ours."""
        stream_id, issuer = found.get("stream_id"), found.get("iss")
        if not isinstance(stream_id, str) or not 0 < len(stream_id) <= 1024:  # noqa: PLR2004 - a bound
            raise TransmitterFault("the stream has no usable `stream_id`")
        if issuer != self._receiver.issuer:
            raise TransmitterFault("the stream is of another issuer")
        said = found.get("aud")
        audience = texts([said] if isinstance(said, str) else said)
        if not audience and not self._receiver.audience:
            raise TransmitterFault("the stream has no `aud`: configure `audience`")
        delivery = found.get("delivery")
        url = delivery.get("endpoint_url") if isinstance(delivery, dict) and self._method == POLL else ""
        if url and not is_safe_url(url, is_http_allowed=issuer.startswith("http:")):
            raise TransmitterFault("the address to poll is no https URL")
        before = self.stream
        return HeardStream(
            stream_id=stream_id,
            issuer=issuer,
            audience=audience,
            poll_url=url or "",
            status="enabled" if before is None else before.status,
            reason="" if before is None else before.reason,
            events_delivered=texts(found.get("events_delivered")),
            added=before.added if before is not None and before.stream_id == stream_id else (),
            min_verification_interval_s=number(found.get("min_verification_interval")) or 0.0,
            inactivity_timeout_s=number(found.get("inactivity_timeout")) or 0.0,
            secret_digest=self._secret_digest,
        )

    async def _enable(self, metadata: Metadata) -> None:
        """Read the status, and ask once after a start that a stream which is not enabled be so."""
        if not metadata.status_endpoint or self.stream is None:
            return
        answer = await self._client.call("GET", _with_id(metadata.status_endpoint, self.stream.stream_id))
        said = _expect(answer, (200,), "status").members()
        status, reason = said.get("status"), said.get("reason")
        await self.note_status(str(status)[:32], reason[:512] if isinstance(reason, str) else "")
        if status != "enabled" and not self._is_enabled_once:
            self._is_enabled_once = True
            await self.set_status("enabled")
        self._is_enabled_once = True

    async def _subjects(self, metadata: Metadata) -> None:
        """Add the subjects of the configuration, and remove those that are no longer in it."""
        if self.stream is None:
            return
        wanted = {_canonical(each): each for each in self._receiver.subjects}
        for key in [each for each in wanted if each not in self.stream.added]:
            await self._change_subject(metadata.add_subject_endpoint, wanted[key], "add a subject")
            await self._keep(msgspec.structs.replace(self.stream, added=(*self.stream.added, key)))
        for key in [each for each in self.stream.added if each not in wanted]:
            await self._change_subject(
                metadata.remove_subject_endpoint, parse_object(key.encode()), "remove a subject"
            )
            added = tuple(each for each in self.stream.added if each != key)
            await self._keep(msgspec.structs.replace(self.stream, added=added))

    async def _change_subject(self, url: str, subject: Mapping[str, Any], what: str) -> None:
        if not url or self.stream is None:
            raise TransmitterFault(f"{what}: the transmitter offers no such thing; remove `subjects`")
        answer = await self._say("POST", url, {"stream_id": self.stream.stream_id, "subject": subject})
        _expect(answer, NOTHING, what)


def _expect(answer: Answer, statuses: tuple[int, ...], what: str) -> Answer:
    if answer.status not in statuses:
        text = f"{what}: the transmitter answered {answer.status}{_reason(answer)}"
        raise TransmitterFault(text, answer.status, retry_after_s(answer.headers))
    return answer


def _reason(answer: Answer) -> str:
    """Return why a transmitter says that it refuses, for people; "" where it does not say."""
    try:
        members = answer.members()
    except TransmitterFault:
        return ""
    said = next((text for name in REASONS if isinstance(text := members.get(name), str) and text), "")
    shown = "".join(each if each.isprintable() else "?" for each in said[:MAX_REASON])
    return f": {shown}" if shown else ""


def _with_id(url: str, stream_id: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}stream_id={quote(stream_id, safe='')}"


def _canonical(subject: Mapping[str, Any]) -> str:
    return msgspec.json.encode(subject, order="sorted").decode()
