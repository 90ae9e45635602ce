"""`python -m tests.faults --seed N --seconds S`."""

import argparse
import asyncio
import random
import sys
import tempfile
from functools import partial
from pathlib import Path

from tests.faults.history import summary
from tests.faults.run import run


def main() -> int:
    """Run the checker once; return 1 when the gateway broke a rule."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults")
    say = partial(print, flush=True)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--devices", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--calm", action="store_true", help="inject no faults")
    parser.add_argument(
        "--broken", action="store_true", help="test the checker: acknowledge before enforcing"
    )
    parser.add_argument("--keep-log", metavar="FILE", help="write the gateway's log here")
    arguments = parser.parse_args()
    say(f"seed {arguments.seed}")
    broken = {"POSTUREGATE_TESTING": "1", "POSTUREGATE_TEST_ACK_EARLY": "1"} if arguments.broken else {}
    with tempfile.TemporaryDirectory(prefix="gate-faults-") as folder:
        report = asyncio.run(
            run(
                Path(folder),
                seed=arguments.seed,
                seconds=arguments.seconds,
                devices=arguments.devices,
                workers=arguments.workers,
                with_faults=not arguments.calm,
                environment=broken,
                say=say,
            )
        )
    if arguments.keep_log:
        Path(arguments.keep_log).write_text(report.log)
    say(summary(report.history))
    for violation in report.violations[:20]:
        say(f"VIOLATED {violation.rule}: {violation.text}")
    say(f"{len(report.violations)} violations, seed {arguments.seed}")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
