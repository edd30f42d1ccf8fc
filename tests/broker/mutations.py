"""Inputs that a broker should not meet, and what RabbitMQ does about each.

The attacker has opened channels 1 and 2, and declared the exclusive queue `mine`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from random import Random
from struct import pack

from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx

from tests.broker.fuzzing import GREETING, HANDSHAKE, HUNG_UP, OPEN, START_OK, TUNE_OK
from tests.conformance.frames import (
    BODY,
    HEADER,
    HEARTBEAT,
    METHOD,
    body,
    frame,
    header,
    method,
    sent,
    short,
)

FRAME_MAX = 131072
READY = (
    HANDSHAKE
    + sent(Channel.Open())
    + sent(Channel.Open(), channel=2)
    + sent(Queue.Declare(queue="mine", exclusive=True))
)
PUBLISH = sent(Basic.Publish(routing_key="mine"))
FINE: frozenset[int | None] = frozenset({None})
ANY: frozenset[int | None] = frozenset({None, HUNG_UP, 501, 503, 504, 505, 530, 540, 541})


@dataclass(frozen=True)
class Case:
    """What is sent after `before`, and which codes the connection may be closed with.

    `channels` is how the channels are closed; None where that is anybody's guess. Afterwards, time
    passes on the broker's clock.
    """

    data: bytes
    codes: frozenset[int | None]
    channels: tuple[tuple[int, int], ...] | None = ()
    before: bytes = READY
    seconds: float = 0.0


Mutation = Callable[[Random], Case]


def by(code: int, data: bytes) -> Case:
    """A case that ends the connection with one code."""
    return Case(data, frozenset({code}))


METHODS: list[Frame] = [
    Channel.Flow(active=True),
    Exchange.Declare(exchange="mine", auto_delete=True),
    Exchange.Delete(exchange="mine"),
    Queue.Declare(queue="mine", exclusive=True),
    Queue.Declare(queue="mine", exclusive=True, arguments={"x": [1, {"y": "z"}]}),
    Queue.Bind(queue="mine", exchange="amq.topic", routing_key="a.#"),
    Queue.Unbind(queue="mine", exchange="amq.topic", routing_key="a.#"),
    Queue.Purge(queue="mine"),
    Basic.Qos(prefetch_count=7),
    Basic.Consume(queue="mine"),
    Basic.Cancel(consumer_tag="nobody"),
    Basic.Get(queue="mine"),
    Basic.Nack(delivery_tag=0, multiple=True),
    Basic.Recover(requeue=True),
]
SESSION = [sent(each) for each in METHODS] + [PUBLISH + header(3) + body(b"abc")]
_BARE = [sent(each) for each in (Confirm.Select(), Tx.Select(), Tx.SelectOk(), Basic.GetEmpty())]


def some(rng: Random, most: int = 3) -> bytes:
    """A few frames without fault."""
    return b"".join(rng.choices(SESSION, k=rng.randrange(most)))


# --- frames -------------------------------------------------------------------------------------


def truncated(rng: Random) -> Case:
    """A session that ends within a frame."""
    data = some(rng) + rng.choice(SESSION)
    return Case(data[: len(data) - rng.randint(1, 7)], FINE)


def wrong_end(rng: Random) -> Case:
    """A frame with another last octet."""
    end = rng.choice(
        [octet for octet in (0, 1, 0xCD, 0xCF, 0xFF, rng.randrange(256)) if octet != 0xCE]
    )
    kind, number = rng.choice((METHOD, HEADER, BODY, HEARTBEAT)), rng.randrange(4)
    data = frame(kind, number, rng.randbytes(rng.randrange(40)), end=bytes([end]))
    return by(501, some(rng) + data + rng.randbytes(20))


def too_large(rng: Random) -> Case:
    """A frame that is larger than was agreed on, by little or by much."""
    size = rng.choice([FRAME_MAX + 1, 2**32 - 1, rng.randint(FRAME_MAX + 1, 2**32 - 1)])
    data = pack(">BHI", rng.randrange(256), rng.randrange(65536), size)
    return by(501, some(rng) + data + rng.randbytes(rng.randrange(20)))


def unfinished(rng: Random) -> Case:
    """A frame of a size that may be, and does not come."""
    data = pack(">BHI", rng.randrange(256), rng.randrange(65536), rng.randint(50, FRAME_MAX))
    return Case(some(rng) + data + rng.randbytes(rng.randrange(50)), FINE)


def unknown_frame(rng: Random) -> Case:
    """A frame of a type that does not exist, or too short for its type."""
    size = rng.randrange(30)
    kind, number = rng.choice((0, 4, 5, 6, 7, 9, 206, 255)), rng.randrange(4)
    short_one = rng.choice((METHOD, HEADER))
    data = rng.choice(
        [
            frame(kind, number, rng.randbytes(size)),
            frame(short_one, number, rng.randbytes(rng.randrange(4))),
            frame(HEARTBEAT, number, rng.randbytes(size + 1)),
        ]
    )
    return by(501, some(rng) + data)


def noise(rng: Random) -> Case:
    """Octets at random: a frame that is too large, or is never complete, or has a wrong end."""
    data = rng.randbytes(rng.randrange(1, 60))
    size = int.from_bytes(data[3:7], "big") if len(data) > 6 else 0
    if size > FRAME_MAX:
        return by(501, data)
    return Case(data, FINE if len(data) < size + 8 else ANY, None)


def flipped(rng: Random) -> Case:
    """A session with a few wrong bits."""
    data = bytearray(some(rng, 6) + rng.choice(SESSION))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return Case(bytes(data), ANY, None)


# --- content ------------------------------------------------------------------------------------


def no_header(rng: Random) -> Case:
    """Something else where a content header is due."""
    wrong = rng.choice(
        [
            *SESSION,
            body(b"abc"),
            frame(HEARTBEAT, 1, b""),
            header(3, class_id=rng.choice((10, 50, 0, 65535))),
            frame(HEADER, 1, pack(">HHQH", 60, rng.randint(1, 9), 3, 0)),
        ]
    )
    return by(505, some(rng) + PUBLISH + wrong)


def no_body(rng: Random) -> Case:
    """Something else where a content body is due."""
    come = body(b"ab") * rng.randrange(2)
    wrong = rng.choice([*SESSION, header(3), frame(HEARTBEAT, 1, b"")])
    return by(505, some(rng) + PUBLISH + header(3) + come + wrong)


def short_header(rng: Random) -> Case:
    """A content header that ends before its flags."""
    size = rng.randrange(12)
    return by(501, PUBLISH + frame(HEADER, 1, header(3)[7 : 7 + size]))


def stray_content(rng: Random) -> Case:
    """Content without its method, on channel 0, on open channels and on others."""
    number = rng.choice((0, 1, 2, 3, 2047, 65535))
    data = rng.choice((header(3, channel=number), body(rng.randbytes(9), channel=number)))
    return by(505, some(rng) + data)


def bad_properties(rng: Random) -> Case:
    """Properties that cannot be read; RabbitMQ's channel process dies of them."""
    flags, values = rng.choice(
        [
            (0x8000, b""),
            (0x8000, b"\x09ab"),
            (0x2000, pack(">I", 100) + rng.randbytes(20)),
            (0x2000, pack(">I", 4) + b"\x01aZ\0"),
            (0x0040, b"\0\0\0"),
            (0, rng.randbytes(rng.randint(1, 9))),
        ]
    )
    return by(541, PUBLISH + header(3, flags, values) + body(b"abc"))


