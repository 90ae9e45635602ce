"""Administrative revocation: the sessions of a user, of a device, or one session end now, on every worker.

As with any change, `revoke` returns when it is enforced: no request that begins afterwards is let through, and every
open exchange of these sessions has been cut. A person may sign in again where policy allows it; who must not has to be
blocked at the provider or by a policy.
"""

from collections.abc import Awaitable, Callable, Iterable
from typing import Literal

import msgspec
import structlog

from gateway.decision.context import PostureSource, session_key
from gateway.feed.hub_side import Enforcement, NotEnforced
from gateway.sessions.model import Session
from gateway.sessions.registry import SessionRegistry
from risk.database import StoreFault, StoreOverloaded
from risk.values import Strict

log = structlog.get_logger("revocation")

MAX_TEXT = 512


class Revocation(Strict, frozen=True, kw_only=True):
    """What an operator asks for.

    `id` of a user is the subject, the e-mail address, or `issuer|subject`; of a device our own id, its name, or one of
    its identifiers; of a session its id. `reason` is for the audit log.
    """

    kind: Literal["user", "device", "session"]
    id: str
    reason: str


class Revoked(msgspec.Struct, frozen=True, kw_only=True):
    """What was revoked. `is_stored` false: over everywhere, but the store has to be told again (it will be)."""

    sessions: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    cut: int = 0
    seconds: float = 0.0
    is_enforced: bool = True
    is_stored: bool = True
    fault: str = ""


class Revoker:
    """Ends sessions on an operator's word."""

    def __init__(
        self,
        sessions: SessionRegistry,
        postures: PostureSource,
        changed: Callable[[tuple[str, ...], str], Awaitable[Enforcement]],
        *,
        sessions_on: Callable[[str], frozenset[str]],
    ) -> None:
        self._sessions = sessions
        self._postures = postures
        self._changed = changed
        self._sessions_on = sessions_on

    async def revoke(self, wanted: Revocation, by: str) -> Revoked:
        """End what is named and return what that was; `by` is who asked, for the audit log."""
        found = self.found(wanted)
        if not found:
            log.warning(
                "revocation-found-nothing", kind=wanted.kind, id=wanted.id, reason=wanted.reason, by=by
            )
            return Revoked()
        result = await self._end(found)
        log.warning(
            "revoked",
            kind=wanted.kind,
            id=wanted.id,
            reason=wanted.reason,
            by=by,
            **msgspec.structs.asdict(result),
        )
        return result

    async def _end(self, found: tuple[Session, ...]) -> Revoked:
        result = Revoked(
            sessions=tuple(session.id for session in found),
            subjects=tuple(sorted({session.user.subject for session in found})),
        )
        try:
            await self._sessions.end_all(found)
        except (StoreFault, StoreOverloaded) as error:
            result = msgspec.structs.replace(result, is_stored=False, fault=str(error))
        try:
            report = await self._changed(tuple(session_key(each) for each in result.sessions), "revoked")
        except NotEnforced as error:
            return msgspec.structs.replace(result, is_enforced=False, fault=str(error))
        return msgspec.structs.replace(result, cut=report.cut, seconds=report.seconds)

    def found(self, wanted: Revocation) -> tuple[Session, ...]:
        """Return the live sessions that are named."""
        match wanted.kind:
            case "session":
                return tuple(session for session in self._sessions if session.id == wanted.id)
            case "user":
                return tuple(session for session in self._sessions if _is_user(session, wanted.id))
            case "device":
                return tuple(self._on_device(wanted.id))

    def _on_device(self, text: str) -> Iterable[Session]:
        lately = self._sessions_on(text)
        wanted = text.casefold()
        for session in self._sessions:
            identifiers = tuple(claimed.identifier for claimed in session.devices)
            if session.id in lately or any(each.value.casefold() == wanted for each in identifiers):
                yield session
                continue
            device_id = self._postures.resolve(identifiers) if identifiers else None
            if device_id is None:
                continue
            posture = self._postures.posture(device_id)
            names = {device_id.casefold()}
            if posture is not None:
                names |= {posture.name.casefold(), *(each.value.casefold() for each in posture.identifiers)}
            if wanted in names:
                yield session


def _is_user(session: Session, text: str) -> bool:
    user = session.user
    is_email = bool(user.email) and user.email.casefold() == text.casefold()
    return is_email or text in (user.subject, f"{user.issuer}|{user.subject}")
