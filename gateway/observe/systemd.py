"""Tells systemd how we are (`Type=notify`). Without systemd it does nothing. Source: sd_notify(3)."""

import os
import socket


def notify(state: str) -> None:
    """Send a state such as `READY=1` to the service manager; never raises, never blocks."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    path = "\0" + address[1:] if address.startswith("@") else address
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as link:
            link.sendto(state.encode(), path)
    except OSError:
        return
