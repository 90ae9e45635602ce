"""One receiver at work: verifies tokens, keeps its stream, polls where it is to poll, and says how it is."""

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import msgspec
import structlog

from gateway.config.shared_signals import SignalReceiver
from gateway.feed.hub_side import NotEnforced
from gateway.oidc.faults import ProviderFault, ProviderReason, TokenRefused
from gateway.shared_signals.applying import Applied, Applier
from gateway.shared_signals.client import KeysBusy, TransmitterClient, TransmitterFault, retry_after_s
from gateway.shared_signals.events import StreamUpdated, Verification
from gateway.shared_signals.push import Pushed
from gateway.shared_signals.received import ReceivedStore
from gateway.shared_signals.sets import (
    SetError,
    SetRefused,
    audience_of_verification,
    set_header,
    set_refused,
    verify_set,
)
from gateway.shared_signals.streams import StreamKeeper
from gateway.tasks import spawn
from risk.database import StoreFault, StoreOverloaded

log = structlog.get_logger("shared-signals")

VERIFIED_WITHIN_S = 60.0
"""How long a verification event may take after it was asked for."""

STATE_BYTES = 24
MAX_EXPECTED = 8
"""Most verification events that are waited for."""

FIRST_RETRY_S = 1.0
LAST_RETRY_S = 300.0

POLL_EVENTS = 16
POLL_TIMEOUT_S = 75.0
"""Longer than transmitters hold a poll that has nothing to give."""

POLL_PAUSE_S = 2.0
"""Least time between two polls of a transmitter that answers an empty poll at once."""

MAX_FRAME_BYTES = 65_536
OK = 200


class ReceiverStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a receiver is. `reason` says what is wrong when `is_well` is false."""

    name: str
    issuer: str
    delivery: str
    stream: str
    stream_id: str = ""
    status: str = ""
    is_well: bool = True
    reason: str = ""
    verified_at: datetime | None = None
    heard_at: datetime | None = None
    events_delivered: tuple[str, ...] = ()


class Receiver:
    """Hears one transmitter. `start`, then `take` what it pushes; `stop` at the end."""

    def __init__(
        self,
        settings: SignalReceiver,
        applier: Applier,
        store: ReceivedStore,
        *,
        push_url: str,
        clock: Callable[[], datetime],
        mono: Callable[[], float],
        observe: Callable[[Pushed], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._applier = applier
        self._clock = clock
        self._mono = mono
        self._observe = observe
        self._sleep = sleep
        self.client = TransmitterClient(settings, mono=mono)
        self.keeper = StreamKeeper(settings, self.client, store, push_url=push_url)
        self._tasks: list[asyncio.Task[None]] = []
        self._expected: dict[str, float] = {}
        self._verified_at: datetime | None = None
        self._heard_at: datetime | None = None
        self._fault = "" if settings.stream == "static" else "the stream has not been set up yet"
        self._poll_fault = ""

    async def start(self) -> None:
        """Begin. Returns at once, whether or not the transmitter answers. Raises `OSError`, `StoreFault`."""
        self.client.start()
        if self.settings.stream == "managed":
            await self.keeper.load()
            self._tasks.append(spawn(self._keep(), name=f"ssf-stream-{self.settings.name}"))
        if self.settings.delivery == "poll":
            self._tasks.append(spawn(self._poll(), name=f"ssf-poll-{self.settings.name}"))

    async def stop(self) -> None:
        """End; what is being applied is finished by whoever waits for it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await self.client.stop()

    def status(self) -> ReceiverStatus:
        """Return how the receiver is now; never waits."""
        stream = self.keeper.stream
        reason = self._fault or self._poll_fault
        if not reason and stream is not None and stream.status != "enabled":
            reason = f"the transmitter has set the stream to `{stream.status}`: {stream.reason}"
        if not reason and any(self._mono() > until for until in self._expected.values()):
            reason = "a verification event was asked for and did not come"
        return ReceiverStatus(
            name=self.settings.name,
            issuer=self.settings.issuer,
            delivery=self.settings.delivery,
            stream=self.settings.stream,
            stream_id="" if stream is None else stream.stream_id,
            status="" if stream is None else stream.status,
            is_well=not reason,
            reason=reason,
            verified_at=self._verified_at,
            heard_at=self._heard_at,
            events_delivered=() if stream is None else stream.events_delivered,
        )

    async def verify(self) -> bool:
        """Ask for a verification event and return whether it came. Raises `TransmitterFault`."""
        state = await self._ask_for_verification()
        if state is None:
            raise TransmitterFault(
                "the transmitter takes no such request now: it offers none, or was asked just before"
            )
        while state in self._expected and self._mono() < self._expected[state]:
            await self._sleep(0.05)
        return state not in self._expected

    async def _ask_for_verification(self) -> str | None:
        """Return the `state` of the event that was asked for, None when none can be. Raises `TransmitterFault`."""
        state = secrets.token_urlsafe(STATE_BYTES)
        # Before the question: transmitters exist that send the event before they answer.
        self._expected[state] = self._mono() + VERIFIED_WITHIN_S
        while len(self._expected) > MAX_EXPECTED:
            del self._expected[next(iter(self._expected))]
        is_asked = False
        try:
            is_asked = await self.keeper.request_verification(state)
        finally:
            if not is_asked:
                self._expected.pop(state, None)
        return state if is_asked else None

    def _forget_asked(self, state: str | None) -> None:
        """Expect no longer what was asked for up to this `state` (None: anything): what came answers for all of it.

        What was asked for later may yet come.
        """
        for asked in list(self._expected):
            del self._expected[asked]
            if asked == state:
                return

    # --- tokens ------------------------------------------------------------------------------------------

    async def take(self, raw: str) -> Applied:
        """Verify a token and bring about its effect; raises as `push.Heard.take` says."""
        header = set_header(raw, self.settings.algorithms)
        stream = self.keeper.stream
        audiences = self.settings.audience or (() if stream is None else stream.audience)
        if not audiences:
            # Some transmitters verify a stream before they answer the request that makes it.
            audiences = audience_of_verification(raw)
        if not audiences:
            raise ProviderFault(ProviderReason.NO_METADATA, "the stream is not known yet")
        token = await self.client.with_keys(
            header,
            lambda keys: verify_set(
                raw,
                header,
                keys,
                issuer=self.settings.issuer,
                audiences=audiences,
                algorithms=self.settings.algorithms,
                now=self._clock(),
            ),
        )
        applied = await self._applier.apply(
            self.settings,
            token,
            raw.encode(),
            critical=self.client.critical_members,
            on_stream=self._on_stream,
        )
        self._heard_at = self._clock()
        return applied

    async def _on_stream(self, told: Verification | StreamUpdated) -> None:
        if isinstance(told, StreamUpdated):
            await self.keeper.note_status(told.status, told.reason)
            log.warning(
                "ssf-stream-updated", receiver=self.settings.name, status=told.status, reason=told.reason
            )
            return
        if told.state is not None and told.state not in self._expected:
            log.warning("ssf-verification-not-asked-for", receiver=self.settings.name)
            raise SetRefused(SetError.INVALID_STATE, "this `state` was not asked for")
        # One that came answers for all that were asked for before it.
        self._forget_asked(told.state)
        self._verified_at = self._clock()

    # --- the stream --------------------------------------------------------------------------------------

    async def _keep(self) -> None:
        failures = 0
        while True:
            pause_s = await self._keep_once(failures)
            failures = failures + 1 if self._fault else 0
            await self._sleep(pause_s)

    async def _keep_once(self, failures: int) -> float:
        """Bring the stream up to date and ask for a verification; return when to look again, in seconds."""
        try:
            stream = await self.keeper.keep()
            self._fault = ""
            await self._ask_for_verification()
            pause_s = max(self.settings.verify_every, stream.min_verification_interval_s)
            # S7: a stream that nobody asks about may be stopped by its transmitter.
            return min(pause_s, stream.inactivity_timeout_s / 2 or pause_s)
        except TransmitterFault as fault:
            self.note_fault(str(fault))
            return max(backoff_s(failures), fault.retry_after_s or 0.0)
        except (StoreFault, StoreOverloaded) as fault:
            self.note_fault(str(fault))
            return backoff_s(failures)
        except Exception as error:  # a defect of ours must not end the recovery
            log.exception("ssf-stream-failed", receiver=self.settings.name)
            self.note_fault(type(error).__name__)
            return LAST_RETRY_S

    def note_fault(self, text: str) -> None:
        """Say why the stream cannot be used."""
        if text != self._fault:
            log.warning("ssf-stream-unusable", receiver=self.settings.name, detail=text)
        self._fault = text

    # --- polling (RFC 8936) ------------------------------------------------------------------------------

    async def _poll(self) -> None:
        acks: list[str] = []
        errors: dict[str, dict[str, str]] = {}
        failures = 0
        while True:
            url = self.settings.poll_url or (self.keeper.stream.poll_url if self.keeper.stream else "")
            if not url:
                await self._sleep(FIRST_RETRY_S)
                continue
            began = self._mono()
            try:
                sets, is_more = await self._poll_once(url, acks, errors)
                acks, errors, is_held_up = await self._take_all(sets)
                failures = failures + 1 if is_held_up else 0
                self._poll_fault = "tokens cannot be applied now" if is_held_up else ""
            except TransmitterFault as fault:
                if not self._poll_fault:
                    log.warning("ssf-poll-failed", receiver=self.settings.name, detail=str(fault))
                self._poll_fault = str(fault)
                failures += 1
                await self._sleep(max(backoff_s(failures - 1), fault.retry_after_s or 0.0))
                continue
            if failures:
                await self._sleep(backoff_s(failures - 1))
            elif not (sets or acks or errors or is_more):
                await self._sleep(max(0.0, POLL_PAUSE_S - (self._mono() - began)))

    async def _poll_once(
        self, url: str, acks: list[str], errors: dict[str, dict[str, str]]
    ) -> tuple[dict[str, str], bool]:
        """Acknowledge what was applied, and return what is next with whether there is more."""
        body: dict[str, Any] = {"maxEvents": POLL_EVENTS, "returnImmediately": False}
        body |= {"ack": acks} if acks else {}
        body |= {"setErrs": errors} if errors else {}
        most = MAX_FRAME_BYTES + POLL_EVENTS * self.settings.body_bytes
        # RFC 8936 section 2.6: descriptions of errors come with their language.
        language = {"Content-Language": "en"} if errors else {}
        answer = await self.client.call(
            "POST", url, body, most=most, timeout_s=POLL_TIMEOUT_S, headers=language
        )
        if answer.status != OK:
            text = f"poll: the transmitter answered {answer.status}"
            raise TransmitterFault(text, answer.status, retry_after_s(answer.headers))
        members = answer.members()
        sets = members.get("sets")
        if not isinstance(sets, dict):
            raise TransmitterFault("poll: the answer has no `sets`", answer.status)
        found = {jti: raw for jti, raw in list(sets.items())[:POLL_EVENTS] if isinstance(raw, str)}
        return found, members.get("moreAvailable") is True

    async def _take_all(self, sets: dict[str, str]) -> tuple[list[str], dict[str, dict[str, str]], bool]:
        """Apply tokens in their order; return what to acknowledge, what to refuse, and whether any has to come again.

        Q1: acknowledged is what is durable and enforced. Q2: what cannot be believed is reported, or it would come back
        for ever.
        """
        acks: list[str] = []
        errors: dict[str, dict[str, str]] = {}
        is_held_up = False
        for jti, raw in sets.items():
            began_ns = time.monotonic_ns()
            try:
                applied = await self.take(raw)
            except (TokenRefused, SetRefused) as fault:
                refused = set_refused(fault) if isinstance(fault, TokenRefused) else fault
                errors[jti] = {"err": refused.code.value, "description": refused.text}
                self._observe(Pushed(receiver=self.settings.name, status=400, verdict=refused.reason))
            except (ProviderFault, KeysBusy, StoreFault, StoreOverloaded, NotEnforced) as fault:
                is_held_up = True
                log.warning("ssf-token-held-up", receiver=self.settings.name, detail=type(fault).__name__)
                self._observe(Pushed(receiver=self.settings.name, status=503, verdict="held-up"))
            else:
                acks.append(jti)
                self._observe(
                    Pushed(
                        receiver=self.settings.name,
                        status=202,
                        verdict=applied.outcome,
                        body_bytes=len(raw),
                        received_mono_ns=began_ns,
                        applied=applied,
                    )
                )
        return acks, errors, is_held_up


def backoff_s(failures: int) -> float:
    """Return the pause after that many failures in a row: doubling, capped, spread by a quarter."""
    pause = min(FIRST_RETRY_S * 2.0 ** min(failures, 10), LAST_RETRY_S)
    return pause * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load, hides nothing
