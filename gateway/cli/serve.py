"""`posturegate serve`: the supervisor, or with `workers: 0` the hub itself."""

import argparse
import sys

from gateway.cli import EXIT_FAILED, add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `serve`."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it. Returns 2 when the configuration is invalid."""
    from gateway.memory import collect_nothing_yet, leave_out_what_stays  # noqa: PLC0415 - lazy: `--help` must not pay

    collect_nothing_yet()
    from gateway.cli.check import load_or_print  # noqa: PLC0415

    loaded = load_or_print(arguments.config)
    if loaded is None:
        return 2
    from gateway.listeners import ListenFault  # noqa: PLC0415
    from gateway.supervisor import supervise, worker_count  # noqa: PLC0415

    workers = worker_count(loaded.config.server.workers)
    try:
        if workers == 0:
            from gateway.app import serve_hub  # noqa: PLC0415

            return serve_hub(arguments.config)
        leave_out_what_stays()
        return supervise(arguments.config, workers, loaded.config.server)
    except ListenFault as fault:
        print(fault, file=sys.stderr)
        return EXIT_FAILED
