"""A load generator with an open loop: requests leave at a fixed rate, whether or not the former were answered.

`python -m tests.bench.open_loop PORT RATE SECONDS CONNECTIONS HEAD_JSON` prints one JSON object. A latency runs from
the instant at which the request was *due*, so that a server that stalls cannot hide it by slowing us down. One thread
on raw sockets; `select` because its time-out has microseconds.
"""

import ctypes
import json
import select
import socket
import sys
import time
from collections import deque

from tests.bench.report import percentile

_PR_SET_TIMERSLACK = 29
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
    size = max(_answer_bytes(each, request) for each in sockets)
    sys.stdout.write(json.dumps(_generate(sockets, request, size, rate, seconds)))


def _generate(
    sockets: list[socket.socket], request: bytes, size: int, rate: float, seconds: float
) -> dict[str, float]:
    """Send at `rate` for `seconds`; every answer has `size` bytes."""
    idle = deque(sockets)
    due: dict[socket.socket, float] = {}
    missing = dict.fromkeys(sockets, 0)
    latencies: list[float] = []
    late = sent = 0
    gap = 1.0 / rate
    began = now = next_at = time.monotonic()
    while now < began + seconds or due:
        while next_at <= now < began + seconds and idle:
            each = idle.popleft()
            each.send(request)
            due[each], missing[each] = next_at, size
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
            missing[each] -= len(data)
            if missing[each] <= 0:
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


def _answer_bytes(each: socket.socket, request: bytes) -> int:
    """Send one request and return how many bytes its answer has. Ends the program unless it is a 200."""
    each.settimeout(5)
    each.sendall(request)
    data = b""
    while b"\r\n\r\n" not in data:
        data += each.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 200"):
        raise SystemExit(head.decode(errors="replace").splitlines()[0])
    lengths = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not lengths:
        raise SystemExit("the answer does not say how long it is")
    while len(body) < lengths[0]:
        body += each.recv(65536)
    each.settimeout(None)
    return len(head) + 4 + len(body)


if __name__ == "__main__":
    main()
