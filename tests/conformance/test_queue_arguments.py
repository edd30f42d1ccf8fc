"""The arguments of queue.declare: which values are refused, and with which words."""

import datetime
import decimal
from typing import Any

import pytest
from pamqp.commands import Queue

from tests.conformance.client import RawChannel
from tests.conformance.conftest import Server
from tests.conformance.lettering import CLASSIC, QUORUM
from tests.conformance.refusals import queue_at, refused
from tests.conformance.versions import versions

pytestmark = versions("3.10 - 4.3")

NOT_INTEGERS: list[tuple[Any, str]] = [
    ("1", "longstr"),
    (1.5, "float"),
    (True, "bool"),
    (None, "void"),
    ([1], "array"),
    ({"a": 1}, "table"),
    (decimal.Decimal("1.5"), "decimal"),
    (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "timestamp"),
    (bytearray(b"1"), "binary"),
]
INTEGERS = ["x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority"]
TEN_YEARS = 315_360_000_000
DLX = {"x-dead-letter-exchange": ""}


def invalid(name: str, argument: str, fault: str) -> str:
    """The text about an invalid argument."""
    return f"PRECONDITION_FAILED - invalid arg '{argument}' for {queue_at(name)}: {fault}"


async def declared(server: Server, channel: RawChannel, arguments: dict[str, Any]) -> None:
    """Say that a queue with these arguments can be declared, and declared again."""
    name = server.queue_name()
    for _ in range(2):
        await channel.call(Queue.Declare(queue=name, durable=True, arguments=arguments))


@pytest.mark.parametrize("argument", INTEGERS)
@pytest.mark.parametrize(
    ("value", "kind"), NOT_INTEGERS, ids=[f"{kind}" for _, kind in NOT_INTEGERS]
)
async def test_not_an_integer(
    server: Server, channel: RawChannel, argument: str, value: Any, kind: str
) -> None:
    """A value of another type is refused where an integer is wanted."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, arguments={argument: value})
    await refused(channel, method, 406, invalid(name, argument, f'"expected integer, got {kind}"'))


@pytest.mark.parametrize(
    ("argument", "value", "fault"),
    [
        ("x-message-ttl", -1, "{value_negative,-1}"),
        ("x-message-ttl", TEN_YEARS + 1, "{value_too_large,315360000001}"),
        ("x-expires", 0, "{value_zero,0}"),
        ("x-expires", -1, "{value_negative,-1}"),
        ("x-expires", TEN_YEARS + 1, "{value_too_large,315360000001}"),
        ("x-max-length", -1, "{value_negative,-1}"),
        ("x-max-length-bytes", -1000, "{value_negative,-1000}"),
        ("x-max-priority", -1, "{value_negative,-1}"),
        ("x-max-priority", 256, "{max_value_exceeded,256}"),
        ("x-overflow", "drop-tail", "invalid_overflow"),
        ("x-overflow", "", "invalid_overflow"),
        ("x-overflow", 1, "{unacceptable_type,byte}"),
        ("x-queue-type", 1, "{unacceptable_type,byte}"),
        ("x-queue-type", None, "{unacceptable_type,void}"),
        ("x-queue-type", "x-mine", "\"unsupported queue type 'x-mine'\""),
        ("x-queue-type", "Classic", "\"unsupported queue type 'Classic'\""),
        ("x-dead-letter-routing-key", "key", "routing_key_but_no_dlx_defined"),
        ("x-dead-letter-routing-key", 1, "{unacceptable_type,byte}"),
        ("x-single-active-consumer", 1, "{unacceptable_type,byte}"),
        ("x-single-active-consumer", "true", "{unacceptable_type,longstr}"),
    ],
)
async def test_invalid(
    server: Server, channel: RawChannel, argument: str, value: Any, fault: str
) -> None:
    """A value that makes no sense is refused."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, arguments={argument: value})
    await refused(channel, method, 406, invalid(name, argument, fault))


