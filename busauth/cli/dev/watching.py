"""Which changes of a folder start its bus anew."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from watchfiles import PythonFilter, awatch

_SETTINGS = (".toml", ".env")


@asynccontextmanager
async def watched(folder: Path | None) -> AsyncIterator[asyncio.Event]:
    """Give an event that is set whenever a module or a settings file in a folder has changed.

    Environments and caches are no part of it.

    Args:
        folder: with all that is below it; None for nothing, which never changes.
    """
    changed, stopped = asyncio.Event(), asyncio.Event()
    if folder is None:
        yield changed
        return

    async def look() -> None:
        seen = PythonFilter(extra_extensions=_SETTINGS)
        async for _ in awatch(
            folder,
            watch_filter=seen,
            stop_event=stopped,
            ignore_permission_denied=True,  # a folder that cannot be read has no module of the bus
        ):
            changed.set()

    looking = asyncio.ensure_future(look())
    try:
        yield changed
    finally:
        stopped.set()
        await looking
