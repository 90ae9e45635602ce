"""What holds for every run of the tests."""

import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

import gateway
from tests import evidence

# What a property is worth does not hang on how fast the machine is: no deadline, and no fault for slow examples.
# A change is judged by the same examples each time; who develops gets new ones with every run.
settings.register_profile(
    "gate",
    deadline=None,
    derandomize="CI" in os.environ,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("gate")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--compiled` runs over the compiled data path, and fails where there is none."""
    parser.addoption("--compiled", action="store_true", help="fail unless the data path is compiled")


# A counterexample is of use when it is small: hypothesis takes up to five minutes to make it so.
SHRINKING_S = 420

# With `--dist loadfile` no file is shared: those that take long begin first, so that none is left for the end.
LONGEST_FIRST = (
    "tests/system/test_pages_",
    "tests/system/",
    "tests/faults/",
    "tests/property/",
    "tests/wire/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, and nothing within them; give properties the time to shrink what they find."""
    for item in items:
        if hasattr(getattr(item, "obj", None), "hypothesis"):
            item.add_marker(pytest.mark.timeout(SHRINKING_S))
    items.sort(key=lambda item: [not item.nodeid.startswith(start) for start in LONGEST_FIRST])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    call: pytest.CallInfo[None],
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failure what the programs that were run for the test had to say."""
    report = yield
    if report.failed:
        report.sections += evidence.sections()
    if call.when == "teardown":
        evidence.forget_ended()
    return report


def pytest_configure(config: pytest.Config) -> None:
    """Make sure that what is tested is what was asked for."""
    if config.getoption("--compiled") and not gateway.is_compiled:
        raise pytest.UsageError("the data path is not compiled from these sources: `make compiled`")
