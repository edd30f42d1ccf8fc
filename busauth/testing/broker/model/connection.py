"""A connection: who it is, its channels, and the queues that are its alone."""

from typing import Protocol

from busauth.testing.broker.model.channels.channel import Channel
from busauth.testing.broker.model.sinks import ChannelSink, ConnectionSink
from busauth.testing.broker.model.vhost import Engine, VirtualHost


class Broker(Engine, Protocol):
    """What a connection needs of its node."""

    @property
    def overfull(self) -> bool:
        """Whether even messages that have begun must wait."""
        ...

    def forget(self, connection: "Connection") -> None:
        """A connection is closed."""
        ...


class Connection:
    """What a broker knows of one client.

    Args:
        engine: the node.
        user: who logged in.
        vhost: where its names are looked up.
        sink: takes what concerns the whole connection.
    """

    def __init__(self, engine: Broker, user: str, vhost: VirtualHost, sink: ConnectionSink) -> None:
        self.engine = engine
        self.user = user
        self.vhost = vhost
        self.sink = sink
        self.channels: dict[int, Channel] = {}
        self._unfinished = 0

    def channel(self, number: int, sink: ChannelSink) -> Channel:
        """Open a channel."""
        channel = self.channels[number] = Channel(self, sink)
        return channel

    def close_channel(self, number: int) -> None:
        """Close a channel, if it is open."""
        channel = self.channels.pop(number, None)
        if channel is not None:
            channel.close()

    def hold(self, size: int) -> None:
        """Count bytes more, or less, of messages that are not whole yet."""
        self._unfinished += size
        self.engine.hold(size)

    def close(self) -> None:
        """Close the channels; exclusive queues go with their connection."""
        for number in list(self.channels):
            self.close_channel(number)
        for queue in list(self.vhost.queues.values()):
            if queue.declared.owner is self:
                queue.delete()
        self.engine.forget(self)
        self.hold(-self._unfinished)

    def writable(self) -> None:
        """The client reads again: offer its consumers what waits."""
        for channel in self.channels.values():
            channel.look_again()
