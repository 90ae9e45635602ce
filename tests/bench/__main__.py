"""`python -m tests.bench [bench …]`: run benches and print what they measured; JSON goes to `bench-results/`."""

import argparse
import asyncio
import importlib
import os
import resource
import signal
import sys
import time
from pathlib import Path

from tests.bench.bench import prepared
from tests.bench.machine import busy_s, cores, description, most_files
from tests.bench.processes import BenchFault
from tests.bench.report import Section, shown, table, write_json

BENCHES = ("proxy", "latency", "transfer", "websockets", "exposure", "intake", "decision", "impact", "scale")
RESULTS = Path("bench-results")


def main() -> int:
    """Run what was asked for. Returns 1 when a bench could not be run, 130 when it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("bench", nargs="*", metavar="bench", help="default: all of them")
    parser.add_argument("--quick", action="store_true", help="about two minutes instead of ten")
    parser.add_argument("--rounds", type=int, help="how often each row of the tables is measured")
    parser.add_argument("--sockets", type=int, default=0, help="how many idle WebSockets (default 2,000)")
    parser.add_argument(
        "--devices", type=int, default=0, help="how many devices at `scale` (default 1,000,000)"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.bench) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}; there are {', '.join(BENCHES)}")
    most_files()
    os.environ.update(
        {
            "BENCH_SOCKETS": str(arguments.sockets or (1000 if arguments.quick else 2000)),
            "BENCH_DEVICES": str(arguments.devices or (100_000 if arguments.quick else 1_000_000)),
        }
    )
    try:
        return asyncio.run(_run(arguments))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.stderr.write("interrupted; everything that was started has been ended\n")
        return 130


async def _run(arguments: argparse.Namespace) -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores().every)
    machine = description()
    _say("\n".join(table(("machine", ""), list(machine.items()))) + "\n")
    sections: list[Section] = []
    failed = 0
    for name in arguments.bench or BENCHES:
        try:
            section = await _one(name, arguments)
        except BenchFault as fault:
            failed = 1
            _say(f"### {name}: not measured\n\n{fault}\n")
            continue
        sections.append(section)
        _say(shown(section))
    path = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    write_json(path, machine, sections)
    _say(f"written to {path}")
    return failed


async def _one(name: str, arguments: argparse.Namespace) -> Section:
    module = importlib.import_module(f"tests.bench.{name}")
    before_s, ours_s, began = busy_s(), _ours_s(), time.monotonic()
    with prepared(is_quick=arguments.quick, rounds=arguments.rounds) as bench:
        section: Section = await module.run(bench)
    took_s = time.monotonic() - began
    others = max(0.0, busy_s() - before_s - (_ours_s() - ours_s)) / took_s
    section.notes.append(f"Took {took_s:.0f} s; other work used {others:.2f} cores of the machine meanwhile.")
    section.figures["others_cores"] = round(others, 3)
    return section


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _ours_s() -> float:
    """Return the CPU seconds of this process and of all that it has started and that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    sys.exit(main())
