"""What an operator asks of Shared Signals over the administration socket."""

from collections.abc import Mapping
from typing import Literal

import msgspec
import structlog
from aiohttp import web

from gateway.administration import json_answer
from gateway.shared_signals.client import TransmitterFault
from gateway.shared_signals.outbox import Status
from gateway.shared_signals.receiver import Receiver, ReceiverStatus
from gateway.shared_signals.transmitter import StreamStatus, Transmitter
from risk.database import StoreFault, StoreOverloaded
from risk.values import Strict

log = structlog.get_logger("shared-signals")


STATUSES: Mapping[str, Status] = {"pause": "paused", "enable": "enabled", "disable": "disabled"}
MAX_REASON = 512


class Request(Strict, frozen=True, kw_only=True):
    """What is asked. `name` is "" for `status` and `rotate`.

    It is that of the transmitter whose stream is meant, or with `is_ours` of the party that has a stream here.
    """

    action: Literal["status", "verify", "pause", "enable", "disable", "delete", "rotate"]
    name: str = ""
    is_ours: bool = False
    reason: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What was found or done; `fault` says why it was not."""

    is_well: bool = True
    done: str = ""
    fault: str = ""
    receivers: tuple[ReceiverStatus, ...] = ()
    streams: tuple[StreamStatus, ...] = ()


class Administration:
    """The handler of `POST /ssf`."""

    def __init__(self, receivers: Mapping[str, Receiver], transmitter: Transmitter) -> None:
        self._receivers = receivers
        self._transmitter = transmitter

    async def handle(self, request: web.Request) -> web.Response:
        """Do what is asked; whatever goes wrong is told in words."""
        try:
            asked = msgspec.json.decode(await request.read(), type=Request)
        except msgspec.MsgspecError as error:
            return json_answer(Answer(is_well=False, fault=str(error)), 422)
        try:
            answer = await self._answer(asked)
        except (TransmitterFault, StoreFault, StoreOverloaded) as error:
            answer = Answer(is_well=False, fault=str(error))
        if asked.action != "status":
            log.warning(
                "ssf-administered",
                action=asked.action,
                party=asked.name,
                is_ours=asked.is_ours,
                reason=asked.reason,
                fault=answer.fault,
            )
        return json_answer(answer, 200 if not answer.fault else 409)

    async def _answer(self, asked: Request) -> Answer:
        if asked.action == "status":
            return await self._status()
        if asked.action == "rotate":
            if self._transmitter.parties() is None:
                return Answer(is_well=False, fault="no transmitter is configured")
            kid = await self._transmitter.rotate()
            return Answer(done=f"key {kid} is published, and signs in an hour")
        if asked.is_ours:
            return await self._of_party(asked)
        receiver = self._receivers.get(asked.name)
        if receiver is None:
            known = ", ".join(sorted(self._receivers)) or "none"
            has_here = asked.name in {each.party for each in await self._transmitter.statuses()}
            hint = f"; `--ours` means the stream that `{asked.name}` has here" if has_here else ""
            fault = f"no receiver is named `{asked.name}`; known: {known}{hint}"
            return Answer(is_well=False, fault=fault)
        return await _of_receiver(receiver, asked)

    async def _of_party(self, asked: Request) -> Answer:
        status = STATUSES.get(asked.action)
        if status is None:
            return Answer(is_well=False, fault=f"`{asked.action}` is for a stream that we have elsewhere")
        try:
            await self._transmitter.set_status(asked.name, status, asked.reason[:MAX_REASON])
        except LookupError:
            known = ", ".join(each.party for each in await self._transmitter.statuses()) or "none"
            return Answer(is_well=False, fault=f"no party named `{asked.name}` has a stream here: {known}")
        return Answer(done=f"the stream of `{asked.name}` is {status}, and its receiver is told")

    async def _status(self) -> Answer:
        receivers = tuple(self._receivers[name].status() for name in sorted(self._receivers))
        streams = tuple(await self._transmitter.statuses())
        is_well = all(each.is_well for each in receivers) and not self._transmitter.faults()
        return Answer(is_well=is_well, receivers=receivers, streams=streams)


async def _of_receiver(receiver: Receiver, asked: Request) -> Answer:
    name = asked.name
    if receiver.settings.stream == "static":
        return Answer(is_well=False, fault=f"the stream of `{name}` is static: manage it at the transmitter")
    match asked.action:
        case "verify":
            if await receiver.verify():
                return Answer(done=f"the stream of `{name}` works: the verification event came")
            return Answer(is_well=False, fault=f"no verification event came for `{name}` in time")
        case "pause" | "enable" | "disable":
            status = STATUSES[asked.action]
            await receiver.keeper.set_status(status, asked.reason[:MAX_REASON])
            return Answer(done=f"the stream of `{name}` is {status} at the transmitter")
        case _:
            await receiver.keeper.delete()
            text = (
                f"the stream of `{name}` is deleted; while the receiver is configured it is made again within"
            )
            return Answer(done=f"{text} {receiver.settings.verify_every:g} s")
