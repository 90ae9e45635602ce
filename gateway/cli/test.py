"""`posturegate test`: run the tests that stand in a configuration, and tell which policies they exercise."""

import argparse
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gateway.cli import EXIT_FAILED, EXIT_INVALID, EXIT_OK, add_config_argument

if TYPE_CHECKING:
    from compliance.policy_tests import Coverage
    from gateway.config.load import LoadedConfig
    from gateway.decision.policy_tests import TestRun


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `test`."""
    parser.add_argument("file", nargs="?", metavar="FILE", help="configuration file, in place of --config")
    parser.add_argument(
        "-v", "--verbose", action="store_true", help="also what every policy made of each test"
    )
    parser.add_argument("--run", metavar="RE", help="only tests whose name contains this regular expression")
    parser.add_argument(
        "--coverage", action="store_true", help="which policies decided or matched in some test"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    add_config_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the tests. Returns 0 when all pass, 1 when one fails or there is none, 2 for a bad configuration."""
    from gateway.cli.proving import load_unproven, wrong_pattern  # noqa: PLC0415 - lazy: `--help` must not pay for it
    from gateway.decision.policy_tests import covered, run_tests  # noqa: PLC0415
    from gateway.hub.runtime import make_runtime  # noqa: PLC0415

    loaded = load_unproven(arguments.file or arguments.config)
    if loaded is None or wrong_pattern(arguments.run):
        return EXIT_INVALID
    wanted = re.compile(arguments.run or "")
    chosen = [(at, test) for at, test in enumerate(loaded.config.tests) if wanted.search(test.name)]
    meaning = make_runtime(loaded.config, loaded.revision)
    runs = run_tests(meaning, [test for _, test in chosen])
    places = [loaded.origins.get(f"tests[{at}].name", str(loaded.path)) for at, _ in chosen]
    told = covered(meaning, runs)
    if arguments.json:
        print(_json(loaded, runs, places, told))
    else:
        print("\n".join(_lines(runs, places, is_verbose=arguments.verbose)))
        if arguments.coverage:
            print("\n".join(_coverage_lines(loaded, told)))
    return EXIT_OK if runs and all(each.is_passed for each in runs) else EXIT_FAILED


def _lines(runs: Sequence["TestRun"], places: Sequence[str], *, is_verbose: bool) -> Iterator[str]:
    for each, place in zip(runs, places, strict=True):
        if each.is_passed and not is_verbose:
            continue
        yield f"{'ok    ' if each.is_passed else 'FAILED'}  {place}  {each.test.name}"
        yield from (f"        {fault}" for fault in each.faults)
        if each.came is not None and (is_verbose or each.faults):
            yield from _trace(each)
    failed = sum(not each.is_passed for each in runs)
    if not runs:
        yield "there is no such test"
    else:
        yield f"{len(runs)} tests, {failed} failed" if failed else f"{len(runs)} tests passed"


def _trace(run: "TestRun") -> Iterator[str]:
    from gateway.decision.explain import trace_lines  # noqa: PLC0415 - lazy: `--help` must not pay for it

    assert run.came is not None  # noqa: S101 - the caller looked
    came = run.came
    device = f"compliance {came.context.compliance.state}, risk {came.context.risk.level}"
    yield f"        came       {came.decision.outcome} on a device with {device}"
    yield from (f"      {line}" for line in trace_lines(came.traces, came.decision.policy))


def _coverage_lines(loaded: "LoadedConfig", told: "Coverage") -> Iterator[str]:
    yield ""
    yield f"coverage: {len(told.decided)} of {told.policies} access policies decided a test"
    for title, names in (
        ("matched, decided nothing", told.undecided),
        ("never matched", told.unmatched),
        ("matched in every test: no test shows where it ends", told.never_missed),
    ):
        for name in names:
            yield f"  {_place_of(loaded, name)}  {name}: {title}"


def _place_of(loaded: "LoadedConfig", policy: str) -> str:
    names = [each.name for each in loaded.config.access.policies]
    return loaded.origins.get(f"access.policies[{names.index(policy)}].name", str(loaded.path))


def _json(loaded: "LoadedConfig", runs: Sequence["TestRun"], places: Sequence[str], told: "Coverage") -> str:
    import msgspec  # noqa: PLC0415 - lazy: `--help` must not pay for it

    result = {
        "revision": loaded.revision,
        "passed": sum(each.is_passed for each in runs),
        "failed": sum(not each.is_passed for each in runs),
        "tests": [
            {
                "name": each.test.name,
                "place": place,
                "passed": each.is_passed,
                "faults": each.faults,
                "decision": each.came.decision if each.came else None,
            }
            for each, place in zip(runs, places, strict=True)
        ],
        "coverage": told,
    }
    return msgspec.json.format(msgspec.json.encode(result)).decode()
