"""What a target is told of a task, signed as Standard Webhooks 1.0 asks. Pure.

Source: Standard Webhooks 1.0, "Webhook metadata" and "Symmetric".
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from gateway.config.remediation import TaskTarget
from gateway.remediation.task_store import Letter
from gateway.remediation.tasks import Happened, SecurityTask, at_least
from risk.values import Secret

SECRET_PREFIX = "whsec_"  # noqa: S105 - the published prefix of such secrets
WAITS_S = (5.0, 30.0, 120.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 21600.0)
"""How long after each failed attempt the next one comes; the last one repeats."""

MAX_ASKED_S = 3600.0
"""Longest wait that a target's `Retry-After` brings about."""


def letters(
    happened: Happened, targets: Iterable[TaskTarget], *, now: datetime, new_ids: Iterable[str]
) -> list[Letter]:
    """Return one letter for each target that wants to know of this change."""
    ids = iter(new_ids)
    task, event = happened.task, happened.event
    wanting = [
        target
        for target in targets
        if (not target.events or event.value in target.events) and at_least(task.severity, target.severity)
    ]
    if not wanting:
        return []
    body = body_of(happened, now)
    return [
        Letter(id=next(ids), target=target.name, task_id=task.id, event=event.value, body=body, made_at=now)
        for target in wanting
    ]


def body_of(happened: Happened, now: datetime) -> bytes:
    """Return the payload: `type`, `timestamp`, and the whole task as `data`."""
    return msgspec.json.encode(
        {
            "type": f"task.{happened.event.value}",
            "timestamp": now,
            "data": task_data(happened.task),
        }
    )


def task_data(task: SecurityTask) -> dict[str, object]:
    """Return a task as targets and the API tell it: every field there is, none left out."""
    return {name: getattr(task, name) for name in task.__struct_fields__ if name != "is_overdue_told"}


def signed_headers(letter: Letter, secrets: Sequence[Secret], now: datetime) -> dict[str, str]:
    """Return the headers of one attempt: a signature by each secret, for a receiver that rotates."""
    at = str(int(now.timestamp()))
    message = b".".join((letter.id.encode(), at.encode(), letter.body))
    marks = [
        base64.b64encode(hmac.new(_key(secret), message, hashlib.sha256).digest()).decode()
        for secret in secrets
    ]
    return {
        "webhook-id": letter.id,
        "webhook-timestamp": at,
        "webhook-signature": " ".join(f"v1,{mark}" for mark in marks),
        "content-type": "application/json",
    }


def _key(secret: Secret) -> bytes:
    return base64.b64decode(secret.reveal().removeprefix(SECRET_PREFIX))


def wait_after(attempts: int, asked_s: float | None, spread: float) -> timedelta:
    """Return how long to wait after the failed attempt number `attempts` (from 1).

    `asked_s` is what the target asked for, None if nothing; `spread` from 0 to 1 keeps targets from being met by all
    letters at once.
    """
    wait_s = WAITS_S[min(attempts, len(WAITS_S)) - 1]
    if asked_s is not None:
        wait_s = max(wait_s, min(asked_s, MAX_ASKED_S))
    return timedelta(seconds=wait_s * (0.9 + 0.2 * spread))
