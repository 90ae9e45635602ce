"""Fixtures of the system tests."""

from collections.abc import AsyncIterator

import pytest_asyncio
from playwright.async_api import Browser

from tests.system.browser import chromium


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for a module. What a test leaves behind stays in the context that it makes."""
    async with chromium() as made:
        yield made
