"""Where the public listener comes from: bound by each worker, or one socket that all of them inherit.

`address:port` is bound by every worker with `SO_REUSEPORT`. `unix:/path` and `systemd` are one socket, opened (or taken
over) by the parent and handed to the workers as a file descriptor. Source of the latter: sd_listen_fds(3).
"""

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

SYSTEMD = "systemd"
UNIX = "unix:"
FIRST_PASSED_FD = 3
BACKLOG = 4096


class ListenFault(Exception):
    """The gateway cannot listen where it is told; the operator is at fault. The text says where and why."""


def shared_listener(listen: str) -> socket.socket | None:
    """Return the one socket that workers share, None when each binds its own. Raises `ListenFault`."""
    if listen == SYSTEMD:
        return _passed_by_systemd()
    if listen.startswith(UNIX):
        return _unix_listener(Path(listen.removeprefix(UNIX)))
    check_free(listen)
    return None


def check_free(listen: str) -> None:
    """Raise `ListenFault` when somebody else already listens on `address:port`.

    Workers bind with `SO_REUSEPORT`, by which a second gateway would silently take half of the connections.
    """
    family, address = _tcp_address(listen)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            raise ListenFault(f"cannot listen on `{listen}`: {error.strerror}") from error


@contextlib.contextmanager
def reserved(listen: str) -> Iterator[None]:
    """Keep `address:port` from anybody but our workers while none of them listens: at the start, between two of them.

    A port of the ephemeral range would otherwise be given to an outgoing connection, and no worker could bind it. The
    socket is bound and does not listen, so that it gets no connection. What cannot be reserved is left to the workers.
    """
    if listen == SYSTEMD or listen.startswith(UNIX):
        yield
        return
    family, address = _tcp_address(listen)
    with socket.socket(family, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with contextlib.suppress(OSError):
            held.bind(address)
        yield


def _tcp_address(listen: str) -> tuple[socket.AddressFamily, tuple[str, int]]:
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    return socket.AF_INET6 if ":" in host else socket.AF_INET, (host, int(port))


def hold_run_dir(run_dir: Path) -> int:
    """Make sure that no other gateway uses `run_dir`; return the descriptor that keeps it ours while it is open.

    Raises `ListenFault`.
    """
    try:
        run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        run_dir.chmod(0o700)
        lock = os.open(run_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ListenFault(f"cannot use server.run_dir `{run_dir}`: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise ListenFault(f"another gateway runs with server.run_dir `{run_dir}`") from error
    return lock


def _passed_by_systemd() -> socket.socket:
    if os.environ.get("LISTEN_PID") != str(os.getpid()) or os.environ.get("LISTEN_FDS") != "1":
        raise ListenFault(
            "`listen: systemd` needs exactly one socket from the service manager (LISTEN_FDS=1)"
        )
    return socket.socket(fileno=FIRST_PASSED_FD)


def _unix_listener(path: Path) -> socket.socket:
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            _check_abandoned(path)
            path.unlink()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        raise ListenFault(f"cannot listen on `unix:{path}`: {error.strerror or error}") from error
    return listener


def _check_abandoned(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise ListenFault(f"somebody already listens on `unix:{path}`")
