"""Runs the tests that stand in a configuration against its policies. Pure."""

from collections.abc import Iterable

import msgspec

from compliance.model import Outcome
from compliance.policy_tests import Coverage, PolicyTest, coverage, differences, expectation
from gateway.decision.hypothetical import Meaning, Supposed, suppose

MAX_TESTS = 2000
"""Most tests of one configuration: they are run on every load."""


class TestRun(msgspec.Struct, frozen=True, kw_only=True):
    """One test that was run. `faults` says what came out otherwise; `came` is None when it could not be run."""

    __test__ = False

    test: PolicyTest
    came: Supposed | None
    faults: tuple[str, ...]

    @property
    def is_passed(self) -> bool:
        """Whether everything came out as expected."""
        return not self.faults

    @property
    def wanted(self) -> Outcome | None:
        """The decision that was expected."""
        return expectation(self.test).decision


def run_tests(meaning: Meaning, tests: Iterable[PolicyTest]) -> tuple[TestRun, ...]:
    """Return what came of each test. Never raises: a test that cannot be run fails."""
    return tuple(_run(meaning, test) for test in tests)


def covered(meaning: Meaning, runs: Iterable[TestRun]) -> Coverage:
    """Return which access policies the tests exercised."""
    done = [run.came for run in runs if run.came is not None]
    return coverage(meaning.config.access.policies, [(each.decision, each.traces) for each in done])


def _run(meaning: Meaning, test: PolicyTest) -> TestRun:
    try:
        came = suppose(test.given, meaning)
    except ValueError as error:
        return TestRun(test=test, came=None, faults=(str(error),))
    faults = differences(expectation(test), came.context, came.decision, came.traces)
    return TestRun(test=test, came=came, faults=faults)
