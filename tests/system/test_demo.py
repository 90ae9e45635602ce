"""`posturegate demo --check` on a fresh world: the whole loop, from sign-in to sign-out, as one command."""

import re
import subprocess
import sys

import pytest

STEPS = (
    "Nobody is signed in",
    "Ana signs in",
    "Two streams stay open, then Ana's laptop is compromised",
    "Ana reads what to do, the service desk reads why",
    "The laptop is cleaned",
    "Disk encryption goes off and on again",
    "Chloe, a contractor, has limited access",
    "Dana opens the admin area with her security key",
    "The webhook believes nobody without a signature",
    "Ana signs out",
)


@pytest.fixture(scope="module")
def checked() -> subprocess.CompletedProcess[str]:
    """Return the finished command with its output."""
    return subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--check"],
        capture_output=True,
        text=True,
        timeout=270,
        check=False,
    )


def test_every_step_happened(checked: subprocess.CompletedProcess[str]) -> None:
    """It ends with 0, and says so; its output is the message of a failure."""
    assert checked.returncode == 0, f"{checked.stdout}\n{checked.stderr}"
    assert "Every step happened." in checked.stdout
    assert "✗" not in checked.stdout


@pytest.mark.parametrize(("number", "title"), list(enumerate(STEPS, 1)))
def test_step_is_printed_with_its_facts(
    checked: subprocess.CompletedProcess[str], number: int, title: str
) -> None:
    """Each step is named, and at least one measured fact stands below it."""
    found = re.search(rf"^ ?{number}  {re.escape(title)}\n((?:    ✓ .*\n)+)", checked.stdout, re.MULTILINE)
    assert found is not None, checked.stdout
    assert re.search(r"\d+\.\d ms$", found[1], re.MULTILINE)


def test_exposure_window_is_measured(checked: subprocess.CompletedProcess[str]) -> None:
    found = re.search(r"Exposure window: (\d+\.\d) ms", checked.stdout)
    assert found is not None, checked.stdout
    assert 0 < float(found[1]) < 60_000


def test_no_warning_is_printed(checked: subprocess.CompletedProcess[str]) -> None:
    """Nothing is left behind: no unfinished task, no unclosed connection, no traceback."""
    assert checked.stderr == ""
