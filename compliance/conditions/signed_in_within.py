"""`auth_within`: the sign-in is younger than this."""

from datetime import datetime, timedelta

from compliance.conditions.kind import Kind
from compliance.model import AccessContext


def _holds(within: float, context: AccessContext) -> bool | None:
    at = context.user.auth_at
    return None if at is None else context.now < at + timedelta(seconds=within)


def _moments(within: float, context: AccessContext) -> list[datetime]:
    at = context.user.auth_at
    return [] if at is None else [at + timedelta(seconds=within)]


def _seen(context: AccessContext) -> str:
    at = context.user.auth_at
    return "time of sign-in not told" if at is None else f"signed in {at.isoformat()}"


KIND = Kind(_holds, _seen, _moments)