# --- methods ------------------------------------------------------------------------------------


def unknown_method(rng: Random) -> Case:
    """A class or a method that does not exist."""
    ids = rng.choice(
        [(rng.randrange(100, 65536), rng.randrange(65536)), (50, 99), (70, 10), (0, 0)]
    )
    arguments = rng.randbytes(rng.randrange(20))
    return by(HUNG_UP, some(rng) + method(*ids, arguments, channel=rng.randrange(4)))


def cut_arguments(rng: Random) -> Case:
    """Arguments that end early, or late."""
    data = rng.choice(SESSION[:-1] + _BARE)
    payload = data[7:-1]
    if len(payload) > 4 and rng.random() < 0.6:
        payload = payload[: rng.randrange(4, len(payload))]
    else:
        payload += rng.randbytes(rng.randint(1, 9))
    return by(501, some(rng) + frame(METHOD, 1, payload))


def closed_channel(rng: Random) -> Case:
    """A method, or a whole publication, on a channel that was not opened."""
    number = rng.choice((3, 9, 65535))
    publication = sent(Basic.Publish(routing_key="mine"), channel=number)
    publication += header(2, channel=number) + body(b"ab", channel=number)
    data = rng.choice([publication, sent(rng.choice(METHODS), channel=number)])
    return by(504, some(rng) + data)