@versions("3.10 - 3.12", still=True)
async def test_empty_type(server: Server, channel: RawChannel) -> None:
    """The empty text is not the name of a queue type."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, arguments={"x-queue-type": ""})
    fault = "\"unsupported queue type ''\""
    await refused(channel, method, 406, invalid(name, "x-queue-type", fault))


@versions("3.10 - 3.13", still=True)
@pytest.mark.parametrize(
    ("argument", "value", "fault"),
    [
        ("x-queue-mode", "slow", "\"unsupported queue mode 'slow'\""),
        ("x-queue-mode", 1, "{unacceptable_type,byte}"),
        ("x-queue-version", 3, "\"unsupported queue version '3'\""),
        ("x-queue-version", "2", '"expected integer, got longstr"'),
    ],
)
async def test_invalid_before_4(
    server: Server, channel: RawChannel, argument: str, value: Any, fault: str
) -> None:
    """The mode and the version of a classic queue are looked at."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, arguments={argument: value})
    await refused(channel, method, 406, invalid(name, argument, fault))


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "byte"), (None, "void"), (True, "bool"), ([], "array")]
)
async def test_dead_letter_exchange(
    server: Server, channel: RawChannel, value: Any, kind: str
) -> None:
    """A dead-letter exchange that is not a text is refused with words of its own."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, arguments={"x-dead-letter-exchange": value})
    text = f"invalid type '{kind}' for arg 'x-dead-letter-exchange' in {queue_at(name)}"
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "byte"), (300, "short"), (70000, "signedint"), (-(2**40), "long")]
)
async def test_dead_letter_routing_key(
    server: Server, channel: RawChannel, value: int, kind: str
) -> None:
    """The type of an integer is that of its width on the wire."""
    name = server.queue_name()
    arguments: dict[str, Any] = {**DLX, "x-dead-letter-routing-key": value}
    fault = invalid(name, "x-dead-letter-routing-key", f"{{unacceptable_type,{kind}}}")
    await refused(channel, Queue.Declare(queue=name, arguments=arguments), 406, fault)


@pytest.mark.parametrize(
    ("arguments", "argument", "fault"),
    [
        (
            {"x-queue-type": "x", "x-expires": 0},
            "x-queue-type",
            "\"unsupported queue type 'x'\"",
        ),
        ({"x-expires": 0, "x-message-ttl": -1}, "x-expires", "{value_zero,0}"),
        ({"x-message-ttl": -1, "x-max-length": -1}, "x-message-ttl", "{value_negative,-1}"),
        (
            {"x-dead-letter-routing-key": 1, "x-max-length": -1},
            "x-dead-letter-routing-key",
            "{unacceptable_type,byte}",
        ),
        ({"x-max-length-bytes": -1, "x-max-length": -1}, "x-max-length", "{value_negative,-1}"),
        (
            {"x-max-priority": -1, "x-max-length-bytes": -1},
            "x-max-length-bytes",
            "{value_negative,-1}",
        ),
        ({"x-overflow": "", "x-max-priority": -1}, "x-max-priority", "{value_negative,-1}"),
        (
            {"x-single-active-consumer": 1, "x-overflow": ""},
            "x-overflow",
            "invalid_overflow",
        ),
        ({"x-delivery-limit": 1, "x-expires": 0}, "x-expires", "{value_zero,0}"),
    ],
)
async def test_order(
    server: Server, channel: RawChannel, arguments: dict[str, Any], argument: str, fault: str
) -> None:
    """Of several faults always the same one is told, in whatever order the arguments are."""
    for table in (arguments, dict(reversed(arguments.items()))):
        name = server.queue_name()
        method = Queue.Declare(queue=name, arguments=table)
        await refused(channel, method, 406, invalid(name, argument, fault))
        channel = await channel.connection.channel()


@versions("3.10 - 4.2", still=True)
@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": 0},
        {"x-message-ttl": TEN_YEARS},
        {"x-expires": TEN_YEARS},
        {"x-max-length": 0},
        {"x-max-length": 2**40},
        {"x-max-length-bytes": 0},
        {"x-max-priority": 0},
        {"x-max-priority": 255},
        {"x-overflow": "drop-head"},
        {"x-overflow": "reject-publish"},
        {"x-overflow": "reject-publish-dlx"},
        {"x-dead-letter-exchange": "no such exchange"},
        {**DLX, "x-dead-letter-routing-key": ""},
        {"x-single-active-consumer": True},
        {"x-single-active-consumer": False},
        {"x-queue-mode": "lazy"},
        {"x-queue-mode": "default"},
        {"x-queue-version": 2},
        CLASSIC,
        {"x-mine": -1, "mine": [{"deep": None}], "x-consumer-timeout": 1000},
    ],
    ids=str,
)
async def test_valid(server: Server, channel: RawChannel, arguments: dict[str, Any]) -> None:
    """What makes sense, and what nobody knows, is taken."""
    await declared(server, channel, arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": 5000},
        {"x-expires": 60000},
        {"x-max-length": 0},
        {"x-overflow": "reject-publish"},
        {"x-delivery-limit": -1},
        {"x-delivery-limit": 0},
        {"x-delivery-limit": 2**31 - 1},
        {"x-single-active-consumer": True},
        {"x-dead-letter-strategy": "at-most-once"},
        {"x-dead-letter-strategy": "at-least-once", **DLX, "x-overflow": "reject-publish"},
        {"x-quorum-initial-group-size": 1},
        {"x-queue-leader-locator": "balanced"},
        {"x-mine": "x"},
    ],
    ids=str,
)
async def test_valid_of_quorum(
    server: Server, channel: RawChannel, arguments: dict[str, Any]
) -> None:
    """A quorum queue has arguments of its own."""
    await declared(server, channel, {**QUORUM, **arguments})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("x-delivery-limit", 5),
        ("x-dead-letter-strategy", "at-least-once"),
        ("x-max-age", "1D"),
        ("x-stream-max-segment-size-bytes", 1000),
        ("x-quorum-initial-group-size", 1),
    ],
)
@pytest.mark.parametrize("explicit", [False, True], ids=["by default", "by argument"])
async def test_not_of_classic(
    server: Server, channel: RawChannel, argument: str, value: Any, explicit: bool
) -> None:
    """A classic queue refuses the arguments of the other types."""
    name = server.queue_name()
    arguments = {argument: value, **(CLASSIC if explicit else {})}
    text = f"invalid arg '{argument}' for {queue_at(name)} of queue type rabbit_classic_queue"
    method = Queue.Declare(queue=name, arguments=arguments)
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize(
    ("argument", "value"), [("x-max-priority", 5), ("x-max-age", "1D"), ("x-queue-version", 2)]
)
async def test_not_of_quorum(
    server: Server, channel: RawChannel, argument: str, value: Any
) -> None:
    """A quorum queue refuses the arguments of the other types."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, durable=True, arguments={**QUORUM, argument: value})
    text = f"invalid arg '{argument}' for {queue_at(name)} of queue type rabbit_quorum_queue"
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {text}")


