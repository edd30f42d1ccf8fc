"""Which changes of a folder start its bus anew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from watchfiles import PythonFilter, awatch

_SETTINGS = (".toml", ".env")


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set whenever a module or a settings file in a folder has changed.

    Environments, caches and what begins with a dot are no part of it.
    """
    changed, stopped = asyncio.Event(), asyncio.Event()

    async def look() -> None:
        seen = PythonFilter(extra_extensions=_SETTINGS)
        async for _ in awatch(folder, watch_filter=seen, stop_event=stopped):
            changed.set()

    looking = asyncio.ensure_future(look())
    try:
        yield changed
    finally:
        stopped.set()
        await looking
