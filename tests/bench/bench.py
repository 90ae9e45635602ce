"""What every bench is given."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import trustme

from tests.bench.machine import Cores, cores
from tests.bench.processes import Processes


class Bench(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how thoroughly to measure. `pace` scales every duration and repetition: 1.0, or less when in haste."""

    processes: Processes
    folder: Path
    cores: Cores
    cert: Path
    key: Path
    rounds: int
    seconds: float
    is_quick: bool


@contextlib.contextmanager
def prepared(*, is_quick: bool, rounds: int | None = None) -> Iterator[Bench]:
    """Make a folder and a certificate; what is started in it ends when the context is left."""
    with tempfile.TemporaryDirectory(prefix="posturegate-bench-") as name:
        folder = Path(name)
        authority = trustme.CA()
        issued = authority.issue_cert("app.localhost", "login.localhost", "127.0.0.1")
        issued.private_key_pem.write_to_path(folder / "key.pem")
        for index, blob in enumerate(issued.cert_chain_pems):
            blob.write_to_path(folder / "cert.pem", append=index > 0)
        with Processes(folder) as processes:
            yield Bench(
                processes=processes,
                folder=folder,
                cores=cores(),
                cert=folder / "cert.pem",
                key=folder / "key.pem",
                rounds=rounds or (2 if is_quick else 5),
                seconds=1.0 if is_quick else 2.0,
                is_quick=is_quick,
            )
