"""The process of the hub: from the configuration on disk to the signal that ends it."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import structlog
import uvloop

from gateway.app import Hub
from gateway.config.load import ConfigInvalid, LoadedConfig
from gateway.config.sensors import load_config
from gateway.listeners import hold_run_dir, shared_listener
from gateway.memory import collect_seldom
from gateway.observe.logs import configure_logs
from gateway.scheduling import ask_for_short_turns
from gateway.supervisor import worker_count
from gateway.tasks import spawn
from gateway.turns import take_turns
from risk.database import StoreFault

log = structlog.get_logger("hub")


def serve_hub(config_path: str) -> int:
    """Run a hub (with `workers: 0` its worker too) until SIGTERM or SIGINT. Returns 2 for a bad configuration."""
    configure_logs()
    collect_seldom()
    take_turns()
    signal.pthread_sigmask(
        signal.SIG_BLOCK, (signal.SIGHUP,)
    )  # one that comes now is taken when we have started
    try:
        loaded = load_config(config_path)
    except ConfigInvalid as invalid:
        for fault in invalid.faults:
            log.error("configuration-invalid", fault=str(fault))
        return 2
    server = loaded.config.server
    if worker_count(server.workers) > 0:
        # Without workers it is a proxy too, which would pay with a change of process for every few requests.
        ask_for_short_turns()
        return uvloop.run(_serve(config_path, loaded, None))
    lock = hold_run_dir(Path(server.run_dir))
    try:
        return uvloop.run(_serve(config_path, loaded, shared_listener(server.listen)))
    finally:
        os.close(lock)


async def _serve(config_path: str, loaded: LoadedConfig, listener: socket.socket | None) -> int:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        hub = Hub(config_path, loaded)
        await hub.start()
        loop.add_signal_handler(signal.SIGHUP, lambda: spawn(hub.reload(), name="reload"))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP,))
    except (StoreFault, OSError) as error:
        # A folder that cannot be written, a port in use: for the operator, who needs no traceback.
        log.error("hub-cannot-start", error=str(error))
        return 1
    drain_s = loaded.config.server.drain
    if worker_count(loaded.config.server.workers) == 0:
        from gateway.worker import Worker  # noqa: PLC0415 - a hub with worker processes never proxies itself

        worker = Worker("inline", Path(loaded.config.server.run_dir), pid=os.getpid(), listener=listener)
        worker.start()
        await stopping.wait()
        hub.feed.is_stopping = True
        await worker.drain_and_close(drain_s)
    else:
        await stopping.wait()
        hub.feed.drain(drain_s)
        await hub.feed.until_empty(drain_s + 2)
    await hub.stop()
    return 0
