"""`posturegate serve`: the supervisor, or with `workers: 0` the hub itself."""

import argparse
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

if TYPE_CHECKING:
    from gateway.supervisor import Household


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `serve`."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it. Returns 2 when the configuration is invalid."""
    from gateway.memory import collect_nothing_yet, leave_out_what_stays  # noqa: PLC0415 - lazy: `--help` must not pay

    collect_nothing_yet()
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP,))  # until there is a handler
    household = _checked_aside(arguments.config)
    if isinstance(household, int):
        return household
    from gateway.listeners import ListenFault  # noqa: PLC0415
    from gateway.supervisor import supervise  # noqa: PLC0415

    try:
        if household.workers == 0:
            from gateway.hub_process import serve_hub  # noqa: PLC0415

            return serve_hub(arguments.config)
        leave_out_what_stays()
        return supervise(arguments.config, household)
    except ListenFault as fault:
        print(fault, file=sys.stderr)
        return EXIT_FAILED


def _checked_aside(config: str) -> "Household | int":
    """Return what the supervisor has to know of a configuration, or the exit code after its faults were printed.

    A child finds out: what checking takes would be half of the memory of the supervisor, for as long as that lives.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(_check(config, writing))
    os.close(writing)
    import msgspec  # noqa: PLC0415 - meanwhile

    from gateway.supervisor import Household  # noqa: PLC0415

    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code:
        return code if code > 0 else EXIT_FAILED
    return msgspec.json.decode(told, type=Household)


def _check(config: str, writing: int) -> int:
    """Check the configuration and write what the supervisor has to know; return the exit code."""
    try:
        import msgspec  # noqa: PLC0415

        from gateway.cli.check import load_or_print  # noqa: PLC0415
        from gateway.supervisor import Household, worker_count  # noqa: PLC0415

        loaded = load_or_print(config)
        if loaded is None:
            return EXIT_INVALID
        server = loaded.config.server
        household = Household(worker_count(server.workers), server.listen, server.run_dir, server.drain)
        os.write(writing, msgspec.json.encode(household))
    except Exception:  # noqa: BLE001 - this process ends here, whatever it is
        traceback.print_exc()
        return EXIT_FAILED
    else:
        return EXIT_OK
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
