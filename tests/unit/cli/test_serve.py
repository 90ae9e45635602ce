"""What the supervisor knows of a configuration, found out by somebody else."""

import subprocess
import sys
import textwrap
from pathlib import Path

GOOD = """\
version: 1
public_url: http://login.localhost:18000
server: {listen: "127.0.0.1:18000", run_dir: /run/somewhere, workers: 3, drain: 7s}
store: {url: 'sqlite:state.db'}
providers: [{name: corp, issuer: "http://127.0.0.1:1", client_id: gate}]
apps: [{name: wiki, host: wiki.localhost, upstream: "http://127.0.0.1:1"}]
access: {policies: [{name: all, decision: allow}]}
"""

ASKS = """
    import sys
    from gateway.cli.serve import _checked_aside

    print(_checked_aside(sys.argv[1]))
    print("gateway.config.load" in sys.modules, "plugins.catalog" in sys.modules)
"""


def asked(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Return what a process printed that asked for the household of a configuration."""
    path = folder / "gate.yaml"
    path.write_text(text)
    command = [sys.executable, "-c", textwrap.dedent(ASKS), str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code


def test_the_supervisor_is_told_and_loads_nothing_that_only_checking_needs(tmp_path: Path) -> None:
    said = asked(tmp_path, GOOD)
    household, loaded = said.stdout.splitlines()
    assert household == "Household(workers=3, listen='127.0.0.1:18000', run_dir='/run/somewhere', drain=7.0)"
    assert loaded == "False False"
    assert said.stderr == ""


def test_faults_are_printed_once_and_become_the_exit_code(tmp_path: Path) -> None:
    said = asked(tmp_path, GOOD.replace("drain: 7s", "drian: 7s"))
    assert said.stdout.splitlines() == ["2", "False False"]
    assert said.stderr.count("1 error: not loadable") == 1


def test_a_fault_of_the_check_itself_ends_the_start(tmp_path: Path) -> None:
    code = ASKS.replace(
        "print(_checked_aside", "import gateway.cli.check as c; c.load_or_print = None\nprint(_checked_aside"
    )
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", textwrap.dedent(code.replace("    ", "")), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[0] == "1"
    assert "TypeError" in done.stderr
