"""What the commands share that show what policies do before they do it: loading, and asking a running gateway."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.config.load import LoadedConfig

TIMEOUT_S = 60.0


class NoAnswer(Exception):
    """No running gateway answers, or it refuses; the text is for the operator."""


def load_unproven(path: str) -> "LoadedConfig | None":
    """Return the configuration without having run its tests and assertions, None after printing its faults."""
    from gateway.cli.check import report  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.config.load import ConfigInvalid  # noqa: PLC0415
    from gateway.config.sensors import load_config  # noqa: PLC0415

    try:
        return load_config(path, is_proving=False)
    except ConfigInvalid as invalid:
        print(report((*invalid.faults, *invalid.warnings), is_valid=False, name=path), file=sys.stderr)
        return None


def wrong_pattern(text: str | None) -> bool:
    """Return whether a text is no regular expression, after saying so."""
    try:
        re.compile(text or "")
    except re.error as error:
        print(f"`{text}` is no regular expression: {error}", file=sys.stderr)
        return True
    return False


def admin_socket(loaded: "LoadedConfig") -> Path:
    """Return where the gateway of a configuration answers its operator."""
    return Path(loaded.config.server.run_dir) / "admin.sock"


def ask(socket: Path, path: str, body: Any = None) -> Mapping[str, Any]:
    """Return what the running gateway answers to a POST of JSON. Raises `NoAnswer`."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    return asyncio.run(_ask(socket, path, body))


async def _ask(socket: Path, path: str, body: Any) -> Mapping[str, Any]:
    import aiohttp  # noqa: PLC0415 - lazy: `--help` must not pay for it
    import msgspec  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.post(f"http://gateway{path}", data=msgspec.json.encode(body)) as response,
        ):
            answer: Any = msgspec.json.decode(await response.read())
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        raise NoAnswer(f"no running gateway answers at {socket}: {error}") from error
    if not isinstance(answer, dict):
        raise NoAnswer(f"the gateway at {socket} answered something else than an object")
    if not response.ok:
        raise NoAnswer(str(answer.get("detail") or answer.get("fault") or f"refused with {response.status}"))
    return answer
