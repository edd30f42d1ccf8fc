"""channel.open-ok, octet by octet."""

from pamqp.commands import Channel

from tests.broker.fuzzing import HANDSHAKE, Arena, Client, methods
from tests.conformance.frames import sent


async def test_open_ok() -> None:
    """channel.open-ok has an empty reserved string, as RabbitMQ's has."""
    client = Client(Arena())
    client.send(HANDSHAKE + sent(Channel.Open(), channel=7))
    said = [payload for number, payload in methods(b"".join(client.wire.written)) if number == 7]
    assert said == [b"\0\x14\0\x0b" + bytes(4)]
    client.leave()