def second_open(rng: Random) -> Case:
    """channel.open on an open channel, or what belongs to the handshake after it."""
    wrong = rng.choice(
        [sent(Channel.Open()), OPEN, TUNE_OK, START_OK, sent(rng.choice(METHODS), channel=0)]
    )
    return by(504, some(rng) + wrong)


def from_server(rng: Random) -> Case:
    """A method that only a server sends."""
    wrong = rng.choice(
        [
            sent(Queue.DeclareOk("mine", 0, 0)),
            sent(Basic.ConsumeOk("c")),
            sent(Basic.GetEmpty()),
            sent(Basic.Return(312, "x", "", "mine")) + header(0),
            sent(Basic.Deliver("c", 1, redelivered=False, exchange="", routing_key="mine"))
            + header(0),
            sent(Tx.CommitOk()),
        ]
    )
    return by(503, some(rng) + wrong)


def not_implemented(rng: Random) -> Case:
    """What RabbitMQ has never done."""
    wrong = rng.choice(
        [
            sent(Channel.Flow(active=False)),
            sent(Basic.Qos(prefetch_size=rng.randint(1, 2**32 - 1))),
            sent(Basic.Publish(routing_key="mine", immediate=True)) + header(0),
            sent(Basic.Recover(requeue=False)),
        ]
    )
    return by(540, some(rng) + wrong)


def refused(rng: Random) -> Case:
    """What costs a channel, and leaves the connection and its other channels alone."""
    code, wrong = rng.choice(
        [
            (404, sent(Queue.Declare(queue="nowhere", passive=True))),
            (404, sent(Basic.Consume(queue="nowhere"))),
            (404, sent(Basic.Publish(exchange="nowhere")) + header(2) + body(b"ab")),
            (406, sent(Basic.Ack(rng.randint(1, 2**63)))),
            (406, sent(Queue.Declare(queue="mine", exclusive=True, auto_delete=True))),
            (406, sent(Tx.Commit())),
            (403, sent(Exchange.Delete(exchange="amq.direct"))),
            (403, sent(Queue.Declare(queue="amq.mine"))),
            (405, sent(Basic.Get(queue="backlog"))),
            (405, sent(Queue.Purge(queue="backlog"))),
        ]
    )
    after = b"".join(rng.choices(SESSION, k=2))
    unharmed = sent(Basic.Qos(), channel=2)
    return Case(wrong + after + unharmed, FINE, ((1, code),))


# --- tables -------------------------------------------------------------------------------------


@cache
def nested(depth: int, leaf: bytes = b"t\x01") -> bytes:
    """A field in an array in a table in an array, and so on."""
    field = leaf
    for level in range(depth):
        if level % 2:
            field = b"A" + pack(">I", len(field)) + field
        else:
            field = b"F" + pack(">I", len(field) + 2) + b"\x01n" + field
    return field


def _declared(table: bytes) -> bytes:
    return method(50, 10, b"\0\0" + short(b"deep") + b"\x02" + pack(">I", len(table)) + table)


def deep(rng: Random) -> Case:
    """A table with many tables in it."""
    return Case(_declared(b"\x01a" + nested(rng.randint(1, 60))), FINE)


