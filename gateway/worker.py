"""A proxy worker: joins the data path to the posture feed. It applies decisions and makes none.

Everything on the way of a request with a valid ticket is synchronous, O(1), and without I/O of its own.
"""

import asyncio
import base64
import contextlib
import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import structlog
import uvloop

from compliance.model import ClientKind, Decision, Outcome, RequestFacts, SessionControl
from gateway.decision.enforce import RequestTraits, is_admitted, refusing_control
from gateway.decision.routing import NamedNetworks, RouteTable, is_below
from gateway.decision.verdict import HEADER as VERDICT_HEADER
from gateway.decision.verdict import Failed, NoSuchHost, Refused, SignIn, Verdict, encode_verdict
from gateway.feed.settings import WorkerApp, WorkerSettings, decode_settings
from gateway.feed.worker_side import Entry, FeedWorker, TicketKey
from gateway.observe.logs import configure_logs
from gateway.proxy.exchange import Exchange
from gateway.proxy.pool import UpstreamPool
from gateway.proxy.ports import CutReason, ResponseRules, Route, UpstreamFault
from gateway.tasks import spawn

log = structlog.get_logger("worker")

GATE_PREFIX = "/.gate/"
WELL_KNOWN = ("/.well-known/gate", "/.well-known/gate/jwks.json")
HUB_BODY_BYTES = 16 * 1024 * 1024
"""Most bytes of a request body to the hub; each sensor has a bound of its own below it."""
MAX_ADDRESSES = 10_000
STATS_EVERY_S = 2.0


class Worker:
    """The gatekeeper of one data path and the enforcer of its feed."""

    def __init__(self, name: str, run_dir: Path, *, pid: int, is_inline: bool = False) -> None:
        self._name = name
        self._run_dir = run_dir
        self._is_inline = is_inline
        self._feed: FeedWorker[Exchange] = FeedWorker(name, pid, self)
        self._settings: WorkerSettings | None = None
        self._routes = RouteTable(())
        self._networks = NamedNetworks({})
        self._networks_of: dict[object, frozenset[str]] = {}
        self._pools: dict[tuple[str, str | None], UpstreamPool] = {}
        self._hub_pool: UpstreamPool | None = None
        self._front: Front | None = None
        self._cookie = b"__Host-gate"
        self._reserved: tuple[bytes, ...] = ()
        self._opening: asyncio.Task[None] | None = None
        self._reporting: asyncio.Task[None] | None = None
        self.counters: Counter[str] = Counter()
        self.ended_event = asyncio.Event()

    # --- life cycle ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Join the feed; the listener opens when the first settings arrive."""
        self._feed.start(self._run_dir / "feed.sock")
        self._reporting = spawn(self._keep_reporting(), name="worker-stats")

    async def drain_and_close(self, seconds: float) -> None:
        """Stop listening, give open exchanges `seconds` to finish, then end them and leave the feed."""
        if self._front is not None:
            await self._front.drain(seconds)
        if self._reporting is not None:
            self._reporting.cancel()
        self._feed.close()
        for pool in (*self._pools.values(), *([self._hub_pool] if self._hub_pool else [])):
            pool.close()
        self.ended_event.set()

    @property
    def is_serving(self) -> bool:
        """Whether the listener is open and the hub is there."""
        return self._front is not None and self._front.is_listening and self._feed.is_connected
