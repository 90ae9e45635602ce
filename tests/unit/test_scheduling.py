"""Shorter turns on the processor, as the kernel tells of them."""

import ctypes
import os
import platform
import struct
import subprocess
import sys
import textwrap

import pytest

from gateway.scheduling import SHORT_TURN_NS

SEES_ITS_TURN = """
    import ctypes, os, platform, struct, threading
    from gateway.scheduling import ask_for_short_turns

    def turn_ns():
        number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
        found = ctypes.create_string_buffer(64)
        ctypes.CDLL(None).syscall(number, 0, found, 56, 0)
        return struct.unpack_from("=IIQiIQ", found.raw)[5]

    os.nice(3)
    PREPARE
    print(ask_for_short_turns(), turn_ns(), os.getpriority(os.PRIO_PROCESS, 0))
    thread = threading.Thread(target=lambda: print(turn_ns()))
    thread.start()
    thread.join()
"""


def run(prepare: str) -> list[str]:
    code = textwrap.dedent(SEES_ITS_TURN).replace("PREPARE", prepare)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    return done.stdout.split()


def can_have_short_turns() -> bool:
    """Return whether this kernel lets a process choose; told by another module than the one under test."""
    if platform.machine() != "x86_64" or platform.system() != "Linux":
        return False
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    if (major, minor) < (6, 12):
        return False
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    same = struct.pack("=IIQiIQQQ", 48, os.SCHED_OTHER, 0, nice, 0, 0, 0, 0)
    return ctypes.CDLL(None).syscall(314, 0, same, 0) == 0


@pytest.mark.skipif(not can_have_short_turns(), reason="this kernel, or its filter, lets nobody choose")
def test_short_turns_are_given_to_all_threads_and_the_share_stays_the_same() -> None:
    nice = os.getpriority(os.PRIO_PROCESS, 0) + 3
    assert run("pass") == ["True", str(SHORT_TURN_NS), str(nice), str(SHORT_TURN_NS)]


@pytest.mark.skipif(platform.system() != "Linux", reason="policies are Linux's")
def test_a_policy_that_the_operator_chose_is_kept() -> None:
    assert run("os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))")[0] == "False"
