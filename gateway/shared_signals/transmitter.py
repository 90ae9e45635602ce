"""The gateway as a transmitter: joins streams, outbox, senders and keys, and follows the configuration."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from aiohttp import web

from gateway.config.schema import Config
from gateway.decision.judge import Interpretation
from gateway.localised import LocalisedTexts
from gateway.sessions.model import Session
from gateway.sessions.seal import SealBroken, Sealer
from gateway.shared_signals.emission import Emitter, Parties
from gateway.shared_signals.events import EventType
from gateway.shared_signals.keys import SigningKeys
from gateway.shared_signals.letters import Letter
from gateway.shared_signals.management import AUTHORIZATION_PURPOSE, Management
from gateway.shared_signals.outbox import Outgoing, Overtaken, Status, Stream, TransmitStore, Waiting
from gateway.shared_signals.sending import STOP_S, Pushing, Sender, SenderStatus, endpoint_fault
from gateway.shared_signals.streams import PUSH
from gateway.tasks import spawn
from risk.database import Database, StoreFault, StoreOverloaded
from risk.model import DeviceId, Posture

log = structlog.get_logger("shared-signals")

MAX_ERRORS_LOGGED = 10


class StreamStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a stream of a party is. `waiting` are events that its receiver has not acknowledged."""

    party: str
    stream_id: str
    method: str
    status: str
    reason: str = ""
    endpoint_url: str = ""
    waiting: int = 0
    sender: SenderStatus = SenderStatus()


