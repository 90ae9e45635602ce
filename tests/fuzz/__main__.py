"""`python -m tests.fuzz [KIND ...] [--seconds N]`: a coverage-guided search (libFuzzer by Atheris) over every plugin.

Each kind is searched in a process of its own, from its samples, with damage to the JSON tree as well as to the bytes;
the coverage is that of `plugins` and `risk`. What was found is kept in `.make/fuzz/corpus/KIND`, and the next search
goes on there. Whatever breaks a rule of `tests.fuzz.target`, hangs for 10 s or takes more than 1 GiB ends the search of
kind; its body is written to `.make/fuzz/broken/KIND-…`, and `python -m tests.fuzz KIND ./FILE` runs it again.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".make" / "fuzz"
SLOW_S = 10
MEMORY_MIB = 1024


def main() -> int:
    """Search; return 1 when something is broken, 2 when Atheris is not there."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "kinds", nargs="*", metavar="KIND", help="kinds to search (default: all); then files to run"
    )
    parser.add_argument("--seconds", type=int, default=60, help="for each kind (60)")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    try:
        import atheris  # noqa: F401 - whether it is there
    except ImportError:
        print("Atheris is not installed: `make fuzz` does that", file=sys.stderr)
        return 2
    files = [each for each in arguments.kinds if "/" in each]
    kinds = [each for each in arguments.kinds if "/" not in each] or every_kind()
    if arguments.one or files:
        return search(kinds[0], arguments.seconds, files)
    broken = [kind for kind in kinds if not searched(kind, arguments.seconds)]
    print(f"{len(kinds)} kinds searched, broken: {', '.join(broken) or 'none'}")
    return 1 if broken else 0


def every_kind() -> list[str]:
    """Return the installed kinds; not to be asked by a process that searches, which has to watch their import."""
    from gateway.config.sensors import installed

    return list(installed().kinds)


def searched(kind: str, seconds: int) -> bool:
    """Search one kind in a process of its own; return whether nothing broke."""
    command = [sys.executable, "-m", "tests.fuzz", kind, "--one", "--seconds", str(seconds)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ourselves
    said = done.stderr.splitlines()
    found = [line for line in said if "cov:" in line]
    print(
        f"{kind:<14} {'ok' if done.returncode == 0 else 'BROKEN'}  {found[-1].strip() if found else ''}",
        flush=True,
    )
    if done.returncode:
        print("\n".join((done.stdout.splitlines() + said)[-60:]))
    return done.returncode == 0


def search(kind: str, seconds: int, files: list[str]) -> int:
    """Search one kind in this process, or run files; libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["plugins", "risk"]):
        from gateway.config.sensors import installed
        from tests.fuzz.mutate import damaged, damaged_text, words_of
        from tests.fuzz.target import Target, inflate

    catalog = installed()
    payloads = [sample.payload for sample in catalog.sensor(kind).samples]
    words = words_of(payloads)
    target = [Target(kind, catalog)]
    runs = 0

    def one(body: bytes) -> None:
        nonlocal runs
        runs += 1
        if runs % 2000 == 0:
            # What has been learnt is forgotten, or memory would grow with every new device.
            target[0].close()
            target[0] = Target(kind, catalog)
        if body[:2] == b"\x1f\x8b":
            inflate(body)
        target[0].run(body)

    def mutated(body: bytes, most: int, seed: int) -> bytes:
        dice = random.Random(seed)  # noqa: S311 - not for secrets
        if dice.random() < 0.2:
            return bytes(atheris.Mutate(body, most))
        try:
            made = json.dumps(damaged(json.loads(body), dice, words)).encode()
        except (ValueError, RecursionError):
            made = damaged_text(body, dice)
        return made[:most] if len(made) <= most else damaged_text(body, dice)[:most]

    corpus = PLACE / "corpus" / kind
    corpus.mkdir(parents=True, exist_ok=True)
    (PLACE / "broken").mkdir(exist_ok=True)
    for payload in payloads:
        body = json.dumps(payload).encode()
        (corpus / hashlib.sha256(body).hexdigest()[:16]).write_bytes(body)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOW_S}",
        f"-rss_limit_mb={MEMORY_MIB}",
        "-max_len=16384",
        f"-artifact_prefix={PLACE}/broken/{kind}-",
    ]
    atheris.Setup(
        [sys.argv[0], *options, *(files or [str(corpus)])],
        one,
        custom_mutator=mutated,
        internal_libfuzzer=True,
    )
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
