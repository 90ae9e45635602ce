"""`posturegate worker`: started by the supervisor, not by people."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `worker`."""
    parser.add_argument("--name", required=True)
    parser.add_argument("--run-dir", required=True)
    parser.add_argument("--listen-fd", type=int, default=None)


def run(arguments: argparse.Namespace) -> int:
    """Run one proxy worker until it is drained."""
    from gateway.memory import collect_nothing_yet  # noqa: PLC0415 - lazy: `--help` must not pay for it

    collect_nothing_yet()
    from pathlib import Path  # noqa: PLC0415

    from gateway.worker import serve_worker  # noqa: PLC0415

    return serve_worker(arguments.name, Path(arguments.run_dir), arguments.listen_fd)