class Transmitter:
    """Everything transmitted. `await start()`, `await configure(config)`, `await stop()`."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        *,
        posture: Callable[[DeviceId], Posture | None],
        device_ids: Callable[[], Iterator[DeviceId]],
        interpretation: Callable[[], Interpretation],
        texts: Callable[[], LocalisedTexts] = LocalisedTexts,
        is_login_host: Callable[[web.Request], bool],
        clock: Callable[[], datetime],
        make_id: Callable[[], str],
        mono: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._sleep = sleep
        self._store = TransmitStore(database)
        self._sealer = sealer
        self._clock = clock
        self._make_id = make_id
        self._keys = SigningKeys(self._store, sealer)
        self._parties: Parties | None = None
        self._streams: dict[str, Stream] = {}
        self._senders: dict[str, Sender] = {}
        self._ending: list[Sender] = []
        self._pushing: dict[str, Pushing] = {}
        self._arrived: dict[str, asyncio.Event] = {}
        self._changing = asyncio.Lock()
        self._is_loaded = False
        self.emitter = Emitter(
            self._store,
            parties=self.parties,
            streams=lambda: tuple(self._streams.values()),
            posture=posture,
            device_ids=device_ids,
            interpretation=interpretation,
            texts=texts,
            clock=clock,
            make_id=make_id,
            on_written=self._wake,
        )
        self._management = Management(
            self,
            sealer,
            is_login_host=is_login_host,
            now_s=lambda: clock().timestamp(),
            mono=mono,
            make_id=make_id,
        )

    def routes(self) -> list[web.RouteDef]:
        """Return the routes of stream management; without a transmitter in the configuration they answer 404."""
        return self._management.routes()

    async def configure(self, config: Config) -> None:
        """Transmit by this configuration from now on. Raises `StoreFault`."""
        async with self._changing:
            await self._configure(config)

    async def _configure(self, config: Config) -> None:
        settings = config.shared_signals.transmitter
        if settings is None:
            self._parties = None
            self._end_senders()
            return
        self._parties = Parties(
            issuer=config.public_url,
            settings=settings,
            by_name={party.name: party for party in settings.receivers},
        )
        if not self._is_loaded:
            await self._keys.load(self._clock())
            self._streams = {each.party: each for each in await self._store.streams()}
            self.emitter.start()
            self._is_loaded = True
        self._end_senders()
        for stream in self._streams.values():
            self._follow(stream)
        self.emitter.look_at_all()

    async def stop(self) -> None:
        """End; what waits is in the store."""
        await self.emitter.stop()
        self._end_senders()
        await asyncio.gather(*(sender.stop(STOP_S) for sender in self._ending))

    async def upkeep(self) -> None:
        """Forget what nobody took in time, and make a new key when one is due."""
        if self._parties is None:
            return
        settings, now = self._parties.settings, self._clock()
        try:
            gone = await self._store.expire(now - timedelta(seconds=settings.keep))
            await self._keys.look(now, timedelta(seconds=settings.rotate_every))
        except (StoreFault, StoreOverloaded) as error:
            log.warning("ssf-upkeep-failed", error=str(error))
            return
        if gone:
            log.error("ssf-events-expired", count=gone)
            await self._store.streams()

    async def rotate(self) -> str:
        """Make a new signing key now and return its id. Raises `StoreFault`, `StoreOverloaded`."""
        return await self._keys.rotate(self._clock())

    async def statuses(self) -> list[StreamStatus]:
        """Return how each stream is."""
        found = []
        for party, stream in sorted(self._streams.items()):
            sender = self._senders.get(party)
            found.append(
                StreamStatus(
                    party=party,
                    stream_id=stream.stream_id,
                    method=stream.method,
                    status=stream.status,
                    reason=stream.reason,
                    endpoint_url=stream.endpoint_url,
                    waiting=await self._store.count(stream.stream_id),
                    sender=SenderStatus() if sender is None else sender.status,
                )
            )
        return found

    def backlog(self) -> Mapping[str, int]:
        """Return, by party, how many events wait."""
        return {party: self._store.backlog[stream.stream_id] for party, stream in self._streams.items()}

    def senders(self) -> Mapping[str, SenderStatus]:
        """Return, by party, how its sender is."""
        return {party: sender.status for party, sender in self._senders.items()}

    def faults(self) -> Mapping[str, str]:
        """Return, by party, why its events are not taken now."""
        return {name: each.status.fault for name, each in self._senders.items() if each.status.fault}

    async def set_status(self, party: str, status: Status, reason: str) -> None:
        """Let an operator stop a party's stream, or start it again, and tell its receiver (SSF 1.0 section 8.1.5).

        Raises `LookupError` when there is no such stream, `StoreFault`, `StoreOverloaded`.
        """
        parties = self._parties
        if parties is None or party not in parties.by_name:
            raise LookupError(party)
        changed = await self._hold(party, status, reason)
        letter = Letter(parties.issuer, changed, parties.by_name[party], "", self._clock())
        payload = {"status": status, **({"reason": reason} if reason else {})}
        await self.emit(letter.about_stream(EventType.STREAM_UPDATED, payload, self._make_id()))

    async def _hold(self, party: str, status: Status, reason: str) -> Stream:
        """Give a stream the status that an operator wants, whatever its receiver does meanwhile; return it."""
        while True:
            stream = self._streams[party]
            changed = msgspec.structs.replace(
                stream, status=status, reason=reason, is_held=status != "enabled"
            )
            try:
                await self.put(changed, of=stream)
            except Overtaken:
                continue
            return changed

    # --- what is told ------------------------------------------------------------------------------------

    def look(self, devices: Iterable[DeviceId]) -> None:
        """Look at devices and users soon: a change of theirs has been enforced. Never waits."""
        if self._parties is not None:
            self.emitter.look(devices)

    async def sessions_ended(
        self,
        sessions: Sequence[Session],
        *,
        by: str,
        reason: str,
        source: str = "",
        is_whole_user: bool = False,
    ) -> None:
        """Tell that sessions were ended. Faults are logged: what was ended stays ended."""
        if self._parties is None:
            return
        try:
            await self.emitter.sessions_ended(
                sessions, by=by, reason=reason, source=source, is_whole_user=is_whole_user
            )
        except (StoreFault, StoreOverloaded) as error:
            log.error("ssf-sessions-not-told", count=len(sessions), error=str(error))

    # --- what management works on ------------------------------------------------------------------------

    def parties(self) -> Parties | None:
        """Return the configuration in force, None when nothing is transmitted."""
        return self._parties

    def of_party(self, party: str) -> Stream | None:
        """Return the stream of a party, None without one."""
        return self._streams.get(party)

    async def put(self, stream: Stream, *, of: Stream | None) -> None:
        """Keep a new stream, or a changed one in place of `of`, and act by it, even if the caller goes away.

        Raises `Overtaken` when the party's stream is no longer `of`.
        """
        work = spawn(self._put(stream, of), name="ssf-stream-changed")
        if await asyncio.shield(work):
            raise Overtaken

    async def _put(self, stream: Stream, of: Stream | None) -> bool:
        """Return whether somebody else was first."""
        async with self._changing:
            before = self._streams.get(stream.party)
            if before is not of:
                return True
            await self._store.put_stream(stream)
            self._streams[stream.party] = stream
            self._end_sender(stream.party)
            self._follow(stream)
        log.info("ssf-stream-changed", party=stream.party, stream=stream.stream_id, status=stream.status)
        if before is None or not before.holds:
            self.emitter.look_at_all()
        self._wake([stream.stream_id])
        return False

    async def delete(self, stream: Stream) -> None:
        """Forget a stream with all that waits for it, whether or not the caller waits for that."""
        await asyncio.shield(spawn(self._delete(stream), name="ssf-stream-deleted"))

    async def _delete(self, stream: Stream) -> None:
        async with self._changing:
            self._end_sender(stream.party)
            self._streams.pop(stream.party, None)
            self._arrived.pop(stream.stream_id, None)
            await self._store.delete_stream(stream.stream_id)
            self._pushing.pop(stream.stream_id, None)
        log.info("ssf-stream-deleted", party=stream.party, stream=stream.stream_id)

    async def set_subject(self, stream: Stream, subject: Mapping[str, Any], *, is_added: bool) -> None:
        """Note a subject."""
        await self._store.set_subject(stream.stream_id, subject, is_added=is_added)
        if is_added:
            self.emitter.look_at_all()

    async def emit(self, event: Outgoing) -> None:
        """Put one event into the outbox."""
        if self._parties is None:
            return
        settings = self._parties.settings
        await self._store.put(
            [event], now=self._clock(), most=settings.most, is_everybody_in=self._parties.is_everybody_in
        )
        self._wake([event.stream_id])

    async def waiting(self, stream: Stream, most: int, after: int) -> list[Waiting]:
        """Return the oldest events that a poll may be given now: none while a push that was begun is unanswered.

        Those behind the one that is pushed would overtake it.
        """
        pushing = self._pushing.get(stream.stream_id)
        if pushing is not None and not await pushing.is_over(self._store, stream.stream_id):
            return []
        return await self._store.waiting(stream, most, after)

    async def done(self, stream: Stream, acks: list[str], errors: Mapping[str, Any]) -> None:
        """Forget events that the receiver has, or will never take."""
        for jti, error in list(errors.items())[:MAX_ERRORS_LOGGED]:
            log.error("ssf-event-refused", party=stream.party, jti=jti[:255], said=str(error)[:300])
        await self._store.done(stream.stream_id, [*acks, *errors])

    def arrived(self, stream: Stream) -> asyncio.Event:
        """Return what is set when there may be more to give."""
        return self._arrived.setdefault(stream.stream_id, asyncio.Event())

    def sign(self, waiting: Waiting) -> str:
        """Return the token of an event, signed with the key of now."""
        return self._keys.sign(msgspec.json.decode(waiting.claims), self._clock())

    def jwks(self) -> dict[str, Any]:
        """Return the public keys."""
        return self._keys.jwks()

    # --- inside ------------------------------------------------------------------------------------------

    def _wake(self, stream_ids: Iterable[str]) -> None:
        wanted = set(stream_ids)
        for sender in self._senders.values():
            if sender.stream.stream_id in wanted:
                sender.wake()
        for stream_id in wanted:
            self._may_be_polled(stream_id)

    def _follow(self, stream: Stream) -> None:
        """Begin to push a stream that is to be pushed, where it may still be pushed to.

        One that is stopped is told of that, and of nothing else.
        """
        party = None if self._parties is None else self._parties.by_name.get(stream.party)
        if party is None or stream.method != PUSH:
            return
        fault = endpoint_fault(stream.endpoint_url, party)
        if fault is not None:
            log.error("ssf-endpoint-not-allowed-any-more", party=party.name, detail=fault)
            return
        sender = Sender(
            stream,
            party,
            self._store,
            pushing=self._pushed(stream.stream_id),
            authorization=self._authorization(stream),
            sign=self.sign,
            clock=self._clock,
            sleep=self._sleep,
        )
        try:
            sender.start()
        except OSError as error:
            log.error("ssf-sender-not-started", party=party.name, error=str(error))
            return
        self._senders[stream.party] = sender

    def _pushed(self, stream_id: str) -> Pushing:
        """Return what the senders of a stream share; polls that wait look again whenever a turn has ended."""
        known = self._pushing.get(stream_id)
        if known is None:
            known = self._pushing[stream_id] = Pushing(lambda: self._may_be_polled(stream_id))
        return known

    def _may_be_polled(self, stream_id: str) -> None:
        if stream_id in self._arrived:
            self._arrived[stream_id].set()

    def _authorization(self, stream: Stream) -> str:
        if not stream.sealed_authorization:
            return ""
        try:
            plain = self._sealer.open(
                AUTHORIZATION_PURPOSE, stream.sealed_authorization, stream.stream_id.encode()
            )
        except SealBroken:
            log.error("ssf-authorization-cannot-be-opened", party=stream.party)
            return ""
        return plain.decode()

    def _end_sender(self, party: str) -> None:
        """Let a sender come to its end; until then it is remembered, so that the process waits for it."""
        sender = self._senders.pop(party, None)
        self._ending = [each for each in self._ending if not each.has_ended]
        if sender is not None:
            sender.end()
            self._ending.append(sender)

    def _end_senders(self) -> None:
        for party in list(self._senders):
            self._end_sender(party)
