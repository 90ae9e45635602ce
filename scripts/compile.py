"""Compile the data path (`gateway.compiled.MODULES`) with mypyc, into a folder that only these very sources use.

The same sources run without it. Needs a C compiler, Python's headers, mypy and setuptools; `make compiled` brings them.
"""

# ruff: noqa: INP001 - a script on its own

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ["POSTUREGATE_COMPILED"] = "0"

from gateway import compiled  # noqa: E402 - found by the line above


def main() -> int:
    """Compile unless it is done already. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=ROOT / ".make" / "compiled", help="folder of the result")
    into: Path = parser.parse_args().into.absolute()
    digest = compiled.digest()
    mark = into / compiled.DIGEST_FILE
    if mark.exists() and mark.read_text() == digest:
        return 0
    with tempfile.TemporaryDirectory(prefix="posturegate-compile-") as work:
        built = Path(work) / "lib"
        os.chdir(ROOT)
        _build(Path(work), built)
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(built, into)
    mark.write_text(digest)
    return 0


def _build(work: Path, built: Path) -> None:
    """Build all modules as one group, so that they call each other directly."""
    from mypyc.build import mypycify  # noqa: PLC0415 - only when there is something to build
    from setuptools import setup  # noqa: PLC0415

    sources = [str(compiled.source_of(module).relative_to(ROOT)) for module in compiled.MODULES]
    extensions = mypycify(sources, opt_level="3", debug_level="0", target_dir=str(work / "c"))
    arguments = ["--quiet", "build_ext", "--build-lib", str(built), "--build-temp", str(work / "temp")]
    setup(name="posturegate-data-path", packages=[], ext_modules=extensions, script_args=arguments)


if __name__ == "__main__":
    sys.exit(main())
