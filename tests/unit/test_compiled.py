"""The compiled data path stands in for exactly the sources that it was made from."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway import compiled


def test_what_is_compiled_exists_and_defines_no_struct() -> None:
    """The compiler drops the metaclass of a struct, and with it `frozen`."""
    for module in compiled.MODULES:
        tree = ast.parse(compiled.source_of(module).read_text())
        bases = [
            ast.unparse(base)
            for node in ast.walk(tree)
            if isinstance(node, ast.ClassDef)
            for base in node.bases
        ]
        assert not {"msgspec.Struct", "Struct", "Strict"} & set(bases), module


def test_no_compiled_function_catches_several_kinds_of_fault_under_one_name() -> None:
    """The compiler gives a name the type of the first, and then refuses the others at run time."""
    for module in compiled.MODULES:
        for function in ast.walk(ast.parse(compiled.source_of(module).read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                caught: dict[str, set[str]] = {}
                for node in ast.walk(function):
                    if isinstance(node, ast.ExceptHandler) and node.name and node.type is not None:
                        caught.setdefault(node.name, set()).add(ast.unparse(node.type))
                assert all(len(kinds) == 1 for kinds in caught.values()), f"{module}.{function.name}"


def test_what_is_compiled_of_risk_and_plugins_does_not_wait() -> None:
    """A coroutine that is cancelled while it is compiled has been seen to end the process."""
    for module in compiled.MODULES:
        if not module.startswith("gateway."):
            nodes = list(ast.walk(ast.parse(compiled.source_of(module).read_text())))
            assert not any(isinstance(node, ast.AsyncFunctionDef) for node in nodes), module


def folder_of(tmp_path: Path, digest: str) -> Path:
    (tmp_path / compiled.DIGEST_FILE).write_text(digest)
    return tmp_path


@pytest.mark.parametrize(("digest", "is_used"), [("right", True), ("0" * 64, False), (None, False)])
def test_only_code_of_these_very_sources_is_used(tmp_path: Path, digest: str | None, is_used: bool) -> None:
    if digest is not None:
        folder_of(tmp_path, compiled.digest() if digest == "right" else digest)
    environment = os.environ | {compiled.VARIABLE: str(tmp_path)}
    seen = subprocess.run(
        [sys.executable, "-c", "import gateway; print(gateway.is_compiled)"],
        env=environment, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert seen.stdout.strip() == str(is_used)


def test_it_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(compiled.VARIABLE, "0")
    assert compiled.folder() is None
    assert not compiled.install()


def test_a_module_that_is_not_there_is_taken_from_its_source(tmp_path: Path) -> None:
    finder = compiled._Finder(folder_of(tmp_path, compiled.digest()))
    assert finder.find_spec("gateway.worker") is None
    assert finder.find_spec("json") is None
