"""Logs as JSON lines, or for people on a terminal. Secrets are removed by a processor, not by habit."""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import msgspec
import structlog

REDACTED_FIELDS = frozenset(
    {"authorization", "cookie", "set-cookie", "code", "state", "id_token", "access_token", "refresh_token",
     "client_secret", "secret", "token", "query"},
)  # fmt: skip


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace the value of every field that could carry a secret."""
    for name in event:
        if name.lower() in REDACTED_FIELDS:
            event[name] = "[redacted]"
    return event


def configure_logs(*, level: str = "info", as_json: bool | None = None) -> None:
    """Set up logging once per process: JSON lines unless standard error is a terminal."""
    as_json = not sys.stderr.isatty() if as_json is None else as_json
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
