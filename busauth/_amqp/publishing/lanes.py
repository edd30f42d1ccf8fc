"""The channels on which one connection publishes: one for each exchange, as far as they reach.

A publication that the broker refuses takes its channel along, and whatever else was on its way
there. So publications to different exchanges share none, and neither do those that name another
user than the connection's. There are at most `MOST` of them, and a quarter of what was negotiated;
beyond that, an exchange gets a channel with nothing on its way, the longest unused first, and while
there is none it shares the one with the least, until it has nothing on its way itself.

What goes to an exchange that has taken nothing yet goes one at a time: so the broker's word that it
is not there is about that one. Where it has taken something and is no more, some may have got in.

Nothing is written behind the broker's ``channel.close``: the client library answers that before it
calls the channel closed, and what comes after the answer closes the whole connection.
"""

import asyncio
import re
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

from aiormq.abc import AbstractConnection, ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError
from aiormq.exceptions import PublishError as UnroutableError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from busauth._amqp.connecting.patience import answered, drained, is_unblocked, unblocked
from busauth._amqp.publishing.copies import Outgoing

# a refused publication takes along what shares its channel: more channels, less company
MOST = 16
"""Channels for publications of one kind on one connection."""

# what a broker that does not read costs at most, beside the last message (docs/adr/0018)
_AHEAD = 64 * 1024
"""Bytes that are written before it is asked again whether the socket takes more."""

_SPARE = 3
"""Places in a connection's queue of frames that are left to answers: without one, aiormq drops
its answer to ``channel.close``, and the broker listens to no channel of that number any more."""

_SUBJECT = re.compile(r"message size (?P<size>\d+)|'(?P<name>[^']*)'")
"""What the broker's words are about: the first name in quotes."""

Target = tuple[str, str | None]
"""An exchange, and what sets some publications to it apart from the others."""

Answer = asyncio.Future[object]


@dataclass(frozen=True, slots=True)
class Sent:
    """A publication that was written.

    Attributes:
        outgoing, exchange, routing_key: what, and where to.
        channel: on which it was written.
        answer: the broker's, to come.
        is_first: whether nothing else was on its way to that exchange, which had taken nothing yet.
    """

    outgoing: Outgoing
    exchange: str
    routing_key: str
    channel: Channel
    answer: Answer
    is_first: bool = False

    def is_alone(self, error: Exception) -> bool:
        """Return whether its channel took nothing else along when it was closed."""
        lost = (
            each
            for each in self.channel.confirmations.values()
            if each.done() and not each.cancelled() and each.exception() is error
        )
        return len(list(islice(lost, 2))) < 2  # noqa: PLR2004

    def may_be_meant(self, text: str) -> bool:
        """Return whether the broker's words can be about this one, and not only about others."""
        found = _SUBJECT.search(text)
        if found is None:
            return True
        if found["size"] is not None:
            return found["size"] == str(len(self.outgoing.body))
        said = self.outgoing.properties
        mine = (self._exchange, self.routing_key, said.user_id, said.expiration)
        return found["name"] in mine

    def is_kept_out(self, text: str) -> bool:
        """Return whether the broker's words are that nothing like this one gets in there.

        Its exchange is not there or is closed to its user, or to its topic: whichever of several
        the broker means, it routed none of them.
        """
        if f" topic '{self.routing_key}' in exchange '{self._exchange}' in vhost " in text:
            return True
        return f" exchange '{self._exchange}' in vhost " in text and " topic '" not in text

    @property
    def _exchange(self) -> str:
        """Return the exchange's name as the broker's words have it."""
        return self.exchange or "amq.default"


