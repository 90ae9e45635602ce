"""This machine: its cores and who is pinned to which, and what a process costs, read from `/proc`."""

import os
import platform
import resource
from pathlib import Path

import msgspec

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UTIME = 11
"""Index of `utime` in `/proc/PID/stat`, counted behind the command's name. Source: proc_pid_stat(5)."""


class Cores(msgspec.Struct, frozen=True):
    """Who runs where: the proxy alone on the first core, load generator and upstream on the others."""

    proxy: tuple[int, ...]
    load: tuple[int, ...]
    every: tuple[int, ...]

    @property
    def pair(self) -> tuple[int, ...]:
        """Return the cores of a proxy with two workers: two of its own, or all when there are too few."""
        return self.every[:2] if len(self.every) > 3 else self.every

    @property
    def pair_load(self) -> tuple[int, ...]:
        """Return the cores of load generator and upstream beside a proxy with two workers."""
        return self.every[2:] if len(self.every) > 3 else self.every


def cores() -> Cores:
    """Return how the cores that we may use are shared out."""
    every = tuple(sorted(os.sched_getaffinity(0)))
    return Cores(proxy=every[:1], load=every[1:] or every, every=every)


class Cost(msgspec.Struct, frozen=True):
    """What a set of processes has used so far, and holds now."""

    cpu_s: float
    rss_bytes: int

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.cpu_s + other.cpu_s, self.rss_bytes + other.rss_bytes)


def cost(pids: list[int]) -> Cost:
    """Return the CPU time (all threads, user and system) and resident memory of processes; 0 for one that is gone."""
    total = Cost(0.0, 0)
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
            statm = Path(f"/proc/{pid}/statm").read_text()
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        ticks = int(fields[_UTIME]) + int(fields[_UTIME + 1])
        total += Cost(ticks / TICKS_PER_S, int(statm.split()[1]) * PAGE_BYTES)
    return total


def rss(pids: list[int]) -> int:
    """Return the resident bytes of processes."""
    return cost(pids).rss_bytes


def descendants(pid: int) -> list[int]:
    """Return the process and everything below it, in the order of their start."""
    found = [pid]
    for each in found:
        for task in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def command_of(pid: int) -> str:
    """Return the command line of a process, "" when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def pin(pids: list[int], to: tuple[int, ...]) -> None:
    """Let processes with all their threads run on these cores alone."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), to)


def busy_s() -> float:
    """Return the CPU seconds that all cores together have been busy since boot, for everybody's work."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def most_files() -> int:
    """Raise the limit of open files to what we may have, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def description() -> dict[str, str]:
    """Return what the machine is, without naming it."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text().split()[1])
    usable = len(os.sched_getaffinity(0))
    return {
        "processor": f"{model}, {usable} usable core{'s' if usable > 1 else ''}",
        "memory": f"{memory_kib / 2**20:.0f} GiB",
        "kernel": platform.release().split("-")[0],
        "python": platform.python_version(),
        "load before": f"{os.getloadavg()[0]:.2f}",
    }
