"""Tasks at the administration socket: read them, and change what people may change."""

from collections.abc import Callable
from datetime import datetime

import msgspec
from aiohttp import web

from gateway.administration import json_answer, operator_of
from gateway.remediation.letters import task_data
from gateway.remediation.task_desk import TaskDesk
from gateway.remediation.task_store import SqliteTaskStore
from gateway.remediation.tasks import TaskChange, TaskRefused
from risk.database import StoreFault, StoreOverloaded


class TaskApi:
    """`GET /tasks/{id}`, `POST /tasks/{id}`, `POST /tasks-retry`. `on_retry` wakes the postman."""

    def __init__(
        self,
        desk: TaskDesk,
        store: SqliteTaskStore,
        clock: Callable[[], datetime],
        on_retry: Callable[[], None],
    ) -> None:
        self._desk = desk
        self._store = store
        self._clock = clock
        self._on_retry = on_retry

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        return [
            web.get("/tasks/{id}", self.show),
            web.post("/tasks/{id}", self.change),
            web.post("/tasks-retry", self.retry),
        ]

    async def show(self, request: web.Request) -> web.Response:
        """Return one task."""
        task = await self._store.find(request.match_info["id"])
        return (
            json_answer({"fault": "no task has this id"}, 404)
            if task is None
            else json_answer(task_data(task), 200)
        )

    async def change(self, request: web.Request) -> web.Response:
        """Assign, note, set a ticket, begin, say that it is done. Nothing here resolves a task."""
        try:
            wanted = msgspec.json.decode(await request.read(), type=TaskChange)
            task = await self._desk.change(request.match_info["id"], wanted, by=operator_of(request))
        except (msgspec.MsgspecError, TaskRefused) as error:
            return json_answer({"fault": str(error)}, 422)
        except (StoreFault, StoreOverloaded) as error:
            return json_answer({"fault": str(error)}, 503)
        return (
            json_answer({"fault": "no task has this id"}, 404)
            if task is None
            else json_answer(task_data(task), 200)
        )

    async def retry(self, _request: web.Request) -> web.Response:
        """Let every failed letter be tried again."""
        count = await self._store.retry_failed(self._clock())
        self._on_retry()
        return json_answer({"retried": count}, 200)
