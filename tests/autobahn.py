"""The Autobahn WebSocket test suite, run against a server directly and through the proxy; the two must not differ.

`python -m tests.autobahn --python PYTHON2.7 --suite FOLDER`; `make autobahn` puts the suite there. It is of Python 2.7
and nothing else, which is why it is no test of pytest; `tests/wire/test_websockets.py` has its cases.
"""

import argparse
import asyncio
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.wire.harness import running_gate

CASES = (
    "1.* 2.* 3.* 4.* 5.* 6.* 7.* 10.* "
    "9.1.1 9.2.1 9.3.1 9.5.1 9.7.1 12.1.1 12.2.1 12.3.1 12.4.1 12.5.1 13.1.1 13.7.1"
)
"""All but most of the long rows (sections 9, 12 and 13: the same with other sizes), which take an hour."""

DIRECT, THROUGH = "direct", "through the proxy"
COMPARED = ("behavior", "behaviorClose", "remoteCloseCode")
ALIKE = {"NON-STRICT": "OK"}
"""Whether a server answers what came before a broken frame depends on how the frames fell into its reads."""

RUN = "from autobahntestsuite.wstest import run; run()"

Results = dict[str, dict[str, dict[str, Any]]]


async def echo(connection: ServerConnection) -> None:
    """Send every message back."""
    try:
        async for message in connection:
            await connection.send(message)
    except ConnectionClosed:
        return  # Most cases break the protocol on purpose.


async def results(python: str, suite: Path, cases: list[str], folder: Path) -> Results:
    """Return what the suite says of each case, by agent and case."""
    spec, report = folder / "spec.json", folder / "report"
    async with (
        running_gate() as gate,
        serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None) as server,
    ):
        port = server.sockets[0].getsockname()[1]
        gate.route = gate.route_to(f"http://127.0.0.1:{port}")
        agents = {DIRECT: port, THROUGH: gate.port}
        spec.write_text(
            json.dumps(
                {
                    "outdir": str(report),
                    "servers": [
                        {"agent": agent, "url": f"ws://127.0.0.1:{at}"} for agent, at in agents.items()
                    ],
                    "cases": cases,
                    "exclude-cases": [],
                    "exclude-agent-cases": {},
                },
            ),
        )
        process = await asyncio.create_subprocess_exec(
            python,
            "-c",
            RUN,
            "-m",
            "fuzzingclient",
            "-s",
            str(spec),
            env={**os.environ, "PYTHONPATH": str(suite)},
            stdout=asyncio.subprocess.DEVNULL,
        )
        if await process.wait() != 0:
            raise SystemExit("the suite did not run")
    found: Results = json.loads((report / "index.json").read_text())
    return found


def differences(found: Results) -> list[str]:
    """Return a line for each case that does not go through the proxy as it goes directly."""
    return [
        f"{case}: {direct} directly, {through} through the proxy"
        for case, each in sorted(found[DIRECT].items())
        if (direct := outcome(each)) != (through := outcome(found[THROUGH].get(case, {})))
    ]


def outcome(case: dict[str, Any]) -> list[Any]:
    """Return what is compared of a case."""
    values = [case.get(key) for key in COMPARED]
    return [ALIKE.get(value, value) if isinstance(value, str) else value for value in values]


def main() -> int:
    """Run the suite; return 1 when the proxy made a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn")
    parser.add_argument("--python", required=True, help="a Python 2.7")
    parser.add_argument("--suite", required=True, type=Path, help="where the suite is installed")
    parser.add_argument("--cases", default=CASES)
    arguments = parser.parse_args()
    say = partial(print, flush=True)
    logging.disable()
    with tempfile.TemporaryDirectory(prefix="gate-autobahn-") as folder:
        found = asyncio.run(results(arguments.python, arguments.suite, arguments.cases.split(), Path(folder)))
    for agent, cases in found.items():
        counted = Counter(each["behavior"].lower() for each in cases.values())
        say(f"{agent}: {len(cases)} cases,", ", ".join(f"{count} {name}" for name, count in counted.items()))
    differing = differences(found)
    say("\n".join(differing) or "the proxy makes no difference")
    return 1 if differing or not found.get(DIRECT) else 0


if __name__ == "__main__":
    sys.exit(main())
