"""A load generator with an open loop: requests leave at a fixed rate, whether or not the former were answered.

`python -m tests.bench.open_loop PORT RATE SECONDS CONNECTIONS HEAD_JSON` prints one JSON object. A latency runs from
the instant at which the request was *due*, so that a server that stalls cannot hide it by slowing us down. One thread
on raw sockets; `select` because its time-out has microseconds.
"""

import ctypes
import json
import re
import select
import socket
import sys
import time
from collections import deque

from tests.bench.report import percentile

_PR_SET_TIMERSLACK = 29
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
LATE_S = 0.001


def main() -> None:
    """Generate the load that the arguments ask for."""
    port, rate, seconds, connections = (
        int(sys.argv[1]),
        float(sys.argv[2]),
        float(sys.argv[3]),
        int(sys.argv[4]),
    )
    path, headers = json.loads(sys.argv[5])
    ctypes.CDLL(None).prctl(_PR_SET_TIMERSLACK, 1)
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    request = "\r\n".join(lines).encode()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    for each in sockets:
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for each in sockets:
        _warm(each, request)
    sys.stdout.write(json.dumps(_generate(sockets, request, rate, seconds)))


def _is_whole(answer: bytes) -> bool:
    """Return whether an answer is all there; heads of some servers differ in length from one answer to the next."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = _LENGTH.search(head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def _generate(sockets: list[socket.socket], request: bytes, rate: float, seconds: float) -> dict[str, float]:
    """Send at `rate` for `seconds`."""
    idle = deque(sockets)
    due: dict[socket.socket, float] = {}
    answers = dict.fromkeys(sockets, b"")
    latencies: list[float] = []
    late = sent = 0
    gap = 1.0 / rate
    began = now = next_at = time.monotonic()
    while now < began + seconds or due:
        while next_at <= now < began + seconds and idle:
            each = idle.popleft()
            each.send(request)
            due[each], answers[each] = next_at, b""
            late += now - next_at > LATE_S
            sent += 1
            next_at += gap
        is_over = now >= began + seconds
        wait = 0.2 if is_over or not idle else max(0.0, next_at - time.monotonic())
        readable, _, _ = select.select(list(due), [], [], wait)
        for each in readable:
            data = each.recv(65536)
            if not data:
                raise SystemExit("the server closed a connection")
            answers[each] += data
            if _is_whole(answers[each]):
                latencies.append(time.monotonic() - due.pop(each))
                idle.append(each)
        now = time.monotonic()
        if now > began + seconds + 5:
            raise SystemExit(f"{len(due)} requests were never answered")
    return {
        "sent": sent,
        "late": late,
        "p50_us": percentile(latencies, 0.5) * 1e6,
        "p90_us": percentile(latencies, 0.9) * 1e6,
        "p99_us": percentile(latencies, 0.99) * 1e6,
        "max_us": max(latencies) * 1e6,
    }


def _warm(each: socket.socket, request: bytes) -> None:
    """Send one request and read its answer. Ends the program unless it is a 200 that says how long it is."""
    each.settimeout(5)
    each.sendall(request)
    data = each.recv(65536)
    if not data.startswith(b"HTTP/1.1 200"):
        raise SystemExit(data.decode(errors="replace").splitlines()[0])
    while not _is_whole(data):
        if b"\r\n\r\n" in data and _LENGTH.search(data) is None:
            raise SystemExit("the answer does not say how long it is")
        data += each.recv(65536)
    each.settimeout(None)


if __name__ == "__main__":
    main()