class Lanes:
    """The channels of one connection, each reopened when it was closed.

    Args:
        connection: of which nothing else needs to be known.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self._way = _Way(connection)
        self._uses: dict[Target, _Use] = {}
        self._lanes: list[Lane] = []

    async def write(
        self, outgoing: Outgoing, exchange: str, routing_key: str, *, apart: bool = False
    ) -> Sent:
        """Write in the order of asking, once the broker takes it.

        Cut off before this returns, nothing is written.

        Args:
            outgoing: what, with a message id.
            exchange: where to; what goes to one exchange keeps its order.
            routing_key: with which key.
            apart: on a channel of its own, beside the others to this exchange.
        """
        said = outgoing.properties
        # as another user than the connection's, it may be refused, and its channel closed with it
        user = said.user_id if said.user_id != self._way.user else None
        use = self._use((exchange, said.message_id if apart else user))
        use.begun()
        try:
            sent = await use.write(outgoing, exchange, routing_key)
        except BaseException:  # cut off as well: not written, it has no answer to end with
            self._ended(use)
            raise
        sent.answer.add_done_callback(lambda _: self._ended(use))
        return sent

    def _use(self, target: Target) -> "_Use":
        use = self._uses.get(target)
        if use is None:
            use = self._uses[target] = _Use(target, self._lane())
        self._lanes.remove(use.lane)
        self._lanes.append(use.lane)  # last used, last in the order
        return use

    def _lane(self) -> "Lane":
        """Return a new lane while there may be one, else one with nothing or little on its way."""
        if len(self._lanes) < self._way.most:
            self._lanes.append(Lane(self._way))
            return self._lanes[-1]
        lane = min(self._lanes, key=lambda lane: lane.under_way)
        if not lane.under_way:
            for use in tuple(lane.uses):
                self._forget(use)
        return lane

    def _ended(self, use: "_Use") -> None:
        """Who shares a lane does so while there is something on its way, and no longer."""
        use.ended()
        if use.is_idle and len(use.lane.uses) > 1:
            self._forget(use)

    def _forget(self, use: "_Use") -> None:
        use.lane.uses.remove(use)
        del self._uses[use.target]


class _Use:
    """A lane that serves an exchange, and how much of that is on its way."""

    def __init__(self, target: Target, lane: "Lane") -> None:
        self.target = target
        self.lane = lane
        self._turn = asyncio.Lock()
        self._under_way = 0
        # The default exchange is always there; of another one nothing is known before an answer.
        self._is_there = not target[0]
        self._last: Answer | None = None
        lane.uses.append(self)

    @property
    def is_idle(self) -> bool:
        return not self._under_way

    def begun(self) -> None:
        self._under_way += 1
        self.lane.under_way += 1

    def ended(self) -> None:
        self._under_way -= 1
        self.lane.under_way -= 1

    async def write(self, outgoing: Outgoing, exchange: str, routing_key: str) -> Sent:
        """Write in the order of asking: who waits for its message id keeps its place.

        Others that share the lane do not wait for that.
        """
        message_id = str(outgoing.properties.message_id)
        async with self._turn:
            await self._found_out()
            await self.lane.free(message_id)
            sent = await self.lane.write(message_id, outgoing, exchange, routing_key)
            self._last = sent.answer
            return sent if self._is_there else replace(sent, is_first=True)

    async def _found_out(self) -> None:
        """Wait for the one that finds out whether the exchange is there, which goes alone.

        Were several on their way, the broker's word that it is not there could not be told from one
        that it is no more.
        """
        last = self._last
        if last is None or not self.target[0]:
            return
        if not self._is_there:
            await asyncio.wait((last,))
        if last.done():
            error = None if last.cancelled() else last.exception()
            refused = isinstance(error, (UnroutableError, DeliveryError))  # by itself: it is there
            self._is_there = not last.cancelled() and (error is None or refused)


class Lane:
    """One channel.

    Attributes:
        uses: what it serves: one exchange, or several while there are more of them than lanes.
        under_way: how much of all that is on its way.
    """

    def __init__(self, way: "_Way") -> None:
        self.uses: list[_Use] = []
        self.under_way = 0
        self._way = way
        self._turn = asyncio.Lock()
        self._channel: Channel | None = None
        self._in_flight: dict[str, asyncio.Future[None]] = {}

    async def free(self, message_id: str) -> None:
        """Return once nothing with a message id is in flight.

        Two messages with one id never are together: aiormq tells a returned message by its id, and
        a sender may have chosen that id twice.
        """
        while (other := self._in_flight.get(message_id)) is not None:
            await asyncio.wait((other,))

    async def write(
        self, message_id: str, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> Sent:
        """Write in the order of asking, with an id that is free; see `Lanes.write`."""
        over = self._in_flight[message_id] = asyncio.get_running_loop().create_future()
        over.add_done_callback(lambda _: self._in_flight.pop(message_id))
        try:
            async with self._turn:
                channel = await self._taking()
                answer = self._write(channel, outgoing, exchange, routing_key)
        except BaseException:  # cut off as well: its message id is free again
            over.set_result(None)
            raise
        answer.add_done_callback(lambda _: over.set_result(None))
        return Sent(outgoing, exchange, routing_key, channel, answer)

    async def _taking(self) -> Channel:
        """Return the channel once what is put into its connection's queue is written at once."""
        way = self._way
        while True:
            channel = self._channel
            # all of it is asked again after each await, in which anything may have changed
            way.check_open()
            if not way.is_unblocked:
                await unblocked(way.connection)
            elif channel is None or not _is_open(channel):
                self._channel = await way.channel()
            elif not way.is_clear:
                await way.drained()
            else:
                return channel

    def _write(
        self, channel: Channel, outgoing: Outgoing, exchange: str, routing_key: str
    ) -> Answer:
        """Do what `Channel.basic_publish` does, in one go: it cannot tell what was written."""
        header = ContentHeader(properties=outgoing.properties, body_size=len(outgoing.body))
        # not mandatory, it is confirmed all the same, by whoever takes it or by nobody
        method = Basic.Publish(
            exchange=exchange, routing_key=routing_key, mandatory=outgoing.must_route
        )
        body, size = outgoing.body, channel.max_content_size
        # without a limit the body is one frame; an empty one has none, but a range needs a step
        size = size if size > 0 else len(body) or 1
        bodies = [ContentBody(body[at : at + size]) for at in range(0, len(body), size)]
        self._way.put(ChannelFrame.marshall(channel.number, [method, header, *bodies]))
        # after the frame: a tag that was counted and not sent would shift all later confirmations
        channel.delivery_tag += 1
        answer = channel.confirmations[channel.delivery_tag] = channel.create_future()
        told, message_id = channel.message_id_delivery_tag, str(outgoing.properties.message_id)
        told[message_id] = channel.delivery_tag
        # not before: a late return is told by its id, and must not be taken for another's
        answer.add_done_callback(lambda _: told.pop(message_id, None))
        return answer


