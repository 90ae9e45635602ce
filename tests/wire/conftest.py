"""Fixtures of the wire tests; each test runs on plain asyncio and on uvloop. What they are made of is in `harness`."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from tests.wire.harness import Gate, Recorder, running_gate, running_recorder


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def recorder() -> AsyncIterator[Recorder]:
    """An upstream that records."""
    async with running_recorder() as running:
        yield running


@pytest.fixture
async def gate(recorder: Recorder) -> AsyncIterator[Gate]:
    """A gate in front of the recorder."""
    async with running_gate() as running:
        running.route = running.route_to(f"http://127.0.0.1:{recorder.port}")
        yield running
