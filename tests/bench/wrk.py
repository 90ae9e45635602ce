"""Load by wrk: closed loop, keep-alive connections, latencies by its own histogram. Results come from a Lua script."""

from pathlib import Path

import msgspec

from tests.bench.processes import BenchFault, output_of

REPORT = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\\n@{"requests":%d,"seconds":%f,"p50_ms":%f,"p99_ms":%f,"refused":%d,"broken":%d}\\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


class Load(msgspec.Struct, frozen=True):
    """What one run of wrk saw. `refused` counts answers of 400 and above, `broken` failed connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    refused: int
    broken: int

    @property
    def per_s(self) -> float:
        """Return the requests answered per second."""
        return self.requests / self.seconds


async def wrk(
    folder: Path,
    url: str,
    headers: dict[str, str],
    *,
    seconds: float,
    cores: tuple[int, ...],
    connections: int = 32,
    threads: int = 1,
    script: str = "",
) -> Load:
    """Run wrk for some seconds (1 at least); `script` is Lua that makes requests. Raises `BenchFault`."""
    file = folder / f"wrk-{abs(hash(script))}.lua"
    file.write_text(script + REPORT)
    command: list[str | Path] = [
        "wrk", "--latency", f"-t{threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", file,
    ]  # fmt: skip
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    text = await output_of([*command, url], cores=cores, within_s=seconds + 30)
    for line in text.splitlines():
        if line.startswith("@"):
            return msgspec.json.decode(line[1:], type=Load)
    raise BenchFault(f"wrk said nothing that we understand: {text[-300:]}")
