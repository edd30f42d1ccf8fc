"""Deliveries that are taken off the wire before the client library sees them: 50,000 at a time.

For each delivery aiormq decodes three frames, passes them through queues and starts a task, which
costs more than all that a look at a letter does. Whoever looks takes whole frames, and reads what
is asked for: as aiormq would have read it, or, where that is in any doubt, by way of aiormq's own.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple, cast

import pamqp.frame
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic
from pamqp.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_METHOD
from pamqp.decode import embedded_value
from pamqp.header import ContentHeader

from busauth._amqp.connecting.sieve.frames import (
    DELIVER,
    HEAD,
    SIZES,
    Sieve,
    are_names_plain,
    present,
)

_BEFORE = HEAD + 14
"""Bytes of a content header's frame before its properties."""

_MESSAGE_ID, _MODE = 0x0080, 0x1000
# an expiration, which aio-pika may have no value for, and flags after the flags
_DOUBTFUL = 0x0100 | 0x0003
_MODES = (1, 2)
_LONG_TEXT = ord("S")


class Taken(NamedTuple):
    """One delivery: the frames of its method and of its header, and its body.

    Attributes:
        channel: where it came in.
        deliver, header: whole frames, as they came.
        body: its body.
    """

    channel: AbstractChannel
    deliver: bytes
    header: bytes
    body: bytes

    def delivered(self) -> DeliveredMessage:
        """Return it as aiormq would have handed it over, marked where it is unreadable."""
        sieve = Sieve()
        _, _, deliver = pamqp.frame.unmarshal(sieve.passed(self.deliver))
        _, _, header = pamqp.frame.unmarshal(sieve.passed(self.header))
        return DeliveredMessage(
            delivery=cast("Basic.Deliver", deliver),
            header=cast("ContentHeader", header),
            body=self.body,
            channel=self.channel,
        )

    def plain(self) -> tuple[dict[str, Any], str | None] | None:
        """Return its headers and its message id; None where aio-pika might have none of them."""
        frame = self.header
        flags = int.from_bytes(frame[_BEFORE - 2 : _BEFORE])
        if flags & _DOUBTFUL or not are_names_plain(self.deliver):
            return None
        try:
            headers, message_id, end = _properties(frame, flags)
        except Exception:  # whatever a value makes of pamqp's parsers
            return None
        return (headers, message_id) if end < len(frame) else None


def _properties(frame: bytes, flags: int) -> tuple[dict[str, Any], str | None, int]:
    """Return a content header's headers and message id, and where its properties end.

    Raises:
        LookupError, ValueError: they end too early, or aio-pika may have no value for one.
    """
    headers, message_id, at = dict[str, Any](), None, _BEFORE
    for flag, kind in present(flags):
        if kind == "text":
            start = at + 1
            at = start + frame[at]
            text = frame[start:at].decode("ascii")
            if flag == _MESSAGE_ID:
                message_id = text or None  # as aio-pika has it
        elif kind == "table":
            headers, at = _table(frame, at)
        elif kind == "octet":
            if flag == _MODE and frame[at] not in _MODES:
                raise ValueError("no mode of delivery")
            at += 1
        elif any(frame[at : at + 4]):  # seconds of 32 bits are surely a date
            raise ValueError("no date, perhaps")
        else:
            at += 8
    return headers, message_id, at


def _table(frame: bytes, at: int) -> tuple[dict[str, Any], int]:
    """Return a table, and where it ends.

    Raises:
        ValueError: it ends elsewhere than it says.
    """
    end = at + 4 + int.from_bytes(frame[at : at + 4])
    at += 4
    table = dict[str, Any]()
    while at < end:
        start = at + 1
        at = start + frame[at]
        name = _name(frame[start:at])
        kind = frame[at]
        if kind == _LONG_TEXT:
            start = at + 5
            at = start + int.from_bytes(frame[at + 1 : start])
            table[name] = _text(frame[start:at])
        else:
            # not all that is left, of each of thousands of values
            until = at + 1 + SIZES[kind] if kind in SIZES else end
            size, table[name] = embedded_value(frame[at:until])
            at += size
    if at != end:
        raise ValueError("it ends elsewhere")
    return table, end


@lru_cache(maxsize=256)
def _name(raw: bytes) -> str:
    """Names are few, and one object each."""
    return raw.decode()


def _text(raw: bytes) -> str | bytes:
    try:
        return raw.decode()
    except UnicodeDecodeError:  # which pamqp leaves as it is
        return raw


class Aside:
    """Puts together one channel's deliveries.

    Args:
        channel: of no other use.
        take: is handed each.
    """

    def __init__(self, channel: AbstractChannel, take: Callable[[Taken], None]) -> None:
        self._channel, self._take = channel, take
        self._deliver = self._header = b""
        self._parts = list[bytes]()
        self._left = 0

    def takes(self, frame: bytes) -> bool:
        """Return whether a frame belongs to a delivery; all others are the client library's."""
        kind = frame[0]
        if frame[-1] != FRAME_END:
            return False
        if kind == FRAME_BODY and self._header:
            self._parts.append(frame[HEAD:-1])
            self._left -= len(frame) - HEAD - 1
        elif kind == FRAME_HEADER and self._deliver and not self._header:
            self._header, self._left = frame, int.from_bytes(frame[HEAD + 4 : HEAD + 12])
        elif kind == FRAME_METHOD and frame[HEAD : HEAD + 4] == DELIVER and not self._deliver:
            self._deliver = frame
            return True
        else:
            return False
        if self._left <= 0:
            parts = self._parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            self._take(Taken(self._channel, self._deliver, self._header, body))
            self._deliver = self._header = b""
            self._parts = []
        return True
