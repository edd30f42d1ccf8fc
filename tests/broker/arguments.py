"""Methods and properties that can be read, whatever their values are."""

from collections.abc import Callable
from random import Random
from struct import pack

from pamqp.base import Frame
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx

from tests.broker.fuzzing import HUNG_UP
from tests.broker.mutations import READY, Case
from tests.conformance.frames import body, header, method, short

_CODES: frozenset[int | None] = frozenset({None, HUNG_UP, 501, 503, 504, 530, 540})
"""505 and 541 would be about frames and properties, which are without fault."""

_METHODS: list[type[Frame]] = [
    *(Exchange.Declare, Exchange.Delete, Exchange.Bind, Exchange.Unbind),
    *(Queue.Declare, Queue.Declare, Queue.Bind, Queue.Bind, Queue.Unbind, Queue.Purge),
    *(Basic.Qos, Basic.Consume, Basic.Consume, Basic.Cancel, Basic.Get, Basic.Ack, Basic.Nack),
    *(Basic.Reject, Basic.Recover, Confirm.Select, Tx.Select, Tx.Commit, Tx.Rollback),
    *(Queue.Delete, Channel.Flow, Connection.Blocked),
]
_NAMES = [
    *(b"", b"mine", b"r1", b"r2", b"r3", b"x", b"y", b"direct", b"topic", b"headers", b"fanout"),
    *(b"amq.topic", b"amq.headers", b"amq.fanout", b"amq.direct", b"amq.rabbitmq.reply-to"),
    *(b"amq.gen-x", b"#", b"*.#.*", b"a.b", b"\xc3\xa9\n", b"n" * 255, b"\xff", b"\0"),
]
_NUMBERS = [0, 1, 2, 3, 5, 10, 127, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1]
_BITS = (0, 1, 2, 3, 4, 8, 16, 31, 255)


def _long_string(value: bytes) -> bytes:
    return b"S" + pack(">I", len(value)) + value


def _array(*fields: bytes) -> bytes:
    return b"A" + pack(">I", len(b"".join(fields))) + b"".join(fields)


def _table(fields: dict[bytes, bytes]) -> bytes:
    data = b"".join(short(name) + value for name, value in fields.items())
    return pack(">I", len(data)) + data


_FIELDS = [
    *(
        b"t\0",
        b"t\x01",
        b"b\xff",
        b"B\xff",
        b"s\x80\0",
        b"u\xff\xff",
        b"I\x80\0\0\0",
        b"i\xff\0\0\0",
    ),
    *(b"l\x7f" + b"\xff" * 7, b"l\x80" + b"\0" * 7, b"L" + b"\xff" * 8, b"l" + bytes(8)),
    *(
        b"l" + bytes(7) + b"\x01",
        b"l" + bytes(6) + b"\x03\xe8",
        b"f\x3f\x80\0\0",
        b"d" + pack(">d", 1e300),
    ),
    *(b"V", b"T" + bytes(8), b"T" + b"\xff" * 8, b"D\x02\0\0\0\x05", b"D\xff\0\0\0\x05"),
    *(b"x\0\0\0\x03abc", b"S\0\0\0\x02\xff\xfe", b"A\0\0\0\0", b"F\0\0\0\0"),
    _array(b"t\x01", _array(), b"V", _long_string(b"mine")),
    b"F" + _table({b"a": b"V", b"": b"t\x01"}),
    *(_long_string(each) for each in _NAMES),
]
_WORDS = {
    b"x-queue-type": [b"classic", b"quorum", b"stream", b"other"],
    b"x-overflow": [b"drop-head", b"reject-publish", b"reject-publish-dlx"],
    b"x-dead-letter-strategy": [b"at-least-once", b"at-most-once"],
    b"x-dead-letter-exchange": [b"", b"amq.fanout", b"amq.topic", b"x", b"nowhere"],
    b"x-dead-letter-routing-key": [b"mine", b"r1", b"r2", b"a.b"],
    b"alternate-exchange": [b"", b"x", b"y", b"amq.fanout"],
    b"x-match": [b"all", b"any", b"all-with-x", b"any-with-x", b"none"],
    b"x-max-age": [b"1h", b"1D", b"0s", b"-1Y", b"1"],
    b"x-stream-offset": [b"first", b"last", b"next", b"1D"],
}
_AMOUNTS = [
    *(b"x-message-ttl", b"x-expires", b"x-max-length", b"x-max-length-bytes", b"x-max-priority"),
    *(b"x-delivery-limit", b"x-priority", b"x-stream-offset", b"x-single-active-consumer", b"a"),
    *(b"x-queue-mode", b"CC", b"BCC", b"x-death", b"x-delivery-count"),
]
_KEYS = [*_WORDS, *_AMOUNTS]


