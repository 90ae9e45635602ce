"""How long the kernel lets a process run before another one has its turn.

Linux gives processes that want the processor an equal share in turns (1 to 3 ms each). A process that asks for shorter
turns gets the same share, but sooner after it was woken. A hub needs the processor for a moment several times
in every change (a delivery, its commit, each worker's acknowledgement), and each of them would else wait for somebody's
whole turn: beside workers under load that was a third of the time that a change took.
"""

import ctypes
import os
import platform
import struct

SHORT_TURN_NS = 100_000
"""The shortest turn that Linux gives. Source: sched(7), `sched_runtime` of SCHED_OTHER since Linux 6.12."""

_SCHED_SETATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Number of the system call, for which older C libraries have no function."""

_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
"""`struct sched_attr`: size, policy, flags, nice, priority, runtime, deadline, period. Source: sched_setattr(2)."""


def ask_for_short_turns() -> bool:
    """Ask for short turns for this thread and those that it starts; return whether the kernel agreed.

    It does not where it is older, or where a filter of system calls forbids it; then all is as it was. A process that
    its operator has given another policy than the usual one keeps that.
    """
    number = _SCHED_SETATTR.get(platform.machine())
    if platform.system() != "Linux" or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, os.SCHED_OTHER, 0, nice, 0, SHORT_TURN_NS, 0, 0)
    refused: int = ctypes.CDLL(None, use_errno=True).syscall(number, 0, attributes, 0)
    return not refused