@pytest.mark.parametrize(
    ("argument", "value", "fault"),
    [
        ("x-quorum-initial-group-size", 0, "{value_zero,0}"),
        ("x-quorum-initial-group-size", "1", '"expected integer, got longstr"'),
        ("x-queue-leader-locator", "mine", "invalid_queue_locator_arg"),
        ("x-dead-letter-strategy", "sometimes", "invalid_dlx_strategy"),
        ("x-dead-letter-strategy", 1, "{unacceptable_type,byte}"),
    ],
)
async def test_invalid_of_quorum(
    server: Server, channel: RawChannel, argument: str, value: Any, fault: str
) -> None:
    """The arguments of quorum queues are looked at as well."""
    name = server.queue_name()
    method = Queue.Declare(queue=name, durable=True, arguments={**QUORUM, argument: value})
    await refused(channel, method, 406, invalid(name, argument, fault))


@pytest.mark.parametrize(
    ("durable", "exclusive", "auto_delete", "fault"),
    [
        (False, False, False, "non-durable"),
        (True, True, False, "exclusive-owner"),
        (True, False, True, "auto-delete"),
        (False, True, False, "exclusive-owner"),
        (False, True, True, "auto-delete"),
    ],
)
@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_replicated(
    server: Server,
    channel: RawChannel,
    kind: str,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    fault: str,
) -> None:
    """A quorum queue or a stream is durable, shared and stays."""
    name = server.queue_name()
    method = Queue.Declare(
        queue=name,
        durable=durable,
        exclusive=exclusive,
        auto_delete=auto_delete,
        arguments={"x-queue-type": kind},
    )
    text = f"PRECONDITION_FAILED - invalid property '{fault}' for {queue_at(name)}"
    await refused(channel, method, 406, text)


@pytest.mark.parametrize("kind", ["quorum", "stream"])
async def test_replicated_server_named(channel: RawChannel, kind: str) -> None:
    """A quorum queue or a stream has a name of its own."""
    method = Queue.Declare(durable=True, arguments={"x-queue-type": kind})
    text = f"Cannot declare a server-named queue for type rabbit_{kind}_queue"
    await refused(channel, method, 406, f"PRECONDITION_FAILED - {text}")