class _Way:
    """A connection's one way out, which its lanes share.

    Attributes:
        connection: as given.
        most: lanes that it may have.
        user: as whom it publishes.
    """

    def __init__(self, connection: AbstractConnection) -> None:
        self.connection = connection
        negotiated = connection.connection_tune.channel_max or 4 * MOST  # 0 is no limit
        self.most = min(MOST, max(1, negotiated // 4))
        self.user = connection.url.user or "guest"  # as aiormq logs in where a URL names nobody
        self._room = 0
        self._draining = asyncio.Lock()

    def check_open(self) -> None:
        """Raise where nothing can be written any more.

        Raises:
            ConnectionError: the connection was closed.
        """
        if self.connection.is_closed:
            raise ConnectionError("the connection was closed")

    @property
    def is_unblocked(self) -> bool:
        """Return whether no alarm blocks publications: then aiormq's answer is there at once."""
        return is_unblocked(self.connection)

    @property
    def is_clear(self) -> bool:
        """Return whether what is put into the queue is written at once, answers as well."""
        queue = self.connection.write_queue
        return self._room > 0 and queue.qsize() < queue.maxsize - _SPARE

    def put(self, frame: ChannelFrame) -> None:
        """Put a frame into the queue; only while it is clear."""
        self.connection.write_queue.put_nowait(frame)
        self._room -= len(frame.payload)

    async def drained(self) -> None:
        """Return once what was written before is on its way, and the socket takes more."""
        async with self._draining:
            # who had the lock before may have drained for everybody
            if not self.is_clear:
                await drained(self.connection)
                self._room = _AHEAD

    async def channel(self) -> Channel:
        """Open a channel."""
        opening = self.connection.channel(publisher_confirms=True, on_return_raises=True)
        return cast("Channel", await answered(self.connection, opening))


def _is_open(channel: Channel) -> bool:
    """Return whether the broker listens to it, and has not said good-bye.

    The connection forgets its number when ``channel.close`` is read, and only then is it answered.
    """
    return not channel.is_closed and channel.connection.channels.get(channel.number) is channel
