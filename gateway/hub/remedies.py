"""The parts that bring people back to work, joined: kept forms, tasks with their letters, exceptions for a while."""

import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge

from compliance.model import Exemption
from gateway.decision.context import Interpret
from gateway.decision.judge import Interpretation, judge
from gateway.hub.runtime import Runtime
from gateway.hub.task_api import TaskApi
from gateway.remediation import exception_store, form_store, task_store
from gateway.remediation.exception_desk import LOOKBACK, ExceptionDesk
from gateway.remediation.postman import Postman
from gateway.remediation.task_desk import TaskDesk
from gateway.remediation.tasks import Happened
from risk.database import Database
from risk.model import DeviceId, Posture

SCHEMAS = {
    "forms": form_store.SCHEMA,
    "tasks": task_store.SCHEMA,
    "exceptions": exception_store.SCHEMA,
}
"""Migrations of the tables, by component."""


class Remedies:
    """Stores, desks and the postman. `excepted` returns when a device's exceptions are enforced everywhere."""

    def __init__(
        self,
        database: Database,
        *,
        base: Path,
        runtime: Callable[[], Runtime],
        posture: Callable[[DeviceId], Posture | None],
        excepted: Callable[[str], Awaitable[None]],
        registry: CollectorRegistry,
        clock: Callable[[], datetime],
        interpret: Interpret = judge,
    ) -> None:
        self._runtime = runtime
        self._clock = clock
        self.forms = form_store.SqliteFormStore(database, secrets.token_bytes)
        self.task_store = task_store.SqliteTaskStore(database)
        self._exception_store = exception_store.SqliteExceptionStore(database)
        self._happened = Counter(
            "posturegate_tasks", "Changes of security tasks.", ["event", "severity"], registry=registry
        )
        self._open = Gauge("posturegate_tasks_open", "Security tasks not resolved.", registry=registry)
        self._told = Counter(
            "posturegate_task_letters", "Attempts to tell a target.", ["target", "result"], registry=registry
        )
        self.postman = Postman(
            self.task_store,
            lambda: runtime().config.remediation.tasks.targets,
            clock=clock,
            base=base,
            on_attempt=lambda target, result: self._told.labels(target, result).inc(),
        )
        self.tasks = TaskDesk(
            self.task_store,
            posture=posture,
            interpretation=lambda: runtime().interpretation,
            settings=lambda: runtime().config.remediation.tasks,
            clock=clock,
            make_id=_make_id,
            observer=self,
            on_letters=self.postman.stir,
            interpret=interpret,
        )
        self.exceptions = ExceptionDesk(
            self._exception_store,
            settings=lambda: runtime().config.remediation,
            changed=excepted,
            clock=clock,
            make_id=_make_id,
        )

    async def load(self) -> None:
        """Take over what was there when the last hub ended, before anything is decided. Raises `StoreFault`."""
        await self.exceptions.load()
        await self.tasks.load()

    def start(self) -> None:
        """Begin to look, and to tell."""
        self.tasks.start()
        self.postman.start()
        self.tasks_open(self.tasks.open_count)

    async def stop(self) -> None:
        """End; what is queued is written first."""
        await self.tasks.stop()
        await self.postman.stop()

    def looked_at(self, devices: Iterable[str]) -> None:
        """Something was told of these devices, or somebody on one of them was refused."""
        self.tasks.look(devices)

    def reloaded(self) -> None:
        """Another configuration is in force."""
        self.tasks.look_again()
        self.postman.stir()

    async def prune(self) -> None:
        """Remove what is older than it is kept. Raises `StoreFault`, `StoreOverloaded`."""
        now, keep = self._clock(), self._runtime().config.remediation.tasks
        await self.forms.prune(now)
        await self.task_store.prune(now - timedelta(seconds=keep.keep), keep.most)
        await self._exception_store.prune(now - LOOKBACK)

    def admin_routes(self) -> list[web.RouteDef]:
        """Return the routes of the administration socket."""
        return TaskApi(self.tasks, self.task_store, self._clock, self.postman.stir).routes()

    def task_happened(self, happened: Happened) -> None:
        """Count a change of a task."""
        self._happened.labels(happened.event.value, happened.task.severity.value).inc()

    def tasks_open(self, count: int) -> None:
        """Take the number of tasks that are not resolved."""
        self._open.set(count)


def with_exceptions(runtime: Runtime, given: tuple[Exemption, ...]) -> Runtime:
    """Return a runtime in which the exceptions given at run time count beside the configured exemptions."""
    meaning: Interpretation = msgspec.structs.replace(
        runtime.interpretation, exemptions=(*runtime.config.compliance.exemptions, *given)
    )
    return msgspec.structs.replace(runtime, interpretation=meaning)


def _make_id(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(8)}"
