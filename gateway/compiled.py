"""Finds the compiled data path, where there is one that belongs to exactly these sources.

`scripts/compile.py` turns the modules of `MODULES` into extension modules in a folder of their own, with the digest of
the sources that they were made from. At import they stand in for those; when one byte of a source is another,
none of them is used. So nobody ever runs stale code, and without a compiler everything runs as it is written.

`POSTUREGATE_COMPILED` names another folder, or is `0` for none. Source of the protocol: PEP 451.
"""

import hashlib
import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULES = (
    "compliance.conditions.clients",
    "compliance.conditions.methods",
    "compliance.conditions.networks",
    "compliance.conditions.paths",
    "compliance.paths",
    "compliance.residual",
    "gateway.decision.routing",
    "gateway.feed.worker_side",
    "gateway.proxy.answer",
    "gateway.proxy.balance",
    "gateway.proxy.downstream",
    "gateway.proxy.exchange",
    "gateway.proxy.links",
    "gateway.proxy.pool",
    "gateway.proxy.tunnel",
    "gateway.proxy.upstream",
    "gateway.wire.backward",
    "gateway.wire.body",
    "gateway.wire.client_kind",
    "gateway.wire.cookies",
    "gateway.wire.fields",
    "gateway.wire.forward",
    "gateway.wire.forwarded",
    "gateway.wire.headers",
    "gateway.wire.host",
    "gateway.wire.reader",
    "gateway.wire.request",
    "gateway.wire.response",
    "gateway.wire.target",
    "gateway.wire.websocket",
    "gateway.worker",
    "plugins.bounds",
    "plugins.mapped",
    "plugins.payload",
    "risk.bloom",
    "risk.devices",
    "risk.folding",
    "risk.staging",
    "risk.lanes",
    "risk.recent",
    "risk.rows",
    "risk.snapshot",
)
"""What is compiled: the path of a request. None of them may define a `msgspec.Struct`: its metaclass would be lost."""

ROOT = Path(__file__).resolve().parent.parent
VARIABLE = "POSTUREGATE_COMPILED"
DIGEST_FILE = "sources.sha256"
_SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]
_GROUP = "__mypyc"


def source_of(module: str) -> Path:
    """Return the file that a module is written in."""
    return ROOT / Path(*module.split(".")).with_suffix(".py")


def digest() -> str:
    """Return the digest of the sources and of the interpreter that compiled code is good for. Raises `OSError`."""
    found = hashlib.sha256(f"{sys.implementation.cache_tag} {_SUFFIX}\n".encode())
    for module in MODULES:
        content = source_of(module).read_bytes()
        found.update(f"{module} {len(content)}\n".encode())
        found.update(content)
    return found.hexdigest()


def folder() -> Path | None:
    """Return where compiled modules would be, None when they are not wanted."""
    named = os.environ.get(VARIABLE, "")
    if named == "0":
        return None
    return Path(named) if named else ROOT / ".make" / "compiled"


def install() -> bool:
    """Have compiled modules found from now on, if there are any for these sources; return whether that is so."""
    where = folder()
    if where is None:
        return False
    try:
        is_ours = (where / DIGEST_FILE).read_text() == digest()
    except OSError:
        return False
    if is_ours:
        sys.meta_path.insert(0, _Finder(where))
    return is_ours


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules of `MODULES`, and the library that they share, in one folder."""

    def __init__(self, where: Path) -> None:
        self._where = where

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002 - the protocol's
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """Return where a module of ours is, None for every other."""
        if fullname not in MODULES and not fullname.endswith(_GROUP):
            return None
        file = self._where / (fullname.replace(".", os.sep) + _SUFFIX)
        return spec_from_file_location(fullname, file) if file.exists() else None
