"""When objects are looked through for cycles: not while a process loads, and what it loaded never again."""

import subprocess
import sys
import textwrap

LOADS = """
    import gc
    from gateway.memory import collect_nothing_yet, collect_seldom, leave_out_what_stays

    collect_nothing_yet()
    collect_seldom()
    while_loading = gc.isenabled()
    leave_out_what_stays()
    print(while_loading, gc.isenabled(), gc.get_freeze_count() > 1000)
"""


def test_collecting_begins_when_all_is_loaded() -> None:
    command = [sys.executable, "-c", textwrap.dedent(LOADS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own code
    assert done.stdout.split() == ["False", "True", "True"]