def bottomless(rng: Random) -> Case:
    """A table with many more tables in it: RabbitMQ takes any number, this broker 64."""
    field = nested(rng.choice((65, 100, 1000)))
    return by(HUNG_UP, _declared(b"\x01a" + field))


def bottomless_headers(rng: Random) -> Case:
    """Headers with many more tables in them than this broker takes."""
    field = b"\x01a" + nested(rng.choice((65, 100, 1000)))
    content = header(0, 0x2000, pack(">I", len(field)) + field)
    return by(541, PUBLISH + content)


def bad_table(rng: Random) -> Case:
    """A table with a field that does not exist, or that goes beyond the table."""
    leaf = rng.choice(
        [b"Z", b"\0", b"I\0\0", b"S\0\0\0\x09ab", b"S\xff\xff\xff\xff", b"A\0\0\0\x09t\x01"]
    )
    return by(HUNG_UP, _declared(b"\x01a" + nested(rng.randrange(5), leaf)))


# --- the handshake ------------------------------------------------------------------------------

_HANDSHAKE = [GREETING, START_OK, TUNE_OK, OPEN]


def early_end(rng: Random) -> Case:
    """A handshake that is not finished."""
    return Case(HANDSHAKE[: rng.randrange(len(HANDSHAKE) - 1)], FINE, before=b"")


def other_protocol(rng: Random) -> Case:
    """Something else than the protocol header."""
    start = bytes([rng.choice([octet for octet in range(256) if octet != GREETING[0]])])
    data = rng.choice([start + rng.randbytes(rng.randint(7, 30)), b"GET / HTTP/1.1\r\n\r\n"])
    return Case(data, frozenset({HUNG_UP}), before=b"")


def out_of_order(rng: Random) -> Case:
    """A handshake whose steps are left out, doubled or swapped before connection.open."""
    first = rng.choice([OPEN, TUNE_OK, sent(Channel.Open()), sent(Channel.Open(), channel=0)])
    second = rng.choice([START_OK, OPEN, sent(Channel.Open()), frame(9, 0, b"x")])
    data = rng.choice([first, START_OK + second])
    return Case(GREETING + data + OPEN, frozenset({HUNG_UP}), before=b"")


def login(rng: Random) -> Case:
    """A name or a password that is none."""
    name, word = rng.choice(("guest", "", "nobody", "gu\u00e9st")), rng.choice(("x", "", "Guest"))
    start_ok = Connection.StartOk(
        {"capabilities": {"authentication_failure_close": True}}, "PLAIN", f"\0{name}\0{word}"
    )
    return Case(GREETING + sent(start_ok, channel=0) + TUNE_OK, frozenset({403}), before=b"")


def vhost(rng: Random) -> Case:
    """A virtual host that does not exist."""
    opening = sent(Connection.Open(f"v{rng.random()}"), channel=0)
    return Case(GREETING + START_OK + TUNE_OK + opening, frozenset({530}), before=b"")


def tuning(rng: Random) -> Case:
    """Limits that were not offered."""
    channels, size = rng.choice([(0, 131072), (2048, 131072), (1, 4095), (1, 131073), (1, 0)])
    tune_ok = sent(Connection.TuneOk(channels, size, rng.randrange(100)), channel=0)
    return Case(GREETING + START_OK + tune_ok + OPEN, frozenset({HUNG_UP}), before=b"")


def flipped_handshake(rng: Random) -> Case:
    """A handshake with a few wrong bits."""
    data = bytearray(HANDSHAKE + SESSION[0])
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return Case(bytes(data), ANY | {403}, None, before=b"")


MUTATIONS: list[Mutation] = [
    truncated,
    wrong_end,
    too_large,
    unfinished,
    unknown_frame,
    noise,
    flipped,
    no_header,
    no_body,
    short_header,
    stray_content,
    bad_properties,
    unknown_method,
    cut_arguments,
    closed_channel,
    second_open,
    from_server,
    not_implemented,
    refused,
    deep,
    bottomless,
    bottomless_headers,
    bad_table,
    early_end,
    other_protocol,
    out_of_order,
    login,
    vhost,
    tuning,
    flipped_handshake,
]
