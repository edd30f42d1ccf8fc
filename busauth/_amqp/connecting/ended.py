"""Has a connection ended? As far as can be known at this instant, without reading from it.

What has come and is not read yet hides its end: a loop that a handler blocks learns of it late, and
only behind all that came before. The socket knows at once.
"""

import asyncio
import select
from typing import Any, cast

from aiormq.channel import Channel
from aiormq.connection import Connection

_ENDS = sum(getattr(select, name, 0) for name in ("POLLRDHUP", "POLLHUP", "POLLERR"))
"""An end that was said, both ends, a reset; where a system cannot tell, its reader does later."""


def has_ended(channel: Channel) -> bool:
    """Return whether a channel is closed, or its connection about to be: nothing more comes."""
    connection = cast("Connection", channel.connection)
    reading = connection._reader_task  # noqa: SLF001 -- `is_closed` comes turns after its end
    return channel.is_closed or reading.done() or _is_cut(transport_of(connection))


def transport_of(connection: Connection) -> asyncio.WriteTransport | None:
    """Return what a connection writes to, None where it writes no more.

    aiormq keeps it in its writer alone.
    """
    writing: Any = connection._writer_task.get_coro()  # noqa: SLF001 -- as above
    frame = writing.cr_frame  # None once it has ended
    writer = None if frame is None else frame.f_locals.get("writer")
    return None if writer is None else cast("asyncio.WriteTransport", writer.transport)


def _is_cut(transport: asyncio.WriteTransport | None) -> bool:
    """Ask the socket itself."""
    if transport is None:
        return False
    if transport.is_closing():
        return True
    socket = transport.get_extra_info("socket")
    if socket is None or not hasattr(select, "poll"):  # Windows has none: its reader is late there
        return False
    asked = select.poll()
    asked.register(socket, _ENDS)
    return bool(asked.poll(0))  # milliseconds: an answer at once, as the loop stands still for it
