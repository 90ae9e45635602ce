"""Service tokens at the administration socket: make, list, rotate and revoke them."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from gateway.administration import json_answer, operator_of
from gateway.feed.hub_side import NotEnforced
from gateway.service_tokens.model import DEFAULT_LIFE, ServiceToken, TokenRefused, TokenState
from gateway.service_tokens.registry import ServiceTokens
from risk.database import StoreFault, StoreOverloaded
from risk.values import Strict

DEFAULT_OVERLAP = timedelta(hours=1)

T = TypeVar("T")


class Wanted(Strict, frozen=True, kw_only=True):
    """A token that is to be made. `life_s` is in seconds."""

    service: str
    apps: tuple[str, ...]
    reason: str
    life_s: float = DEFAULT_LIFE.total_seconds()


class Rotation(Strict, frozen=True, kw_only=True):
    """A token that is to be replaced. The old one goes on for `overlap_s`. `life_s` None: as the old was made for."""

    id: str
    reason: str
    life_s: float | None = None
    overlap_s: float = DEFAULT_OVERLAP.total_seconds()


class Withdrawal(Strict, frozen=True, kw_only=True):
    """What is to be revoked: a token by its id, or all of a service by its name."""

    id: str
    reason: str


class TokenApi:
    """`GET` and `POST /service-tokens`, `POST /service-tokens/rotate`, `POST /service-tokens/revoke`."""

    def __init__(
        self, tokens: ServiceTokens, is_app: Callable[[str], bool], clock: Callable[[], datetime]
    ) -> None:
        self._tokens = tokens
        self._is_app = is_app
        self._clock = clock

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/service-tokens", self.listed),
            web.post("/service-tokens", self.create),
            web.post("/service-tokens/rotate", self.rotate),
            web.post("/service-tokens/revoke", self.revoke),
        ]

    async def listed(self, _request: web.Request) -> web.Response:
        """Return every token, newest first; never a secret, nor what stands for one."""
        now = self._clock()
        return json_answer({"tokens": [shown(each, now) for each in self._tokens.listed()]})

    async def create(self, request: web.Request) -> web.Response:
        """Make a token; its secret is in this answer and nowhere else."""
        try:
            wanted = await _asked(request, Wanted)
            unknown = [app for app in wanted.apps if not self._is_app(app)]
            if unknown:
                raise TokenRefused(f"no app is called `{unknown[0]}`")
            life = timedelta(seconds=wanted.life_s)
            made = await self._tokens.create(
                wanted.service, wanted.apps, life, by=operator_of(request), reason=wanted.reason
            )
        except _FAULTS as error:
            return _fault(error)
        return self._made(*made)

    async def rotate(self, request: web.Request) -> web.Response:
        """Make a token in place of another one."""
        try:
            wanted = await _asked(request, Rotation)
            made = await self._tokens.rotate(
                wanted.id,
                life=None if wanted.life_s is None else timedelta(seconds=wanted.life_s),
                overlap=timedelta(seconds=wanted.overlap_s),
                by=operator_of(request),
                reason=wanted.reason,
            )
        except _FAULTS as error:
            return _fault(error)
        return self._made(*made)

    async def revoke(self, request: web.Request) -> web.Response:
        """End tokens; the answer comes when every worker has enforced it."""
        try:
            wanted = await _asked(request, Withdrawal)
            ended, cut = await self._tokens.revoke(wanted.id, by=operator_of(request), reason=wanted.reason)
        except _FAULTS as error:
            return _fault(error)
        now = self._clock()
        return json_answer({"tokens": [shown(each, now) for each in ended], "cut": cut})

    def _made(self, token: ServiceToken, secret: str) -> web.Response:
        return json_answer({"token": shown(token, self._clock()), "secret": secret}, 201)


_FAULTS = (
    msgspec.MsgspecError,
    OverflowError,
    TokenRefused,
    NotEnforced,
    StoreFault,
    StoreOverloaded,
)


async def _asked(request: web.Request, kind: type[T]) -> T:
    return msgspec.json.decode(await request.read(), type=kind)


def _fault(error: Exception) -> web.Response:
    """Return what is wrong: 422 with what was asked for, 503 with the gateway."""
    is_ours = isinstance(error, NotEnforced | StoreFault | StoreOverloaded)
    return json_answer({"fault": str(error)}, 503 if is_ours else 422)


def shown(token: ServiceToken, now: datetime) -> dict[str, Any]:
    """Return a token for people and scripts."""
    record: dict[str, Any] = msgspec.to_builtins(token)
    del record["digest"]
    state = token.state(now)
    left_s = max(0, int((token.expires_at - now).total_seconds())) if state is TokenState.LIVE else 0
    return {**record, "state": state.value, "left_s": left_s}
