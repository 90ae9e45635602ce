"""Logs as JSON lines, or for people on a terminal. Secrets are removed by a processor, not by habit."""

import asyncio
import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

REDACTED_FIELDS = frozenset(
    {"authorization", "cookie", "set-cookie", "code", "state", "id_token", "access_token", "refresh_token",
     "client_secret", "secret", "token", "query"},
)  # fmt: skip

FLUSH_S = 0.1
MAX_LINES = 256
"""How long, and how many, lines of an event that is logged often wait for each other."""

log = structlog.get_logger()


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field that could carry a secret."""
    for name in event:
        if name.lower() in REDACTED_FIELDS:
            event[name] = "[redacted]"
    return event


def configure_logs(*, level: str = "info", as_json: bool | None = None) -> None:
    """Set up logging once per process: JSON lines unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
    EventLines.is_direct = as_json and level.lower() in {"debug", "info"}
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        redact,
    ]
    if as_json:
        processors += [structlog.processors.format_exc_info, _render_json]
    else:
        processors += [structlog.dev.ConsoleRenderer(colors=True)]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")


def _render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


class EventLines:
    """Lines of one event that is logged very often, as the logger would write them, several in one go.

    A line may wait for `FLUSH_S`; `flush` writes what waits. None of the fields may be a secret: nothing is removed.
    """

    is_direct = False
    """Whether lines are JSON and wanted; else every one goes to the logger."""

    def __init__(self, event: str) -> None:
        self._event = event
        self._waiting: list[bytes] = []

    def info(self, fields: Mapping[str, Any]) -> None:
        """Log an event. Called on the event loop."""
        if not self.is_direct:
            log.info(self._event, **fields)
            return
        at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        self._waiting.append(
            msgspec.json.encode({**fields, "event": self._event, "level": "info", "timestamp": at})
        )
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._waiting) >= MAX_LINES:
            self.flush()

    def flush(self) -> None:
        """Write every line that waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            print(b"\n".join(waiting).decode(), file=sys.stderr, flush=True)  # noqa: T201 - as the logger does