def _death(rng: Random) -> bytes:
    """An x-death that nobody but an attacker writes."""
    names = (b"count", b"queue", b"reason", b"exchange", b"routing-keys", b"time")
    words = [*_FIELDS, *(_long_string(each) for each in (b"mine", b"r1", b"expired", b"rejected"))]
    deaths = [
        b"F" + _table({name: rng.choice(words) for name in rng.sample(names, rng.randrange(6))})
        for _ in range(rng.randrange(3))
    ]
    return _array(*deaths, *rng.choices(_FIELDS, k=rng.randrange(2)))


def _keys(rng: Random) -> bytes:
    return _array(*map(_long_string, rng.choices(_NAMES, k=rng.randrange(4))))


def _field(rng: Random, key: bytes) -> bytes:
    if rng.random() < 0.25:
        return rng.choice(_FIELDS)
    if key in _WORDS:
        return _long_string(rng.choice(_WORDS[key]))
    if key == b"x-death":
        return _death(rng)
    if key in (b"CC", b"BCC"):
        return _keys(rng)
    return rng.choice((b"I" + pack(">I", rng.choice((0, 1, 2, 5, 10, 255, 1000))), b"t\x01"))


def _fields(rng: Random) -> bytes:
    keys = rng.choices(_KEYS, k=rng.choice((0, 0, 1, 2, 4)))
    return _table({key: _field(rng, key) for key in keys})


_VALUES: dict[str, Callable[[Random], bytes]] = {
    "shortstr": lambda rng: short(rng.choice(_NAMES)),
    "longstr": lambda rng: pack(">I", 3) + rng.randbytes(3),
    "octet": lambda rng: bytes([rng.choice(_BITS)]),
    "short": lambda rng: pack(">H", rng.choice(_NUMBERS) & 0xFFFF),
    "long": lambda rng: pack(">I", rng.choice(_NUMBERS) & 0xFFFFFFFF),
    "longlong": lambda rng: pack(">Q", rng.choice(_NUMBERS)),
    "timestamp": lambda rng: pack(">Q", rng.choice(_NUMBERS)),
    "table": _fields,
}


def _arguments(rng: Random, kind: type[Frame]) -> bytes:
    types = [kind.amqp_type(name) for name in kind.__slots__]
    bits = bytes([rng.choice(_BITS)]) if "bit" in types else b""
    last = len(types) - 1 - types[::-1].index("bit") if bits else -1
    values = [
        _VALUES[type_](rng) if type_ != "bit" else bits * (at == last)
        for at, type_ in enumerate(types)
    ]
    return b"".join(values)


def _method(rng: Random) -> bytes:
    kind = rng.choice(_METHODS)
    return method(kind.frame_id, kind.index & 0xFFFF, _arguments(rng, kind))


def _properties(rng: Random) -> tuple[int, bytes]:
    """Flags and values, some of which matter to a broker."""
    flags, values = 0, b""
    for name in Basic.Properties.attributes():
        if rng.random() < (0.5 if name == "headers" else 0.15):
            flags |= Basic.Properties.flags[name]
            values += _property(rng, name)
    return flags, values


def _property(rng: Random, name: str) -> bytes:
    if name == "expiration":
        return short(rng.choice((b"0", b"1", b"10", b"1000", b"", b"x", b"-1", b"9" * 30)))
    if name == "user_id":
        return short(rng.choice((b"guest", b"other")))
    return _VALUES[Basic.Properties.amqp_type(name)](rng)


def _publication(rng: Random) -> bytes:
    exchange, key = rng.choice(_NAMES[:16]), rng.choice(_NAMES)
    publish = b"\0\0" + short(exchange) + short(key) + bytes([rng.choice((0, 0, 1))])
    content = b"ab"[: rng.randrange(3)]
    return (
        method(60, 40, publish)
        + header(len(content), *_properties(rng))
        + body(content) * bool(content)
    )


def _known(rng: Random) -> bytes:
    """A queue or an exchange with arguments, so that publications have somewhere to go."""
    name = rng.choice((b"r1", b"r2", b"r3"))
    if rng.random() < 0.3:
        kind = rng.choice((b"direct", b"topic", b"headers", b"fanout"))
        values = short(rng.choice((b"x", b"y"))) + short(kind)
        return method(40, 10, b"\0\0" + values + b"\x02" + _fields(rng))
    return method(50, 10, b"\0\0" + short(name) + b"\x02" + _fields(rng))


def anything(rng: Random) -> Case:
    """Methods with any arguments, and publications with any properties."""
    kinds = rng.choices((_known, _method, _publication), (2, 3, 4), k=rng.randint(2, 10))
    data = b"".join(kind(rng) for kind in kinds)
    seconds = rng.choice((0.0, 0.0, 0.002, 3600.0))
    return Case(data, _CODES, None, READY, seconds)
