"""Logs as JSON lines, or for people on a terminal. Secrets are removed by a processor, not by habit."""

import asyncio
import logging
import sys
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any, Literal

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
_LINES = msgspec.json.Encoder(enc_hook=repr)


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
        # Several processes write to one file: a line and its end leave together even where nothing is buffered.
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")


def _render_json(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


class EventLines:
    """Lines of one event that is logged very often, as the logger would write them, several in one go.

    A line may wait for `FLUSH_S`; `flush` writes what waits. No field may be a secret: nothing is removed. `fields` are
    for `log`: the names of the fields, at least two, with the attributes that they are read from (`task.id`).
    """

    is_direct = False
    """Whether lines are JSON and wanted; else every one goes to the logger."""

    def __init__(
        self,
        event: str,
        fields: Mapping[str, str] | None = None,
        *,
        level: Literal["info", "warning"] = "info",
    ) -> None:
        self._event = event
        self._level = level
        self._fields = tuple(fields or ())
        self._values = attrgetter(*fields.values()) if fields else None
        self._line = msgspec.defstruct("Line", [*self._fields, "event", "level", "timestamp"], gc=False)
        self._waiting: list[object] = []

    def info(self, fields: Mapping[str, Any]) -> None:
        """Log an event with these fields. Called on the event loop."""
        if not self.is_direct:
            self._pass_on(fields)
            return
        at = datetime.now(UTC)
        self._add({**fields, "event": self._event, "level": self._level, "timestamp": at})

    def log(self, told: object) -> None:
        """Log what happened, whose attributes are the fields: costs half of `info`. Called on the event loop."""
        values = () if self._values is None else self._values(told)
        if not self.is_direct:
            self._pass_on(dict(zip(self._fields, values, strict=True)))
            return
        self._add(self._line(*values, self._event, self._level, datetime.now(UTC)))

    def _pass_on(self, fields: Mapping[str, Any]) -> None:
        write = log.info if self._level == "info" else log.warning
        write(self._event, **fields)

    def _add(self, line: object) -> None:
        self._waiting.append(line)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(FLUSH_S, self.flush)
        elif len(self._waiting) >= MAX_LINES:
            self.flush()

    def flush(self) -> None:
        """Write every line that waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            lines = _LINES.encode_lines(waiting).decode()
            sys.stderr.write(lines)
            sys.stderr.flush()
