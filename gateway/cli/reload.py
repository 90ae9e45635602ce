"""`posturegate reload`: apply the changed configuration of a running gateway."""

import argparse

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, EXIT_PARTIAL, add_config_argument
from gateway.cli.proving import admin_socket


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `reload`."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the running gateway to reload. Returns 0 applied, 2 invalid (the old one stays), 3 partly applied."""
    import asyncio  # noqa: PLC0415 - lazy: `--help` must not pay for it

    from gateway.cli.check import load_or_print  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        print("the running configuration stays in force")
        return EXIT_INVALID
    return asyncio.run(_reload(admin_socket(loaded)))


async def _reload(socket: "object") -> int:
    import aiohttp  # noqa: PLC0415
    import msgspec  # noqa: PLC0415

    from gateway.hub.admin import ReloadReport  # noqa: PLC0415

    timeout = aiohttp.ClientTimeout(total=30)
    try:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket)), timeout=timeout) as session,
            session.post("http://gateway/reload") as response,
        ):
            report = msgspec.json.decode(await response.read(), type=ReloadReport)
    except (aiohttp.ClientError, TimeoutError, OSError, msgspec.MsgspecError) as error:
        print(f"no running gateway answers at {socket}: {error}")
        return EXIT_FAILED
    for fault in report.faults:
        print(fault)
    if not report.applied:
        print(f"not applied: the running configuration {report.revision} stays in force")
        return EXIT_INVALID
    print(f"applied: configuration {report.revision}")
    if report.needs_restart:
        print("needs a restart: " + ", ".join(report.needs_restart))
        return EXIT_PARTIAL
    return EXIT_OK
