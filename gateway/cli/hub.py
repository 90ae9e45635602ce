"""`posturegate hub`: started by the supervisor, not by people."""

import argparse

from gateway.cli import add_config_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `hub`."""
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the hub until a signal ends it."""
    from gateway.memory import collect_nothing_yet  # noqa: PLC0415 - lazy: `--help` must not pay for it

    collect_nothing_yet()
    from gateway.hub_process import serve_hub  # noqa: PLC0415
    from gateway.supervisor import die_with_parent  # noqa: PLC0415

    die_with_parent()
    return serve_hub(arguments.config)
