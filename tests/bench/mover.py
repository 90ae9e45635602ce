"""Moves one large body: `python -m tests.bench.mover PORT down|up BYTES HEAD_JSON` prints the seconds it took."""

import json
import socket
import sys
import time

PIECE = 1 << 20


def main() -> None:
    """Move the body and check that all of it went."""
    port, direction, size = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    path, headers = json.loads(sys.argv[4])
    method = "GET" if direction == "down" else "POST"
    extra = [] if direction == "down" else [f"Content-Length: {size}"]
    lines = [
        f"{method} {path} HTTP/1.1",
        *(f"{name}: {value}" for name, value in headers.items()),
        *extra,
        "",
        "",
    ]
    link = socket.create_connection(("127.0.0.1", port))
    link.settimeout(60)
    began = time.monotonic()
    link.sendall("\r\n".join(lines).encode())
    if direction == "up":
        piece = memoryview(bytes(PIECE))
        for _ in range(size // PIECE):
            link.sendall(piece)
    status, received = _read(link, size if direction == "down" else None)
    took = time.monotonic() - began
    if status != 200 or (direction == "down" and received != size):
        raise SystemExit(f"{status} with {received} bytes")
    sys.stdout.write(f"{took}")


def _read(link: socket.socket, size: int | None) -> tuple[int, int]:
    """Return the status, and the bytes of the body: up to `size`, or those that came with the head."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += link.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    received = len(body)
    buffer = bytearray(PIECE)
    while size is not None and received < size:
        count = link.recv_into(buffer)
        if not count:
            break
        received += count
    return int(head.split(b" ")[1]), received


if __name__ == "__main__":
    main()
